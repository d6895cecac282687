// What has become stale or was missed since the page was written, and the filter. Without it the page says all it knew.
(() => {
  const now = Date.now();
  for (const tag of document.querySelectorAll("[data-stale-after]")) {
    if (new Date(tag.dataset.staleAfter) < now) tag.hidden = false;
  }
  for (const next of document.querySelectorAll("[data-due]")) {
    const due = next.dataset.due.split(" ");
    const missed = due.filter((one) => +new Date(one) + next.dataset.grace * 1000 < now);
    if (!missed.length) continue;
    const told = missed.at(-1).slice(0, 16).replace("T", " ");
    next.textContent = `${missed.length === due.length ? `${due.length} or more` : missed.length} due since this page was written, last ${told} UTC`;
    next.className = "next warned";
  }

  const filter = document.querySelector(".filter");
  if (!filter) return;
  filter.hidden = false;
  const sections = [...document.querySelectorAll(".report")];
  const wasOpen = new Map([...document.querySelectorAll(".older")].map((one) => [one, one.open]));
  filter.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("change", () => {
    const { report, status } = Object.fromEntries(new FormData(filter));
    let shown = 0;
    for (const section of sections) {
      let found = 0;
      for (const row of section.querySelectorAll("tr[data-status]")) {
        row.hidden = Boolean(status) && row.dataset.status !== status;
        found += !row.hidden;
        for (let why = row.nextElementSibling; why?.className === "why"; why = why.nextElementSibling) why.hidden = row.hidden;
      }
      section.hidden = (Boolean(report) && section.dataset.report !== report) || (Boolean(status) && !found);
      shown += section.hidden ? 0 : found;
      const older = section.querySelector(".older");
      if (older) older.open = status ? older.querySelector("tr[data-status]:not([hidden])") !== null : wasOpen.get(older);
    }
    filter.querySelector("output").textContent = `${shown} ${shown === 1 ? "run" : "runs"}`;
  });
})();
