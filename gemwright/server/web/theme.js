/** Light or dark before the first pixel is drawn: a plain script in the head, because modules run later. */

const THEME = "gemwright.theme"; // "light", "dark", or nothing: as the system says

function setTheme(theme) {
  if (theme === "light" || theme === "dark") {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem(THEME, theme);
  } else {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem(THEME);
  }
}

setTheme(localStorage.getItem(THEME));

document.addEventListener("DOMContentLoaded", () => {
  for (const choice of document.querySelectorAll("input[name=theme]")) {
    choice.checked = choice.value === (document.documentElement.dataset.theme ?? "system");
    choice.addEventListener("change", () => setTheme(choice.value));
  }
});
