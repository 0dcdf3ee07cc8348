// A video of what is on the screen, made by the browser.
export class Recorder {
  constructor(canvas) { Object.assign(this, { canvas, recorder: null }); }

  get on() { return this.recorder !== null; }

  begin() {
    if (!globalThis.MediaRecorder) throw new Error("This browser records no video.");
    const kind = ["video/mp4;codecs=avc1", "video/webm;codecs=vp9", "video/webm"].find((each) => MediaRecorder.isTypeSupported(each));
    const parts = [], recorder = new MediaRecorder(this.canvas.captureStream(), { mimeType: kind, videoBitsPerSecond: 8_000_000 });
    recorder.ondataavailable = ({ data }) => parts.push(data);
    this.done = new Promise((done) => { recorder.onstop = () => done(new Blob(parts, { type: kind.split(";")[0] })); });
    recorder.start(1000);
    this.recorder = recorder;
  }

  /** The video, as a blob. */
  end() {
    this.recorder.stop();
    this.recorder = null;
    return this.done;
  }
}
