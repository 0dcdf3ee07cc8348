// What outlives the moment: marks, links, world files, videos.
import { clock, download, find } from "../dom.js";
import { ask } from "../messages.js";
import { http, link } from "../socket.js";

export class Keep {
  /** `stop()` lets time rest. */
  constructor(session, recorder, stop) {
    Object.assign(this, { session, recorder, stop });
    find("mark-cancel").addEventListener("click", () => find("naming").close());
    find("share-copy").addEventListener("click", async () => {
      find("share-link").select();
      await navigator.clipboard?.writeText(find("share-link").value).catch(() => {});
      find("share-copy").textContent = "Copied";
    });
  }

  async mark() {
    await this.stop();
    const named = [...this.session.nodes.values()].filter((node) => node.name).length;
    find("mark-name").value = `Mark ${named}`;
    if ((await ask("naming", find("mark-name"))) === "done") await this.session.mark(find("mark-name").value.trim() || "Mark");
  }

  /** A link to this moment, which is marked for it, so that it is not thinned out. */
  async share() {
    const { session } = this;
    await this.stop();
    if (!session.nodes.get(session.present)?.name || session.moved) await session.mark("Shared");
    find("share-link").value = link(`moment/${session.id}/${session.present}`);
    find("share-copy").textContent = "Copy";
    ask("sharing", find("share-link"));
  }

  async save() {
    if (!this.session.watching) await this.stop();
    const response = await http(`/api/sessions/${this.session.id}/world`);
    download(await response.blob(), `world-${this.time()}.safetensors`);
  }

  /** Begin a video, or end it. */
  async record() {
    const begins = !this.recorder.on;
    if (begins) this.recorder.begin();
    find("record").classList.toggle("recording", begins);
    find("record").lastElementChild.textContent = begins ? "Stop video" : "Video";
    if (begins) return;
    const video = await this.recorder.end();
    download(video, `walk-${this.time()}.${video.type.endsWith("mp4") ? "mp4" : "webm"}`);
  }

  time() { return clock(this.session.time).replace(":", "m"); }
}
