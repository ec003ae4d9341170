// A wall of any number of pictures, of which only those in sight are in the page.
//
// Pictures have places, counted from the newest. The gateway is asked for a window of places when one comes in sight;
// tiles are taken from a pool and moved, so that scrolling makes no garbage and the browser lays out a screenful.

import { h } from "/studio/dom.js";
import { read } from "/studio/gateway.js";
import { ago, short, usd } from "/studio/words.js";

const PAGE = 200;
const GAP = 12;
const CAPTION = 30;

export const keyOf = (picture) => `${picture.id}/${picture.image}`;
export const thumbOf = (picture) => `/studio/thumbs/${picture.file}`;
export const imageOf = (picture) => `/images/${picture.file}`;

/** A picture in words, for those who do not see it. */
export function told(picture) {
  const { verdict, generation } = picture;
  const state = verdict ? (verdict.accepted ? "accepted" : "rejected") : "not judged";
  const prompt = generation.prompt ?? "prompt not kept";
  return `${prompt.slice(0, 120)}, ${short(generation.model)}, ${usd(generation.micros / generation.images)}, ${state}`;
}

export class Wall {
  /** `filter` is a query; `open` is called with a picture's place; `changed` when the number of pictures does. */
  constructor({ filter, open, changed }) {
    this.open = open;
    this.changed = changed;
    this.places = new Map();
    this.known = new Set();
    this.asked = new Set();
    this.moved = new Set();
    this.marked = new Map();
    this.shown = new Map();
    this.pool = [];
    this.total = 0;
    this.waiting = 0;
    this.at = 0;
    this.filter = filter;
    this.list = h("ul", { class: "wall", "aria-label": "Pictures" });
    this.scroll = () => { this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.scrolled(); }); };
    this.sizes = new ResizeObserver(() => this.measure());
  }

  mount() {
    addEventListener("scroll", this.scroll, { passive: true });
    this.sizes.observe(this.list);
    return this.load(0);
  }

  leave() {
    removeEventListener("scroll", this.scroll);
    this.sizes.disconnect();
  }

  /** Pictures that fit the filter when the page was opened but no longer do: they stay where they are. */
  outdated(place) {
    let gone = 0;
    for (const [at, picture] of this.places) if (at < place && this.moved.has(keyOf(picture))) gone += 1;
    return gone;
  }

  async load(page) {
    if (this.asked.has(page)) return;
    this.asked.add(page);
    const first = Math.max(0, page * PAGE - this.outdated(page * PAGE));
    try {
      const { data } = await read(`/studio/api/pictures?${this.filter}&first=${first}&most=${PAGE}`);
      const shift = page * PAGE - first;
      this.take(data, data.first + shift);
      if (page === 0) this.total = Math.max(data.total, data.pictures.length);
      else if (data.pictures.length) this.total = data.total + this.moved.size;
    } catch (error) {
      this.asked.delete(page);
      if (page === 0) throw error;
    }
    this.changed();
    this.measure();
  }

  take(data, first) {
    data.pictures.forEach((picture, index) => {
      picture.generation = data.generations[picture.id];
      if (this.known.has(keyOf(picture))) return;
      this.known.add(keyOf(picture));
      this.places.set(first + index, picture);
    });
  }

  /** Asks for what came since: new pictures join at the top, verdicts of others show. */
  async refresh() {
    const { data, same } = await read(`/studio/api/pictures?${this.filter}&first=0&most=60`);
    if (same && !this.waiting) return;
    const known = new Map([...this.places].map(([at, picture]) => [keyOf(picture), at]));
    for (const picture of data.pictures) {
      const place = known.get(keyOf(picture));
      if (place === undefined) continue;
      const held = this.places.get(place);
      if ((held.verdict?.at ?? 0) < (picture.verdict?.at ?? 0)) this.judged(place, picture.verdict);
    }
    const newest = Math.max(0, ...[...this.places.values()].slice(0, 400).map((picture) => picture.generation.at));
    const fresh = data.pictures.filter((picture) => !known.has(keyOf(picture)) && data.generations[picture.id].at >= newest);
    if (!fresh.length) return;
    if (scrollY > this.list.offsetTop + 40) {
      this.waiting = fresh.length;
      this.changed();
      return;
    }
    this.waiting = 0;
    const places = new Map();
    fresh.forEach((picture, index) => {
      picture.generation = data.generations[picture.id];
      picture.fresh = true;
      this.known.add(keyOf(picture));
      places.set(index, picture);
    });
    for (const [at, picture] of this.places) places.set(at + fresh.length, picture);
    this.places = places;
    this.asked = new Set([...this.asked].filter((page) => page === 0));
    this.total += fresh.length;
    if (this.at > 0 || this.list.contains(document.activeElement)) this.at += fresh.length;
    this.marked = new Map([...this.marked].map(([key, place]) => [key, place + fresh.length]));
    this.changed();
    this.measure();
  }

  picture(place = this.at) {
    return this.places.get(place);
  }

  /** A picture's verdict is another now. */
  judged(place, verdict) {
    const picture = this.places.get(place);
    if (!picture) return;
    const stage = new URLSearchParams(this.filter).get("stage");
    picture.verdict = verdict;
    const fits = { open: !verdict, accepted: verdict?.accepted, rejected: verdict && !verdict.accepted }[stage] ?? true;
    if (fits) this.moved.delete(keyOf(picture));
    else this.moved.add(keyOf(picture));
    const tile = this.shown.get(place);
    if (tile) this.dress(tile, place);
  }

  mark(place = this.at) {
    const picture = this.places.get(place);
    if (!picture) return;
    const key = keyOf(picture);
    if (this.marked.has(key)) this.marked.delete(key);
    else if (this.marked.size < 4) this.marked.set(key, place);
    const tile = this.shown.get(place);
    if (tile) this.dress(tile, place);
    this.changed();
  }

  measure() {
    const width = this.list.clientWidth;
    if (!width) return;
    const least = width < 520 ? 104 : 178;
    this.columns = Math.max(2, Math.floor((width + GAP) / (least + GAP)));
    this.side = (width - GAP * (this.columns - 1)) / this.columns;
    this.row = this.side + CAPTION + GAP;
    this.list.style.height = `${Math.ceil(this.total / this.columns) * this.row}px`;
    this.list.style.setProperty("--side", `${this.side}px`);
    for (const [place, tile] of this.shown) this.lay(tile, place);
    this.draw();
  }

  /** While pictures fly past, only their places are drawn: they are fetched where the eye comes to rest. */
  scrolled() {
    const far = Math.abs(scrollY - (this.lastY ?? 0));
    this.lastY = scrollY;
    this.flying = far > innerHeight * 0.6;
    clearTimeout(this.landing);
    if (this.flying) {
      this.landing = setTimeout(() => {
        this.flying = false;
        this.draw();
        for (const [place, tile] of this.shown) if (!tile.image.hasAttribute("src")) this.dress(tile, place);
      }, 90);
    }
    this.draw();
  }

  /** Shows the tiles in sight and two rows around them. */
  draw() {
    if (!this.row) return;
    const top = scrollY - this.list.offsetTop;
    const from = Math.max(0, Math.floor(top / this.row) - 2) * this.columns;
    const to = Math.min(this.total, (Math.ceil((top + innerHeight) / this.row) + 2) * this.columns);
    for (const [place, tile] of this.shown) {
      if (place >= from && place < to) continue;
      if (tile.contains(document.activeElement)) continue;
      this.shown.delete(place);
      tile.remove();
      this.pool.push(tile);
    }
    for (let place = from; place < to; place += 1) {
      const tile = this.shown.get(place);
      const picture = this.places.get(place);
      if (!picture && !this.flying) this.load(Math.floor(place / PAGE));
      if (tile) {
        if (tile.key !== (picture ? keyOf(picture) : "")) this.dress(tile, place);
        continue;
      }
      const fresh = this.pool.pop() ?? this.tile();
      this.shown.set(place, fresh);
      this.lay(fresh, place);
      this.dress(fresh, place);
      this.list.append(fresh);
    }
  }

  tile() {
    const image = h("img", { alt: "", decoding: "async", draggable: "false", fetchpriority: "low" });
    const model = h("b");
    const cost = h("span");
    const caption = h("span", { class: "caption" }, model, cost);
    const badge = h("span", { class: "badge", "aria-hidden": "true" });
    const tile = h("li", null, h("button", {
      class: "tile", type: "button",
      onclick: () => { this.at = tile.place; this.open(tile.place); },
      onfocus: () => { this.at = tile.place; this.rove(); },
    }, h("span", { class: "frame" }, image), badge, caption));
    Object.assign(tile, { image, model, cost, badge, button: tile.firstChild });
    image.addEventListener("load", () => image.classList.add("there"));
    image.addEventListener("error", () => image.classList.add("lost"));
    return tile;
  }

  lay(tile, place) {
    const column = place % this.columns;
    const row = Math.floor(place / this.columns);
    tile.place = place;
    tile.style.transform = `translate(${column * (this.side + GAP)}px, ${row * this.row}px)`;
  }

  dress(tile, place) {
    const picture = this.places.get(place);
    tile.key = picture ? keyOf(picture) : "";
    tile.setAttribute("aria-setsize", this.total);
    tile.setAttribute("aria-posinset", place + 1);
    tile.button.tabIndex = place === this.at ? 0 : -1;
    tile.button.disabled = !picture;
    if (!picture) {
      tile.image.removeAttribute("src");
      tile.image.className = "";
      tile.model.textContent = tile.cost.textContent = tile.badge.textContent = "";
      tile.button.setAttribute("aria-label", "Loading");
      tile.button.className = "tile";
      return;
    }
    const { generation, verdict } = picture;
    const source = thumbOf(picture);
    if (tile.image.getAttribute("src") !== source) {
      tile.image.className = "";
      if (this.flying) tile.image.removeAttribute("src");
      else tile.image.src = source;
      if (!this.flying && tile.image.complete) tile.image.classList.add("there");
    }
    tile.model.textContent = short(generation.model);
    tile.cost.textContent = usd(generation.micros / generation.images);
    tile.button.setAttribute("aria-label", told(picture));
    tile.button.title = `${(generation.prompt ?? "").slice(0, 200)}\n${ago(generation.at)}`.trim();
    const state = verdict ? (verdict.accepted ? "yes" : "no") : "";
    const marked = this.marked.has(keyOf(picture));
    tile.button.className = `tile ${state} ${marked ? "marked" : ""} ${picture.fresh ? "fresh" : ""}`;
    tile.badge.textContent = verdict ? (verdict.accepted ? "✓" : "✕") : "";
    delete picture.fresh;
  }

  rove() {
    for (const [place, tile] of this.shown) tile.button.tabIndex = place === this.at ? 0 : -1;
  }

  /** Moves the focus to a place, which comes in sight. */
  go(place, focus = true) {
    if (!this.total) return;
    this.at = Math.max(0, Math.min(this.total - 1, place));
    const top = this.list.offsetTop + Math.floor(this.at / this.columns) * this.row;
    const head = 120;
    if (top < scrollY + head) scrollTo({ top: top - head });
    else if (top + this.row > scrollY + innerHeight - 16) scrollTo({ top: top + this.row - innerHeight + 16 });
    this.draw();
    this.rove();
    if (focus) this.shown.get(this.at)?.button.focus({ preventScroll: true });
  }

  /** The next place that nobody has judged, or the next at all. */
  next(place = this.at) {
    for (let at = place + 1; at < this.total; at += 1) {
      const picture = this.places.get(at);
      if (!picture || !picture.verdict) return at;
    }
    return Math.min(place + 1, this.total - 1);
  }
}
