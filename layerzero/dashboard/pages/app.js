// The address after `#/` -> one page; the board's version, told by the server, has the page ask for its data again.

import { ago, h, problem, replace } from "./dom.js";

const PAGES = [
  ["now", "Now", () => import("./now.js")],
  ["decisions", "Decisions", () => import("./decisions.js")],
  ["policy", "Policy", () => import("./policy.js")],
  ["experiments", "Experiments", () => import("./experiments.js")],
  ["breakers", "Breakers", () => import("./breakers.js")],
  ["measurements", "Measurements", () => import("./measurements.js")],
  ["playground", "Playground", () => import("./playground.js")],
];

const content = document.getElementById("content");
const live = document.getElementById("live");
let refresh = null; // what asks for the present page's data again, where that changes by itself
let asking = false, again = false, shown = 0, changed = null, connected = false;

function where() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...rest] = path.split("/");
  return { page: page || "now", rest: rest.map(decodeURIComponent), params: new URLSearchParams(query) };
}

async function show() {
  const { page, rest, params } = where();
  const [name, title, load] = PAGES.find(([one]) => one === page) ?? PAGES[0];
  const number = ++shown;
  refresh = null;
  for (const one of document.querySelectorAll("#nav a")) {
    if (one.dataset.page === name) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
  document.title = `${title} · LayerZero`;
  try {
    const view = h("div", {});
    const module = await load();
    const found = await module.show(view, params, rest);
    if (number !== shown) return;
    content.replaceChildren(h("h1", {}, module.title?.(rest) ?? title), view);
    refresh = found ?? null;
    found?.(true); // columns are as wide as the page, which is known now
  } catch (error) {
    if (number === shown) content.replaceChildren(h("h1", {}, title), problem(error.message));
  }
}

async function update() {
  if (!refresh) return;
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  const [mine, number] = [refresh, shown];
  try {
    await mine();
  } catch (error) {
    if (number === shown) replace(content, content.querySelector("h1"), problem(error.message));
  }
  asking = false;
  if (again) {
    again = false;
    setTimeout(update, 300);
  }
}

function tell() {
  live.className = connected ? "good" : "bad";
  live.textContent = connected ? `live · changed ${ago((Date.now() - changed) / 1000)}` : "no connection to the dashboard";
}

function listen() {
  const events = new EventSource("/api/events");
  events.onmessage = () => {
    [connected, changed] = [true, Date.now()];
    tell();
    update();
  };
  events.onerror = () => {
    connected = false;
    tell();
  };
  addEventListener("pagehide", () => events.close());
}

document.getElementById("nav").append(h("ul", {}, PAGES.map(([name, title]) => h("li", {}, h("a", { href: `#/${name}`, "data-page": name }, title)))));
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  content.focus();
});
addEventListener("hashchange", async () => {
  await show();
  content.focus({ preventScroll: true });
  scrollTo(0, 0);
});
let resized;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => refresh?.(true), 200);
});
setInterval(() => { if (changed) tell(); }, 5000);
show();
listen();
