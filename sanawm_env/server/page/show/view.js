// The picture. Frames are decoded as they come, drawn in their order, and acknowledged once they are seen.
const OFTEN = 200; // samples that the figures are of

export class View {
  /** `drawn(head)` is told of each frame that is on the screen; `decoder` makes bitmaps of them. */
  constructor(canvas, drawn, decoder) {
    Object.assign(this, { canvas, drawn, decoder, generation: 0, queue: Promise.resolve(), ready: [], sent: new Map() });
    this.latencies = []; // ms from a key to the first frame that obeys it
    this.times = []; // ms of drawn frames
    this.frames = 0;
    this.formats = {}; // how many frames have come in each
    this.due = false;
  }

  /** A key was pressed or released: the first frame that obeys that control tells the latency. */
  asked(seq) { this.sent.set(seq, performance.now()); }

  /** A frame has come. */
  take(head, payload) {
    const generation = this.generation, decoding = this.decoder.take(head, payload);
    this.formats[head.format] = (this.formats[head.format] ?? 0) + 1;
    this.queue = this.queue.then(async () => {
      const bitmap = await decoding;
      if (bitmap === null) return this.drawn(head); // broken on its way: acknowledged all the same
      if (generation !== this.generation) return bitmap.close();
      this.ready.push({ head, bitmap });
      if (!this.due) requestAnimationFrame(() => this.paint()); // only then: a page at rest costs nothing
      this.due = true;
    });
  }

  /** A picture that is no frame of play: where one stands after a jump. Frames that are on their way are dropped. */
  async show(blob) {
    const generation = ++this.generation;
    this.ready.length = 0;
    const bitmap = await createImageBitmap(blob);
    if (generation === this.generation) this.draw(bitmap);
  }

  /** What is on its way belongs to a past that is over. */
  drop() { this.generation += 1; this.ready.length = 0; this.sent.clear(); }

  draw(bitmap) {
    if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
      [this.canvas.width, this.canvas.height] = [bitmap.width, bitmap.height];
    }
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
  }

  paint() {
    this.due = false;
    if (!this.ready.length) return;
    const now = performance.now(), last = this.ready.pop();
    for (const { head, bitmap } of this.ready.splice(0)) { // more than one per refresh: the screen is the slower one
      bitmap.close();
      this.seen(head, now);
    }
    this.draw(last.bitmap);
    this.seen(last.head, now);
  }

  seen(head, now) {
    this.frames += 1;
    keep(this.times, now);
    for (const [seq, since] of this.sent) {
      if (seq > head.seq) break; // in the order of sending
      this.sent.delete(seq);
      keep(this.latencies, now - since);
    }
    this.drawn(head);
  }

  /** Frames per second of the last second. */
  fps() {
    const since = performance.now() - 1000;
    return this.times.filter((time) => time > since).length;
  }

  /** A quantile of the latencies, ms; null without any. */
  latency(quantile = 0.5) {
    const sorted = [...this.latencies].sort((a, b) => a - b);
    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(quantile * sorted.length))] : null;
  }
}

function keep(list, value) {
  list.push(value);
  if (list.length > OFTEN) list.shift();
}
