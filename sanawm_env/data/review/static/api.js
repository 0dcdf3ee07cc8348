// Requests to the server. The token of the page's address gives the right to decide.
const token = new URLSearchParams(location.search).get("token") || "";
let tag = null;

async function checked(response) {
  if (response.ok) return response.json();
  let text = `the server answered ${response.status}`;
  try { text = (await response.json()).error || text; } catch { /* no JSON: the number has to do */ }
  throw new Error(text);
}

/** The list of episodes, or null if nothing has changed since the last call. */
export async function listing() {
  const response = await fetch("/api/dataset", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
  if (response.status === 304) return null;
  const found = await checked(response);
  tag = response.headers.get("ETag");
  return found;
}

export const path = async (name) => checked(await fetch(`/api/path/${name}`));

/** Write a decision down; the server answers with what it wrote. */
export async function decide(name, decision) {
  const answer = await checked(await fetch(`/api/decisions/${name}`, {
    method: "PUT", body: JSON.stringify(decision), headers: { "Content-Type": "application/json", "X-Sanawm-Token": token },
  }));
  tag = null;
  return answer;
}
