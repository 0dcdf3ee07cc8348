// State, keyboard and polling.
import { decide, listing } from "./api.js";
import { show } from "./detail.js";
import { columns, draw, reveal } from "./grid.js";
import { shown, sortKeys } from "./list.js";

const at = (id) => document.getElementById(id);
const [grid, aside] = [at("grid"), at("detail")];
let rows = [], problem = null, failure = null, silence = null, selected = null, up = true, visible = [];

/** What is wrong: a decision that was refused (until one is taken), a silent server, a broken file of decisions. */
function say() {
  const text = failure || silence || problem || "";
  at("message").textContent = text;
  at("message").hidden = !text;
}

function redraw() {
  const choice = { search: at("search").value, state: at("state").value, filter: at("filter").value, sort: at("sort").value, up };
  visible = shown(rows, choice);
  if (!visible.some((row) => row.name === selected)) selected = visible[0]?.name ?? null;
  draw(grid, visible, selected, choose);
  const name = selected;
  show(aside, rows.find((row) => row.name === name), (values) => change(name, values));
  const count = (decision) => rows.filter((row) => row.decision === decision).length;
  at("counts").textContent = `${rows.length} episodes, ${visible.length} shown, ${count("keep")} keep, ${count("drop")} drop`;
}

function choose(name) {
  selected = name;
  redraw();
  reveal(name);
}

const place = () => visible.findIndex((row) => row.name === selected);

function move(by) {
  if (visible.length) choose(visible[Math.min(Math.max(place() + by, 0), visible.length - 1)].name);
}

let queue = Promise.resolve();

/** Write a decision down, one after another; what is not in `values` stays. */
function change(name, values) {
  queue = queue.then(async () => {
    const { decision, tags, note } = rows.find((each) => each.name === name);
    try {
      const answer = await decide(name, { decision, tags, note, ...values });
      Object.assign(rows.find((each) => each.name === name), answer); // a poll may have brought new rows meanwhile
      failure = null;
    } catch (error) {
      failure = error.message;
    }
    say();
    redraw();
  });
}

/** Decide about the selected episode, and go on to the next one. */
function judge(decision) {
  const [name, next] = [selected, visible[place() + 1]?.name];
  if (name === null) return;
  if (next && decision) choose(next);
  change(name, { decision });
}

const keys = {
  ArrowLeft: () => move(-1), ArrowRight: () => move(1), ArrowUp: () => move(-columns(grid)), ArrowDown: () => move(columns(grid)),
  k: () => judge("keep"), d: () => judge("drop"), u: () => judge(null),
  t: () => at("tags")?.focus(), n: () => at("note")?.focus(), "/": () => at("search").focus(),
  " ": () => { const video = aside.querySelector("video"); if (video) video.paused ? video.play() : video.pause(); },
};

document.addEventListener("keydown", (event) => {
  const inside = event.target.closest("input, textarea, select");
  if (inside) {
    if (event.key === "Escape" || (event.key === "Enter" && inside.tagName === "INPUT")) inside.blur();
    return;
  }
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (!event.repeat || event.key.startsWith("Arrow")) act();
});

for (const id of ["search", "state", "filter", "sort"]) at(id).addEventListener("input", redraw);
at("order").onclick = () => { up = !up; at("order").textContent = up ? "\u2191" : "\u2193"; redraw(); };

async function poll() {
  try {
    const found = await listing();
    if (found) {
      rows = found.episodes;
      problem = found.problem;
      at("title").textContent = document.title = found.name;
      at("title").title = found.folder;
      const [names, sort] = [sortKeys(rows), at("sort")];
      if (names.join() !== [...sort.options].map((option) => option.value).join()) {
        const before = sort.value || "name";
        sort.replaceChildren(...names.map((name) => new Option(name.replaceAll("_", " "), name)));
        sort.value = names.includes(before) ? before : "name";
      }
      redraw();
    }
    silence = null;
  } catch (error) {
    silence = error instanceof TypeError ? "the server does not answer; is `sanawm review` still running?" : error.message;
  }
  say();
  setTimeout(poll, 2000);
}

poll();
