// Words for the user: a message that goes away, a hint on the picture, a question.
import { find } from "./dom.js";

const LONG = 6000; // ms
let fading = null;

export function message(text, stays = false) {
  const box = find("message");
  box.textContent = text;
  box.hidden = false;
  clearTimeout(fading);
  if (!stays) fading = setTimeout(hush, LONG);
}

export function hush() { find("message").hidden = true; }

export function hint(text) {
  find("hint").textContent = text;
  find("hint").classList.toggle("shown", text !== "");
}

/** Open a dialog; what it was closed with. */
export function ask(id, focus) {
  const dialog = find(id);
  dialog.returnValue = "";
  dialog.showModal();
  focus?.select();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue), { once: true }));
}
