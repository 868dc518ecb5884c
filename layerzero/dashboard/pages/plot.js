// Numbers -> SVG: calls over time as stacked columns, times over a shape as lines, values with their intervals.

import { clock, count, h, s, short } from "./dom.js";

const PLACE = { left: 46, right: 10, top: 10, bottom: 24 };
const COLOURS = 9, LEAST = 4; // pixels of a column
const known = new Map(); // a name keeps its colour while the page is open

export function colour(name) {
  if (name === "(other)") return "c-other";
  if (!known.has(name)) known.set(name, known.size % COLOURS);
  return `c${known.get(name)}`;
}

export const swatch = (name) => s("svg", { class: `swatch ${colour(name)}`, viewBox: "0 0 10 10", "aria-hidden": "true" }, s("rect", { width: 10, height: 10, rx: 2 }));

const width = () => Math.max(300, Math.min(1160, document.getElementById("content").clientWidth - 40));

// ---------------------------------------------------------------- calls over time

export function columns(given, named = (name) => name) {
  const [wide, high] = [width(), 190];
  const inner = { w: wide - PLACE.left - PLACE.right, h: high - PLACE.top - PLACE.bottom };
  const timeline = merged(given, Math.ceil((given.length * LEAST) / inner.w));
  const per = timeline.width;
  const sums = Array.from({ length: timeline.length }, (_, at) => timeline.series.reduce((sum, one) => sum + one.values[at], 0));
  const top = nice(Math.max(...sums, 1));
  const x = (at) => PLACE.left + (at / timeline.length) * inner.w;
  const y = (value) => PLACE.top + inner.h - (value / top) * inner.h;
  const bars = sums.map((sum, at) => {
    if (!sum) return null;
    let below = 0;
    const parts = timeline.series.filter((one) => one.values[at]).map((one) => {
      const [from, to] = [below, (below += one.values[at])];
      return s("rect", { class: colour(one.name), x: x(at) + 0.4, width: Math.max(inner.w / timeline.length - 0.8, 0.6), y: y(to), height: Math.max(y(from) - y(to), 0.6) });
    });
    const lines = timeline.series.filter((one) => one.values[at]).map((one) => `${named(one.name)}: ${count(one.values[at])}`);
    return s("g", {}, s("title", {}, [clock(timeline.start + at * per), ...lines].join("\n")), parts);
  });
  const total = sums.reduce((sum, one) => sum + one, 0);
  const label = `${count(total)} calls from ${clock(timeline.start)} on: ${timeline.series.map((one) => `${named(one.name)} ${count(one.values.reduce((a, b) => a + b, 0))}`).join(", ")}`;
  const ticks = Math.max(2, Math.floor(inner.w / 130));
  return s("svg", { class: "plot", role: "img", "aria-label": label, viewBox: `0 0 ${wide} ${high}`, width: wide, height: high },
    s("text", { class: "tick", x: wide - PLACE.right, y: PLACE.top - 1, "text-anchor": "end" }, `calls in ${per < 60 ? `${per} s` : `${per / 60} min`}`),
    [0, 0.5, 1].map((part) => rule(PLACE.left, wide - PLACE.right, y(top * part), short(top * part))),
    bars,
    Array.from({ length: ticks + 1 }, (_, tick) => {
      const at = (tick / ticks) * timeline.length;
      return s("text", { class: "tick", x: x(at), y: high - 6, "text-anchor": tick === 0 ? "start" : tick === ticks ? "end" : "middle" }, shortClock(timeline.start + at * per, per));
    }));
}

// Neighbouring buckets as one, so that a column can be seen on a narrow page.
function merged(timeline, each) {
  if (each < 2) return timeline;
  const length = Math.ceil(timeline.length / each);
  const sum = (values, at) => values.slice(at * each, (at + 1) * each).reduce((a, b) => a + b, 0);
  const series = timeline.series.map((one) => ({ ...one, values: Array.from({ length }, (_, at) => sum(one.values, at)) }));
  return { ...timeline, length, width: timeline.width * each, series };
}

const shortClock = (seconds, per) => {
  const words = clock(seconds);
  return per >= 1800 ? words.replace(/:\d\d$/, "").replace(/^\d{4}-/, "") : words.slice(-8).replace(/:\d\d$/, per < 60 ? (all) => all : "");
};

export function legend(timeline, named = (name) => name) {
  const sum = (one) => one.values.reduce((a, b) => a + b, 0);
  return h("ul", { class: "legend" }, timeline.series.map((one) => h("li", {}, swatch(one.name), named(one.name), h("span", { class: "quiet" }, ` ${count(sum(one))}`))));
}

function nice(value) {
  const step = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((one) => one * step).find((one) => one >= value);
}

const rule = (from, to, y, words) => s("g", {}, s("line", { class: "rule", x1: from, x2: to, y1: y, y2: y }), s("text", { class: "tick", x: from - 6, y: y + 4, "text-anchor": "end" }, words));

