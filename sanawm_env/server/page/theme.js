// Dark or light: as the system has it until somebody chooses.
import { forBrowser } from "./dom.js";

const kept = forBrowser.getItem("theme");
if (kept) document.documentElement.dataset.theme = kept;

export function otherTheme() {
  const root = document.documentElement;
  const now = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  forBrowser.setItem("theme", root.dataset.theme);
}
