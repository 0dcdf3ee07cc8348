// The page: joins the parts.
import { element, find } from "./dom.js";
import { press, tieButtons } from "./input/commands.js";
import { Keys } from "./input/keys.js";
import { Motion } from "./input/motion.js";
import { Mouse } from "./input/mouse.js";
import { Stick } from "./input/touch.js";
import { ask, hint, hush, message } from "./messages.js";
import { Compare } from "./past/compare.js";
import { Episode } from "./past/episode.js";
import { Keep } from "./past/keep.js";
import { Pictures } from "./past/pictures.js";
import { Timeline } from "./past/timeline.js";
import { nodeAt, pathTo } from "./past/tree.js";
import { Session } from "./session.js";
import { Decoder, wanted } from "./show/decode.js";
import { Map2D } from "./show/map.js";
import { Panel } from "./show/panel.js";
import { Recorder } from "./show/record.js";
import { Scene } from "./show/scene.js";
import { View } from "./show/view.js";
import { link, Socket } from "./socket.js";
import { forgetWalk, rememberWalk, Start } from "./start.js";
import { otherTheme } from "./theme.js";

const REST = 6000; // ms without motion after which time stands still
const CALM = 33; // ms between two controls: the view turns a little in each

// -- parts ----------------------------------------------------------------------------------------------------

const pictures = new Pictures(), panel = new Panel(find("numbers")), map = new Map2D(find("map"));
const view = new View(find("view"), drawn, new Decoder(plain)), recorder = new Recorder(find("view"));
const session = new Session(new Socket(heard, turned), told);
const { socket } = session;
const timeline = new Timeline(find("timeline"), pictures, (node) => attempt(goTo(node)));
const compare = new Compare(pictures, (node) => attempt(goTo(node)));
const start = new Start(pictures, (beginning) => attempt(begin(beginning)), (id) => attempt(enter(id)));
const keys = new Keys((code, event) => press(commands, session.watching, code, event));
const motion = new Motion(keys, new Mouse(find("view")), new Stick(find("move")), new Stick(find("look")));
const scene = new Scene(session, { view, panel, map, timeline });
const keep = new Keep(session, recorder, stop), episode = new Episode(session, stop);
let world = null, restless = 0;
window.sanawm = { session, view, socket }; // for the console, tests and benchmarks

// -- messages -------------------------------------------------------------------------------------------------

/** Do something that may be refused, and say so. */
async function attempt(work) {
  try { await work; } catch (error) {
    if (error.code !== "lost" && !overtaken(error.code)) message(error.message);
  }
}

/** What was sent while another page took over is refused, which needs no words of its own. */
const overtaken = (code) => session.watching && ["controlled", "not-attached"].includes(code);

const thumbs = () => matchMedia("(hover: none) and (pointer: coarse)").matches;

// -- the connection -------------------------------------------------------------------------------------------

function turned(state, text) {
  find("connection").textContent = state === "lost" ? "Reconnecting…" : state === "refused" ? "No access" : "";
  document.body.dataset.connection = state;
  if (state === "refused") message(text, true);
  if (state === "open") attempt(connected());
}

async function connected() {
  hush();
  const first = world === null;
  if (first) {
    world = (await socket.request({ type: "world" })).head;
    session.video = await wanted(world.size);
    find("world").textContent = `${world.name}, ${world.size[1]} × ${world.size[0]}`;
    find("policy").replaceChildren(element("option", { value: "", textContent: "You walk" }), ...world.policies.map((name) => element("option", { value: name, textContent: name })));
    episode.fill(world);
    attempt(start.fill(world));
    attempt(start.warmed());
  }
  if (session.id !== null) {
    try { await session.resume(); } catch (error) {
      if (error.code === "lost") throw error;
      if (error.code === "controlled") return enter(session.id);
      leave();
      throw new Error("This walk is gone with its server. Begin another.");
    }
    return;
  }
  await follow();
}

/** What the address asks for: a walk, a link to a moment, or the start. */
async function follow() {
  const [kind, id, snapshot] = location.hash.slice(1).split("/");
  try {
    if (kind === "walk" && id) return await enter(id);
    if (kind === "moment" && id && snapshot) {
      const { head } = await socket.request({ type: "describe", session: id });
      return await begin({ settings: head.settings, from: { session: id, snapshot } });
    }
  } catch (error) {
    if (error.code === "unknown-session") forgetWalk(id);
    leave();
    throw error;
  }
  leave();
}

// -- walks ----------------------------------------------------------------------------------------------------

function walking() {
  document.body.dataset.page = "walk";
  history.replaceState(null, "", link(`walk/${session.id}`));
  rememberWalk(session.id);
  find("speed").max = session.facts.max_speed;
  find("speed").value = session.facts.max_speed * motion.speed;
  speed();
  timeline.draw();
  scene.path();
}

