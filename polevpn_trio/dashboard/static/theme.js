// Loaded before anything is drawn, so that a chosen theme does not flash by.
"use strict";
(() => {
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  } catch {
    // Without storage the system's theme it is.
  }
})();
