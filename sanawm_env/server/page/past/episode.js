// Recording an episode: the way from the walk's beginning to where one stands when it is stopped.
import { clock, find } from "../dom.js";
import { message } from "../messages.js";

export class Episode {
  /** `stop()` lets time rest. */
  constructor(session, stop) { Object.assign(this, { session, stop, on: false, writing: false }); }

  /** Whether the server keeps episodes. */
  fill(world) {
    find("episode").disabled = !world.recording;
    if (!world.recording) find("episode").title = "Episodes need a folder that stays: start the server with --data FOLDER";
  }

  /** Begin, or end and write. */
  async toggle() {
    if (this.writing || find("episode").disabled) return;
    if (this.on) return this.write();
    const { head } = await this.session.ask("describe");
    if (!head.recordable) throw new Error("How this walk began is not known, so it makes no episode. Begin another from a scene or a picture.");
    this.on = true;
    this.label();
    message(this.session.time > 0 ? "Recording an episode: all from the beginning of this walk to where you stop." : "Recording an episode. It goes to where you stop.");
  }

  /** Write the way to here. */
  async write() {
    const { session } = this;
    this.on = false;
    this.writing = true;
    this.label();
    try {
      if (!session.watching) await this.stop();
      const { head } = await session.ask("record");
      const success = head.success === null ? "" : head.success ? ", task done" : ", task not done";
      message(`Episode ${head.episode} of ${head.dataset}: ${clock(head.seconds)}${success}.`);
    } finally {
      this.writing = false;
      this.label();
    }
  }

  /** The task is over, and so is the episode. */
  async over() { if (this.on) await this.write(); }

  /** Another walk: nothing is being recorded of it. */
  drop() {
    this.on = false;
    this.label();
  }

  label() {
    const button = find("episode");
    button.classList.toggle("recording", this.on || this.writing);
    button.lastElementChild.textContent = this.writing ? "Writing…" : this.on ? "Stop episode" : "Episode";
    button.setAttribute("aria-pressed", this.on);
  }
}
