// The camera's way seen from above: x to the right, z (where it first looked) upwards.
const space = "http://www.w3.org/2000/svg";

function shape(name, attributes, text = "") {
  const made = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

export function drawPath({ points, forward, goal }) {
  const svg = shape("svg", { class: "path", role: "img", "aria-label": "Path from above" });
  if (!points.length) return svg;
  const all = goal ? [...points, goal] : points;
  const [xs, zs] = [all.map((p) => p[0]), all.map((p) => -p[1])];
  const [left, top] = [Math.min(...xs), Math.min(...zs)];
  const size = Math.max(Math.max(...xs) - left, Math.max(...zs) - top, 0.5);
  const [cx, cz] = [(left + Math.max(...xs)) / 2, (top + Math.max(...zs)) / 2];
  const side = size * 1.3, unit = side / 240; // metres per pixel of the drawing's height
  svg.setAttribute("viewBox", `${cx - side * 0.8} ${cz - side / 2} ${side * 1.6} ${side}`);
  const every = Math.max(1, Math.floor(points.length / 12));
  points.forEach(([x, z], i) => {
    if (i % every) return;
    const [fx, fz] = forward[i];
    svg.append(shape("line", { class: "view", x1: x, y1: -z, x2: x + fx * 14 * unit, y2: -z - fz * 14 * unit, "stroke-width": unit }));
  });
  svg.append(shape("polyline", { points: points.map(([x, z]) => `${x},${-z}`).join(" "), "stroke-width": 2 * unit }));
  if (goal) svg.append(shape("circle", { class: "goal", cx: goal[0], cy: -goal[1], r: 6 * unit, "stroke-width": 2 * unit }));
  const [first, last] = [points[0], points[points.length - 1]];
  svg.append(shape("circle", { class: "start", cx: first[0], cy: -first[1], r: 4 * unit }));
  svg.append(shape("circle", { class: "end", cx: last[0], cy: -last[1], r: 4 * unit }));
  // A scale: the largest of 1, 2, 5 times a power of ten that takes up to a third of the width.
  const most = side * 0.5, power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map((n) => n * power).find((n) => n <= most);
  const [x0, y0] = [cx - side * 0.8 + 10 * unit, cz + side / 2 - 10 * unit];
  svg.append(shape("line", { class: "view", x1: x0, y1: y0, x2: x0 + length, y2: y0, "stroke-width": 2 * unit }));
  svg.append(shape("text", { x: x0, y: y0 - 5 * unit, "font-size": 12 * unit }, `${Number(length.toPrecision(1))} m`));
  return svg;
}
