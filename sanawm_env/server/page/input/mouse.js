// Dragging on the picture looks around: the camera turns as far as the pointer went, no faster than the world allows.
const FARTHEST = 0.8; // rad that may be left to turn: beyond that the hand is ahead of the world

export class Mouse {
  constructor(surface) {
    this.yaw = this.pitch = 0; // rad left to turn
    let last = null;
    surface.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" || event.button !== 0) return;
      surface.setPointerCapture(event.pointerId);
      last = [event.clientX, event.clientY];
    });
    surface.addEventListener("pointermove", (event) => {
      if (last === null) return;
      const perPixel = 1.2 / surface.clientWidth; // about the field of view
      this.yaw = clamp(this.yaw + (event.clientX - last[0]) * perPixel, FARTHEST);
      this.pitch = clamp(this.pitch - (event.clientY - last[1]) * perPixel, FARTHEST);
      last = [event.clientX, event.clientY];
    });
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) surface.addEventListener(name, () => { last = null; });
    addEventListener("blur", () => { last = null; this.yaw = this.pitch = 0; });
  }

  /** Rates for the next `seconds`, rad/s, at most `most`. */
  take(seconds, most) {
    return { yaw: this.part("yaw", seconds, most), pitch: this.part("pitch", seconds, most) };
  }

  part(axis, seconds, most) {
    const rate = clamp(this[axis] / 0.2, most);
    this[axis] -= rate * seconds;
    if (Math.abs(this[axis]) < 0.004) this[axis] = 0;
    return this[axis] === 0 ? 0 : rate;
  }
}

const clamp = (value, most) => Math.max(-most, Math.min(most, value));
