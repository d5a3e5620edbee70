// Light or dark: as the system says, until the button in the page's head is used; that is remembered.

/** Sets it now and whenever it changes; `changed` is called each time. */
function themeChanges(changed) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  let chosen = null;
  try { chosen = localStorage.getItem("sweep-theme"); } catch { /* a file may have no storage */ }
  function paint() {
    const dark = chosen ? chosen === "dark" : system.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.setAttribute("aria-pressed", String(dark));
    changed();
  }
  button.onclick = () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("sweep-theme", chosen); } catch { /* then it holds for this visit */ }
    paint();
  };
  system.addEventListener("change", paint);
  paint();
}
