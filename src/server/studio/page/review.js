// Review: the wall, its filters and its keys.

import { choice, h, put, rested, say, segments, typing } from "/studio/dom.js";
import { judge as send, live, read } from "/studio/gateway.js";
import { sideBySide, view } from "/studio/viewer.js";
import { Wall, keyOf } from "/studio/wall.js";
import { count } from "/studio/words.js";

const STAGES = [["open", "To judge"], ["accepted", "Accepted"], ["rejected", "Rejected"], ["any", "All"]];

/** Draws the room; the answer's call leaves it. */
export function review(room, about, rater) {
  const asked = new URLSearchParams(location.hash.split("?")[1] ?? "");
  const filter = { stage: asked.get("stage") ?? "any", task: asked.get("task") ?? "", model: asked.get("model") ?? "", project: asked.get("project") ?? "" };
  const status = h("p", { class: "status", role: "status" });
  const pill = h("button", { class: "pill", type: "button", hidden: true, onclick: () => { scrollTo({ top: 0 }); wall.refresh(); } });
  const tray = h("div", { class: "tray", hidden: true });
  const space = h("div", { class: "wall-space" });
  const projects = h("datalist", { id: "projects" });
  let wall;

  function query() {
    return new URLSearchParams(Object.entries(filter).filter(([, value]) => value)).toString();
  }

  function set(name, value) {
    filter[name] = value;
    history.replaceState(null, "", `#/review?${query()}`);
    hang();
  }

  async function hang() {
    wall?.leave();
    const mine = new Wall({ filter: query(), open: () => view(mine, judgeAt, variants), changed: () => mine === wall && changed() });
    wall = mine;
    put(space, wall.list);
    try {
      await wall.mount();
    } catch (error) {
      if (error.status !== 401) put(space, h("p", { class: "empty" }, error.message));
    }
  }

  function changed() {
    const what = STAGES.find(([stage]) => stage === filter.stage)[1].toLowerCase();
    put(status, wall.total || wall.asked.size === 0 ? `${count(wall.total, "picture")}${filter.stage === "any" ? "" : `, ${what}`}` : "");
    pill.hidden = !wall.waiting;
    put(pill, `↑ ${count(wall.waiting, "new picture")}`);
    const marks = [...wall.marked.values()];
    tray.hidden = !marks.length;
    put(tray, h("span", null, `${count(marks.length, "picture")} marked`),
      h("button", { class: "primary", type: "button", disabled: marks.length < 2, onclick: compareMarked }, "Compare", h("kbd", null, "C")),
      h("button", { class: "quiet", type: "button", onclick: () => { wall.marked.clear(); wall.measure(); for (const [place, tile] of wall.shown) wall.dress(tile, place); changed(); } }, "Clear"));
    const names = new Set([...wall.places.values()].slice(0, 500).map((picture) => picture.generation.metadata.project).filter(Boolean));
    if (names.size !== projects.childElementCount) put(projects, [...names].sort().map((name) => h("option", { value: name })));
    if (!wall.total && wall.asked.size) put(space, empty());
  }

  function empty() {
    const nothing = filter.stage === "any" && !filter.task && !filter.model && !filter.project;
    return h("div", { class: "empty" },
      h("p", null, nothing ? "No picture yet." : filter.stage === "open" ? "Nothing is left to judge." : "No picture fits these filters."),
      h("a", { class: "button", href: nothing ? "#/play" : "#/review?stage=any" }, nothing ? "Make one" : "Show all"));
  }

  async function say_(picture, accepted) {
    try {
      await send(picture.id, picture.image, accepted, rater(), "");
      say(accepted ? "Accepted" : "Rejected", accepted ? "good" : "no");
      return { accepted, rater: rater(), reason: "", at: Date.now(), image: picture.image };
    } catch (error) {
      say(error.message, "bad");
      return null;
    }
  }

  async function judgeAt(place, accepted) {
    const picture = wall.picture(place);
    const verdict = picture && (await say_(picture, accepted));
    if (verdict) wall.judged(place, verdict);
    return Boolean(verdict);
  }

  async function judgeOne(picture, accepted) {
    const verdict = await say_(picture, accepted);
    if (!verdict) return false;
    picture.verdict = verdict;
    for (const [place, held] of wall.places) if (keyOf(held) === keyOf(picture)) wall.judged(place, verdict);
    return true;
  }

  function compareMarked() {
    const pictures = [...wall.marked.values()].map((place) => wall.picture(place)).filter(Boolean);
    if (pictures.length > 1) sideBySide(pictures, judgeOne);
  }

  async function variants(picture) {
    const { data } = await read(`/studio/api/pictures?prompt=${picture.generation.prompt_sha256}&most=6`);
    const all = data.pictures.slice(0, 6).map((one) => ({ ...one, generation: data.generations[one.id] }));
    if (all.length < 2) say("It is the only one of its prompt");
    else sideBySide(all, judgeOne);
  }

  function keys(event) {
    if (typing(event) || document.querySelector("dialog[open]") || !wall?.total) return;
    const step = wall.columns;
    const judgeHere = async (accepted) => { if (await judgeAt(wall.at, accepted)) wall.go(wall.next()); };
    const run = {
      ArrowRight: () => wall.go(wall.at + 1), ArrowLeft: () => wall.go(wall.at - 1), ArrowDown: () => wall.go(wall.at + step), ArrowUp: () => wall.go(wall.at - step),
      l: () => wall.go(wall.at + 1), h: () => wall.go(wall.at - 1), j: () => wall.go(wall.at + step), k: () => wall.go(wall.at - step),
      Home: () => wall.go(0), End: () => wall.go(wall.total - 1),
      a: () => judgeHere(true), r: () => judgeHere(false), x: () => judgeHere(false), n: () => wall.go(wall.next()),
      m: () => wall.mark(), c: compareMarked, v: () => wall.picture() && variants(wall.picture()),
      o: () => view(wall, judgeAt, variants),
    }[event.key];
    if (!run) return;
    event.preventDefault();
    run();
  }

  put(room,
    h("h1", { class: "unseen" }, "Review"),
    h("div", { class: "filters" },
      segments("Which pictures", STAGES, filter.stage, (value) => set("stage", value)),
      choice("Task", [["", "Every task"], ...about.tasks.map((task) => task.name)], filter.task, (value) => set("task", value)),
      choice("Model", [["", "Every model"], ...about.models], filter.model, (value) => set("model", value)),
      h("label", { class: "field" }, h("span", null, "Project"), h("input", { type: "search", list: "projects", placeholder: "Every project", value: filter.project, oninput: rested(350, (event) => set("project", event.target.value.trim())) })), projects,
      status),
    space, pill, tray);
  addEventListener("keydown", keys);
  const stop = live(2000, () => wall.refresh());
  hang();
  return () => {
    stop();
    removeEventListener("keydown", keys);
    wall?.leave();
  };
}
