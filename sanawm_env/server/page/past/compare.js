// Two branches side by side at the same world time.
import { clock, element, find } from "../dom.js";
import { fork, leaves, nodeAt, pathTo } from "./tree.js";

export class Compare {
  /** `goOn(node)` is asked to continue from a snapshot. */
  constructor(pictures, goOn) {
    Object.assign(this, { pictures, goOn, open: false });
    this.slider = find("compare-time");
    this.slider.addEventListener("input", () => this.draw());
    this.sides = ["a", "b"].map((name) => ({
      canvas: find(`compare-${name}`), select: find(`branch-${name}`), label: find(`time-${name}`), path: [], node: null,
    }));
    for (const side of this.sides) {
      side.select.addEventListener("change", () => this.choose());
      side.canvas.addEventListener("click", () => side.node && this.goOn(side.node));
    }
    for (const [k, name] of ["go-a", "go-b"].entries()) find(name).addEventListener("click", () => this.goOn(this.sides[k].node));
  }

  /** Show the branch of the present beside another; whether there are two. */
  begin(session, nodes, present) {
    const ends = leaves(nodes);
    if (ends.length < 2) return false;
    Object.assign(this, { session, nodes, open: true });
    const mine = ends.find((end) => pathTo(nodes, end.snapshot).some((node) => node.snapshot === present)) ?? ends[0];
    const other = ends.find((end) => end !== mine);
    for (const [side, chosen] of [[this.sides[0], mine], [this.sides[1], other]]) {
      side.select.replaceChildren(...ends.map((end, k) => element("option", {
        value: end.snapshot, textContent: `${end.name ?? `Branch ${ends.length - k}`}, ${clock(end.time)}`,
      })));
      side.select.value = chosen.snapshot;
    }
    this.choose();
    return true;
  }

  choose() {
    for (const side of this.sides) side.path = pathTo(this.nodes, side.select.value);
    const [one, other] = this.sides.map((side) => side.path);
    const shared = fork(one, other), times = [...one, ...other].map((node) => node.time);
    const until = Math.max(...times);
    Object.assign(this.slider, { min: Math.min(...times), max: until, step: 0.25, value: Math.min(until, ...[one, other].map((path) => path.at(-1).time)) });
    find("compare-fork").textContent = shared ? `They part at ${clock(shared.time)}` : "Two beginnings";
    this.draw();
  }

  /** Put both in the place of the picture, or take them away. */
  show(open) {
    this.open = open;
    find("compare").hidden = !open;
    find("screen").hidden = open;
    find("compare-open").classList.toggle("on", open);
    document.body.classList.toggle("comparing", open);
    if (open) this.slider.focus();
  }

  draw() {
    const time = Number(this.slider.value);
    find("compare-now").textContent = clock(time);
    for (const side of this.sides) {
      side.node = nodeAt(side.path, time);
      side.label.textContent = side.node.time < time - 1.5 ? `ended at ${clock(side.node.time)}` : clock(side.node.time);
      this.pictures.draw(side.canvas, this.session, side.node.snapshot).catch(() => {});
    }
  }
}
