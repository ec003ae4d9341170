// Spend: where the money went, what an accepted picture costs, and what always buying the best would have cost.

import { h, put, segments } from "/studio/dom.js";
import { live, read } from "/studio/gateway.js";
import { bars, palette } from "/studio/plot.js";
import { cents, count, percent, short, usd } from "/studio/words.js";

const SPANS = [["1", "24 hours"], ["7", "7 days"], ["30", "30 days"], ["90", "90 days"]];
const WAYS = [["model", "Model"], ["task", "Task"], ["project", "Project"]];
const blank = () => ({ settled: 0, ambiguous: 0, generations: 0, images: 0, expected: 0, judged: 0, accepted: 0 });
const FIELDS = Object.keys(blank());

/** Sums of rows by what `name` says of each. */
export function grouped(rows, name) {
  const groups = new Map();
  for (const row of rows) {
    const held = groups.get(name(row)) ?? blank();
    for (const field of FIELDS) held[field] += row[field];
    groups.set(name(row), held);
  }
  return groups;
}

/** What the best model of each task would have cost for as many accepted pictures as the planner expected. */
export function baseline(rows, best) {
  let sum = 0;
  for (const [task, made] of grouped(rows, (row) => row.task)) {
    const top = best.find((one) => one.task === task);
    if (top?.accept > 0) sum += (made.expected / top.accept) * top.micros;
  }
  return Math.round(sum);
}

export function spend(room, about) {
  let days = "7";
  let way = "model";
  let held = null;
  const tiles = h("div", { class: "figures" });
  const chart = h("div", { class: "card" });
  const table = h("div", { class: "card scroll", tabindex: "0", role: "region", "aria-label": "Spend in a table" });
  const budgets = h("div", { class: "slot" });
  const wide = new ResizeObserver(() => held && draw(held));

  async function load(force) {
    const { data, same } = await read(`/studio/api/spend?days=${days}`);
    if (same && !force && held) return;
    held = data;
    draw(data);
  }

  function draw(data) {
    const all = grouped(data.sums, () => "all").get("all") ?? blank();
    const best = baseline(data.sums, about.best);
    const perAccepted = all.accepted ? all.settled / all.accepted : NaN;
    const saved = best - all.settled;
    put(tiles,
      figure("Spent", cents(all.settled), all.ambiguous ? `and ${cents(all.ambiguous)} in doubt` : "nothing in doubt", { micros: all.settled }),
      figure("Pictures", all.images.toLocaleString("en-US"), count(all.generations, "request")),
      figure("Accepted", all.judged ? percent(all.accepted / all.judged) : "–", all.judged ? `${all.accepted} of ${all.judged} judged` : "nothing judged yet"),
      figure("Per accepted picture", all.accepted ? usd(perAccepted) : "–", all.accepted ? "every call, by every accepted picture" : "accept some to know"),
      figure("Saved", all.images ? cents(saved) : "–", all.images ? `against always the best model: ${cents(best)}` : "", { title: savedWords() }));
    const name = (row) => row[way] || (way === "project" ? "no project" : "–");
    const groups = [...grouped(data.sums, name)].sort((a, b) => b[1].settled - a[1].settled || b[1].images - a[1].images);
    const colour = palette(groups.map(([key]) => key));
    const slots = [];
    for (let at = data.since; at < data.until; at += data.slot_ms) slots.push({ at, label: label(at, data.slot_ms), parts: new Map() });
    for (const row of data.sums) {
      const slot = slots[Math.round((row.at - data.since) / data.slot_ms)];
      if (slot && row.settled) slot.parts.set(name(row), (slot.parts.get(name(row)) ?? 0) + row.settled);
    }
    const names = groups.filter(([, sum]) => sum.settled).map(([key]) => key);
    const title = h("h2", null, data.slot_ms < 86_400_000 ? "By hour" : "By day", h("small", null, "UTC"));
    put(chart, title,
      names.length ? bars(slots, names, colour, Math.max(320, chart.clientWidth - 40)) : h("p", { class: "empty" }, "Nothing was spent in this time."),
      h("ul", { class: "legend" }, names.slice(0, 9).map((key) => h("li", null, h("i", { class: colour(key) }), way === "model" ? short(key) : key))));
    put(table, rows(groups, all.settled));
    put(budgets, data.budgets.length ? budgetsOf(data.budgets) : null);
  }

  const savedWords = () => `For each task, the pictures that the planner expected to be accepted, bought from the model most likely to please: ${about.best.map((best) => `${best.task} ${short(best.model)} at ${usd(best.micros)}`).join(", ")}.`;

  function rows(groups, whole) {
    const head = [WAYS.find(([key]) => key === way)[1], "Spent", "Share", "Pictures", "Judged", "Accepted", "Per accepted"];
    return h("table", null,
      h("caption", { class: "unseen" }, `Spend by ${way}`),
      h("thead", null, h("tr", null, head.map((text, index) => h("th", { scope: "col", class: index ? "number" : "" }, text)))),
      h("tbody", null, groups.map(([key, sum]) => h("tr", null,
        h("th", { scope: "row" }, key),
        h("td", { class: "number", data: { micros: sum.settled } }, usd(sum.settled)),
        h("td", { class: "number" }, whole ? percent(sum.settled / whole) : "–"),
        h("td", { class: "number" }, sum.images.toLocaleString("en-US")),
        h("td", { class: "number" }, sum.judged.toLocaleString("en-US")),
        h("td", { class: "number" }, sum.judged ? percent(sum.accepted / sum.judged) : "–"),
        h("td", { class: "number" }, sum.accepted ? usd(sum.settled / sum.accepted) : "–")))));
  }

  put(room,
    h("div", { class: "title" }, h("h1", null, "Spend"),
      h("div", { class: "pair wrap" },
        segments("Time", SPANS, days, (value) => { days = value; load(true); }),
        segments("By", WAYS, way, (value) => { way = value; if (held) draw(held); }))),
    tiles, chart, budgets, table,
    h("p", { class: "muted note" }, savedWords()));
  wide.observe(chart);
  load(true).catch((error) => error.status !== 401 && put(chart, h("p", { class: "empty" }, error.message)));
  const stop = live(3000, () => load(false));
  return () => { stop(); wide.disconnect(); };
}

