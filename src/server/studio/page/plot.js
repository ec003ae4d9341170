// Small drawings: intervals, bars, a scatter with its frontier, shares over a floor. Each says in words what it shows.

import { s } from "/studio/dom.js";
import { cents, micros, percent, short, usd } from "/studio/words.js";

/** The colour of each name, the same in every drawing of the page: the most used get the first colours. */
export function palette(names) {
  const map = new Map([...names].map((name, index) => [name, index < 8 ? `c${index}` : "c8"]));
  return (name) => map.get(name) ?? "c8";
}

const drawing = (width, height, label, ...children) =>
  s("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, children);

const words = (x, y, text, more = {}) => s("text", { x, y, ...more }, text);

/** Acceptance of each candidate with its interval, the floor, and what an accepted picture costs. */
export function intervals(explained, made = "", most = 9, width = 400) {
  const all = explained.candidates.filter((candidate) => candidate.expected.accept > 0);
  const rows = all.slice(0, most);
  if (!rows.length) return null;
  const [row, left, right] = [26, Math.min(190, width * 0.42), 92];
  const height = rows.length * row + 26;
  const x = (share) => left + share * (width - left - right);
  const lines = rows.map((candidate, index) => {
    const y = index * row + row / 2;
    const [low, high] = candidate.expected.accept_interval;
    const state = candidate.chosen ? "chosen" : candidate.reason?.code === "dearer" ? "able" : "out";
    const name = (candidate.steps ?? []).filter((step) => step.op !== "resize").map((step) => step.model ? short(step.model) : step.op).join(" → ");
    return s("g", { class: `interval ${state}` },
      s("title", null, `${name}: ${candidate.reason?.text ?? "chosen"}`),
      words(0, y + 4, clip(name, Math.floor((left - 8) / 6.1)), { class: candidate.model === made ? "name made" : "name" }),
      s("line", { x1: x(low), x2: x(high), y1: y, y2: y }),
      s("circle", { cx: x(candidate.expected.accept), cy: y, r: candidate.chosen ? 5.5 : 4 }),
      words(width, y + 4, usd(micros(candidate.expected.per_accepted_usd)), { class: "value", "text-anchor": "end" }));
  });
  const floor = x(explained.floor);
  const bottom = rows.length * row + 4;
  return drawing(width, height,
    `Expected acceptance of ${rows.length} plans, the floor at ${percent(explained.floor)}; chosen: ${rows.find((candidate) => candidate.chosen)?.model ?? "none"}`,
    [0, 0.25, 0.5, 0.75, 1].map((share) => [s("line", { class: "grid", x1: x(share), x2: x(share), y1: 0, y2: bottom }), words(x(share), height - 6, percent(share), { class: "tick", "text-anchor": "middle" })]),
    s("line", { class: "floor", x1: floor, x2: floor, y1: 0, y2: bottom }), lines,
    words(width, height - 6, "per accepted", { class: "tick", "text-anchor": "end" }));
}

const clip = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** A nice step so that about `ticks` of them reach `top`. */
function step(top, ticks) {
  const rough = top / ticks;
  const base = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * base).find((size) => size >= rough) ?? base * 10;
}

/** Stacked bars: `slots` of `{ at, label, parts: Map }`, `names` from the bottom, values in micro-dollars. */
export function bars(slots, names, colour, width = 860) {
  const [height, left, bottom, top] = [260, 56, 26, 10];
  const sums = slots.map((slot) => [...slot.parts.values()].reduce((sum, value) => sum + value, 0));
  const most = Math.max(1, ...sums);
  const tick = step(most, 4);
  const limit = Math.ceil(most / tick) * tick;
  const y = (value) => top + (1 - value / limit) * (height - top - bottom);
  const pitch = (width - left) / slots.length;
  const thick = Math.min(34, Math.max(1.5, pitch * 0.68));
  const every = Math.max(1, Math.ceil(slots.length / (width / 90)));
  const marks = [];
  for (let value = 0; value <= limit + 1; value += tick) {
    marks.push(s("line", { class: "grid", x1: left, x2: width, y1: y(value), y2: y(value) }), words(left - 8, y(value) + 4, money(value, tick), { class: "tick", "text-anchor": "end" }));
  }
  const columns = slots.map((slot, index) => {
    const at = left + index * pitch + (pitch - thick) / 2;
    let base = 0;
    const shapes = names.map((name) => {
      const value = slot.parts.get(name) ?? 0;
      if (!value) return null;
      const shape = s("rect", { class: colour(name), x: at, width: thick, y: y(base + value), height: Math.max(0.5, y(base) - y(base + value)) }, s("title", null, `${slot.label}, ${name}: ${usd(value)}`));
      base += value;
      return shape;
    });
    return [shapes, index % every === 0 ? words(at + thick / 2, height - 6, slot.label, { class: "tick", "text-anchor": "middle" }) : null];
  });
  return drawing(width, height, `Spend over ${slots.length} slots, ${usd(sums.reduce((a, b) => a + b, 0))} in all`, marks, columns);
}

