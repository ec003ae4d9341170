// Planner: what quality costs for a task, how sure that is, where traffic goes, and what another floor would do.

import { h, put, segments } from "/studio/dom.js";
import { live, plan, read } from "/studio/gateway.js";
import { intervals, mix, palette, scatter } from "/studio/plot.js";
import { grouped } from "/studio/spend.js";
import { count, percent, short, usd } from "/studio/words.js";

export function planner(room, about) {
  let task = new URLSearchParams(location.hash.split("?")[1] ?? "").get("task") ?? about.tasks.find((one) => one.name === "concept")?.name ?? about.tasks[0]?.name;
  let floor = about.quality;
  let held = null;
  const market = h("div", { class: "card" });
  const belief = h("div", { class: "card belief" });
  const whatIf = h("div", { class: "card" });
  const wide = new ResizeObserver(() => held && draw());

  async function load() {
    const [explained, spent, curve] = await Promise.all([
      plan({ prompt: "a picture", task, quality: 0 }),
      read("/studio/api/spend?days=30"),
      read(`/studio/api/whatif?task=${encodeURIComponent(task)}`),
    ]);
    const traffic = new Map([...grouped(spent.data.sums.filter((row) => row.task === task && row.images), (row) => row.model)].map(([model, sum]) => [model, sum.images]));
    const next = { explained, traffic, curve: curve.data };
    const print = JSON.stringify([explained.candidates, [...traffic], curve.data]);
    if (held?.print === print) return;
    held = { ...next, print };
    draw();
  }

  function draw() {
    const { explained, traffic, curve } = held;
    const images = [...traffic.values()].reduce((sum, value) => sum + value, 0);
    const weight = new Map([...traffic].map(([model, number]) => [model, number / images]));
    for (const point of curve.points) for (const part of point.mix) weight.set(part.model, (weight.get(part.model) ?? 0) + part.share / 20);
    const models = [...weight].sort((a, b) => b[1] - a[1]).map(([model]) => model);
    const colour = palette(models);
    const width = Math.max(320, market.clientWidth - 40);
    put(market, h("h2", null, "What quality costs", h("small", null, `one picture of 1024×1024 for ${task}`)),
      scatter(explained, traffic, about.tiers, colour, width),
      h("p", { class: "muted" }, images ? `Large dots carry traffic: ${count(images, "picture")} in 30 days. ` : "No traffic for this task in 30 days. ", "The line is the frontier: nothing that may run is both cheaper and better. Hollow dots may not run now; point at one for the reason."));
    const single = explained.candidates.filter((candidate) => candidate.steps.filter((step) => step.op !== "resize").length === 1);
    const shown = { ...explained, floor, candidates: single.sort((a, b) => b.expected.accept - a.expected.accept).map((candidate) => ({ ...candidate, chosen: false, reason: candidate.expected.accept_interval[0] >= floor ? { code: "dearer", text: "meets the floor" } : { code: "floor", text: "below the floor" } })) };
    const verdicts = new Map(single.map((candidate) => [candidate.model, candidate.verdicts]));
    put(belief, h("h2", null, "How sure the planner is", h("small", null, "acceptance, 90 % interval")),
      intervals(shown, "", 16, Math.min(width, 760)),
      h("p", { class: "muted" }, [...verdicts.values()].some((number) => number > 0) ? `Verdicts behind it: ${[...verdicts].filter(([, number]) => number >= 0.5).map(([model, number]) => `${short(model)} ${Math.round(number)}`).join(", ")}.` : "No verdicts yet: these are the policy's estimates."));
    drawWhatIf(curve, colour);
  }

  function drawWhatIf(curve, colour) {
    const slider = h("input", { type: "range", min: "20", max: "95", step: "1", value: String(Math.round(floor * 100)), "aria-label": "Floor in percent", oninput: (event) => { floor = Number(event.target.value) / 100; tell(); } });
    const told = h("div", { class: "figures small" });
    const area = h("div", null);
    const sums = new Map();
    for (const point of curve.points) for (const part of point.mix) sums.set(part.model, (sums.get(part.model) ?? 0) + part.share);
    const names = [...sums].sort((a, b) => b[1] - a[1]).map(([model]) => model);
    function tell() {
      const here = curve.points.find((point) => Math.abs(point.floor - floor) < 0.005) ?? curve.points[0];
      const now = curve.points.find((point) => Math.abs(point.floor - about.quality) < 0.005);
      const change = (mine, base) => (!now || !base || here === now ? "" : mine === base ? "as now" : `${mine > base ? "+" : "−"}${percent(Math.abs(mine / base - 1))} against now`);
      const figure = (name, value, note) => h("div", { class: "figure" }, h("span", { class: "name" }, name), h("strong", null, value), h("small", null, note));
      put(told,
        figure("Floor", percent(floor), floor === about.quality ? `the default${about.tier ? `, ${about.tier}` : ""}` : about.tiers.find((tier) => Math.abs(tier.quality - floor) < 0.001)?.name ?? ""),
        figure("A picture", here.met ? usd(here.micros) : "–", change(here.micros, now?.micros)),
        figure("Accepted", here.met ? percent(here.accept) : "–", change(here.accept, now?.accept)),
        figure("Per accepted", here.met ? usd(here.per_accepted_micros) : "–", here.met ? change(here.per_accepted_micros, now?.per_accepted_micros) || "looks included" : ""),
        figure("Requests met", percent(here.met), here.met < 0.995 ? "the others would be refused" : "all of them"));
      slider.setAttribute("aria-valuetext", `${percent(floor)}: ${usd(here.micros)} a picture, ${percent(here.accept)} accepted`);
      put(area, mix(curve.points, names, colour, floor, Math.max(320, market.clientWidth - 40)));
    }
    put(whatIf, h("h2", null, "What if the floor were…", h("small", null, curve.requests ? `the last ${count(curve.requests, "request")} for ${task}, planned again` : `one usual request for ${task}; none was made yet`)),
      slider, told, area,
      h("ul", { class: "legend" }, names.slice(0, 9).map((name) => h("li", null, h("i", { class: colour(name) }), short(name)))));
    tell();
  }

  const fail = (error) => error.status !== 401 && put(market, h("p", { class: "empty" }, error.message));
  put(room,
    h("div", { class: "title" }, h("h1", null, "Planner"),
      segments("Task", about.tasks.map((one) => [one.name, one.name]), task, (value) => {
        task = value;
        history.replaceState(null, "", `#/planner?task=${encodeURIComponent(value)}`);
        load().catch(fail);
      })),
    market, whatIf, belief);
  wide.observe(market);
  load().catch(fail);
  const sliding = () => document.activeElement?.matches("input[type=range]");
  const stop = live(5000, async () => { if (!sliding()) await load(); });
  return () => { stop(); wide.disconnect(); };
}
