// The selected episode: video, path, figures, decision, tags, note.
import { path } from "./api.js";
import { element, number } from "./dom.js";
import { drawPath } from "./path.js";

let now = null;

function figures(row) {
  const fixed = {
    task: row.task, text: row.text, policy: row.policy, world: row.world, seed: row.seed, reward: number(row.reward),
    success: row.success === null || row.success === undefined ? "" : row.success ? "yes" : "no", ending: row.ending,
    length: row.length === undefined ? "" : `${row.length.toFixed(2)} s, ${row.frames} frames`,
    "kept by filters": row.kept ? "yes" : "no", why: (row.reasons || []).join("; "), problem: row.problem,
  };
  const measures = Object.entries(row.measures || {}).map(([key, value]) => [key, number(value)]);
  return [...Object.entries(fixed), ...measures].filter(([, value]) => value !== "" && value !== null && value !== undefined)
    .map(([key, value]) => element("tr", {}, element("td", {}, key), element("td", {}, String(value))));
}

/** Show a row; where it is the same episode as before, video and path stay as they are. */
export function show(aside, row, change) {
  if (!row) { now = null; aside.replaceChildren(element("p", { className: "dim" }, "Nothing is selected.")); return; }
  if (!now || now.name !== row.name || now.hadVideo !== row.video) {
    now = build(aside, row);
  }
  now.change = change;
  now.figures.replaceChildren(...figures(row));
  for (const button of now.buttons) button.setAttribute("aria-pressed", String((row.decision || null) === button.decision));
  if (document.activeElement !== now.tags) now.tags.value = row.tags.join(", ");
  if (document.activeElement !== now.note) now.note.value = row.note;
}

function build(aside, row) {
  const made = { name: row.name, hadVideo: row.video, change: () => {} };
  const button = (decision, text) => Object.assign(
    element("button", { className: decision || "", onclick: () => made.change({ decision }) }, text), { decision });
  made.buttons = [button("keep", "Keep"), button(null, "Undecided"), button("drop", "Drop")];
  made.tags = element("input", { id: "tags", placeholder: "words, with commas between them", autocomplete: "off" });
  made.tags.onchange = () => made.change({ tags: made.tags.value.split(",") });
  made.note = element("textarea", { id: "note" });
  made.note.onchange = () => made.change({ note: made.note.value });
  made.figures = element("table");
  const map = element("div", {}, element("p", { className: "dim" }, "..."));
  path(row.name).then((found) => map.replaceChildren(drawPath(found)), (error) => map.replaceChildren(element("p", { className: "why broken" }, error.message)));
  aside.replaceChildren(
    element("h2", {}, `Episode ${row.name}`), film(row), element("div", { className: "choose" }, ...made.buttons),
    element("h3", {}, "Tags"), made.tags, element("h3", {}, "Note"), made.note,
    element("h3", {}, "Path from above (green: start, red: end, yellow: goal)"), map, element("h3", {}, "Figures"), made.figures);
  aside.scrollTop = 0;
  return made;
}

function film(row) {
  if (!row.video) return element("p", { className: "dim" }, "No video was kept of this episode.");
  const video = element("video", { controls: true, loop: true, muted: true, autoplay: true, playsInline: true, src: `/video/${row.name}.mp4` });
  video.onerror = async () => { // a video element does not say what the server answered
    const answer = await fetch(video.src, { headers: { Range: "bytes=0-0" } });
    const text = row.problem ? row.problem : answer.ok ? "the browser cannot play this video" : (await answer.json()).error;
    video.replaceWith(element("p", { className: "why broken" }, text));
  };
  return video;
}
