// Draws every figure with its own specification, and again when the reader's colour scheme changes. Below each chart its
// values stand as a table for those who open it: the fields and words are those of the chart's tooltips.
(() => {
  const MOST_ROWS = 300;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const views = new Map();
  const specOf = (figure) => JSON.parse(figure.querySelector("script").textContent);

  async function draw(figure) {
    const drawing = figure.querySelector(".perfkit-drawing");
    views.get(figure)?.finalize();
    const options = {
      mode: "vega-lite",
      renderer: "svg",
      actions: false,
      config: dark.matches ? CHART_CONFIG.dark : CHART_CONFIG.light,
      tooltip: { theme: dark.matches ? "dark" : "light" },
    };
    views.set(figure, await vegaEmbed(drawing, specOf(figure), options));
    figure.dataset.drawn = dark.matches ? "dark" : "light";
  }

  function tablesOf(spec) {
    const found = new Map(); // rows -> fields by name
    const visit = (part, inherited) => {
      const data = part.data ?? inherited;
      const rows = data?.values ?? spec.datasets?.[data?.name];
      const told = [part.encoding?.tooltip ?? []].flat().filter((one) => one.field && rows?.[0] && one.field in rows[0]);
      if (told.length) {
        const fields = found.get(rows) ?? new Map();
        for (const one of told) fields.set(one.field, one.title ?? one.field);
        found.set(rows, fields);
      }
      for (const inner of [...(part.layer ?? []), ...(part.hconcat ?? []), ...(part.vconcat ?? [])]) visit(inner, data);
      if (part.spec) visit(part.spec, data);
    };
    visit(spec, undefined);
    return [...found];
  }

  function row(cells, kind) {
    const made = document.createElement("tr");
    for (const text of cells) {
      const cell = document.createElement(kind);
      if (kind === "th") cell.scope = "col";
      const isNumber = typeof text === "number";
      if (isNumber) cell.className = "number";
      cell.textContent = isNumber ? text.toLocaleString("en", { maximumSignificantDigits: 4 }) : (text ?? "");
      made.append(cell);
    }
    return made;
  }

  function fill(details, tables) {
    for (const [rows, fields] of tables) {
      const scroll = document.createElement("div");
      scroll.className = "perfkit-scroll";
      scroll.tabIndex = 0;
      scroll.setAttribute("role", "region");
      scroll.setAttribute("aria-label", "Values of the chart");
      const table = document.createElement("table");
      table.createTHead().append(row(fields.values(), "th"));
      const body = table.createTBody();
      for (const one of rows.slice(0, MOST_ROWS)) body.append(row([...fields.keys()].map((name) => one[name]), "td"));
      scroll.append(table);
      details.append(scroll);
      if (rows.length > MOST_ROWS) details.append(`The first ${MOST_ROWS} of ${rows.length} rows.`);
    }
  }

  function offerValues(figure) {
    const tables = tablesOf(specOf(figure));
    if (!tables.length) return;
    const details = document.createElement("details");
    details.className = "values";
    details.append(document.createElement("summary"));
    details.firstChild.textContent = "Values as a table";
    details.addEventListener("toggle", () => fill(details, tables), { once: true });
    figure.append(details);
  }

  const figures = [...document.querySelectorAll(".perfkit-chart")];
  dark.addEventListener("change", () => figures.forEach(draw));
  figures.forEach(draw);
  figures.forEach(offerValues);
})();
