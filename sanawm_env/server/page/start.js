// Where to begin: a scene of the gallery, a picture, a world file, or a walk of before.
import { clock, element, find, forBrowser } from "./dom.js";
import { http } from "./socket.js";

const TASKS = {
  PointNav: "Walk to a point", ImageNav: "Find a view", FollowPath: "Follow a path", Explore: "See as much as you can",
  LoopClosure: "Come back to the start",
};
const RECENT = 6;
const SEEDS = 1_000_000; // those beyond are kept for evaluation

export class Start {
  /** `chosen(beginning)` gets what `Session.begin` takes; `again(id)` a session to go on with. */
  constructor(pictures, chosen, again) {
    Object.assign(this, { pictures, chosen, again });
    this.box = find("start");
    find("picture").addEventListener("change", (event) => { this.upload(event.target.files[0]); event.target.value = ""; });
    find("world-file").addEventListener("change", (event) => { this.open(event.target.files[0]); event.target.value = ""; });
    this.box.addEventListener("dragover", (event) => { event.preventDefault(); this.box.classList.add("over"); });
    this.box.addEventListener("dragleave", () => this.box.classList.remove("over"));
    this.box.addEventListener("drop", (event) => {
      event.preventDefault();
      this.box.classList.remove("over");
      const file = event.dataTransfer.files[0];
      if (file) (file.name.endsWith(".safetensors") ? this.open(file) : this.upload(file));
    });
  }

  /** What the server is. */
  async fill(world) {
    this.world = world;
    find("task").replaceChildren(element("option", { value: "", textContent: "Just walk" }),
      ...world.tasks.map((name) => element("option", { value: name, textContent: TASKS[name] ?? name })));
    find("prompt-row").hidden = !world.text;
    const { seeds } = await (await http("/api/gallery")).json();
    find("gallery").replaceChildren(...seeds.map((seed) => this.tile(seed)));
  }

  /** Until the model is ready. */
  async warmed() {
    const box = find("warming");
    for (;;) {
      const { progress, status } = await (await fetch("/healthz")).json();
      box.hidden = status === "ok";
      if (status === "ok") return;
      box.firstElementChild.textContent = "The model warms up; the first step waits for it.";
      box.lastElementChild.value = progress;
      await new Promise((done) => setTimeout(done, 500));
    }
  }

  tile(seed) {
    const [height, width] = this.world.size, image = element("img", { alt: `Scene ${seed}`, width, height });
    http(`/api/gallery/${seed}.jpg`).then((response) => response.blob()).then((blob) => { image.src = URL.createObjectURL(blob); }, () => {});
    const made = element("button", { className: "tile", title: `Scene ${seed}` }, image);
    made.dataset.seed = seed;
    made.addEventListener("click", () => this.chosen({ settings: this.settings(), seed, options: this.options() }));
    return made;
  }

  /** Steps of one latent frame answer a key soonest; a walk without a task goes on for as long as one likes. */
  settings() {
    const task = find("task").value;
    return { chunk_frames: 1, ...(task ? { task } : { episode_seconds: null }) };
  }

  options() {
    const prompt = find("prompt").value.trim();
    return this.world.text && prompt ? { prompt } : {};
  }

  async upload(file) {
    if (!file) return;
    const most = this.world.limits.image_bytes;
    if (file.size > most) return this.chosen(Promise.reject(new Error(`A picture has at most ${most / 1e6} MB; this one has ${Math.ceil(file.size / 1e6)}.`)));
    const image = http("/api/images", { method: "POST", body: file }).then((response) => response.json());
    this.chosen(image.then(({ image }) => ({ settings: this.settings(), seed: Math.floor(Math.random() * SEEDS), options: { ...this.options(), image } })));
  }

  open(file) {
    if (file) this.chosen({ settings: this.settings(), file });
  }

  /** Show the walks of before that this browser knows and the server still has. */
  async recent(socket) {
    const ids = JSON.parse(forBrowser.getItem("walks") ?? "[]"), box = find("recent"), found = [];
    for (const id of ids) {
      try {
        const { head: tree } = await socket.request({ type: "snapshots", session: id });
        const last = tree.snapshots.find((node) => node.snapshot === tree.present) ?? tree.snapshots.at(-1);
        if (last) found.push({ id, last, url: URL.createObjectURL(await this.pictures.get(id, last.snapshot)) });
      } catch (error) {
        if (error.code === "lost") return;
        if (error.code === "unknown-session") forgetWalk(id);
      }
    }
    find("recent-part").hidden = found.length === 0;
    box.replaceChildren(...found.map(({ id, last, url }) => {
      const [height, width] = this.world.size;
      const gone = element("button", { className: "icon", title: "Delete this walk", textContent: "×" });
      const made = element("button", { className: "tile" }, element("img", { src: url, alt: "", width, height }), element("span", { textContent: clock(last.time) }));
      const both = element("div", { className: "walk" }, made, gone);
      made.addEventListener("click", () => this.again(id));
      gone.addEventListener("click", async () => {
        await socket.request({ type: "delete", session: id }).catch(() => {});
        forgetWalk(id);
        both.remove();
        find("recent-part").hidden = box.childElementCount === 0;
      });
      return both;
    }));
  }
}

/** Have a walk among those of before. */
export function rememberWalk(id) {
  const ids = JSON.parse(forBrowser.getItem("walks") ?? "[]").filter((each) => each !== id);
  forBrowser.setItem("walks", JSON.stringify([id, ...ids].slice(0, RECENT)));
}

export function forgetWalk(id) {
  const ids = JSON.parse(forBrowser.getItem("walks") ?? "[]");
  forBrowser.setItem("walks", JSON.stringify(ids.filter((each) => each !== id)));
}
