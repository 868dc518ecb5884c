// What is in force in each process, its epochs, and what each swap changed.

import { counted, get, h, kept, lazy, note, problem, replace, source, spell, table, time } from "./dom.js";

const opened = new Map(); // `source snapshot` -> the box with what the swap changed

export function show(view) {
  return kept(() => get("/api/policies"), (found) => replace(view, found.logs.map(log), found.metrics.map(told), !found.logs.length && !found.metrics.length && note("No process has been heard of yet.")));
}

const named = (policy) => [h("strong", {}, policy.name || "no policy header"), policy.version ? ` version ${policy.version}` : "", " ", h("code", {}, (policy.digest ?? "").slice(0, 12))];

function log(one) {
  return h("section", { "aria-label": `policy in ${one.source}` }, h("h2", {}, source(one.source)),
    h("p", { class: "force" }, "in force: ", named(one.in_force), `, epoch ${one.in_force.epoch}, last call at `, time(one.in_force.last)),
    texts(one), epochs(one));
}

function texts(one) {
  return lazy(`texts-${one.source}-${one.in_force.snapshot}`, "its text", h("div", {}), "", async () => {
    const found = await get("/api/texts", { source: one.source, snapshot: one.in_force.snapshot });
    if (found.problem) return [problem(found.problem)];
    return found.texts.length ? found.texts.flatMap(numbered) : [note("The shipped policy alone.")];
  });
}

const numbered = (one) => [h("h3", {}, one.name), h("pre", { class: "numbered", tabindex: "0", "aria-label": one.name }, one.text.split("\n").map((line) => h("span", {}, `${line}\n`)))];

function epochs(one) {
  const items = one.epochs.map((epoch) => {
    const key = `${one.source} ${epoch.snapshot} ${epoch.number}`;
    if (!opened.has(key)) opened.set(key, h("div", { class: "swap" }));
    const head = h("p", {}, h("strong", {}, `epoch ${epoch.number}`), " ", named(epoch.policy), h("span", { class: "quiet" }, " ", time(epoch.first), " to ", time(epoch.last), `, ${counted(epoch.calls, "call")}`));
    return h("li", {}, head, epoch.before === null ? note("the first that was seen") : swap(one.source, epoch, key));
  });
  return [h("h3", {}, "Epochs, the newest first"), h("ol", { class: "epochs" }, items)];
}

function swap(name, epoch, key) {
  return lazy(`swap-${key}`, "what this swap changed", opened.get(key), "comparing all decisions ...", async () => {
    const found = await get("/api/swap", { source: name, before: epoch.before, after: epoch.snapshot });
    return found.problem ? [problem(found.problem)] : changed(found);
  });
}

function changed(found) {
  const edits = found.edits.map((one) => h("li", { class: one.kind === "added" ? "good" : "bad" }, one.kind === "added" ? "+ " : "− ", one.text, " ", h("span", { class: "place" }, one.at)));
  const around = found.environment.map((one) => h("li", {}, `${one.name}: `, h("code", {}, JSON.stringify(one.before)), " → ", h("code", {}, JSON.stringify(one.after))));
  const changes = found.differences.flatMap((one) => one.changes.map((change) => ({ ...change, device: one.device.device_name ?? one.device.device })));
  const unexamined = found.differences.flatMap((one) => one.unexamined);
  const words = (outcomes) => outcomes.map((one) => one.kernel ?? one.error ?? "none").slice(0, 4).join(" or ");
  const moved = changes.slice(0, 40).map((one) => h("li", {}, `${one.operation}: `, h("span", { class: "bad" }, words(one.before)), " → ", h("span", { class: "good" }, words(one.after)),
    h("div", { class: "quiet" }, found.differences.length > 1 && `on ${one.device}: `, one.exact && one.condition && one.condition.length <= 160 ? `when ${one.condition}` : one.where && one.where !== "true" ? `when ${one.where}, of the calls that got ${words(one.before)}` : `of the calls that got ${words(one.before)}`),
    one.rules.slice(0, 4).map((rule) => h("div", { class: "quiet" }, `${rule.side}: ${rule.text} `, rule.at && h("span", { class: "place" }, rule.at))),
    h("div", { class: "quiet" }, "e.g. ", Object.entries(one.witness.context).map(([field, value]) => `${field}=${spell(value)}`).join(" "))));
  return [
    h("h3", {}, "statements"), edits.length ? h("ul", { class: "edits" }, edits) : note("none"),
    around.length ? h("h3", {}, "machine") : "", around.length ? h("ul", {}, around) : "",
    h("h3", {}, "decided otherwise"), moved.length ? h("ul", { class: "moved" }, moved) : note(unexamined.length ? "no change was found" : "nothing is decided otherwise"),
    changes.length > 40 ? note(`and ${changes.length - 40} more; lz diff shows all`) : "",
    unexamined.length ? note("not examined: ", unexamined.map((one) => `${one.operation}: ${one.reason}`).slice(0, 5).join("; ")) : "",
  ].filter((one) => one !== "");
}

function told(one) {
  return h("section", {}, h("h2", {}, source(one.source)),
    table(`policies in force at ${one.source}`, ["policy", ["epoch", "number"]], one.in_force.map((policy) => [named(policy), policy.epoch ?? ""])),
    note("Metrics tell which policy is in force; what a swap changed stands in a decision log."));
}
