// Kernels that were taken out because they kept failing.

import { get, h, kept, note, replace, source, table, time } from "./dom.js";

export function show(view) {
  return kept(() => get("/api/breakers"), (found) => replace(view, found.logs.map(log), found.metrics.map(told), !found.logs.length && !found.metrics.length && note("No process has been heard of yet.")));
}

const state = (name) => h("strong", { class: name === "closed" ? "good" : "bad" }, name);

function log(one) {
  const open = one.open ? Object.entries(one.open) : [];
  return h("section", {}, h("h2", {}, source(one.source)),
    one.open === undefined || one.open === null ? note("The snapshot in force is not beside the log, so its breakers are not known.")
      : open.length ? table(`open breakers in ${one.source}`, ["kernel", "state", ["why", "wide"]], open.map(([kernel, why]) => [kernel, state("open"), why]))
        : h("p", { class: "calm" }, "No breaker is open, by the last decision of the log."),
    one.moves.length > 0 && [h("h3", {}, "What happened"), table(`changes of breakers in ${one.source}`, ["seen", ["epoch", "number"], "kernel", "state", ["why", "wide"]], one.moves.map((each) => [time(each.time), each.epoch, each.kernel, state(each.state), each.why]))]);
}

function told(one) {
  return h("section", {}, h("h2", {}, source(one.source)),
    one.kernels.length ? table(`breakers at ${one.source}`, ["kernel", "device", "state"], one.kernels.map((each) => [each.kernel, each.device, state(each.state)])) : h("p", { class: "calm" }, "No kernel has failed."));
}
