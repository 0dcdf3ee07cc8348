// Which episodes are shown, and in which order.
const own = {
  name: (row) => row.name, reward: (row) => row.reward, length: (row) => row.length,
  success: (row) => (row.success === null || row.success === undefined ? null : Number(row.success)),
  decision: (row) => row.decision || "",
};

const outcomes = {
  all: () => true, kept: (row) => row.kept, dropped: (row) => !row.kept && !row.problem, success: (row) => row.success === true,
  failure: (row) => row.success === false, broken: (row) => Boolean(row.problem),
};

/** What can be sorted by: the fields of all, and every measure that some episode has. */
export function sortKeys(rows) {
  const measures = new Set(rows.flatMap((row) => Object.keys(row.measures || {})));
  return [...Object.keys(own), ...[...measures].sort().filter((name) => !(name in own))];
}

export function shown(rows, { search, state, filter, sort, up }) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (row) => [row.name, row.text, row.task, row.policy, row.note, row.problem, ...(row.tags || []), ...(row.reasons || [])]
    .join(" ").toLowerCase();
  const value = own[sort] || ((row) => (row.measures || {})[sort]);
  const found = rows.filter((row) => outcomes[filter](row)
    && (state === "all" || (row.decision || "none") === state) && words.every((word) => text(row).includes(word)));
  const missing = (x) => x === null || x === undefined;
  return found.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (missing(x) || missing(y)) return missing(x) - missing(y); // last, whichever way round
    return ((x > y) - (x < y)) * (up ? 1 : -1) || (a.name > b.name ? 1 : -1);
  });
}
