// The numbers beside the picture. A row without a value is not there.
import { element } from "../dom.js";
import { rotate } from "../input/motion.js";

const LABELS = {
  distance_to_goal: ["To the goal", (v) => `${v.toFixed(2)} m`], angle_to_goal: ["Angle to the goal", (v) => `${v.toFixed(0)}°`],
  success: ["Reached", (v) => (v ? "yes" : "not yet")], path_length: ["Walked", (v) => `${v.toFixed(2)} m`],
  drift: ["Drift", (v) => v.toFixed(2)], spl: ["SPL", (v) => v.toFixed(2)],
};

export class Panel {
  constructor(box) {
    this.groups = { task: element("dl"), place: element("dl"), machine: element("dl") };
    box.append(...Object.values(this.groups));
    this.rows = new Map();
    this.total = 0;
    this.changed = 0;
  }

  clear() {
    this.total = 0;
    for (const group of Object.values(this.groups)) group.replaceChildren();
    this.rows.clear();
  }

  set(group, name, text) {
    if (!this.rows.has(name)) {
      const value = element("dd");
      this.groups[group].append(element("div", {}, element("dt", { textContent: name }), value));
      this.rows.set(name, value);
    }
    if (this.rows.get(name).textContent !== text) this.rows.get(name).textContent = text;
  }

  pose(pose) {
    const [x, y, z] = pose, [a, b, c] = rotate(pose.slice(3), [0, 0, 1]);
    this.set("place", "x, y, z", `${signed(x)}  ${signed(y)}  ${signed(z)} m`);
    const turned = (radians, more, less) => {
      const degrees = Math.round((radians * 180) / Math.PI);
      return degrees === 0 ? "" : `${Math.abs(degrees)}° ${degrees > 0 ? more : less}`;
    };
    const parts = [turned(Math.atan2(a, c), "right", "left"), turned(Math.asin(Math.max(-1, Math.min(1, -b))), "up", "down")];
    this.set("place", "Looking", parts.filter(Boolean).join(", ") || "ahead");
  }

  /** A frame was drawn. */
  frame(head, view) {
    if (head.info) {
      this.total += head.reward;
      this.task(head.info, head.reward);
    }
    const now = performance.now();
    if (now - this.changed < 200 && !head.info) return;
    this.changed = now;
    this.pose(head.pose);
    this.set("machine", "Frames", `${view.fps()} / s`);
    this.set("machine", "Speed of the world", `${head.real_time.toFixed(1)}× real time`);
    this.set("machine", "Model", `${Math.round(head.step_ms)} ms / ${head.rows} frames`);
    const typical = view.latency();
    if (typical !== null) this.set("machine", "Key to picture", `${Math.round(typical)} ms`);
  }

  task(info, reward) {
    const known = Object.keys(LABELS).filter((name) => typeof info[name] === "number" || typeof info[name] === "boolean");
    if (known.length === 0) return;
    for (const name of known) this.set("task", LABELS[name][0], LABELS[name][1](info[name]));
    this.set("task", "Reward", `${signed(reward)}, ${signed(this.total)} in all`);
  }
}

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
