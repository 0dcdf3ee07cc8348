// The last frames of snapshots, fetched once.
import { http } from "../socket.js";

const MOST = 300;

export class Pictures {
  constructor() { this.known = new Map(); }

  /** A blob; rejected when the snapshot is gone. */
  get(session, snapshot) {
    const key = `${session}/${snapshot}`;
    if (!this.known.has(key)) {
      if (this.known.size >= MOST) this.known.delete(this.known.keys().next().value);
      const path = `/api/sessions/${encodeURIComponent(session)}/snapshots/${encodeURIComponent(snapshot)}.jpg`;
      const found = http(path).then((response) => response.blob());
      found.catch(() => this.known.delete(key));
      this.known.set(key, found);
    }
    return this.known.get(key);
  }

  /** Draw one on a canvas, unless it is asked to draw another meanwhile. */
  async draw(canvas, session, snapshot) {
    if (canvas.dataset.snapshot === snapshot) return;
    canvas.dataset.snapshot = snapshot;
    const bitmap = await createImageBitmap(await this.get(session, snapshot));
    if (canvas.dataset.snapshot === snapshot) {
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
    }
    bitmap.close();
  }
}
