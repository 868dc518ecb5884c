// How the arms of experiments do: intervals, guards and the sample ratio, as the processes share them.

import { ago, clock, count, get, h, kept, note, problem, replace, source, table } from "./dom.js";
import { intervals, swatch } from "./plot.js";

export function show(view) {
  return kept(() => get("/api/experiments"), (found) => replace(view, found.processes.map(process), !found.processes.length && note("No process shares its experiments: call ", h("code", {}, "lz.share_experiments()"), " in it.")));
}

function process(one) {
  if (one.problem) return h("section", {}, h("h2", {}, source(one.file)), problem(one.problem));
  const report = one.report;
  return h("section", { "aria-label": `process ${report.process}` },
    h("h2", {}, `process ${report.process}`, " ", h("small", { class: one.stale ? "bad" : "quiet" }, `policy ${report.policy}, epoch ${report.epoch}, written ${ago(one.age)}`, one.stale && ": the process seems to be gone")),
    report.experiments.length ? report.experiments.map(experiment) : note("Its policy has no experiments."),
    report.dropped > 0 && problem(`${count(report.dropped)} outcomes were not counted: too many at once`));
}

function experiment(one) {
  const plots = ["p50", "p95", "p99"].map((name) => [name, one.arms.filter((arm) => arm.latency_ms[name]).map((arm) => ({ name: arm.arm, ...arm.latency_ms[name] }))]);
  const errors = one.arms.filter((arm) => arm.error_rate).map((arm) => percent(arm.arm, arm.error_rate));
  return h("article", { class: "card" }, h("h3", {}, one.experiment, " ", h("small", { class: "quiet" }, `on ${one.key}, share ${one.share_percent} %, since ${clock(one.since, true)}`)),
    ratio(one),
    table(`arms of ${one.experiment}`, ["arm", ["cut", "number"], ["units", "number"], ["requests", "number"], ["errors", "number"], ["p50, ms", "number"], ["p95, ms", "number"], "guards"], one.arms.map(arm)),
    h("div", { class: "plots" },
      errors.length > 0 && h("figure", {}, h("figcaption", {}, "error rate, %"), intervals(errors, "%")),
      plots.map(([name, rows]) => rows.length > 0 && h("figure", {}, h("figcaption", {}, `${name} latency, ms`), intervals(rows, "ms")))),
    note("95 % intervals, each for one look; guards may be looked at at any time."));
}

const percent = (name, one) => ({ name, value: one.value * 100, low: one.low === null ? null : one.low * 100, high: one.high === null ? null : one.high * 100 });
const interval = (one, times = 1) => one ? `${(one.value * times).toPrecision(3)} [${one.low === null ? "" : (one.low * times).toPrecision(3)}..${one.high === null ? "" : (one.high * times).toPrecision(3)}]` : "";

function arm(one) {
  const guards = one.guards.map((guard) => h("div", { class: "guard" }, guard.guard, " ",
    h("meter", { min: 0, max: 1, low: 0.5, high: 0.9, optimum: 0, value: guard.evidence, "aria-label": `evidence against ${one.arm} by ${guard.guard}`, title: `${Math.round(guard.evidence * 100)} % of the evidence that ends the arm` }),
    " ", guard.stopped ? h("strong", { class: "bad" }, "ended the arm") : h("span", { class: "quiet" }, `${Math.round(guard.evidence * 100)} %`)));
  return [[h("span", { class: "named" }, swatch(one.arm), h("strong", {}, one.arm)), one.stopped && h("div", { class: "bad" }, `stopped: ${one.stopped}`)], `${one.percent} %`, count(one.units), count(one.requests),
    one.error_rate ? `${count(one.errors)} (${interval(one.error_rate, 100)} %)` : "", interval(one.latency_ms.p50), interval(one.latency_ms.p95), guards];
}

function ratio(one) {
  if (one.sample_ratio_p === null) return note("Sample ratio: too few units to judge.");
  if (one.sample_ratio_mismatch) return problem(`Sample ratio: mismatch, p = ${one.sample_ratio_p.toPrecision(2)}: the arms are not cut as written; do not trust the comparison.`);
  return note(`Sample ratio: fine, p = ${one.sample_ratio_p.toPrecision(2)}.`);
}
