// Draws every figure with its own specification, and again when the reader's colour scheme changes.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const views = new Map();

  async function draw(figure) {
    const spec = JSON.parse(figure.querySelector("script").textContent);
    const drawing = figure.querySelector(".perfkit-drawing");
    views.get(figure)?.finalize();
    const options = {
      mode: "vega-lite",
      renderer: "svg",
      actions: false,
      config: dark.matches ? CHART_CONFIG.dark : CHART_CONFIG.light,
      tooltip: { theme: dark.matches ? "dark" : "light" },
    };
    views.set(figure, await vegaEmbed(drawing, spec, options));
    figure.dataset.drawn = dark.matches ? "dark" : "light";
  }

  const drawAll = () => document.querySelectorAll(".perfkit-chart").forEach(draw);
  dark.addEventListener("change", drawAll);
  drawAll();
})();