const money = (value, tick) => (tick >= 1e6 ? `$${Math.round(value / 1e6).toLocaleString("en-US")}` : tick >= 10_000 ? cents(value) : usd(value));

/** Cost against expected acceptance, with intervals, the frontier, floors and traffic. */
export function scatter(explained, traffic, floors, colour, width = 860) {
  const points = explained.candidates
    .map((candidate) => ({ candidate, cost: micros(candidate.expected.cost_usd), accept: candidate.expected.accept, able: candidate.chosen || candidate.reason?.code === "dearer" }))
    .filter((point) => point.accept > 0 && (point.cost > 0 || point.able));
  const [height, left, bottom, top, right] = [360, 50, 40, 14, 18];
  const costs = points.map((point) => Math.max(point.cost, 200));
  const [low, high] = [Math.log10(Math.min(...costs, 5_000)) - 0.12, Math.log10(Math.max(...costs, 50_000)) + 0.12];
  const x = (cost) => left + ((Math.log10(Math.max(cost, 200)) - low) / (high - low)) * (width - left - right);
  const least = Math.max(0, Math.floor((Math.min(...points.map((point) => point.accept), ...floors.map((floor) => floor.quality)) - 0.08) * 10) / 10);
  const y = (share) => top + (1 - (Math.max(share, least) - least) / (1 - least)) * (height - top - bottom);
  const ticks = [500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000].filter((cost) => Math.log10(cost) >= low && Math.log10(cost) <= high);
  const frontier = [];
  for (const point of points.filter((point) => point.able).sort((a, b) => a.cost - b.cost || b.accept - a.accept)) {
    if (!frontier.length || point.accept > frontier.at(-1).accept + 1e-9) frontier.push(point);
  }
  const path = frontier.map((point, index) => `${index ? `H${x(point.cost)}V${y(point.accept)}` : `M${x(point.cost)} ${y(point.accept)}`}`).join("");
  const whole = [...traffic.values()].reduce((sum, value) => sum + value, 0) || 1;
  const placed = [];
  const rank = (point) => (traffic.get(point.candidate.model) ?? 0) + (frontier.includes(point) ? 0.5 : 0) + (point.able ? 0.1 : 0);
  const size = (point) => (point.candidate.steps.filter((one) => one.op !== "resize").length === 1 ? 4.5 + Math.sqrt((traffic.get(point.candidate.model) ?? 0) / whole) * 16 : 3);
  for (const point of points) placed.push([x(point.cost) - size(point), y(point.accept) + 4, x(point.cost) + size(point)]);
  const dots = points.sort((a, b) => rank(b) - rank(a)).map((point) => {
    const { candidate, cost, accept, able } = point;
    const plain = candidate.steps.filter((one) => one.op !== "resize").length === 1;
    const share = plain ? (traffic.get(candidate.model) ?? 0) / whole : 0;
    const radius = size(point);
    const [from, to] = candidate.expected.accept_interval;
    const at = [x(cost), y(accept)];
    const name = short(candidate.model);
    const wide = name.length * 6.3 + 6;
    const clear = ([px, py]) => !placed.some((box) => px < box[2] && px + wide > box[0] && Math.abs(py - box[1]) < 12);
    const spots = [[at[0] + radius + 5, at[1] + 4], [at[0] - radius - 5 - wide, at[1] + 4], ...[10, 24, 38].flatMap((away) => [[at[0] + 4, at[1] - radius - away], [at[0] - wide - 2, at[1] - radius - away], [at[0] + 4, at[1] + radius + away + 8], [at[0] - wide - 2, at[1] + radius + away + 8]])];
    const weighty = share > 0.02 || frontier.includes(point);
    const spot = plain && able && weighty ? spots.find((one) => one[0] > left && one[0] + wide < width - right && clear(one)) : null;
    if (spot) placed.push([spot[0], spot[1], spot[0] + wide]);
    return s("g", { class: `dot ${able ? "" : "out"} ${candidate.chosen ? "chosen" : ""}` },
      s("title", null, `${name}${plain ? "" : ` → ${candidate.steps.slice(1).map((one) => one.model ? short(one.model) : one.op).join(" → ")}`}: accepted ${percent(accept)} (${percent(from)} to ${percent(to)}), ${usd(cost)}${share ? `, ${percent(share)} of traffic` : ""}${candidate.reason ? `; ${candidate.reason.text}` : ""}`),
      weighty && plain ? s("line", { class: "whisker", x1: at[0], x2: at[0], y1: y(from), y2: y(to) }) : null,
      s("circle", { class: plain ? colour(candidate.model) : "minor", cx: at[0], cy: at[1], r: radius }),
      spot ? words(spot[0], spot[1], name, { class: "label" }) : null);
  });
  return drawing(width, height,
    `Cost against expected acceptance of ${points.length} plans for ${explained.task}. On the frontier, from cheap to dear: ${frontier.map((point) => `${short(point.candidate.model)} ${percent(point.accept)} for ${usd(point.cost)}`).join(", ")}`,
    [0, 0.2, 0.4, 0.6, 0.8, 1].filter((share) => share >= least).map((share) => [s("line", { class: "grid", x1: left, x2: width - right, y1: y(share), y2: y(share) }), words(left - 8, y(share) + 4, percent(share), { class: "tick", "text-anchor": "end" })]),
    ticks.map((cost) => words(x(cost), height - 20, usd(cost, 0), { class: "tick", "text-anchor": "middle" })),
    words(left + (width - left - right) / 2, height - 3, "expected cost of a picture", { class: "tick", "text-anchor": "middle" }),
    floors.map(({ name, quality }) => [s("line", { class: "floor", x1: left, x2: width - right, y1: y(quality), y2: y(quality) }), words(left + 6, y(quality) - 4, `${name} ${percent(quality)}`, { class: "tick" })]),
    s("path", { class: "frontier", d: path }), dots);
}

