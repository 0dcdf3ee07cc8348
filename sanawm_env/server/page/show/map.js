// The path from above: x to the right, z (forward at the start) upwards, one grid line per metre.
import { rotate } from "../input/motion.js";

export class Map2D {
  constructor(canvas) {
    Object.assign(this, { canvas, path: [], others: [], pose: null, goal: null, size: [0, 0] });
    new ResizeObserver(() => { this.size = [canvas.clientWidth, canvas.clientHeight]; this.draw(); }).observe(canvas);
  }

  /** `path`: poses from the root to here; `others`: lists of poses of the other branches. */
  past(path, others) { Object.assign(this, { path, others }); this.draw(); }

  at(pose) {
    this.pose = pose;
    this.draw();
  }

  /** One frame further; every other one is drawn. */
  on(pose) {
    this.path.push(pose);
    this.pose = pose;
    if (this.path.length % 2 === 0) this.draw();
  }

  draw() {
    const { canvas } = this, ratio = devicePixelRatio || 1, [side, high] = this.size;
    if (!side) return;
    if (canvas.width !== Math.round(side * ratio) || canvas.height !== Math.round(high * ratio)) [canvas.width, canvas.height] = [Math.round(side * ratio), Math.round(high * ratio)];
    const context = canvas.getContext("2d"), style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name);
    const points = [...this.path, ...this.others.flat(), ...(this.pose ? [this.pose] : []), ...(this.goal ? [this.goal] : []), [0, 0, 0]];
    const bounds = (k) => [Math.min(...points.map((p) => p[k])), Math.max(...points.map((p) => p[k]))];
    const [left, right] = bounds(0), [near, far] = bounds(2);
    const span = Math.max(right - left, ((far - near) * side) / high, 2.4) * 1.25, scale = side / span;
    const place = ([x, , z]) => [side / 2 + (x - (left + right) / 2) * scale, high / 2 - (z - (near + far) / 2) * scale];
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, side, high);

    context.strokeStyle = colour("--line");
    context.lineWidth = 1;
    context.beginPath();
    const [zeroX, zeroZ] = place([0, 0, 0]), metre = scale * Math.max(1, Math.ceil(span / 14));
    for (let x = zeroX % metre; x < side; x += metre) { context.moveTo(x, 0); context.lineTo(x, high); }
    for (let y = zeroZ % metre; y < high; y += metre) { context.moveTo(0, y); context.lineTo(side, y); }
    context.stroke();

    const trace = (poses, name, width) => {
      context.strokeStyle = colour(name);
      context.lineWidth = width;
      context.beginPath();
      poses.forEach((pose, k) => context[k ? "lineTo" : "moveTo"](...place(pose)));
      context.stroke();
    };
    context.lineJoin = context.lineCap = "round";
    for (const other of this.others) trace(other, "--dim", 1.5);
    trace(this.path, "--accent", 2.5);
    if (this.goal) {
      context.fillStyle = colour("--goal");
      context.beginPath();
      context.arc(...place(this.goal), 5, 0, 7);
      context.fill();
    }
    if (this.pose) this.arrow(context, place(this.pose), this.pose, colour("--accent"));
  }

  arrow(context, [x, y], pose, colour) {
    const [a, , c] = rotate(pose.slice(3), [0, 0, 1]), length = Math.hypot(a, c) || 1;
    const [ex, ey] = [a / length, -c / length];
    context.fillStyle = colour;
    context.beginPath();
    context.moveTo(x + 9 * ex, y + 9 * ey);
    context.lineTo(x - 6 * ex - 6 * ey, y - 6 * ey + 6 * ex);
    context.lineTo(x - 3 * ex, y - 3 * ey);
    context.lineTo(x - 6 * ex + 6 * ey, y - 6 * ey - 6 * ex);
    context.fill();
  }
}