function leave() {
  document.body.dataset.page = "start";
  history.replaceState(null, "", link("").replace(/#$/, ""));
  attempt(start.recent(socket));
}

async function begin(beginning) {
  hint("");
  episode.drop();
  view.drop();
  document.body.classList.add("busy");
  try {
    await session.begin(await beginning);
    walking();
    rest(thumbs() ? "Push the left stick to walk." : "Press W to walk; drag the picture to look.");
  } finally { document.body.classList.remove("busy"); }
}

async function enter(id) {
  episode.drop();
  view.drop();
  try { await session.enter(id, { control: true }); } catch (error) {
    if (error.code !== "controlled") throw error;
    await session.enter(id, { control: false });
  }
  walking();
  rest(session.watching ? "" : thumbs() ? "Push the left stick to go on." : "Press W to go on.");
}

/** Leave this walk as it is, and choose another. */
async function another() {
  await stop().catch(() => {});
  if (session.id) await socket.request({ type: "detach", session: session.id }).catch(() => {});
  session.forget();
  leave();
}

async function goTo(node) {
  if (session.watching) throw new Error("Somebody else walks here; take over first.");
  shutCompare();
  keys.clear();
  view.drop();
  await session.goTo(node);
  rest("Walk on, and a branch begins here.");
}

/** Go to the snapshot that lies so many seconds back. */
async function back(seconds) {
  await stop();
  const path = pathTo(session.nodes, session.present);
  if (path.length) await goTo(nodeAt(path, session.time - seconds));
}

async function hop(way) {
  const path = pathTo(session.nodes, session.present), here = path.at(-1);
  const children = [...session.nodes.values()].filter((node) => node.parent === session.present);
  const node = way > 0 ? children.at(-1) : session.moved ? here : path.at(-2);
  if (node) await goTo(node);
}

function rest(text) {
  restless = performance.now();
  hint(text);
}

// -- what happens ---------------------------------------------------------------------------------------------

function heard(head, payload) {
  if (head.type === "frame") {
    if (head.session === session.id || head.session === session.coming) view.take(head, payload);
  } else if (head.type === "error") {
    if (!overtaken(head.code)) message(head.error);
  } else session.heard(head);
}

/** The browser does not decode the stream after all: pictures will do. */
function plain() {
  session.video = "jpeg";
  attempt(session.resume());
}

function drawn(head) {
  session.drawn(head);
  if (head.session === session.id) scene.drawn(head);
}

function told(what, details) {
  if (what === "picture") view.show(details);
  else if (what === "asked") view.asked(details);
  else if (what === "over") over(details);
  else if (what === "taken") message("Another page took over this walk.");
  else scene[what](details); // tree, place, entered, state
  if (what === "state" && session.playing) hint("");
}

function over(reason) {
  if (reason === "episode") {
    hint("The task is over. Go back and try otherwise, or begin another walk.");
    attempt(episode.over());
  }
  else if (reason === "no acks") rest("Time stood still while you were away.");
  else if (reason.startsWith("failed")) message(reason.replace("failed: ", ""));
}

// -- motion ---------------------------------------------------------------------------------------------------

setInterval(() => {
  if (session.facts === null || session.watching || document.body.dataset.page !== "walk") return;
  const twist = motion.twist(session.pose ?? [0, 0, 0, 1, 0, 0, 0], session.facts), now = performance.now();
  session.hold(twist, motion.changed);
  if (!session.still) {
    restless = now;
    if (compare.open) shutCompare();
    if (!session.playing || session.policy) attempt(session.play());
  } else if (session.playing && !session.policy && now - restless > REST && !session.starting) {
    restless = Infinity;
    attempt(session.pause().finally(() => rest("")));
  }
}, CALM);

function speed(by = 0) {
  const slider = find("speed"), most = session.facts?.max_speed ?? 1;
  slider.value = Number(slider.value) + by;
  motion.speed = Number(slider.value) / most;
  find("speed-now").textContent = `${Number(slider.value).toFixed(2)} m/s`;
}

// -- buttons and keys -----------------------------------------------------------------------------------------

const toggle = () => attempt(session.playing ? stop() : (restless = performance.now(), session.play()));

/** Rest, and forget what is held: otherwise it would go on at once. */
function stop() {
  keys.clear();
  return session.pause();
}

function shutCompare() {
  if (!compare.open) return;
  compare.show(false);
  scene.path();
}

async function openCompare() {
  if (compare.open) return shutCompare();
  await stop();
  if (!compare.begin(session.id, session.nodes, session.present)) return message("There is one branch only. Go back in the timeline and walk on: that makes another.");
  compare.show(true);
}

function theme() {
  otherTheme();
  map.draw();
}

function help() {
  keys.clear();
  ask("help");
}

const commands = {
  go: toggle, fly: () => message(motion.fly()), theme, help, close: shutCompare,
  back: () => attempt(back(10)), before: () => attempt(hop(-1)), after: () => attempt(hop(1)),
  mark: () => attempt(keep.mark()), record: () => attempt(keep.record()), episode: () => attempt(episode.toggle()), save: () => attempt(keep.save()), share: () => attempt(keep.share()),
  compare: () => attempt(openCompare()), another: () => attempt(another()),
  panel: () => document.body.classList.toggle("no-panel"), faster: () => speed(0.05), slower: () => speed(-0.05),
  take: () => attempt(session.enter(session.id, { control: true, take: true })),
};
tieButtons(commands);

find("speed").addEventListener("input", () => speed());
find("speed").addEventListener("change", (event) => event.target.blur());
find("policy").addEventListener("change", (event) => {
  event.target.blur();
  const policy = event.target.value || null;
  attempt((policy || session.playing ? session.play(policy) : Promise.resolve()).catch((error) => { scene.state(); throw error; }));
});
addEventListener("hashchange", () => { if (!location.hash.startsWith(`#walk/${session.id}`)) attempt(follow()); });
