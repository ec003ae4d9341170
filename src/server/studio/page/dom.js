// Elements out of data. Text only ever becomes text: there is no way here to write markup from a string.

const SVG = "http://www.w3.org/2000/svg";

/** An element: attributes, `on…` listeners, `class`, `data`; children are nodes, strings or nothing. */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An element of a drawing. */
export function s(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replaces what an element holds. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const find = (selector, within = document) => within.querySelector(selector);

/** Tells a screen reader, and shows it for a moment. */
export function say(text, kind = "") {
  put(find("#said"), text);
  const toast = h("div", { class: `toast ${kind}` }, text);
  find("#toasts").append(toast);
  setTimeout(() => toast.remove(), kind === "bad" ? 6000 : 2200);
}

/** Runs at most once in `wait` milliseconds, with the newest arguments, after they have rested. */
export function rested(wait, run) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...values), wait);
  };
}

/** A dialog that closes by Escape, by its button and by a click beside it, and gives the focus back. */
export function dialog(label, ...children) {
  const back = document.activeElement;
  const box = h("dialog", { class: "dialog", "aria-label": label }, children);
  box.addEventListener("close", () => {
    box.remove();
    if (back?.isConnected) back.focus();
  });
  box.addEventListener("click", (event) => event.target === box && box.close());
  document.body.append(box);
  box.showModal();
  return box;
}

/** Whether keys belong to what is being typed. */
export function typing(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return true;
  const at = event.target;
  return at instanceof HTMLElement && at.matches("input:not([type=range]):not([type=checkbox]), textarea, select");
}

/** One of `options` in a select; each is a value or a pair of value and label. */
export function choice(label, options, value, change) {
  const list = h("select", { onchange: (event) => change(event.target.value) });
  for (const option of options) {
    const [key, text] = Array.isArray(option) ? option : [option, option];
    list.append(h("option", { value: key, selected: key === value }, text));
  }
  return h("label", { class: "field" }, h("span", null, label), list);
}

/** One of a few words, side by side. */
export function segments(label, options, value, change) {
  const name = `s${Math.random().toString(36).slice(2)}`;
  return h("fieldset", { class: "segments" }, h("legend", { class: "unseen" }, label),
    options.map(([key, text]) => h("label", null,
      h("input", { type: "radio", name, value: key, checked: key === value, onchange: () => change(key) }),
      h("span", null, text))));
}