/** The share of each model over every floor, and the floor that is looked at. */
export function mix(points, names, colour, floor, width = 860) {
  const [height, left, bottom, top] = [220, 50, 34, 8];
  const x = (value) => left + ((value - points[0].floor) / (points.at(-1).floor - points[0].floor)) * (width - left - 8);
  const y = (share) => top + (1 - share) * (height - top - bottom);
  const base = points.map(() => 0);
  const areas = names.map((name) => {
    const upper = points.map((point, index) => base[index] + (point.mix.find((part) => part.model === name)?.share ?? 0));
    const line = [...points.map((point, index) => `${x(point.floor)} ${y(upper[index])}`), ...points.map((point, index) => `${x(point.floor)} ${y(base[index])}`).reverse()];
    upper.forEach((value, index) => { base[index] = value; });
    return s("path", { class: colour(name), d: `M${line.join("L")}Z` }, s("title", null, short(name)));
  });
  return drawing(width, height, `Which models would be bought at each floor: ${names.map(short).join(", ")}`,
    [0, 0.5, 1].map((share) => [s("line", { class: "grid", x1: left, x2: width - 8, y1: y(share), y2: y(share) }), words(left - 8, y(share) + 4, percent(share), { class: "tick", "text-anchor": "end" })]),
    areas,
    [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9].map((value) => words(x(value), height - 16, percent(value), { class: "tick", "text-anchor": "middle" })),
    words(left + (width - left) / 2, height - 2, "floor", { class: "tick", "text-anchor": "middle" }),
    s("line", { class: "cursor", x1: x(floor), x2: x(floor), y1: top - 4, y2: height - bottom }),
    s("circle", { class: "cursor", cx: x(floor), cy: top - 2, r: 4 }));
}

/** A distance as it is written: never below zero. */
const far = (number) => (number <= 0 ? "0" : number >= 100 ? number.toFixed(0) : number >= 1 ? number.toFixed(1) : number.toFixed(3));

