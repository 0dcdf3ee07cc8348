// What keys and buttons do.
import { find } from "../dom.js";

const OFTEN = ["Comma", "Period"]; // those that may be held down
const WATCHING = ["KeyI", "KeyN", "KeyR"]; // those for somebody who watches
const KEYS = {
  Space: "go", Backspace: "back", Comma: "before", Period: "after", KeyB: "mark", KeyC: "compare", KeyR: "record", KeyL: "episode", Escape: "close", KeyF: "fly", KeyI: "panel",
  Equal: "faster", NumpadAdd: "faster", Minus: "slower", NumpadSubtract: "slower", KeyN: "another",
};
const BUTTONS = {
  new: "another", go: "go", back: "back", mark: "mark", record: "record", episode: "episode", save: "save", share: "share", theme: "theme", "help-open": "help", "panel-switch": "panel",
  "compare-open": "compare", take: "take",
};

/** Tie the page's buttons to commands, functions by the names above. */
export function tieButtons(commands) {
  for (const [id, name] of Object.entries(BUTTONS)) {
    find(id).addEventListener("click", (event) => { event.currentTarget.blur?.(); commands[name](); });
  }
}

/** A key that is not held for motion was pressed; `watching` says whether somebody else walks. */
export function press(commands, watching, code, event) {
  if (event.key === "?") return commands.help();
  if (code === "KeyT") return commands.theme();
  if (document.body.dataset.page !== "walk" || !(code in KEYS) || (event.repeat && !OFTEN.includes(code))) return;
  if (code === "Space" && event.target.closest("button")) event.target.blur();
  event.preventDefault();
  if (!watching || WATCHING.includes(code)) commands[KEYS[code]]();
}
