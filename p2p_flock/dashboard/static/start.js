// @ts-check
// Runs before the first paint: the chosen colours, so that nothing flashes; then loads the page. A classic script,
// because a module waits for the whole document. Says in plain words what is missing where the page cannot start.
(() => {
  /** @type {string | null} */
  let theme = null;
  try {
    theme = localStorage.getItem("p2p_flock.theme");
  } catch {
    // storage may be forbidden; then the system's colours are used
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;

  /** @param {unknown} reason */
  const tell = (reason) => {
    const place = document.getElementById("starting");
    if (!place) return;
    place.textContent =
      "A part of this page is missing, most likely its libraries. Run `scripts/setup` in the checkout (or install the " +
      "package again), then load this page anew. In a terminal, `p2p-flock alliance watch` shows the same. " +
      `(${String(reason)})`;
    place.setAttribute("role", "alert");
  };
  const load = () => void import("./main.mjs").catch(tell);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", load);
  else load();
})();
