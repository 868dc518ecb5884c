// What `lz tune` has measured: the time of each kernel over one field of the shape, the others held.

import { address, choice, get, h, note, spell, table } from "./dom.js";
import { lines, swatch } from "./plot.js";

export async function show(view, params) {
  const asked = Object.fromEntries(params);
  const found = await get("/api/measurements", { database: asked.database, operation: asked.operation });
  if (!found.databases.length) {
    view.append(note("No database of measurements: ", h("code", {}, "lz tune"), " makes one, and ", h("code", {}, "lz dashboard --measurements FILE"), " shows it."));
    return null;
  }
  const go = (name, keep) => (value) => {
    const kept = Object.fromEntries(Object.entries(asked).filter(([word]) => keep.includes(word)));
    location.hash = address("measurements", { ...kept, [name]: value }).slice(1);
  };
  const machine = Number(asked.machine ?? found.points[0]?.machine ?? 0);
  const points = found.points.filter((one) => one.machine === machine);
  const fields = varying(points);
  const x = fields.find((one) => one.name === asked.x) ?? best(fields);
  const held = fields.filter((one) => one !== x);
  const at = {};
  let kept = points;
  for (const one of held) { // from the first field on, what the others leave possible
    const possible = one.values.filter((value) => kept.some((point) => point.context[one.name] === value));
    at[one.name] = possible.find((value) => JSON.stringify(value ?? null) === asked[`at.${one.name}`]) ?? possible[0];
    one.possible = possible;
    kept = kept.filter((point) => point.context[one.name] === at[one.name]);
  }
  const all = Object.keys(asked);
  view.append(h("form", { class: "bar", "aria-label": "what is shown", onsubmit: (event) => event.preventDefault() },
    found.databases.length > 1 && choice("database", found.databases.map((one) => [one, one]), found.database, go("database", [])),
    choice("machine", found.machines.map((one, place) => [String(place), called(one)]), String(machine), go("machine", ["database", "operation"])),
    choice("operation", found.operations.map((one) => [one, one]), found.operation, go("operation", ["database", "machine"])),
    fields.length > 0 && choice("over", fields.map((one) => [one.name, one.name]), x?.name, go("x", ["database", "machine", "operation"])),
    held.map((one) => choice(one.name, one.possible.map((value) => [JSON.stringify(value ?? null), spell(value)]), JSON.stringify(at[one.name] ?? null), go(`at.${one.name}`, all)))));
  const box = h("section", { "aria-label": "times" });
  view.append(box);
  const draw = () => box.replaceChildren(...drawn(kept, x, points));
  draw();
  return async (same) => { if (same) draw(); };
}

const called = (one) => `${one.device.device_name ?? one.device.device ?? "machine"}${one.versions.torch ? `, torch ${one.versions.torch}` : ""}`;

function varying(points) {
  const names = [...new Set(points.flatMap((one) => Object.keys(one.context)))].sort();
  return names.map((name) => ({ name, values: [...new Set(points.map((one) => one.context[name]))].sort((a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a) < String(b) ? -1 : 1)) })).filter((one) => one.values.length > 1);
}

function drawn(kept, x, points) {
  if (!kept.length) return [note("Nothing was measured there.")];
  const value = (one) => (x ? one.context[x.name] : "");
  const xs = x ? x.values.filter((each) => kept.some((one) => value(one) === each)) : [""];
  const kernels = [...new Set(kept.map((one) => one.kernel))];
  const found = kernels.map((name) => ({ name, points: kept.filter((one) => one.kernel === name).sort((a, b) => xs.indexOf(value(a)) - xs.indexOf(value(b))).map((one) => ({ x: value(one), y: one.median_us, spread: one.spread_us, error: one.error })) }));
  found.sort((a, b) => mean(a) - mean(b));
  const rows = xs.map((each) => {
    const times = found.map((one) => one.points.find((point) => point.x === each));
    const best = Math.min(...times.filter((one) => one?.y).map((one) => one.y));
    return [h("strong", {}, spell(each)), ...times.map((one) => !one ? "" : one.y ? h("span", { class: one.y === best ? "good best" : "", title: `quartiles ${((one.spread ?? 0)).toPrecision(3)} µs apart` }, one.y.toPrecision(4)) : h("span", { class: "bad", title: one.error ?? "" }, "failed"))];
  });
  const same = points[0] ? Object.entries(points[0].context).filter(([name]) => points.every((one) => one.context[name] === points[0].context[name])) : [];
  const failures = kept.filter((one) => one.error);
  return [
    lines(found, xs, x?.name ?? "one shape", "time in µs"),
    h("ul", { class: "legend" }, found.map((one) => h("li", {}, swatch(one.name), one.name))),
    note("Median time of a call in µs, with the distance of the quartiles. ", same.length ? `The same at all points: ${same.map(([name, each]) => `${name}=${spell(each)}`).join(" ")}.` : ""),
    table("times in microseconds", [x?.name ?? "", ...found.map((one) => [one.name, "number"])], rows),
    failures.length ? h("details", { id: "failures" }, h("summary", {}, `${failures.length} failed`), h("ul", {}, failures.slice(0, 50).map((one) => h("li", {}, h("strong", {}, one.kernel), x ? ` at ${x.name}=${spell(value(one))}: ` : ": ", one.error)))) : "",
  ].filter((one) => one !== "");
}

// The field with most values that are numbers.
const best = (fields) => fields.filter((one) => one.values.every((value) => typeof value === "number")).sort((a, b) => b.values.length - a.values.length)[0] ?? fields[0];

const mean = (one) => {
  const logs = one.points.filter((point) => point.y).map((point) => Math.log(point.y));
  return logs.length ? logs.reduce((a, b) => a + b, 0) / logs.length : Infinity;
};
