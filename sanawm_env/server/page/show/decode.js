// Frames as they come, JPEG or H.264, to bitmaps in their order.
const CODEC = { codec: "avc1.42001f", optimizeForLatency: true };
const LARGE = 500_000; // pixels from which on H.264 is worth its while

/** What to ask the server for: H.264 where frames are large, or `?video=h264`, and only if this browser decodes it. */
export async function wanted([height, width]) {
  const asked = new URLSearchParams(location.search).get("video");
  if (asked === "jpeg" || (asked !== "h264" && height * width < LARGE)) return "jpeg";
  try {
    const { supported } = await VideoDecoder.isConfigSupported({ ...CODEC, codedHeight: height, codedWidth: width });
    return supported ? "h264" : "jpeg";
  } catch { return "jpeg"; } // no WebCodecs
}

export class Decoder {
  /** `failed()` is told once if the stream cannot be decoded after all. */
  constructor(failed) { Object.assign(this, { failed, decoder: null, waiting: [] }); }

  /** A bitmap of a frame; null if it cannot be had. */
  take(head, payload) {
    if (head.format !== "h264") return createImageBitmap(new Blob([payload], { type: "image/jpeg" })).catch(() => null);
    if (head.key) this.restart();
    if (this.decoder === null) return Promise.resolve(null); // what it builds on was never seen
    const made = new Promise((done) => this.waiting.push(done));
    this.decoder.decode(new EncodedVideoChunk({ type: head.key ? "key" : "delta", timestamp: head.frame, data: payload }));
    return made;
  }

  restart() {
    this.end();
    const decoder = new VideoDecoder({
      output: async (frame) => {
        const done = this.waiting.shift();
        const bitmap = await createImageBitmap(frame).catch(() => null);
        frame.close();
        done?.(bitmap);
      },
      error: () => { if (decoder === this.decoder) { this.end(); this.failed(); } },
    });
    decoder.configure(CODEC);
    this.decoder = decoder;
  }

  /** Frames that are still in it are not wanted. */
  end() {
    if (this.decoder && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = null;
    for (const done of this.waiting.splice(0)) done(null);
  }
}
