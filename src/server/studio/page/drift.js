// Drift: whether models still draw as they did. Fixed prompts side by side with their baselines, and windows of new
// pictures against accepted ones.

import { find, h, put } from "/studio/dom.js";
import { live, read } from "/studio/gateway.js";
import { distances, shrinking } from "/studio/plot.js";
import { ago, count, short } from "/studio/words.js";

/** How unlike two pictures are, as people say it. */
const unlike = ({ changed, dissimilarity }, bound) =>
  changed ? "another picture" : dissimilarity > bound / 4 ? "the same picture, a little different" : dissimilarity > 0.001 ? "the same picture, to the eye" : "the very same picture";

const bits = (number) => `${number} of 64 bits`;
const dssim = (number) => number.toFixed(3);

export function drift(room) {
  let held = null;
  const opened = new Map();
  const figures = h("div", { class: "figures" });
  const models = h("div", { class: "watched" });
  const samples = h("section", { class: "card", "aria-labelledby": "samples" });
  const wide = new ResizeObserver(() => held && windows(held));

  async function load(force) {
    const { data, same } = await read("/studio/api/drift");
    if (same && !force && held) return;
    held = data;
    draw(data);
  }

  function draw(data) {
    const changed = data.models.filter((one) => one.changed);
    const seen = Math.max(0, ...data.models.flatMap((one) => one.pictures.map((picture) => picture.seen)));
    put(figures, data.models.length ? [
      figure("Models under audit", data.models.length.toLocaleString("en-US"), `${count(data.subjects.length, "fixed prompt")} each`),
      figure("Draw otherwise", changed.length.toLocaleString("en-US"), changed.length ? changed.map((one) => short(one.model)).join(", ") : data.models.some((one) => one.pictures.some((picture) => picture.heat)) ? "all as at first" : "nothing was compared yet", changed.length ? "bad" : ""),
      figure("Last audit", ago(seen), new Date(seen).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" })),
    ] : null);
    // What is drawn anew keeps the focus where it was.
    const at = document.activeElement?.closest("[data-model]")?.dataset.model;
    put(models, data.models.length ? [scale(data), data.models.map((one) => model(one, data))] : unaudited());
    if (at !== undefined) find(`[data-model="${CSS.escape(at)}"] summary`)?.focus();
    windows(data);
  }

  function model(one, data) {
    const pictures = one.pictures.length;
    const compared = one.pictures.some((picture) => picture.heat);
    const state = one.changed ? ["no", "✕ Changed"] : compared ? ["yes", "✓ As before"] : ["", "Baseline drawn"];
    const told = compared ? `dissimilarity ${dssim(one.dissimilarity)}, hash ${bits(one.hash_bits)}` : "compared from the next audit on";
    const body = h("div", { class: "subjects" });
    const fill = () => body.childElementCount || put(body, one.pictures.map((picture) => subject(one, picture, data)));
    const box = h("details", { class: `card model ${one.changed ? "changed" : ""}`, data: { model: one.model }, ontoggle: () => { opened.set(one.model, box.open); if (box.open) fill(); } },
      h("summary", null, h("span", { class: "name" }, one.model), h("span", { class: `chip ${state[0]}` }, state[1]),
        h("span", { class: "told" }, `${count(pictures, "picture")}, ${told}${one.known ? "" : "; no longer in the policy"}`)),
      body);
    box.open = opened.get(one.model) ?? one.changed;
    if (box.open) fill();
    return box;
  }

  function subject(one, picture, data) {
    const { prompt = "a prompt that is no longer drawn", seed = "–" } = data.subjects.find((known) => known.number === picture.subject) ?? {};
    const words = unlike(picture, data.bound);
    const since = picture.since === null ? "at first" : new Date(picture.since).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
    const what = `${one.model}, “${prompt}”`;
    return h("article", { class: `subject ${picture.changed ? "changed" : ""}`, "aria-label": `${prompt}: ${picture.heat ? words : "baseline"}` },
      h("div", { class: "row wrap" }, h("h3", { class: "asked" }, prompt, h("small", null, ` seed ${seed}`)),
        picture.heat ? h("span", { class: `chip ${picture.changed ? "no" : "yes"}` }, `${picture.changed ? "✕" : "✓"} ${words}`) : null),
      h("div", { class: "trio" },
        shown("Baseline", since, `/studio/thumbs/${picture.baseline}`, `/images/${picture.baseline}`, `Baseline of ${what}`),
        shown("Now", ago(picture.seen), `/studio/thumbs/${picture.latest}`, `/images/${picture.latest}`, `What ${what} looks like now`),
        picture.heat
          ? shown("Where they differ", "", `/images/${picture.heat}`, `/images/${picture.heat}`, `Heat map of ${what}: ${words}, dissimilarity ${dssim(picture.dissimilarity)} of 1`)
          : h("p", { class: "ghostly" }, "Nothing to compare yet: this picture is the baseline.")),
      picture.heat ? h("dl", { class: "measures" },
        measure("Structure (DSSIM)", dssim(picture.dissimilarity), picture.dissimilarity / 0.5, data.bound / 0.5, picture.changed),
        measure("Perceptual hash", bits(picture.hash_bits), picture.hash_bits / 32, data.bits_bound / 32, picture.changed)) : null);
  }

  function windows(data) {
    const width = Math.max(300, samples.clientWidth - 40);
    const head = h("h2", { id: "samples" }, "New pictures against accepted ones", h("small", null, "Fréchet distance of their features"));
    if (!data.encoder) return put(samples, head, unnamed());
    const { encoder } = data;
    const told = data.samples.filter((sample) => sample.found);
    const waiting = data.samples.filter((sample) => !sample.found);
    const all = told.find((sample) => sample.model === null) ?? told[0];
    const small = told.filter((sample) => sample.found.small);
    put(samples, head,
      h("p", { class: "muted" }, `Encoder ${encoder.name}: ${count(encoder.features, "feature")} of a picture at ${encoder.width}×${encoder.height}, windows of the newest ${encoder.window} pictures.`),
      small.length ? h("p", { class: "warning", role: "note" }, h("b", null, "⚠ Few pictures. "), `${small.length === told.length ? "All of these windows" : `The windows of ${small.map(named).join(", ")}`} hold fewer than 100 pictures or no more pictures than features (${encoder.features}): read the interval, not the point.`) : null,
      told.length ? [
        distances(told, named, width),
        table(told),
        h("h3", null, `How the distance shrinks with more pictures: ${named(all)}`),
        shrinking(all.found, width),
        h("p", { class: "muted note" }, "From few pictures the distance (FID) always comes out too large, by about a constant over their number. The line through smaller samples meets infinitely many at FID∞, the hollow dot; its bar holds the truth nine times in ten. 0 is no difference; compare only numbers of the same encoder."),
      ] : h("p", { class: "empty" }, `Nothing to compare yet: it takes ${encoder.fewest} accepted and ${encoder.fewest} other pictures.`),
      waiting.length && told.length ? h("p", { class: "muted note" }, `Not enough pictures yet: ${waiting.map((sample) => `${named(sample)} (${sample.accepted} accepted, ${sample.new} new)`).join(", ")}; it takes ${encoder.fewest} of each.`) : null);
  }

  put(room, h("div", { class: "title" }, h("h1", null, "Drift")), figures, models, samples);
  wide.observe(samples);
  load(true).catch((error) => error.status !== 401 && put(models, h("p", { class: "empty" }, error.message)));
  const stop = live(5000, () => load(false));
  return () => { stop(); wide.disconnect(); };
}

const named = (sample) => (sample.model === null ? "all models" : short(sample.model));

const figure = (name, value, note, kind = "") =>
  h("div", { class: "figure" }, h("span", { class: "name" }, name), h("strong", { class: kind }, value), h("small", null, note));

/** A small copy that leads to the picture itself. */
function shown(name, when, small, whole, words) {
  return h("figure", null,
    h("a", { href: whole, target: "_blank", rel: "noopener", "aria-label": `${words} (opens the picture)` }, h("img", { src: small, alt: words, loading: "lazy", decoding: "async" })),
    h("figcaption", null, name, when ? h("small", null, ` ${when}`) : null));
}

/** A number with a bar from "the same" to "unrelated", and the bound where it becomes another picture. */
function measure(name, value, share, bound, changed) {
  const bar = h("div", { class: `gauge ${changed ? "over" : ""}`, "aria-hidden": "true" }, h("i"), h("b"));
  bar.style.setProperty("--used", Math.min(1, share));
  bar.style.setProperty("--forecast", bound);
  return h("div", null, h("dt", null, name), h("dd", null, value, bar));
}

/** What the colours of a heat map mean. */
function scale({ bound, bits_bound }) {
  return h("div", { class: "scale note" },
    h("span", null, "Heat maps: the same"), h("i", { class: "inferno", role: "img", "aria-label": "grey, violet, orange, yellow" }), h("span", null, "unrelated"),
    h("span", { class: "muted" }, `A dissimilarity above ${bound}, or a hash ${bits_bound} bits away, is another picture and an alert.`));
}

const unaudited = () => h("div", { class: "card" }, h("p", { class: "empty" },
  h("span", null, "No model was audited yet. With ", h("code", null, "audit.hours = 24"), " in tollgate.toml (or ", h("code", null, "TOLLGATE_AUDIT__HOURS=24"), ") every model that takes a seed draws three fixed prompts a day; each is held against what it drew first."),
  h("span", null, "They are bought like any other picture: a few cents a model and day.")));

const unnamed = () => h("div", { class: "how" },
  h("p", null, "No encoder is named. One turns a picture into numbers that say what it looks like; then the newest pictures of each model are held, as a whole, against those that people accepted. Any ONNX graph with one picture in and its features out will do: Inception v3 without its last layer, the picture half of CLIP, DINO, or one of your own."),
  h("pre", { tabindex: "0", role: "region", "aria-label": "Settings that name an encoder" }, h("code", null, "# tollgate.toml\n[audit]\nencoder = \"/models/inception.onnx\"\npixels = \"signed\"   # or imagenet, clip, unit, bytes\nwindow = 256        # pictures on each side")));

function table(told) {
  const head = ["Model", "FID∞", "nine in ten", "FID", "Accepted", "New", "Compared"];
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Distances in a table" }, h("table", null,
    h("caption", { class: "unseen" }, "Fréchet distance of new pictures from accepted ones"),
    h("thead", null, h("tr", null, head.map((text, index) => h("th", { scope: "col", class: index ? "number" : "" }, text)))),
    h("tbody", null, told.map((sample) => h("tr", null,
      h("th", { scope: "row" }, sample.model ?? "all models"),
      h("td", { class: "number" }, positive(sample.found.extrapolated)),
      h("td", { class: "number" }, `${positive(sample.found.low)} to ${positive(sample.found.high)}`),
      h("td", { class: "number" }, positive(sample.found.distance)),
      h("td", { class: "number" }, sample.accepted.toLocaleString("en-US")),
      h("td", { class: "number" }, sample.new.toLocaleString("en-US")),
      h("td", { class: "number" }, `${ago(sample.at)}${sample.found.small ? " ⚠" : ""}`))))));
}

/** A distance: never below zero, and with digits that mean something. */
function positive(number) {
  const most = Math.max(0, number);
  return most >= 100 ? most.toFixed(0) : most >= 1 ? most.toFixed(1) : most.toFixed(3);
}
