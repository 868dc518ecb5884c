// What wants to be looked at, what runs, and where it is read from.

import { ago, count, counted, get, h, kept, link, note, replace, source, table } from "./dom.js";
import { columns, legend } from "./plot.js";

const kernel = (name) => name || "no kernel";

export function show(view) {
  return kept(() => get("/api/now"), (found) => replace(view, attention(found.attention), calls(found), sources(found)));
}

function attention(items) {
  if (!items.length) return h("p", { class: "calm" }, "Nothing wants to be looked at.");
  const row = (one) => h("li", { class: one.severity },
    h("span", { class: "badge" }, one.severity === "bad" ? "look" : "note"),
    h("span", {}, one.page === "now" ? one.text : link(one.page, {}, one.text), " ", h("small", { class: "quiet" }, source(one.source))));
  return h("section", { "aria-labelledby": "attention" }, h("h2", { id: "attention" }, "Wants to be looked at"), h("ul", { class: "attention" }, items.slice(0, 50).map(row)),
    items.length > 50 && note(`and ${items.length - 50} more`));
}

function calls(found) {
  const some = found.timeline.series.length > 0;
  return h("section", { "aria-labelledby": "calls" }, h("h2", { id: "calls" }, "Calls by kernel, 30 minutes"),
    some ? [columns(found.timeline, kernel), legend(found.timeline, kernel)] : note("No calls yet."));
}

function sources(found) {
  const rows = found.sources.map((one) => [
    [source(one.source), h("br", {}), h("small", { class: "quiet" }, one.kind)],
    state(one),
    one.in_force.map((policy) => h("div", {}, h("strong", {}, policy.name || "no policy header"), policy.version ? ` ${policy.version}` : "", " ", h("code", {}, (policy.digest ?? "").slice(0, 12)))),
    one.in_force.map((policy) => h("div", {}, policy.epoch ?? "")),
    one.last ? ago(found.time - one.last) : "",
  ]);
  return h("section", { "aria-labelledby": "sources" }, h("h2", { id: "sources" }, "Where this is read"),
    rows.length ? table("where this is read", ["source", "state", "policy in force", ["epoch", "number"], "last call"], rows)
      : note("No decision log or metrics endpoint was given: start ", h("code", {}, "lz dashboard LOG --metrics URL"), "."));
}

function state(one) {
  if (one.problem) return h("span", { class: "bad" }, one.problem);
  if (!one.there) return h("span", { class: "warn" }, "not there yet");
  if (one.kind === "metrics") return h("span", { class: "good" }, "answers");
  const parts = [counted(one.records, "record")];
  if (one.unreadable) parts.push(h("details", { id: `lines-${one.source}` }, h("summary", { class: "warn" }, `${count(one.unreadable)} unreadable`), h("ul", {}, one.lines.map((line) => h("li", {}, line)))));
  if (one.left_out) parts.push(h("div", { class: "quiet" }, `the first ${(one.left_out / 2 ** 20).toFixed(1)} MiB were left out`));
  if (one.missed) parts.push(h("div", { class: "warn" }, `turned over ${one.missed} times faster than it was read`));
  if (one.unplaced) parts.push(h("div", { class: "quiet" }, `${counted(one.unplaced, "call")} of regions whose record was left out`));
  return parts;
}
