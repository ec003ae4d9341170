// The page: rooms by address, colours, the key, and the keys that hold everywhere.

import { dialog, find, h, put, typing } from "/studio/dom.js";
import { drift } from "/studio/drift.js";
import { key, live, onShutOut, read } from "/studio/gateway.js";
import { planner } from "/studio/planner.js";
import { play } from "/studio/play.js";
import { review } from "/studio/review.js";
import { spend } from "/studio/spend.js";

const ROOMS = { review, play, spend, planner, drift };
const room = find("#room");
let leave = () => {};
let about = null;
let here = "";

const rater = () => localStorage.getItem("tollgate.rater") || (about && about.name !== "-" ? about.name : "studio");

async function enter() {
  const name = /^#\/(\w+)/.exec(location.hash)?.[1] ?? "review";
  const next = ROOMS[name] ? name : "review";
  leave();
  leave = () => {};
  for (const link of document.querySelectorAll(".rooms a")) {
    if (link.dataset.room === next) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${next[0].toUpperCase()}${next.slice(1)} · Tollgate studio`;
  try {
    about ??= (await read("/studio/api/about")).data;
  } catch (error) {
    if (error.status !== 401) put(room, h("h1", { class: "unseen" }, "Tollgate studio"), h("p", { class: "empty" }, error.message));
    return;
  }
  if (here !== next) scrollTo(0, 0);
  here = next;
  room.className = next;
  leave = ROOMS[next](room, about, rater);
}

/** Asks for the key; what was typed stays in this tab. */
function login(refused) {
  if (find("#login")) return;
  leave();
  leave = () => {};
  about = null;
  const field = h("input", { type: "password", id: "login", autocomplete: "current-password", required: true, placeholder: "tg_…" });
  put(room, h("form", { class: "card login", onsubmit: (event) => { event.preventDefault(); key.set(field.value.trim()); field.remove(); enter(); } },
    h("h1", null, "Tollgate studio"),
    h("label", { for: "login" }, "API key"), field,
    key.get() ? h("p", { class: "bad", role: "alert" }, refused.message) : h("p", { class: "muted" }, "It is kept in this tab until you close it."),
    h("button", { class: "primary", type: "submit" }, "Enter")));
  field.focus();
}

const THEMES = ["auto", "light", "dark"];
function theme(next) {
  const name = THEMES.includes(next) ? next : "auto";
  localStorage.setItem("tollgate.theme", name);
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  find("#theme .unseen").textContent = `Colours: ${name === "auto" ? "as the system" : name}`;
  find("#theme").title = find("#theme .unseen").textContent;
}

const KEYS = [
  ["Anywhere", [["1 2 3 4 5", "Review, Play, Spend, Planner, Drift"], ["?", "This list"], ["T", "Light, dark, as the system"]]],
  ["Wall", [["← ↑ → ↓", "Move"], ["A", "Accept and go to the next"], ["R", "Reject and go to the next"], ["N", "Next that nobody judged"], ["Enter", "Open"], ["M", "Mark for comparison"], ["C", "Compare what is marked"], ["V", "Variants of this prompt"], ["Home End", "Newest, oldest"]]],
  ["Open picture", [["A R", "Accept, reject"], ["← →", "Newer, older"], ["U", "Upscale what was accepted"], ["Z", "Real pixels"], ["V", "Variants"], ["Esc", "Close"]]],
  ["Side by side", [["1 … 6", "Accept that one, with Shift reject it"]]],
];

function help() {
  const box = dialog("Keyboard shortcuts", h("div", { class: "help" },
    h("h2", null, "Keys"),
    h("div", { class: "columns" }, KEYS.map(([name, rows]) => h("section", null, h("h3", null, name),
      h("dl", null, rows.map(([keys, what]) => [h("dt", null, keys.split(" ").map((one) => h("kbd", null, one))), h("dd", null, what)]))))),
    h("label", { class: "field" }, h("span", null, "Your name on verdicts"), h("input", { type: "text", value: rater(), maxlength: "64", onchange: (event) => localStorage.setItem("tollgate.rater", event.target.value.trim()) })),
    key.get() ? h("button", { type: "button", onclick: () => { key.set(""); box.close(); about = null; enter(); } }, "Forget the key") : null,
    h("button", { class: "primary", type: "button", onclick: () => box.close() }, "Done")));
}

addEventListener("hashchange", enter);
addEventListener("keydown", (event) => {
  if (typing(event) || find("dialog[open]")) return;
  const to = Object.keys(ROOMS)[Number(event.key) - 1];
  if (to) location.hash = `#/${to}`;
  else if (event.key === "?") help();
  else if (event.key === "t") theme(THEMES[(THEMES.indexOf(localStorage.getItem("tollgate.theme")) + 1) % 3]);
  else return;
  event.preventDefault();
});
find("#keys").addEventListener("click", help);
find("#theme").addEventListener("click", () => theme(THEMES[(THEMES.indexOf(localStorage.getItem("tollgate.theme")) + 1) % 3]));
find(".skip").addEventListener("click", (event) => { event.preventDefault(); room.focus(); });
onShutOut(login);
theme(localStorage.getItem("tollgate.theme"));

// A policy may change under the page; what it offers is read again, and a lost gateway is said.
live(10_000, async () => {
  if (!about) return;
  try {
    const { data, same } = await read("/studio/api/about");
    put(find("#pulse"));
    if (!same) Object.assign(about, data);
  } catch (error) {
    put(find("#pulse"), error.status ? "" : "Gateway away");
  }
});
enter();
