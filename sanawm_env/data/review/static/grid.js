// The contact sheet. Cards are kept between redraws, so that pictures are not loaded again.
import { element, number } from "./dom.js";

const cards = new Map();

function picture(row) {
  if (!row.video) return element("div", { className: "strip none" }, "no video");
  const image = element("img", { className: "strip", loading: "lazy", alt: "", src: `/thumbnail/${row.name}.jpg` });
  if (row.size) image.style.aspectRatio = `${3 * row.size[1]} / ${row.size[0]}`; // three frames side by side
  image.onerror = () => image.replaceWith(element("div", { className: "strip none" }, "no picture"));
  return image;
}

const badge = (kind, text = kind) => element("span", { className: `badge ${kind}` }, text);

function fill(card, row) {
  const why = row.problem ? [row.problem] : row.kept ? [] : row.reasons;
  card.replaceChildren(
    card.firstChild || picture(row),
    element("div", { className: "line" },
      element("b", {}, row.name),
      row.success === true ? badge("success") : "",
      row.problem ? badge("broken") : row.kept ? "" : badge("dropped", "dropped by filters"),
      row.decision ? badge(row.decision) : ""),
    element("div", { className: "line dim" },
      row.length === undefined ? "" : `${row.length.toFixed(1)} s`,
      row.reward === undefined ? "" : ` reward ${number(row.reward)}`, row.task ? ` ${row.task}` : ""),
    ...(row.tags.length ? [element("div", { className: "line" }, ...row.tags.map((tag) => badge("tag", tag)))] : []),
    ...(why && why.length ? [element("div", { className: `why${row.problem ? " broken" : ""}` }, why.join("; "))] : []));
}

export function draw(grid, rows, selected, choose) {
  const order = rows.map((row) => {
    const seen = JSON.stringify(row);
    let card = cards.get(row.name);
    if (!card || card.hadVideo !== row.video) {
      card = element("article", { className: "card", onclick: () => choose(row.name) });
      card.hadVideo = row.video;
      card.dataset.name = row.name;
      cards.set(row.name, card);
    }
    if (card.seen !== seen) fill(card, row);
    card.seen = seen;
    card.className = ["card", row.decision, row.kept ? "" : "dropped", row.name === selected ? "selected" : ""].filter(Boolean).join(" ");
    return card;
  });
  const same = order.length === grid.children.length && order.every((card, i) => card === grid.children[i]);
  if (!same) grid.replaceChildren(...order);
  if (!rows.length) grid.replaceChildren(element("p", { className: "dim" }, "No episode fits; change search or filters."));
}

/** How many cards stand side by side. */
export function columns(grid) {
  const [first, ...rest] = grid.querySelectorAll(".card");
  if (!first) return 1;
  const next = rest.findIndex((card) => card.offsetTop !== first.offsetTop);
  return next < 0 ? rest.length + 1 : next + 1;
}

export const reveal = (name) => cards.get(name)?.scrollIntoView({ block: "nearest" });