// ---------------------------------------------------------------- times over a shape

// `lines`: [{name, points: [{x, y, spread, failed}]}], both axes logarithmic; `xs` are the values of the shape.
export function lines(lines, xs, xName, yName) {
  const [wide, high] = [width(), 300];
  const inner = { w: wide - PLACE.left - PLACE.right - 24, h: high - PLACE.top - PLACE.bottom - 14 };
  const numeric = xs.every((one) => typeof one === "number" && one > 0);
  const ys = lines.flatMap((one) => one.points).map((one) => one.y).filter((one) => one > 0);
  const [low, top] = ys.length ? [Math.min(...ys) / 1.25, Math.max(...ys) * 1.25] : [1, 10];
  const [first, last] = [Math.log(xs[0]), Math.log(xs[xs.length - 1])];
  const x = (value) => PLACE.left + 8 + inner.w * (xs.length < 2 ? 0.5 : numeric ? (Math.log(value) - first) / (last - first) : xs.indexOf(value) / (xs.length - 1));
  const y = (value) => PLACE.top + inner.h * (1 - Math.log(value / low) / Math.log(top / low));
  const marks = decades(low, top);
  let free = -Infinity;
  return s("svg", { class: "plot", role: "img", "aria-label": `${yName} over ${xName}, ${lines.length} kernels; the table below has the numbers`, viewBox: `0 0 ${wide} ${high}`, width: wide, height: high },
    marks.map((mark) => rule(PLACE.left, wide - PLACE.right, y(mark), short(mark))),
    xs.map((value) => {
      const words = String(value).length > 12 ? `${String(value).slice(0, 11)}…` : short2(value);
      const at = x(value);
      const shown = at - words.length * 3.4 > free;
      if (shown) free = at + words.length * 3.4 + 6;
      return shown && s("text", { class: "tick", x: at, y: high - 20, "text-anchor": "middle" }, words);
    }),
    s("text", { class: "tick name", x: PLACE.left + inner.w / 2, y: high - 4, "text-anchor": "middle" }, xName),
    lines.map((one) => {
      const ran = one.points.filter((point) => point.y > 0);
      return s("g", { class: `series ${colour(one.name)}` },
        s("polyline", { points: ran.map((point) => `${x(point.x)},${y(point.y)}`).join(" ") }),
        ran.map((point) => s("g", {}, s("title", {}, `${one.name} at ${xName} = ${point.x}: ${point.y.toPrecision(4)} µs`),
          point.spread ? s("line", { class: "spread", x1: x(point.x), x2: x(point.x), y1: y(Math.max(point.y - point.spread / 2, low)), y2: y(Math.min(point.y + point.spread / 2, top)) }) : null,
          s("circle", { cx: x(point.x), cy: y(point.y), r: 3.2 }))));
    }));
}

const short2 = (value) => (typeof value === "number" && value >= 1024 && value % 1024 === 0 ? `${value / 1024}Ki` : String(value));

function decades(low, top) {
  const steps = top / low > 1000 ? [1] : top / low > 8 ? [1, 3] : [1, 1.5, 2, 3, 5, 7];
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(top); power++)
    for (const step of steps) if (step * 10 ** power >= low && step * 10 ** power <= top) found.push(step * 10 ** power);
  return found.length ? found : [low * 1.1];
}

// ---------------------------------------------------------------- values with intervals

// `rows`: [{name, value, low, high}] on one scale; an end that is not known is left open.
export function intervals(rows, unit, bound) {
  const wide = 260, each = 22, left = 4;
  const ends = rows.flatMap((one) => [one.low ?? one.value, one.high ?? one.value]).concat(bound ?? []);
  const [low, top] = [Math.min(...ends), Math.max(...ends)];
  const x = (value) => left + ((value - low) / (top - low || 1)) * (wide - 2 * left);
  const text = (one) => `${one.name}: ${one.value.toPrecision(3)} ${unit}, ${one.low === null ? "" : one.low.toPrecision(3)} to ${one.high === null ? "" : one.high.toPrecision(3)}`;
  return s("svg", { class: "intervals", role: "img", "aria-label": rows.map(text).join("; "), viewBox: `0 0 ${wide} ${rows.length * each}`, width: wide, height: rows.length * each },
    bound === undefined ? null : s("line", { class: "bound", x1: x(bound), x2: x(bound), y1: 0, y2: rows.length * each }),
    rows.map((one, place) => {
      const y = place * each + each / 2;
      return s("g", { class: `series ${colour(one.name)}` }, s("title", {}, text(one)),
        s("line", { class: "span", x1: x(one.low ?? one.value), x2: x(one.high ?? one.value), y1: y, y2: y }),
        s("circle", { cx: x(one.value), cy: y, r: 4 }));
    }));
}
