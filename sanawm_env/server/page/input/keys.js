// Keys that are held, as axes. What is held is forgotten when the window loses the focus.
const HELD = {
  KeyW: ["forward", 1], KeyS: ["forward", -1], KeyD: ["right", 1], KeyA: ["right", -1], KeyE: ["up", 1], KeyQ: ["up", -1],
  ArrowRight: ["yaw", 1], ArrowLeft: ["yaw", -1], ArrowUp: ["pitch", 1], ArrowDown: ["pitch", -1],
};

export class Keys {
  /** `pressed(code, event)` gets the keys that are not held for motion. */
  constructor(pressed) {
    this.held = new Set();
    this.slow = false;
    addEventListener("keydown", (event) => this.down(event, pressed));
    addEventListener("keyup", (event) => { this.held.delete(event.code); this.slow = event.shiftKey; });
    addEventListener("blur", () => this.clear());
    document.addEventListener("visibilitychange", () => this.clear());
  }

  clear() { this.held.clear(); this.slow = false; }

  down(event, pressed) {
    if (busy(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    this.slow = event.shiftKey;
    if (event.code in HELD) {
      event.preventDefault();
      if (!event.repeat) this.held.add(event.code);
    } else pressed(event.code, event);
  }

  /** Each from -1 to 1. */
  axes() {
    const axes = { forward: 0, right: 0, up: 0, yaw: 0, pitch: 0 };
    for (const code of this.held) axes[HELD[code][0]] += HELD[code][1];
    return axes;
  }
}

/** Whether a key is meant for a field or a dialog. A slider takes arrows alone, and a closed dialog nothing. */
function busy({ target, code }) {
  if (document.querySelector("dialog[open]")) return true;
  const field = target.closest?.("input, select, textarea");
  return field && !field.closest("dialog") && (field.type !== "range" || code.startsWith("Arrow"));
}
