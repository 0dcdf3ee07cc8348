// The tree of snapshots along world time. A click goes there; what comes afterwards is a branch.
import { clock, element, svg } from "../dom.js";
import { layout, pathTo } from "./tree.js";

const LANE = 18, TOP = 26, EDGE = 18, DOT = 3.5;

export class Timeline {
  /** `chosen(node)` is told what was clicked. */
  constructor(box, pictures, chosen) {
    Object.assign(this, { box, pictures, chosen, nodes: new Map(), present: null, time: 0, session: null, width: 0, scroll: 0 }); // sizes are kept: to ask for them lays the page out
    this.drawing = svg("svg", { role: "img", "aria-label": "Snapshots" });
    this.tip = element("div", { className: "tip", hidden: true }, element("canvas"), element("span"));
    box.append(this.drawing);
    document.body.append(this.tip);
    this.drawing.addEventListener("pointermove", (event) => this.hover(event));
    this.drawing.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.drawing.addEventListener("click", (event) => {
      const node = this.nearest(event);
      this.tip.hidden = true;
      if (node) this.chosen(node);
    });
    box.addEventListener("scroll", () => { this.scroll = box.scrollLeft; });
    new ResizeObserver(() => { this.width = box.clientWidth; this.draw(); }).observe(box);
  }

  /** All there is; `present` is the snapshot that one has come from. */
  set(session, nodes, present) {
    Object.assign(this, { session, nodes, present });
    this.tip.hidden = true;
    this.draw();
  }

  /** World time of the frame that is shown. */
  at(time) {
    this.time = time;
    if (this.scaleFor() !== this.scale) this.draw();
    else this.now();
  }

  scaleFor() {
    const last = Math.max(this.time, ...[...this.nodes.values()].map((node) => node.time), 10);
    const room = this.width - 2 * EDGE;
    const span = 15 * 2 ** Math.max(0, Math.ceil(Math.log2(last / 15)));
    return Math.max(9, room / span); // px per second: few steps, so that it seldom shifts
  }

  x(time) { return EDGE + time * this.scale; }

  y(lane) { return TOP + lane * LANE + LANE / 2; }

  draw() {
    if (!this.width) return;
    this.scale = this.scaleFor();
    const { lanes, count } = (this.shape = layout(this.nodes));
    const path = pathTo(this.nodes, this.present), here = new Set(path.map((node) => node.snapshot));
    const last = Math.max(this.time, ...[...this.nodes.values()].map((node) => node.time), 10);
    const wide = Math.max(this.width, this.x(last) + EDGE), high = this.y(Math.max(count, 1)) + 2;
    const ruler = svg("g", { class: "ruler" }), edges = svg("g"), dots = svg("g");
    const gap = [1, 2, 5, 10, 30, 60].find((each) => each * this.scale >= 56) ?? 120;
    for (let time = 0; this.x(time) < wide - EDGE / 2; time += gap) {
      ruler.append(svg("line", { x1: this.x(time), x2: this.x(time), y1: 18, y2: high }),
        svg("text", { x: this.x(time), y: 12 }, clock(time).replace(/\.0$/, "")));
    }
    for (const node of this.nodes.values()) {
      const x = this.x(node.time), y = this.y(lanes.get(node.snapshot)), parent = this.nodes.get(node.parent);
      if (parent) {
        const px = this.x(parent.time), py = this.y(lanes.get(parent.snapshot)), turn = Math.min(px + 12, x);
        const d = py === y ? `M${px} ${py}H${x}` : `M${px} ${py}C${turn} ${py} ${px} ${y} ${turn} ${y}H${x}`;
        edges[here.has(node.snapshot) ? "append" : "prepend"](svg("path", { d, class: here.has(node.snapshot) ? "here" : "" }));
      }
      const kind = [here.has(node.snapshot) && "here", node.name && "named", node.snapshot === this.present && "present"].filter(Boolean);
      dots.append(svg("circle", { cx: x, cy: y, r: node.name ? DOT + 2 : DOT, class: kind.join(" "), "data-snapshot": node.snapshot }));
      if (node.name) dots.append(svg("text", { x: x + 8, y: y - 5, class: "name" }, node.name));
    }
    this.going = svg("path", { class: "going" });
    this.playhead = svg("g", { class: "playhead" }, svg("line", { y1: 18, y2: high }), svg("circle", { r: 5.5 }));
    this.drawing.replaceChildren(ruler, edges, this.going, dots, this.playhead);
    for (const [name, value] of [["width", wide], ["height", high]]) this.drawing.setAttribute(name, value);
    this.now(true);
  }

  now(scroll = false) {
    if (!this.playhead) return;
    const from = this.nodes.get(this.present), x = this.x(this.time);
    let lane = from ? this.shape.lanes.get(from.snapshot) : this.shape.count;
    // What is lived now leaves its lane where that goes on already.
    const ahead = from && (this.shape.children.get(from.snapshot)?.length ?? 0) > 0 && this.time > from.time + 1e-6;
    if (ahead) lane = this.shape.count;
    this.drawing.setAttribute("height", this.y(Math.max(this.shape.count + (lane === this.shape.count ? 1 : 0), 1)) + 2);
    this.playhead.setAttribute("transform", `translate(${x} 0)`);
    this.playhead.lastChild.setAttribute("cy", this.y(lane));
    const px = from ? this.x(from.time) : this.x(0), py = from ? this.y(this.shape.lanes.get(from.snapshot)) : this.y(lane);
    const y = this.y(lane), turn = Math.min(px + 12, x);
    this.going.setAttribute("d", y === py ? `M${px} ${y}H${x}` : `M${px} ${py}C${turn} ${py} ${px} ${y} ${turn} ${y}H${x}`);
    if (scroll || x > this.scroll + this.width - 30) this.box.scrollLeft = x - this.width * 0.75;
  }

  nearest(event) {
    const box = this.drawing.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, least = 30 ** 2;
    for (const node of this.nodes.values()) {
      const far = (this.x(node.time) - x) ** 2 + ((this.y(this.shape.lanes.get(node.snapshot)) - y) * 1.6) ** 2;
      if (far < least) [best, least] = [node, far];
    }
    return best;
  }

  hover(event) {
    const node = event.pointerType === "touch" ? null : this.nearest(event);
    this.drawing.classList.toggle("over", node !== null);
    for (const dot of this.drawing.querySelectorAll("circle.hover")) dot.classList.remove("hover");
    this.tip.hidden = node === null;
    if (node === null) return;
    this.drawing.querySelector(`[data-snapshot="${CSS.escape(node.snapshot)}"]`)?.classList.add("hover");
    const box = this.drawing.getBoundingClientRect(), [canvas, text] = this.tip.children;
    const x = box.left + this.x(node.time), y = box.top + this.y(this.shape.lanes.get(node.snapshot));
    this.tip.style.left = `${Math.max(100, Math.min(innerWidth - 100, x))}px`;
    this.tip.style.bottom = `${innerHeight - y + 12}px`;
    text.textContent = [node.name, clock(node.time)].filter(Boolean).join(" · ");
    this.pictures.draw(canvas, this.session, node.snapshot).catch(() => { this.tip.hidden = true; });
  }
}
