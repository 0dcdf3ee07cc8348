/** An element with properties and children; strings become text, never markup. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

export const number = (value) => (value === null || value === undefined ? "" : Number.isInteger(value) ? String(value) : value.toFixed(3));
