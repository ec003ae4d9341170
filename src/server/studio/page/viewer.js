// One picture as large as the window, with its story; or a few side by side.

import { dialog, h, put, say } from "/studio/dom.js";
import { plan, read, upscale } from "/studio/gateway.js";
import { intervals } from "/studio/plot.js";
import { imageOf, keyOf, told } from "/studio/wall.js";
import { ago, count, percent, secs, short, usd, why } from "/studio/words.js";

/** Opens the picture at the wall's place. `judge(place, accepted)` resolves when it is said. */
export function view(wall, judge, compare) {
  const image = h("img", { class: "large", alt: "", fetchpriority: "high" });
  const stage = h("div", { class: "stage" }, image);
  const side = h("div", { class: "story" });
  const place = h("span", { class: "where" });
  const yes = h("button", { class: "verdict yes", type: "button", onclick: () => decide(true) }, h("span", { "aria-hidden": "true" }, "✓"), " Accept", h("kbd", null, "A"));
  const no = h("button", { class: "verdict no", type: "button", onclick: () => decide(false) }, h("span", { "aria-hidden": "true" }, "✕"), " Reject", h("kbd", null, "R"));
  const box = dialog("Picture",
    h("div", { class: "loupe" },
      h("div", { class: "loupe-head" },
        h("button", { class: "quiet", type: "button", onclick: () => box.close() }, "Close", h("kbd", null, "Esc")),
        place,
        h("div", { class: "pair" },
          h("button", { class: "quiet", type: "button", "aria-label": "Previous picture", onclick: () => go(wall.at - 1) }, "←"),
          h("button", { class: "quiet", type: "button", "aria-label": "Next picture", onclick: () => go(wall.at + 1) }, "→"))),
      stage,
      h("div", { class: "verdicts" }, no, yes),
      side));
  box.classList.add("full");

  image.addEventListener("click", () => stage.classList.toggle("real"));
  let turn = 0;

  async function show() {
    const picture = wall.picture();
    if (!picture) return;
    turn += 1;
    const mine = turn;
    image.src = imageOf(picture);
    image.alt = told(picture);
    stage.classList.remove("real");
    put(place, `${(wall.at + 1).toLocaleString("en-US")} of ${wall.total.toLocaleString("en-US")}`);
    for (const [button, value] of [[yes, true], [no, false]]) button.setAttribute("aria-pressed", String(picture.verdict?.accepted === value));
    put(side, head(picture), h("p", { class: "muted" }, "Reading its story…"));
    for (const at of [wall.at + 1, wall.at - 1]) {
      const near = wall.picture(at);
      if (near) new Image().src = imageOf(near);
    }
    const { data } = await read(`/studio/api/generations/${picture.id}`).catch(() => ({ data: null }));
    if (mine !== turn) return;
    put(side, head(picture), data ? body(picture, data) : h("p", { class: "muted" }, "Its story cannot be read."));
    side.scrollTop = 0;
  }

  function head({ generation, verdict }) {
    const full = generation.prompt;
    return h("header", null,
      full === null || full === undefined
        ? h("p", { class: "prompt muted" }, "The prompt was not kept (log.prompts is off).")
        : h("p", { class: "prompt", dir: "auto" }, full),
      h("p", { class: "chips" },
        h("span", { class: "chip" }, generation.task),
        generation.metadata.project ? h("span", { class: "chip" }, generation.metadata.project) : null,
        h("span", { class: `chip ${verdict ? (verdict.accepted ? "yes" : "no") : ""}` },
          verdict ? `${verdict.accepted ? "Accepted" : "Rejected"} by ${verdict.rater || "someone"}` : "Not judged yet")));
  }

  function body(picture, story) {
    const { generation } = picture;
    const size = story.answer?.images?.[picture.image];
    const lasted = (story.attempts ?? []).length;
    const facts = [
      ["Model", story.model],
      ["Plan", story.plan],
      ["Cost", h("span", null, h("b", null, usd(story.settled_micros)), generation.images > 1 ? ` for ${generation.images} pictures` : "", story.ambiguous_micros ? `, ${usd(story.ambiguous_micros)} in doubt` : "")],
      ["Expected", `${percent(story.expected.accept)} accepted, ${usd(story.expected.micros)}`],
      ["Took", `${secs(story.latency_ms ?? 0)}, ${count(lasted, "call")}`],
      size ? ["Size", `${size.width}×${size.height}${size.seed === null || size.seed === undefined ? "" : `, seed ${size.seed}`}`] : null,
      ["Made", `${ago(story.at)}${story.key === "-" ? "" : ` for ${story.key}`}`],
      ["Id", h("code", null, story.id)],
    ].filter(Boolean);
    const reasons = h("div", { class: "why" }, h("p", { class: "muted" }, "Asking the planner…"));
    explainInto(reasons, picture, story);
    const full = story.prompt && story.prompt.length > (generation.prompt ?? "").length;
    return [
      full ? h("details", null, h("summary", null, `The whole prompt, ${story.prompt.length.toLocaleString("en-US")} characters`), h("p", { class: "prompt whole", dir: "auto" }, story.prompt)) : null,
      stages(picture, story),
      h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
      h("h2", null, "Why this model"), reasons,
      h("h2", null, "Calls"),
      h("ul", { class: "calls" }, (story.attempts ?? []).map((attempt) => h("li", null,
        h("span", { class: attempt.outcome === "ok" ? "" : "bad" }, attempt.outcome), ` ${attempt.model} `,
        h("b", null, usd(Math.round(attempt.usd * 1e6))), ` ${secs(attempt.latency_ms)}`, attempt.detail ? h("small", null, ` ${attempt.detail}`) : null))),
      story.verdicts.length ? [h("h2", null, "Verdicts"), h("ul", { class: "calls" }, story.verdicts.map((verdict) => h("li", null,
        `${verdict.accepted ? "✓" : "✕"} ${verdict.rater || "someone"}, ${ago(verdict.at)}${story.files.length > 1 ? `, picture ${verdict.image + 1}` : ""}`,
        verdict.reason ? h("small", { dir: "auto" }, ` ${verdict.reason}`) : null)))] : null,
      h("div", { class: "pair wrap" },
        h("button", { type: "button", onclick: () => { box.close(); compare(picture); } }, "Compare variants", h("kbd", null, "V"))),
    ];
  }

  /** Draft, approved, upscaled: where this picture is, and the way on. */
  function stages(picture, story) {
    const enlarged = /upscale|lanczos/.test(story.plan ?? "");
    const size = story.answer?.images?.[picture.image];
    const on = [true, picture.verdict?.accepted === true, enlarged];
    const target = size ? scaled(size.width, size.height) : [2048, 2048];
    const more = h("button", { class: "small", type: "button", disabled: !on[1], onclick: () => enlarge(picture, target, more) },
      `Upscale to ${target[0]}×${target[1]}`, h("kbd", null, "U"));
    more.id = "upscale";
    return h("div", { class: "stages" },
      h("ol", { "aria-label": "Stages" }, ["Draft", "Approved", "Upscaled"].map((name, index) => h("li", { class: on[index] ? "on" : "", "aria-current": on[index] && !on[index + 1] ? "step" : null }, name))),
      enlarged ? null : more,
      enlarged || on[1] ? null : h("small", { class: "muted" }, "Accept it first."));
  }

  async function enlarge(picture, [width, height], button) {
    button.disabled = true;
    try {
      const answer = await upscale(picture.id, width, height, picture.image);
      const made = answer.images?.[0];
      if (made && wall.picture() === picture) {
        image.src = made.url;
        side.querySelector(".stages li:last-child")?.classList.add("on");
      }
      say(`Upscaled to ${width}×${height} for ${usd(Math.round((answer.cost?.usd ?? 0) * 1e6))}`, "good");
      await wall.refresh();
    } catch (error) {
      say(error.message, "bad");
    }
    button.disabled = false;
  }

  function go(at) {
    if (at < 0 || at >= wall.total) return;
    wall.go(at, false);
    show();
  }

  async function decide(accepted) {
    const at = wall.at;
    if (!(await judge(at, accepted))) return;
    if (accepted) show();
    else go(wall.next(at));
  }

  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const run = {
      a: () => decide(true), r: () => decide(false), x: () => decide(false), n: () => go(wall.next()),
      j: () => go(wall.at + 1), k: () => go(wall.at - 1), ArrowRight: () => go(wall.at + 1), ArrowLeft: () => go(wall.at - 1),
      z: () => stage.classList.toggle("real"), u: () => side.querySelector("#upscale")?.click(),
      v: () => { const picture = wall.picture(); box.close(); compare(picture); },
    }[event.key];
    if (!run) return;
    event.preventDefault();
    event.stopPropagation();
    run();
  });
  box.addEventListener("close", () => wall.go(wall.at));
  show();
  return box;
}

