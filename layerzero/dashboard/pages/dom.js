// Elements from names and texts. Texts only ever become text nodes: nothing that a policy, a request or a file is
// called can become markup, and the content-security policy forbids any other way.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

// Put children in place of what a node holds; focus and unfolded parts stay, found again by their ids.
export function replace(node, ...children) {
  const focused = node.contains(document.activeElement) ? document.activeElement.id : "";
  const states = new Map([...node.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
  node.replaceChildren(...children.flat(Infinity).filter((one) => one instanceof Node));
  for (const one of node.querySelectorAll("details[id]")) if (states.has(one.id)) one.open = states.get(one.id);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

// A page of data that changes: asks for it and draws it; what it returns asks and draws again, or only draws (`same`).
export async function kept(ask, draw) {
  let found = await ask();
  draw(found);
  return async (same) => {
    if (!same) found = await ask();
    draw(found);
  };
}

// A part that is asked for once, when it is first unfolded.
export function lazy(id, title, box, waiting, ask) {
  const load = async (event) => {
    if (!event.target.open || box.childNodes.length) return;
    if (waiting) box.replaceChildren(note(waiting));
    try {
      box.replaceChildren(...(await ask()));
    } catch (error) {
      box.replaceChildren(problem(error.message));
    }
  };
  return h("details", { id, ontoggle: load }, h("summary", {}, title), box);
}

// What an address of ours answers.
export async function get(path, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== null);
  return read(await fetch(`${path}?${new URLSearchParams(given)}`));
}

export async function post(path, data) {
  return read(await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(data) }));
}

async function read(answer) {
  const text = await answer.text();
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error(text.trim() || `the dashboard answered ${answer.status}`);
  }
  if (!answer.ok) throw new Error(found.problem ?? `the dashboard answered ${answer.status}`);
  return found;
}

// ---------------------------------------------------------------- words

const COUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export const count = (number) => (number >= 1e6 ? SHORT : COUNT).format(number);
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
export const short = (number) => SHORT.format(number);

export function clock(seconds, withDate = false) {
  const at = new Date(seconds * 1000);
  const today = new Date().toDateString() === at.toDateString();
  const time = at.toLocaleTimeString("en-GB");
  return withDate || !today ? `${at.toLocaleDateString("en-CA")} ${time}` : time;
}

export const time = (seconds) => h("time", { datetime: new Date(seconds * 1000).toISOString(), title: new Date(seconds * 1000).toISOString() }, clock(seconds));

export function ago(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

export function duration(seconds) {
  if (seconds < 1e-3) return `${(seconds * 1e6).toPrecision(3)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toPrecision(3)} ms`;
  return `${seconds.toPrecision(3)} s`;
}

export const spell = (value) => (value === null || value === undefined ? "absent" : String(value));

// The last part of a path is what people look for; the whole stands in the title.
export const source = (name) => h("span", { class: "source", title: name }, name.includes("://") ? name : name.split("/").slice(-2).join("/"));

// ---------------------------------------------------------------- parts that many pages use

export const problem = (text) => h("p", { class: "problem", role: "alert" }, text);
export const note = (...words) => h("p", { class: "quiet" }, ...words);
export const link = (page, params, ...words) => h("a", { href: address(page, params) }, ...words);
export const address = (page, params = {}) => {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== "")).toString();
  return `#/${page}${query ? `?${query}` : ""}`;
};

// `heads` are texts, or [text, class]; the wide table scrolls in its own box, also by keyboard.
export function table(label, heads, rows) {
  const head = h("tr", {}, heads.map((one) => (Array.isArray(one) ? h("th", { scope: "col", class: one[1] }, one[0]) : h("th", { scope: "col" }, one))));
  const kind = (place) => (Array.isArray(heads[place]) ? heads[place][1] : undefined);
  const body = rows.map((cells) => h("tr", {}, cells.map((cell, place) => h("td", { class: kind(place) }, cell))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, h("table", {}, h("thead", {}, head), h("tbody", {}, body)));
}

export function choice(label, options, value, change) {
  const id = `choose-${label.replace(/\W/g, "-")}`;
  const items = options.map(([name, words]) => h("option", { value: name, selected: name === value }, words));
  return h("label", { class: "choice", for: id }, h("span", {}, label), h("select", { id, onchange: (event) => change(event.target.value) }, items));
}

// The provenance tree: lines that unfold, with the place in the source set off.
export function tree(branch, id = "t", open = true) {
  const text = [h("span", { class: `line ${branch.tone}` }, places(branch.text))];
  if (!branch.children.length) return h("div", { class: "leaf" }, text);
  const inside = branch.children.map((one, place) => h("li", {}, tree(one, `${id}-${place}`, !one.folded)));
  return h("details", { id, open }, h("summary", {}, text), h("ul", {}, inside));
}

const PLACE = /(?:^|, )at (\S+:\d+:\d+)$|^(?:facts at )(\S+:\d+:\d+)/;

function places(text) {
  const found = PLACE.exec(text);
  if (!found) return [text];
  const place = found[1] ?? found[2];
  const start = text.indexOf(place, found.index);
  return [text.slice(0, start), h("span", { class: "place" }, place), text.slice(start + place.length)];
}

export function unfold(box) {
  const set = (open) => () => box.querySelectorAll("details").forEach((one) => { one.open = open; });
  return h("p", { class: "buttons" }, h("button", { type: "button", onclick: set(true) }, "unfold all"), h("button", { type: "button", onclick: set(false) }, "fold all"));
}
