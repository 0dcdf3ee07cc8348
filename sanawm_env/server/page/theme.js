// Dark or light: as the system has it until somebody chooses.
const kept = localStorage.getItem("theme");
if (kept) document.documentElement.dataset.theme = kept;

export function otherTheme() {
  const root = document.documentElement;
  const now = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
}
