// The protocol of docs/reference/server-protocol.md: one WebSocket that comes back, and HTTP with the same token.
const token = new URLSearchParams(location.search).get("token") || "";
const REFUSED = { 4401: "The token is missing or wrong. Open the address that the server printed.", 4403: "The server is called by another name, or from another page." };

export class ServerError extends Error {
  constructor(code, text) { super(text); this.code = code; }
}

/** The page's own address, with another fragment. */
export const link = (fragment) => `${location.origin}${location.pathname}${location.search}#${fragment}`;

/** A request by HTTP; the token goes in a header, not into addresses. */
export async function http(path, options = {}) {
  const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  let told = {};
  try { told = await response.json(); } catch { /* no JSON: the number has to do */ }
  throw new ServerError(told.code || String(response.status), told.error || `the server answered ${response.status}`);
}

/** The arrays and images of an answer, in place of their descriptions. */
export function decode(value, payload, known = new Map()) {
  if (Array.isArray(value)) return value.map((each) => decode(each, payload, known));
  if (value === null || typeof value !== "object") return value;
  if ("$number" in value) return { nan: NaN, inf: Infinity, "-inf": -Infinity }[value.$number];
  if ("$same" in value) return known.get(value.$same);
  if ("$last" in value) return known.get(value.$last).slice(-1);
  const part = ([offset, length]) => payload.slice(offset, offset + length);
  if ("$images" in value) {
    const images = value.at.map((place) => new Blob([part(place)], { type: `image/${value.format}` }));
    known.set(value.$images, images);
    return images;
  }
  if ("$array" in value) {
    const kind = { "<f4": Float32Array, "<f8": Float64Array, "|u1": Uint8Array }[value.dtype];
    const array = kind ? Array.from(new kind(part(value.at).buffer)) : null;
    known.set(value.$array, array);
    return array;
  }
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, decode(each, payload, known)]));
}

export class Socket {
  /** `heard(head, payload)` gets the events; `turned(state, text)` is told open, lost or refused. */
  constructor(heard, turned) {
    Object.assign(this, { heard, turned, waiting: new Map(), next: 1, wait: 250, socket: null });
    this.connect();
  }

  connect() {
    const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
    const socket = (this.socket = new WebSocket(token ? `${url}?token=${encodeURIComponent(token)}` : url));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { this.opened = performance.now(); };
    socket.onmessage = ({ data }) => this.read(data);
    socket.onclose = ({ code }) => this.closed(code);
    // A refused token is closed after it was accepted: it is in once it was answered.
    socket.addEventListener("open", () => this.request({ type: "ping" }).then(() => { this.wait = 250; this.turned("open"); }, () => {}));
  }

  closed(code) {
    for (const { reject } of this.waiting.values()) reject(new ServerError("lost", "The connection was lost."));
    this.waiting.clear();
    if (code in REFUSED) return this.turned("refused", REFUSED[code]);
    this.turned("lost");
    setTimeout(() => this.connect(), this.wait);
    this.wait = Math.min(4000, this.wait * 1.7);
  }

  read(data) {
    const length = new DataView(data).getUint32(0);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const payload = new Uint8Array(data, 4 + length);
    const asked = this.waiting.get(head.id);
    if (asked === undefined) return this.heard(head, payload);
    this.waiting.delete(head.id);
    if (head.type === "error") asked.reject(new ServerError(head.code, head.error));
    else asked.resolve({ head, payload });
  }

  /** Send what has no answer, if that is possible now. */
  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  /** Ask; the answer has `head` and `payload`. */
  request(message, payload = null) {
    if (this.socket.readyState !== WebSocket.OPEN) return Promise.reject(new ServerError("lost", "There is no connection."));
    const id = this.next++, text = JSON.stringify({ ...message, id });
    if (payload === null) this.socket.send(text);
    else {
      const head = new TextEncoder().encode(text), length = new DataView(new ArrayBuffer(4));
      length.setUint32(0, head.length);
      this.socket.send(new Blob([length.buffer, head, payload]));
    }
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }
}
