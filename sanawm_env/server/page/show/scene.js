// What the page shows of the session: picture, clock, map, numbers, timeline.
import { clock, find } from "../dom.js";
import { leaves, pathTo } from "../past/tree.js";

export class Scene {
  /** Of a session, and of the parts of the page. */
  constructor(session, { view, panel, map, timeline }) { Object.assign(this, { session, view, panel, map, timeline }); }

  /** A frame of play is on the screen. */
  drawn(head) {
    find("clock").textContent = clock(head.time);
    this.map.on(head.pose);
    this.panel.frame(head, this.view);
    this.timeline.at(head.time);
  }

  /** Snapshots came or went. */
  tree() {
    const { session } = this;
    this.timeline.set(session.id, session.nodes, session.present);
    find("compare-open").disabled = leaves(session.nodes).length < 2;
  }

  /** One stands elsewhere. */
  place() {
    const { session } = this;
    find("clock").textContent = clock(session.time);
    this.timeline.at(session.time);
    this.panel.pose(session.pose);
    this.path();
  }

  path() {
    const { session, map } = this, path = pathTo(session.nodes, session.present), here = new Set(path);
    const others = leaves(session.nodes).map((end) => pathTo(session.nodes, end.snapshot)).filter((each) => !each.every((node) => here.has(node)));
    map.goal = session.goal;
    map.past(path.map((node) => node.pose), others.map((each) => each.map((node) => node.pose)));
    if (session.pose) map.at(session.pose);
  }

  /** A reset or a restore. */
  entered({ info, goalImage }) {
    this.panel.clear();
    this.panel.task(info, 0);
    find("goal-image").hidden = goalImage === null;
    if (goalImage) createImageBitmap(goalImage).then((bitmap) => {
      const canvas = find("goal-image");
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
    });
  }

  /** Who walks, and whether time runs. */
  state() {
    const { session } = this;
    document.body.classList.toggle("playing", session.playing);
    find("go").querySelector("use").setAttribute("href", session.playing ? "#i-pause" : "#i-play");
    find("watching").hidden = !session.watching;
    find("policy").value = session.policy ?? "";
    for (const id of ["go", "back", "mark", "policy"]) find(id).disabled = session.watching;
  }
}