/** Ticks from zero that cover `most`. */
function upTo(most, ticks) {
  const size = step(Math.max(most, 1e-9), ticks);
  return Array.from({ length: Math.ceil(most / size - 1e-9) + 1 }, (_, index) => index * size);
}

/** Distances with their intervals: the extrapolated one hollow, the one of the windows as they are filled. */
export function distances(samples, named, width = 860) {
  const [row, right] = [26, 16];
  const left = Math.min(200, width * 0.4);
  const ticks = upTo(Math.max(...samples.flatMap(({ found }) => [found.high, found.distance, 1e-6])), 4);
  const x = (value) => left + (Math.max(0, value) / ticks.at(-1)) * (width - left - right);
  const bottom = samples.length * row + 4;
  return drawing(width, bottom + 24,
    `Distances of new pictures from accepted ones: ${samples.map((sample) => `${named(sample)} ${far(sample.found.extrapolated)}, from ${far(sample.found.low)} to ${far(sample.found.high)}`).join("; ")}`,
    ticks.map((value) => [s("line", { class: "grid", x1: x(value), x2: x(value), y1: 0, y2: bottom }), words(x(value), bottom + 18, far(value), { class: "tick", "text-anchor": "middle" })]),
    samples.map((sample, index) => {
      const [y, { found }] = [index * row + row / 2, sample];
      return s("g", { class: `interval gap ${found.small ? "weak" : ""}` },
        s("title", null, `${named(sample)}: FID∞ ${far(found.extrapolated)} (${far(found.low)} to ${far(found.high)}), FID ${far(found.distance)}`),
        words(0, y + 4, clip(named(sample), Math.floor((left - 8) / 6.1)), { class: "name" }),
        s("line", { x1: x(found.low), x2: x(found.high), y1: y, y2: y }),
        s("circle", { class: "plain", cx: x(found.distance), cy: y, r: 3.5 }),
        s("circle", { class: "hollow", cx: x(found.extrapolated), cy: y, r: 5 }));
    }));
}

/** The distance over the number of pictures, drawn so that infinitely many stand at the left edge of a straight line. */
export function shrinking(found, width = 860) {
  const [height, left, bottom, top, right] = [220, 50, 40, 14, 20];
  const points = [...found.curve].sort((a, b) => b.pictures - a.pictures);
  const ticks = upTo(Math.max(found.high, found.distance, ...points.map((point) => point.distance), 1e-6), 4);
  const least = 1 / points.at(-1).pictures;
  const x = (share) => left + 24 + (share / (least * 1.06)) * (width - left - right - 24);
  const y = (value) => top + (1 - Math.max(0, value) / ticks.at(-1)) * (height - top - bottom);
  const mean = (of) => points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const middle = mean((point) => 1 / point.pictures);
  const end = found.extrapolated + ((mean((point) => point.distance) - found.extrapolated) / middle) * least;
  return drawing(width, height,
    `The distance falls from ${far(points.at(-1).distance)} with ${points.at(-1).pictures} pictures to ${far(points[0].distance)} with ${points[0].pictures}, and to ${far(found.extrapolated)} with infinitely many (${far(found.low)} to ${far(found.high)})`,
    ticks.map((value) => [s("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }), words(left - 8, y(value) + 4, far(value), { class: "tick", "text-anchor": "end" })]),
    [["∞", 0], ...points.map((point) => [String(point.pictures), 1 / point.pictures])].map(([text, share]) => words(x(share), height - 20, text, { class: "tick", "text-anchor": "middle" })),
    words(left + (width - left - right) / 2, height - 3, "pictures in each window", { class: "tick", "text-anchor": "middle" }),
    s("line", { class: "fit", x1: x(0), y1: y(found.extrapolated), x2: x(least), y2: y(end) }),
    s("g", { class: "interval gap" },
      s("line", { x1: x(0), x2: x(0), y1: y(found.low), y2: y(found.high) }),
      points.map((point) => s("circle", { class: "plain", cx: x(1 / point.pictures), cy: y(point.distance), r: 4 }, s("title", null, `${point.pictures} pictures: ${far(point.distance)}`))),
      s("circle", { class: "hollow", cx: x(0), cy: y(found.extrapolated), r: 5.5 }),
      words(x(0) + 12, y(found.extrapolated) - 10, `FID∞ ${far(found.extrapolated)}`, { class: "label" })));
}
