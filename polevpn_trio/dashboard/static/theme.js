// Loaded before anything is drawn, so that no other theme flashes by. `data-theme` says which one
// it is: what was chosen by the button, and until then the system's.
"use strict";
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const take = () => {
    let chosen = null;
    try {
      chosen = localStorage.getItem("theme");
    } catch {
      // Without storage the system's theme it is.
    }
    const known = chosen === "dark" || chosen === "light";
    document.documentElement.dataset.theme = known ? chosen : system.matches ? "dark" : "light";
  };
  take();
  system.addEventListener("change", take);
})();
