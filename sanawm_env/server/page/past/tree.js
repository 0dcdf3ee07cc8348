// The snapshots as a tree: where each lies in the drawing, and the ways through it. Nothing here touches the page.

/** Lanes and children of nodes in the order in which they were taken. */
export function layout(nodes) {
  const children = new Map(), lanes = new Map(), roots = [];
  for (const node of nodes.values()) {
    const parent = nodes.has(node.parent) ? node.parent : null;
    if (parent === null) roots.push(node);
    else children.set(parent, [...(children.get(parent) ?? []), node]);
  }
  let next = 0;
  const work = roots.reverse().map((node) => [node, null]);
  while (work.length) { // a parent's first child goes on in its lane, the others open new ones
    const [node, lane] = work.pop();
    const mine = lane ?? next++;
    lanes.set(node.snapshot, mine);
    const [first, ...rest] = children.get(node.snapshot) ?? [];
    work.push(...rest.reverse().map((child) => [child, null]));
    if (first) work.push([first, mine]);
  }
  return { lanes, children, count: next };
}

/** The nodes from the root to one of them. */
export function pathTo(nodes, snapshot) {
  const path = [];
  for (let node = nodes.get(snapshot); node; node = nodes.get(node.parent)) path.unshift(node);
  return path;
}

/** Ends of branches, the latest first. */
export function leaves(nodes) {
  const parents = new Set([...nodes.values()].map((node) => node.parent));
  return [...nodes.values()].filter((node) => !parents.has(node.snapshot)).reverse();
}

/** The last node of a path at or before a time, s; its first node for earlier ones. */
export const nodeAt = (path, time) => path.findLast((node) => node.time <= time + 1e-6) ?? path[0];

/** The last node that two paths share; null if they are of two worlds. */
export function fork(one, other) {
  const shared = new Set(one.map((node) => node.snapshot));
  return other.findLast((node) => shared.has(node.snapshot)) ?? null;
}
