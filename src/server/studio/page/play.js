// Play: a prompt, the plans for it as it is typed, and the pictures as they arrive.

import { choice, h, put, rested, say } from "/studio/dom.js";
import { generate, judge, plan } from "/studio/gateway.js";
import { intervals } from "/studio/plot.js";
import { count, micros, plain, secs, short, steps, usd, why } from "/studio/words.js";

const SIZES = [["512x512", "512 × 512"], ["1024x1024", "1024 × 1024"], ["1344x768", "1344 × 768, wide"], ["768x1344", "768 × 1344, tall"], ["2048x2048", "2048 × 2048"]];
const kept = { prompt: "", task: "", size: "1024x1024", quality: "", n: "1", project: "", model: "auto" };

export function play(room, about, rater) {
  const plans = h("div", { class: "card plans" });
  const results = h("div", { class: "results", "aria-live": "polite" });
  const cost = h("span", { class: "muted" });
  const go = h("button", { class: "primary", type: "submit" }, "Generate", h("kbd", null, "Ctrl ⏎"));
  const prompt = h("textarea", { id: "prompt", rows: "4", maxlength: "10000", placeholder: "A brass telescope on a balcony at dusk, editorial photograph", value: kept.prompt, dir: "auto",
    oninput: () => { kept.prompt = prompt.value; replan(); },
    onkeydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); make(); } } });
  let asking = null;

  function ask() {
    const body = { prompt: kept.prompt, size: kept.size, n: Number(kept.n) };
    if (kept.task) body.task = kept.task;
    if (kept.quality) body.quality = kept.quality;
    if (kept.model !== "auto") body.model = kept.model;
    if (kept.project) body.metadata = { project: kept.project };
    return body;
  }

  const replan = rested(220, async () => {
    asking?.abort();
    if (!kept.prompt.trim()) {
      put(cost);
      put(plans, h("h2", null, "Plans"), h("p", { class: "muted" }, "Type a prompt: every way to make it appears here, with its price and the reason for or against it. Nothing is spent until you generate."));
      return;
    }
    asking = new AbortController();
    try {
      show(await plan(ask(), asking.signal));
    } catch (error) {
      if (error.name !== "AbortError") put(plans, h("h2", null, "Plans"), h("p", { class: "bad" }, error.message));
    }
  });

  function show(explained) {
    const chosen = explained.candidates.find((candidate) => candidate.chosen);
    put(cost, chosen ? `${usd(micros(chosen.expected.cost_usd))}, about ${secs(chosen.expected.latency_ms)}` : "No plan fits");
    put(plans,
      h("h2", null, "Plans", h("small", null, `${explained.task}, floor ${Math.round(explained.floor * 100)} %`)),
      chosen ? h("p", { class: "pick" }, h("b", null, steps(chosen)), h("span", null, usd(micros(chosen.expected.cost_usd)))) : null,
      why(explained).map((sentence) => h("p", null, sentence)),
      intervals(explained, "", 10),
      h("details", null, h("summary", null, `All ${count(explained.candidates.length, "candidate")}, and why not`),
        h("ol", { class: "candidates" }, explained.candidates.map((candidate) => h("li", { class: candidate.chosen ? "chosen" : "" },
          h("b", null, steps(candidate)), h("span", null, usd(micros(candidate.expected.cost_usd))),
          h("small", null, candidate.chosen ? "chosen" : `${plain(candidate.reason?.text)}${candidate.reason?.at ? ` (${candidate.reason.at})` : ""}`))))));
  }

  async function make() {
    if (!kept.prompt.trim()) {
      prompt.focus();
      return;
    }
    const asked = ask();
    const begun = performance.now();
    const clock = h("span", null, "0.0 s");
    const word = h("span", null, "Asking for it");
    const card = h("article", { class: "result going" },
      h("div", { class: "shots" }, Array.from({ length: asked.n }, () => h("div", { class: "ghost" }))),
      h("p", { class: "prompt one", dir: "auto" }, asked.prompt), h("p", { class: "muted" }, word, " · ", clock));
    results.prepend(card);
    const timer = setInterval(() => put(clock, secs(performance.now() - begun)), 100);
    try {
      const answer = await generate(asked, (event, told) => put(word, progress(event, told)));
      card.className = "result";
      put(card, shots(answer),
        h("p", { class: "prompt one", dir: "auto" }, asked.prompt),
        h("p", null, h("b", null, usd(micros(answer.cost?.usd))), ` · ${short(answer.model)} · ${secs(performance.now() - begun)}${answer.served === "fresh" ? "" : ` · ${answer.served}, free`}`),
        (answer.adjustments ?? []).concat(answer.warnings ?? []).map((note) => h("small", { class: "muted block" }, note)));
      say(`${count(answer.images.length, "picture")} for ${usd(micros(answer.cost?.usd))}`, "good");
    } catch (error) {
      card.className = "result failed";
      put(card, h("p", { class: "prompt one", dir: "auto" }, asked.prompt), h("p", { class: "bad" }, error.message));
      say(error.message, "bad");
    } finally {
      clearInterval(timer);
    }
  }

  function shots(answer) {
    return h("div", { class: "shots" }, answer.images.map((image, index) => {
      const shot = h("figure", { class: "shot" });
      const give = async (accepted) => {
        try {
          await judge(answer.generation ?? answer.id, index, accepted, rater(), "");
          shot.className = `shot ${accepted ? "yes" : "no"}`;
          say(accepted ? "Accepted" : "Rejected", accepted ? "good" : "no");
        } catch (error) {
          say(error.message, "bad");
        }
      };
      put(shot, h("a", { href: image.url, target: "_blank", rel: "noopener" }, h("img", { src: image.url, alt: `Picture ${index + 1} of ${kept.prompt.slice(0, 80)}`, width: image.width, height: image.height })),
        h("div", { class: "pair" },
          h("button", { class: "verdict no", type: "button", "aria-label": "Reject", onclick: () => give(false) }, "✕"),
          h("button", { class: "verdict yes", type: "button", "aria-label": "Accept", onclick: () => give(true) }, "✓")));
      return shot;
    }));
  }

  const set = (name, again = true) => (value) => { kept[name] = value; if (again) replan(); };
  put(room,
    h("div", { class: "title" }, h("h1", null, "Play")),
    h("div", { class: "play" },
      h("div", null,
        h("form", { class: "card composer", onsubmit: (event) => { event.preventDefault(); make(); } },
          h("label", { for: "prompt" }, "Prompt"), prompt,
          h("div", { class: "options" },
            choice("Task", [["", "From the prompt"], ...about.tasks.map((task) => task.name)], kept.task, set("task")),
            choice("Quality", [["", `${about.tier ?? "Default"} (${Math.round(about.quality * 100)} %)`], ...about.tiers.filter((tier) => tier.name !== about.tier).map((tier) => [tier.name, `${tier.name} (${Math.round(tier.quality * 100)} %)`])], kept.quality, set("quality")),
            choice("Size", SIZES, kept.size, set("size")),
            choice("Pictures", ["1", "2", "4", "8"], kept.n, set("n")),
            choice("Model", [["auto", "The planner's choice"], ...about.models], kept.model, set("model")),
            h("label", { class: "field" }, h("span", null, "Project"), h("input", { type: "text", value: kept.project, placeholder: "None", oninput: (event) => set("project")(event.target.value.trim()) }))),
          h("div", { class: "row" }, cost, go)),
        results),
      plans));
  replan();
  prompt.focus({ preventScroll: true });
  return () => asking?.abort();
}

function progress(event, told) {
  const status = told.status ?? event;
  return { queued: "Waiting in the queue", running: "Being made", succeeded: "Arriving", attempt: `Asking ${short(told.model ?? "")}`, step: `${told.op ?? "Next step"}` }[status] ?? { attempt: "Asking a provider" }[event] ?? "Being made";
}
