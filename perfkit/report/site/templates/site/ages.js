// How long ago something was, as of now: the page may be older than what it says.
(() => {
  const UNITS = [["day", 86400], ["h", 3600], ["min", 60]];
  function age(since) {
    const seconds = (Date.now() - new Date(since)) / 1000;
    if (seconds < -300) return "in the future";
    for (const [unit, length] of UNITS) {
      const count = Math.floor(seconds / length);
      if (count >= 1) return `${count} ${unit}${unit === "day" && count > 1 ? "s" : ""} ago`;
    }
    return "just now";
  }
  const tell = () => document.querySelectorAll("[data-since]").forEach((one) => (one.textContent = age(one.dataset.since)));
  tell();
  setInterval(tell, 30000);
  for (const time of document.querySelectorAll("time")) time.title = new Date(time.dateTime).toLocaleString();
})();