function scaled(width, height) {
  const factor = Math.min(2, 4096 / Math.max(width, height));
  return [Math.round(width * factor), Math.round(height * factor)];
}

/** The request as the books remember it, to be planned again. */
function askedOnce(picture, story) {
  const asked = story.decision?.ask ?? {};
  const size = asked.size ?? [story.answer?.images?.[picture.image]?.width ?? 1024, story.answer?.images?.[picture.image]?.height ?? 1024];
  const ask = { prompt: (story.prompt ?? "a picture").slice(0, 10_000), task: story.task, metadata: story.metadata, width: clamp(size[0]), height: clamp(size[1]) };
  for (const name of ["n", "seed", "quality", "model"]) if (asked[name] !== undefined) ask[name] = asked[name];
  if (asked.max_cost) ask.max_cost_usd = asked.max_cost / 1e6;
  if (asked.negative) ask.negative_prompt = "-";
  if (asked.on_prem) ask.data_policy = "on-prem";
  if (asked.nearest) ask.fit = "nearest";
  if (asked.strict) ask.strict = true;
  return ask;
}

async function explainInto(element, picture, story) {
  const ask = askedOnce(picture, story);
  try {
    const explained = await plan(ask);
    const chosen = explained.candidates.find((candidate) => candidate.chosen);
    const same = chosen?.model === story.plan.split(" → ")[0];
    put(element,
      chosen && !same ? h("p", null, `It was made by ${short(story.plan.split(" → ")[0])}. Asked again now, the planner says:`) : null,
      why(explained).map((sentence) => h("p", null, sentence)),
      intervals(explained, story.model));
  } catch (error) {
    put(element, h("p", { class: "muted" }, error.message));
  }
}

