// One session of the server: what it is, where one stands in it, and what can be done.
import { forTab } from "./dom.js";
import { decode, ServerError } from "./socket.js";

const STILL = "[0,0,0,0,0,0]";
/** This page's name among the programs that may control a session; a reload keeps it. */
const client = (() => {
  const known = forTab.getItem("client") ?? crypto.randomUUID();
  forTab.setItem("client", known);
  return known;
})();

export class Session {
  /** `tell(what, details)` is told what changes: frame, tree, place, state, goal, over. */
  constructor(socket, tell) {
    Object.assign(this, { socket, tell, video: "jpeg", id: null, coming: null, nodes: new Map(), work: Promise.resolve() });
    this.forget();
  }

  forget() {
    this.nodes.clear();
    Object.assign(this, { id: null, facts: null, present: null, playing: false, watching: false, policy: null, pose: null, time: 0, seq: 0, sent: STILL, moved: false, goal: null, starting: null });
  }

  ask(type, fields = {}, payload = null) { return this.socket.request({ type, session: this.id, ...fields }, payload); }

  /** Do one thing after the other: quick keys must not overtake each other. */
  inTurn(work) {
    const mine = this.work.then(work);
    this.work = mine.catch(() => {});
    return mine;
  }

  // -- beginning ----------------------------------------------------------------------------------------------

  /** A new session: `settings`, and the options of its reset, or a world file, or a snapshot of another session. */
  begin({ settings, seed, options = {}, file = null, from = null }) {
    return this.inTurn(async () => {
      const { head } = await this.socket.request({ type: "create", settings });
      try {
        await this.attach(head.session, { control: true });
        if (file !== null) {
          const { head: node } = await this.ask("open", {}, file);
          this.add(node);
          this.entered(await this.ask("restore", { snapshot: node.snapshot }), node.snapshot);
        } else if (from !== null) this.entered(await this.ask("restore", { snapshot: from.snapshot, from: from.session }), null);
        else this.entered(await this.ask("reset", { ...(seed !== undefined && { seed }), options }), null);
        if (this.present === null) this.add((await this.ask("snapshot", { name: "Start" })).head, true);
        await this.look();
      } catch (error) {
        this.socket.request({ type: "delete", session: head.session }).catch(() => {});
        this.forget();
        throw error;
      }
    });
  }

  /** Go on with a session that exists. `how` has control, take. */
  enter(id, how) {
    return this.inTurn(async () => {
      const { head } = await this.attach(id, how);
      if (!head.begun) throw new ServerError("not-begun", "That walk has no world yet; begin another.");
      await this.refresh();
      await this.look();
    });
  }

  async attach(id, how) {
    this.coming = id; // its frames may come before the answer, and those after them build on them
    const answer = await this.socket.request({ type: "attach", session: id, client, encoding: "jpeg", quality: 90, video: this.video, ...how });
    if (id !== this.id) this.forget();
    Object.assign(this, { id, facts: answer.head, present: answer.head.snapshot, watching: how.control === false, playing: answer.head.playing });
    this.tell("state");
    return answer;
  }

  /** After a lost connection. */
  resume() {
    const policy = this.policy, went = this.playing && !this.watching;
    return this.inTurn(async () => {
      await this.attach(this.id, { control: !this.watching });
      await this.refresh();
      await this.look();
      this.playing = false;
      if (went) await this.started(policy);
      this.tell("state");
    });
  }

  // -- where one stands ---------------------------------------------------------------------------------------

  add(head, here = false) {
    const { type, id, session, ...node } = head;
    this.nodes.set(node.snapshot, node);
    if (here) this.stand(node);
    this.tell("tree");
    return node;
  }

  stand(node) {
    Object.assign(this, { present: node.snapshot, pose: node.pose, time: node.time, moved: false });
    this.tell("place");
  }

  async refresh() {
    const { head } = await this.ask("snapshots");
    this.nodes = new Map(head.snapshots.map((node) => [node.snapshot, node]));
    this.present = head.present;
    const node = this.nodes.get(this.present);
    if (node && this.pose === null) this.stand(node);
    this.tell("tree");
  }

