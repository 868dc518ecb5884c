// Decisions by operation, kernel and arm over time; the last of them; and one of them with its proof.

import { address, choice, count, duration, get, h, link, note, problem, replace, source, spell, table, time, tree, unfold } from "./dom.js";
import { columns, legend, swatch } from "./plot.js";

const SPANS = { "30m": "30 minutes", "6h": "6 hours", "4d": "4 days" };
const WORDS = { source: (name) => name, operation: (name) => name, kernel: (name) => name || "no kernel", arms: (name) => name || "no arm" };
const ONLY = [["", "all"], ["degraded", "degraded"], ["errors", "errors"]];

export const title = (rest) => (rest.length ? "A decision" : "Decisions");

export async function show(view, params, rest) {
  if (rest.length) return one(view, rest[0]);
  const asked = Object.fromEntries(params);
  const ask = () => get("/api/decisions", asked);
  let found = await ask();
  const results = h("div", {});
  const go = (name) => (value) => {
    const words = { ...asked, [name]: value };
    if (value === "*") delete words[name];
    location.hash = address("decisions", words).slice(1);
  };
  const names = (word) => [["*", "all"], ...found.names[word].map((name) => [name, WORDS[word](name)])];
  const bar = h("form", { class: "bar", "aria-label": "what is shown", onsubmit: (event) => event.preventDefault() },
    ["operation", "kernel", "arms", "source"].map((word) => choice(word, names(word), asked[word] ?? "*", go(word))),
    choice("only", ONLY, asked.only ?? "", go("only")),
    choice("over", found.spans.map((name) => [name, SPANS[name] ?? name]), asked.span ?? "30m", go("span")),
    choice("by", Object.keys(WORDS).map((name) => [name, name]), asked.by ?? "kernel", go("by")));
  const draw = () => replace(results, over(found, asked), groups(found), last(found));
  draw();
  view.append(bar, results);
  return async (same) => {
    if (!same) found = await ask();
    draw();
  };
}

function over(found, asked) {
  const named = WORDS[asked.by ?? "kernel"];
  if (!found.timeline.series.length) return note("No calls in this time.");
  return h("section", { "aria-label": "calls over time" }, columns(found.timeline, named), legend(found.timeline, named));
}

function groups(found) {
  const rows = found.groups.slice(0, 100).map((one) => [
    one.operation, h("span", { class: "named" }, swatch(one.kernel), h("strong", {}, WORDS.kernel(one.kernel))), one.arms, count(one.calls),
    one.degraded ? h("span", { class: "warn" }, count(one.degraded)) : "", one.raised ? h("span", { class: "bad" }, count(one.raised)) : "",
    one.timed ? duration(one.seconds / one.timed) : "", time(one.last), source(one.source)]);
  if (!rows.length) return null;
  return h("section", { "aria-labelledby": "groups" }, h("h2", { id: "groups" }, "By operation, kernel and arm"),
    table("calls by operation, kernel and arm", ["operation", "kernel", "arms", ["calls", "number"], ["degraded", "number"], ["failed", "number"], ["mean on host", "number"], "last", "source"], rows));
}

function last(found) {
  const rows = found.records.map((one) => [
    h("a", { href: `#/decisions/${one.number}`, id: `why-${one.number}`, "aria-label": `why ${one.kernel || "no kernel"} for ${one.operation}, decision ${one.number}` }, "why"),
    time(one.time), one.operation,
    h("strong", { class: one.error ? "bad" : one.degraded ? "warn" : "" }, one.kernel || one.error || "no kernel"),
    [...one.locked_by, ...one.ordered_by].join(", "), one.arms, count(one.calls), values(one.values), one.request_id ?? ""]);
  return h("section", { "aria-labelledby": "last" }, h("h2", { id: "last" }, "The last decisions"),
    rows.length ? table("the last decisions", ["", "time", "operation", "kernel", "by rule", "arms", ["calls", "number"], ["context", "wide"], "request"], rows)
      : note("No records: a metrics endpoint tells how often, and only a decision log tells why."));
}

const values = (found) => h("span", { class: "values" }, Object.entries(found).map(([name, value]) => `${name}=${spell(value)}`).join(" "));

// ---------------------------------------------------------------- one decision

async function one(view, number) {
  const path = `/api/decisions/${encodeURIComponent(number)}`;
  const found = await get(path);
  const record = found.record;
  const facts = [
    ["operation", record.operation], ["kernel", record.kernel ?? "none"],
    ["by rule", [...record.locked_by, ...record.ordered_by].join(", ") || "its score"],
    ["arms", Object.entries(record.arms).map(([name, arm]) => `${name}.${arm}`).join(", ")],
    ["time", time(Date.parse(record.time) / 1000)], ["calls", count(record.calls)], ["request", record.request_id],
    ["policy", [record.policy.name, record.policy.version && ` ${record.policy.version}`, ", epoch ", record.epoch]],
    ["raised", record.raised], ["instead of", record.recovered_from.join(", ")], ["log", source(record.source)],
  ].filter(([, value]) => value !== null && value !== undefined && value !== "");
  const box = h("div", { class: "tree" });
  view.append(
    h("p", {}, link("decisions", {}, "← all decisions")),
    h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { class: name === "kernel" ? "strong" : "" }, value)))),
    h("p", {}, values(record.values)),
    h("p", {}, h("a", { href: "#/playground", onclick: () => sessionStorage.setItem("given", JSON.stringify({ operation: record.operation, ...record.values }, null, 1)) }, "try this context in the playground")));
  if (found.problem) {
    view.append(problem(`the proof cannot be made again: ${found.problem}`));
    return null;
  }
  box.append(tree(found.tree, "proof"));
  view.append(against(path, found.kernels, record.kernel), h("section", { "aria-labelledby": "provenance" }, h("h2", { id: "provenance" }, "Provenance"), unfold(box), box));
  return null;
}

const STAGES = { infeasible: "cannot run it", lock: "not locked", allow: "not allowed", deny: "denied", outranked: "outranked" };

export function against(path, kernels, chosen) {
  const result = h("div", { class: "tree", "aria-live": "polite" });
  const others = kernels.filter((each) => each.kernel !== chosen);
  const select = h("select", { id: "against" }, others.map((each) => h("option", { value: each.kernel }, `${each.kernel}: ${STAGES[each.stage] ?? each.stage}`)));
  const ask = async (event) => {
    event.preventDefault();
    result.replaceChildren(note("looking for the smallest changes ..."));
    try {
      const found = await get(`${path}/why-not`, { kernel: select.value });
      result.replaceChildren(found.problem ? problem(found.problem) : tree(found.tree, "against-tree"));
    } catch (error) {
      result.replaceChildren(problem(error.message));
    }
  };
  return h("section", { "aria-labelledby": "why-not" }, h("h2", { id: "why-not" }, "Why not"),
    h("form", { class: "bar", onsubmit: ask }, h("label", { class: "choice", for: "against" }, h("span", {}, "the kernel that was expected"), select), h("button", { type: "submit" }, "why not?")), result);
}