const clamp = (side) => Math.max(64, Math.min(4096, side));

/** A few pictures side by side; the digits accept, with Shift they reject. */
export function sideBySide(pictures, judge) {
  const cells = pictures.map((picture, index) => {
    const cell = h("figure", { class: "variant" });
    const draw = () => {
      const { generation, verdict } = picture;
      cell.className = `variant ${verdict ? (verdict.accepted ? "yes" : "no") : ""}`;
      const button = (accepted, word, sign) => h("button", {
        type: "button", class: `verdict ${accepted ? "yes" : "no"}`, "aria-pressed": String(verdict?.accepted === accepted),
        "aria-label": `${word} picture ${index + 1}`, onclick: () => decide(index, accepted),
      }, sign, accepted ? h("kbd", null, index + 1) : null);
      put(cell, h("img", { src: imageOf(picture), alt: told(picture) }),
        h("figcaption", null,
          h("div", null, h("b", null, short(generation.model)), h("small", null, `${usd(generation.micros / generation.images)} · ${ago(generation.at)}`)),
          h("div", { class: "pair" }, button(false, "Reject", "✕"), button(true, "Accept", "✓"))));
    };
    cell.redraw = draw;
    draw();
    return cell;
  });
  async function decide(index, accepted) {
    const picture = pictures[index];
    if (picture && (await judge(picture, accepted))) cells[index].redraw();
  }
  const prompts = new Set(pictures.map((picture) => picture.generation.prompt_sha256));
  const box = dialog("Compare",
    h("div", { class: "compare" },
      h("div", { class: "loupe-head" },
        h("button", { class: "quiet", type: "button", onclick: () => box.close() }, "Close", h("kbd", null, "Esc")),
        h("p", { class: "prompt one", dir: "auto" }, prompts.size === 1 ? pictures[0].generation.prompt ?? count(pictures.length, "variant") : `${count(pictures.length, "picture")}`)),
      h("div", { class: `variants of-${pictures.length}` }, cells)));
  box.classList.add("full");
  box.addEventListener("keydown", (event) => {
    const digit = /^Digit([1-9])$/.exec(event.code);
    if (!digit || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    decide(Number(digit[1]) - 1, !event.shiftKey);
  });
  return box;
}

export { keyOf };