function figure(name, value, note, { micros, title } = {}) {
  return h("div", { class: "figure", title }, h("span", { class: "name" }, name), h("strong", { data: micros === undefined ? {} : { micros } }, value), h("small", null, note));
}

function label(at, slot) {
  const day = new Date(at);
  if (slot < 86_400_000) return `${String(day.getUTCHours()).padStart(2, "0")}:00`;
  return day.toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
}

/** Each budget: what is spent, held and in doubt of its cap, and where the period will end at this pace. */
function budgetsOf(budgets) {
  return h("div", { class: "card" }, h("h2", null, "Budgets"), h("ul", { class: "budgets" }, budgets.map((budget) => {
    const used = budget.settled + budget.reserved + budget.ambiguous;
    const over = budget.forecast !== null && budget.forecast > budget.cap;
    const bar = h("div", { class: `gauge ${over ? "over" : ""}`, role: "img", "aria-label": `${percent(used / budget.cap)} used` }, h("i"), budget.forecast === null ? null : h("b"));
    bar.style.setProperty("--used", Math.min(1, used / budget.cap));
    bar.style.setProperty("--forecast", Math.min(1, (budget.forecast ?? 0) / budget.cap));
    return h("li", null,
      h("div", { class: "row" }, h("strong", null, budget.name), h("span", null, `${cents(used)} of ${cents(budget.cap)} a ${budget.period}`)), bar,
      h("small", { class: over ? "bad" : "muted" }, budget.forecast === null ? "" : over ? `At this pace ${cents(budget.forecast)}: it will be exhausted${budget.exhausted_at ? ` around ${new Date(budget.exhausted_at).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" })}` : ""}.` : `At this pace ${cents(budget.forecast)} by the end.`));
  })));
}