  async look() {
    const { head, payload } = await this.ask("view");
    this.tell("picture", decode(head, payload).image[0]);
  }

  /** What a reset or restore answers. */
  entered({ head, payload }, snapshot) {
    const { info, observation } = decode(head, payload), c2w = info.c2w;
    this.present = snapshot;
    this.moved = false;
    this.time = info.time;
    if (observation.goal?.length === 3) {
      this.goal = [0, 1, 2].map((row) => c2w[4 * row + 3] + [0, 1, 2].reduce((sum, k) => sum + c2w[4 * row + k] * observation.goal[k], 0));
    }
    this.tell("entered", { info, goalImage: observation.goal_image?.[0] ?? null });
  }

  // -- doing --------------------------------------------------------------------------------------------------

  /** Let world time run. */
  play(policy = null) {
    this.starting ??= this.inTurn(() => this.started(policy)).finally(() => { this.starting = null; });
    return this.starting;
  }

  async started(policy) {
    this.control(this.sent); // again, since the server forgets it with a lost connection
    await this.ask("play", { policy });
    Object.assign(this, { playing: true, policy });
    this.tell("state");
  }

  pause() { return this.inTurn(() => this.paused()); }

  async paused() {
    if (!this.playing) return;
    await this.ask("pause");
    this.playing = false;
    this.tell("state");
    await this.keep();
    await this.look();
  }

  /** A snapshot of the present, unless there is one. */
  async keep(name = null) {
    const { head } = await this.ask("describe"), node = this.nodes.get(head.snapshot);
    const there = node && (node.n === head.n || !this.moved);
    if (there && name === null) return this.stand(node);
    this.add((await this.ask("snapshot", { automatic: name === null, ...(name !== null && { name }) })).head, true);
    if (there && node.automatic) await this.replace(node);
  }

  /** A moment that was marked needs no second snapshot without a name. */
  async replace(node) {
    await this.ask("forget", { snapshot: node.snapshot });
    this.nodes.delete(node.snapshot);
    for (const each of this.nodes.values()) if (each.parent === node.snapshot) each.parent = node.parent;
    this.tell("tree");
  }

  /** Stand where a snapshot was taken. */
  goTo(node) {
    return this.inTurn(async () => {
      await this.paused();
      try {
        this.entered(await this.ask("restore", { snapshot: node.snapshot }), node.snapshot);
      } catch (error) {
        if (error.code === "unknown-snapshot") await this.refresh(); // thinned meanwhile
        throw error;
      }
      this.stand(node);
      await this.look();
      this.tell("tree");
    });
  }

  mark(name) { return this.inTurn(() => this.keep(name)); }

  /** What is held now; `changed` says whether somebody pressed or released something. */
  hold(twist, changed) {
    const text = JSON.stringify(twist);
    if (text === this.sent) return;
    this.sent = text;
    this.control(text);
    if (changed) this.tell("asked", this.seq);
  }

  control(text) {
    this.seq += 1;
    this.socket.send({ type: "control", session: this.id, seq: this.seq, twist: JSON.parse(text) });
  }

  get still() { return this.sent === STILL; }

  // -- what the server tells ----------------------------------------------------------------------------------

  heard(head) {
    if (head.session !== this.id) return;
    if (head.type === "snapshotted") {
      this.nodes.set(head.snapshot, (({ type, session, ...node }) => node)(head));
      this.present = head.snapshot;
      this.tell("tree");
    } else if (head.type === "paused") {
      this.playing = false;
      if (head.reason === "detached") this.watching = true; // another page has it; `lost` follows, unless it has our name
      this.tell("state");
      if (head.reason !== "asked") this.tell("over", head.reason);
    } else if (head.type === "lost") {
      this.watching = true;
      this.inTurn(() => this.attach(this.id, { control: false }));
      this.tell("taken");
    }
  }

  /** A frame is on the screen. */
  drawn(head) {
    if (head.session !== this.id) return;
    if (!this.watching) this.socket.send({ type: "ack", session: this.id, frame: head.frame });
    Object.assign(this, { pose: head.pose, time: head.time, moved: true });
  }
}
