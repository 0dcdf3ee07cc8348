// Two sticks for thumbs: where a finger lands is the middle.
export class Stick {
  constructor(base) {
    this.x = this.y = 0; // -1..1, y upwards
    const knob = base.firstElementChild;
    let finger = null;
    const move = (event) => {
      const box = base.getBoundingClientRect(), radius = box.width / 2;
      let x = (event.clientX - box.left - radius) / (radius * 0.7), y = (event.clientY - box.top - radius) / (radius * 0.7);
      const length = Math.hypot(x, y);
      if (length > 1) { x /= length; y /= length; }
      knob.style.transform = `translate(${x * radius * 0.55}px, ${y * radius * 0.55}px)`;
      [this.x, this.y] = [dead(x), dead(-y)];
    };
    const release = () => { finger = null; this.x = this.y = 0; knob.style.transform = ""; };
    base.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      finger = event.pointerId;
      base.setPointerCapture(finger);
      move(event);
    });
    base.addEventListener("pointermove", (event) => { if (event.pointerId === finger) move(event); });
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) base.addEventListener(name, release);
    base.addEventListener("contextmenu", (event) => event.preventDefault());
    addEventListener("blur", release);
  }
}

/** Nothing near the middle, and from there on continuous. */
export const dead = (value, edge = 0.12) => (Math.abs(value) < edge ? 0 : (value - Math.sign(value) * edge) / (1 - edge));
