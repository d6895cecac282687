// Draws the specification of its model, as wide as the place that it is in, in the colours of the page around it.
// A front end makes a widget before it puts it onto the page: nothing is drawn until there is a width.

const isDark = () => document.body.dataset.jpThemeLight === "false";

// The keys belong to the control that has the focus; JupyterLab would take the arrows to go to another cell.
const keepKeys = ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true");

function complete(explorer) {  // what its controls lack for the keyboard and for screen readers
  explorer.addEventListener("focusin", keepKeys);
  for (const slider of explorer.querySelectorAll(".widget-slider, .jupyter-widget-slider")) {
    const name = slider.querySelector(".widget-label")?.textContent || "value";
    const ends = slider.querySelectorAll(".noUi-handle");
    ends.forEach((end, index) => end.setAttribute("aria-label", `${name} ${ends.length < 2 ? "" : index ? "to" : "from"}`));
  }
}

function render({ model, el }) {
  let turn = 0;
  let width = 0;
  let finish = () => {};

  async function draw() {
    const mine = ++turn;
    const spec = structuredClone(model.get("spec"));
    if (!width || !spec) return;
    if (isDark()) spec.config = model.get("dark_config");
    const place = document.createElement("div");
    place.style.width = "100%";
    const caption = document.createElement("p");
    caption.className = "perfkit-caption";
    caption.style.cssText = "font-size: 0.85em; max-width: 80ch; opacity: 0.8; margin: 0 0 0.5em";
    caption.textContent = spec.description || "";
    const before = el.style.minHeight;
    el.style.minHeight = `${el.offsetHeight}px`;  // the page must not jump while the next picture is made
    try {
      el.append(place);
      const drawn = await vegaEmbed(place, spec, { actions: false, renderer: "svg" });
      if (mine !== turn) {  // another choice has overtaken this one
        drawn.finalize();
        place.remove();
        return;
      }
      finish();
      finish = () => drawn.finalize();
      place.querySelector("svg").setAttribute("aria-hidden", "true");  // its parts say nothing; the caption does
      el.replaceChildren(place, caption);
      el.dataset.drawn = String(Number(el.dataset.drawn || 0) + 1);
    } catch (error) {
      place.replaceChildren(`This chart cannot be drawn: ${error.message}`);
      el.replaceChildren(place);
    } finally {
      el.style.minHeight = before;
    }
  }

  const places = new ResizeObserver(([entry]) => {
    const now = Math.round(entry.contentRect.width);
    if (now === width) return;
    width = now;
    const explorer = el.closest(".perfkit-explorer");
    if (explorer) complete(explorer);
    draw();
  });
  places.observe(el);
  const themes = new MutationObserver(draw);
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  model.on("change:spec", draw);
  return () => {
    places.disconnect();
    themes.disconnect();
    model.off("change:spec", draw);
    finish();
  };
}

export default { render };
