// Compares the figures of two runs as perfkit/report/site/changes.py and changes_view.py do; a test holds them together.
(() => {
  const CHANGED = "changed", NO_CLEAR_CHANGE = "no clear change", SAME = "the same", DIFFERS = "differs, no interval";
  const UNIT_CHANGED = "another unit", NEW = "new", GONE = "gone";
  const SCALES = [1.05, 1.1, 1.2, 1.5, 2, 3];
  const FITTING_SHARE = 0.75;
  const plural = (count, noun) => `${count} ${count === 1 ? noun : noun + "s"}`;
  const moment = (at) => `${at.slice(0, 16).replace("T", " ")} UTC`;
  const escape = (text) => {
    const node = document.createElement("span");
    node.textContent = text;
    return node.innerHTML.replaceAll('"', "&quot;"); // it also stands in attributes
  };

  // --- judging ---
  function kindOf(before, after) {
    if (!before) return NEW;
    if (!after) return GONE;
    if (before.unit !== after.unit) return UNIT_CHANGED;
    if (before.value === after.value && before.low === after.low && before.high === after.high) return SAME;
    if ([before, after].some((one) => one.low === null || one.high === null)) {
      return before.value === after.value ? SAME : DIFFERS;
    }
    return after.low > before.high || after.high < before.low ? CHANGED : NO_CLEAR_CHANGE;
  }

  function relativeOf(before, after, kind) {
    if (!before || !after || kind === UNIT_CHANGED) return null;
    if (!Number.isFinite(before.value) || !Number.isFinite(after.value)) return null;
    return before.value > 0 ? after.value / before.value - 1 : null;
  }

  function relativeText(relative) {
    if (relative === null) return "";
    const percent = 100 * relative;
    const digits = Math.abs(percent) >= 10 ? 0 : 1;
    const rounded = Math.floor(Math.abs(percent) * 10 ** digits + 0.5) / 10 ** digits;
    return rounded ? `${percent < 0 ? "-" : "+"}${rounded.toFixed(digits)}%` : "0%";
  }

  function judge(page, notebook, before, after) {
    const kind = kindOf(before, after);
    const hasOtherVerdict = Boolean(before?.verdict && after?.verdict) && before.verdict !== after.verdict;
    const told = hasOtherVerdict ? `verdict changed: ${before.verdict} → ${after.verdict}` : "";
    const relative = relativeOf(before, after, kind);
    return {
      page, notebook, before, after, kind, relative, hasOtherVerdict, told,
      name: (after || before).name,
      notable: kind === CHANGED || hasOtherVerdict,
      relativeText: relativeText(relative),
      verdict: !told ? kind : kind === CHANGED ? `${CHANGED}; ${told}` : told,
    };
  }

  function figuresOf(run) {
    const found = new Map();
    for (const page of run.pages) {
      const seen = new Map();
      for (const kept of page.records) {
        const number = seen.get(kept.name) ?? 0;
        found.set(JSON.stringify([page.page, kept.name, number]), [page.page, page.title, kept]);
        seen.set(kept.name, number + 1);
      }
    }
    return found;
  }

  function differences(before, after) {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    const valueIn = (one, name) => (Object.hasOwn(one, name) ? one[name] : "default");
    const told = names.map((name) => [name, valueIn(before, name), valueIn(after, name)]);
    return told.filter(([, was, now]) => was !== now).map(([name, was, now]) => `${name} ${was} → ${now}`).join(", ");
  }

  function shared(before, after, isKnown) {
    const isShared = (name) => Object.hasOwn(after, name) && isKnown(before[name]) && isKnown(after[name]);
    const names = Object.keys(before).filter(isShared);
    return [before, after].map((one) => Object.fromEntries(names.map((name) => [name, one[name]])));
  }

  function unfair(before, after) {
    const said = [];
    for (const run of [before, after]) {
      const unfinished = run.pages.filter((page) => !page.complete).map((page) => page.title).join(", ");
      if (unfinished) said.push(`Not complete in run ${run.id}, and figures that it lacks left out: ${unfinished}.`);
    }
    if (before.pipeline !== after.pipeline) {
      said.push(`They are runs of two reports: ${before.pipeline} and ${after.pipeline}.`);
    }
    const sentences = [
      ["Other parameters", differences(before.parameters, after.parameters)],
      ["Another host", differences(...shared(before.host, after.host, (value) => value !== "unknown"))],
      ["Other versions", differences(...shared(before.installed, after.installed, () => true))],
    ];
    return [...said, ...sentences.filter(([, told]) => told).map(([what, told]) => `${what}: ${told}.`)];
  }

  function changesBetween(before, after) {
    const earlier = figuresOf(before), later = figuresOf(after);
    const unfinished = (run) => new Set(run.pages.filter((page) => !page.complete).map((page) => page.page));
    const gaps = [unfinished(before), unfinished(after)];
    const figures = [];
    for (const key of new Set([...later.keys(), ...earlier.keys()])) {
      const [page, title] = later.get(key) ?? earlier.get(key);
      const kept = [earlier.get(key)?.[2] ?? null, later.get(key)?.[2] ?? null];
      if (kept.some((one, index) => one === null && gaps[index].has(page))) continue;
      figures.push(judge(page, title, ...kept));
    }
    return { before, after, figures, warnings: unfair(before, after), sentence: sentence(before, after, figures) };
  }

  function sentence(before, after, figures) {
    if (!figures.length) return `Neither this run nor that of ${moment(before.started)} recorded a figure.`;
    const notable = figures.filter((one) => one.notable);
    const compared = figures.filter((one) => one.kind !== NEW && one.kind !== GONE).length;
    const since = `${before.id > after.id ? "Against" : "Since"} the run of ${moment(before.started)}`;
    let said = `${since} no figure can be compared.`;
    if (notable.length) {
      const named = notable.slice(0, 3).map(brief).join(", ");
      const more = notable.length > 3 ? ` and ${notable.length - 3} more` : "";
      said = `${since} ${notable.length} of ${plural(compared, "figure")} changed: ${named}${more}.`;
    } else if (compared) {
      said = `${since} none of ${plural(compared, "figure")} changed clearly.`;
    }
    const count = (kind) => figures.filter((one) => !one.notable && one.kind === kind).length;
    const others = [];
    if (count(DIFFERS)) others.push(`${count(DIFFERS)} without an interval ${count(DIFFERS) === 1 ? "differs" : "differ"}.`);
    for (const [kind, words] of [[NEW, "new"], [GONE, "gone"], [UNIT_CHANGED, "in another unit"]]) {
      if (count(kind)) others.push(`${count(kind)} ${count(kind) === 1 ? "is" : "are"} ${words}.`);
    }
    return [said, ...others].join(" ");
  }

  function brief(one) {
    const values = [one.before, one.after].filter(Boolean).map((kept) => kept.text);
    const told = [new Set(values).size > 1 ? values.join(" → ") : "", one.kind === CHANGED ? one.relativeText : "", one.told];
    return `${one.name} (${told.filter(Boolean).join(", ")})`;
  }

  // --- showing ---
  const baseOf = (one) => (one.relative === null || one.relative <= -1 ? 0 : one.before.value);

  function scaleOf(figures) {
    const widest = [];
    for (const one of figures) {
      const base = baseOf(one);
      if (!base) continue;
      const bounds = [one.before, one.after].flatMap((kept) => [kept.value, kept.low, kept.high]);
      const factors = bounds.filter((bound) => bound !== null && bound > 0).map((bound) => bound / base);
      widest.push(Math.max(...factors.map((factor) => Math.max(factor, 1 / factor))));
    }
    if (!widest.length) return 0;
    const most = widest.sort((a, b) => a - b)[Math.ceil((widest.length - 1) * FITTING_SHARE)];
    return SCALES.find((scale) => scale >= most) ?? SCALES.at(-1);
  }

  function place(factor, scale) {
    return factor <= 0 ? 2 : Math.min(Math.max(50 + (48 * Math.log(factor)) / Math.log(scale), 2), 98);
  }

  const arrow = (x, path, kind, y) => `<svg x="${x}%" y="${y}"><path class="${kind}" d="${path}"/></svg>`;

  function picture(one, scale) {
    const base = baseOf(one);
    if (!base) return "";
    const told = (kept) => (kept.interval ? `${kept.text} (${kept.interval})` : kept.text);
    let marks = '<line class="origin" x1="50%" x2="50%" y1="0" y2="30"/>';
    for (const [kept, kind, y] of [[one.before, "before", 9], [one.after, "after", 21]]) {
      if (kept.low === null || kept.high === null) continue;
      const low = place(kept.low / base, scale), high = place(kept.high / base, scale);
      marks += `<rect class="${kind}" x="${low.toFixed(2)}%" y="${y - 3}" width="${Math.max(high - low, 0.4).toFixed(2)}%" height="6" rx="3"/>`;
    }
    const factors = [one.before, one.after].map((kept) => kept.value / base);
    const [from, to] = factors.map((factor) => place(factor, scale).toFixed(2));
    marks += `<line class="link" x1="${from}%" y1="9" x2="${to}%" y2="21"/>`;
    marks += `<circle class="before" cx="${from}%" cy="9" r="4"/>`;
    if (1 / scale <= factors[1] && factors[1] <= scale) marks += `<circle class="after" cx="${to}%" cy="21" r="4.5"/>`;
    for (const [kept, kind, y] of [[one.before, "before", 9], [one.after, "after", 21]]) {
      const bounds = [kept.value, kept.low, kept.high].filter((bound) => bound !== null).map((bound) => bound / base);
      if (Math.min(...bounds) < 1 / scale) marks += arrow(2, "M6-5L-3 0 6 5z", kind, y);
      if (Math.max(...bounds) > scale) marks += arrow(98, "M-6-5L3 0-6 5z", kind, y);
    }
    const label = escape(`before ${told(one.before)}, after ${told(one.after)}`);
    return `<svg class="strip" height="30" role="img" aria-label="${label}">${marks}</svg>`;
  }

  function row(one, scale) {
    const figure = (kept) =>
      kept ? escape(kept.text) + (kept.interval ? `<span class="quiet">${escape(kept.interval)}</span>` : "") : "–";
    const cells = [
      ["number before", figure(one.before)],
      ["number after", figure(one.after)],
      ["number change", one.relativeText.replace("-", "−")],
      ["picture", picture(one, scale)],
      ["verdict", escape(one.verdict)],
    ].map(([kind, content]) => `<td role="cell" class="${kind}">${content}</td>`).join("");
    const name = `${escape(one.name)} <span class="quiet">${escape(one.notebook)}</span>`;
    return `<tr role="row"${one.notable ? ' class="notable"' : ""}><th role="rowheader" scope="row">${name}</th>${cells}</tr>`;
  }

  function table(figures, scale, caption) {
    const axis = `<span class="axis"><span>÷${scale}</span><span>as before</span><span>×${scale}</span></span>`;
    const head = [["figure", ""], ["before", "number"], ["after", "number"], ["change", "number"], [axis, ""], ["verdict", ""]]
      .map(([name, kind]) => `<th role="columnheader" scope="col"${kind ? ` class="${kind}"` : ""}>${name}</th>`).join("");
    return `<table class="changes" role="table"><caption class="unseen">${escape(caption)}</caption>` +
      `<thead role="rowgroup"><tr role="row">${head}</tr></thead>` +
      `<tbody role="rowgroup">${figures.map((one) => row(one, scale)).join("")}</tbody></table>`;
  }

  function changesHtml(changes) {
    const isFirst = (one) => one.notable || [NEW, GONE, UNIT_CHANGED].includes(one.kind);
    const first = changes.figures.filter(isFirst), rest = changes.figures.filter((one) => !isFirst(one));
    const scale = scaleOf(changes.figures.filter((one) => one.notable)) || scaleOf(changes.figures) || SCALES[0];
    let html = first.length ? table(first, scale, "Figures that changed") : "";
    if (rest.length) {
      const summary = `${plural(rest.length, "figure")} that did not change clearly`;
      html += `<details${changes.figures.length <= 6 ? " open" : ""}><summary>${summary}</summary>${table(rest, scale, summary)}</details>`;
    }
    return html;
  }

  window.perfkitChanges = (a, b) => {
    const changes = changesBetween(window.perfkitRuns[a], window.perfkitRuns[b]);
    return { ...changes, html: changesHtml(changes) };
  };

  // --- choosing ---
  const form = document.querySelector(".filter");
  if (!form) return;
  const choices = JSON.parse(document.getElementById("choices").textContent);
  const [a, b] = [form.elements.a, form.elements.b];
  for (const select of [a, b]) {
    const groups = new Map();
    for (const [id, pipeline, status, started] of choices) {
      if (!groups.has(pipeline)) {
        groups.set(pipeline, document.createElement("optgroup"));
        groups.get(pipeline).label = pipeline;
        select.append(groups.get(pipeline));
      }
      groups.get(pipeline).append(new Option(`${moment(started)}${status === "complete" ? "" : `, ${status}`}`, id));
    }
  }

  function load(id) {
    if (window.perfkitRuns?.[id]) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${encodeURIComponent(id)}/figures.js`;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`The figures of run ${id} cannot be read; perfkit reports index writes them.`));
      document.head.append(script);
    });
  }

  async function show() {
    const [from, to] = [a.value, b.value];
    history.replaceState(null, "", `#a=${encodeURIComponent(from)}&b=${encodeURIComponent(to)}`);
    const [said, result] = ["said", "result"].map((id) => document.getElementById(id));
    try {
      await Promise.all([load(from), load(to)]);
    } catch (error) {
      said.textContent = error.message;
      result.replaceChildren();
      return;
    }
    if (from !== a.value || to !== b.value) return; // another choice was made meanwhile
    const changes = window.perfkitChanges(from, to);
    const link = (id, words) => `<a href="${encodeURIComponent(id)}/index.html">${words}</a>`;
    said.textContent = changes.sentence;
    result.innerHTML =
      (changes.warnings.length ? `<p class="notice warn"><strong>Hard to compare.</strong> ${escape(changes.warnings.join(" "))}</p>` : "") +
      changes.html +
      `<p class="quiet">Before above, after below, each with its interval. Two figures have changed when their intervals lie apart; without an interval nobody can say. An arrow points to what lies beyond the scale. Pages: ${link(from, "before")}, ${link(to, "after")}.</p>`;
  }

  function fromAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const newest = choices[0];
    const earlier = choices.find((one, index) => index > 0 && one[1] === newest[1] && one[2] === "complete") ?? choices[1];
    const known = (id, otherwise) => (choices.some((one) => one[0] === id) ? id : otherwise);
    const gone = [...given.values()].filter((id) => known(id, null) === null);
    const notice = document.getElementById("gone");
    notice.hidden = !gone.length;
    notice.textContent = `No longer kept: ${gone.join(", ")}. Other runs are compared instead.`;
    a.value = known(given.get("a"), earlier[0]);
    b.value = known(given.get("b"), newest[0]);
    show();
  }

  form.hidden = false;
  form.addEventListener("change", () => {
    document.getElementById("gone").hidden = true;
    show();
  });
  form.querySelector("button").addEventListener("click", () => {
    [a.value, b.value] = [b.value, a.value];
    show();
  });
  window.addEventListener("hashchange", fromAddress);
  fromAddress();
})();
