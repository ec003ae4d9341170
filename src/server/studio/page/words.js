// Numbers and reasons as people say them.

/** Dollars out of micro-dollars: cents where cents say it, else as many digits as it takes. */
export function usd(micros, least = 2) {
  if (micros === null || micros === undefined || Number.isNaN(micros)) return "–";
  const sign = micros < 0 ? "−" : "";
  const dollars = Math.abs(micros) / 1e6;
  let digits = least;
  if (dollars > 0 && dollars < 1) digits = dollars < 0.01 ? 5 : dollars < 0.1 ? 4 : 3;
  let text = dollars.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  if (digits > 2) text = text.replace(/(\.\d\d\d*?)0+$/, "$1");
  return `${sign}$${text}`;
}

/** Dollars with exactly two digits. */
export const cents = (micros) =>
  `${micros < 0 ? "−" : ""}$${(Math.abs(micros) / 1e6).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;

export const micros = (dollars) => Math.round((dollars ?? 0) * 1e6);
export const percent = (share, digits = 0) => `${(share * 100).toFixed(digits)} %`;
export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en-US")} ${number === 1 ? one : many}`;
export const secs = (ms) => (ms < 950 ? `${Math.round(ms)} ms` : ms < 90_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`);

/** How long ago. */
export function ago(ms, now = Date.now()) {
  const s = Math.max(0, (now - ms) / 1000);
  if (s < 45) return "just now";
  if (s < 3600) return `${Math.max(1, Math.round(s / 60))} min ago`;
  if (s < 86_400) return `${Math.round(s / 3600)} h ago`;
  return new Date(ms).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: s > 2e7 ? "numeric" : undefined });
}

/** A model's name without its provider, where that says enough. */
export function short(model) {
  const [provider, ...rest] = (model ?? "").split("/");
  const name = rest.join("/");
  if (!name) return model || "–";
  return name.length < 9 && !name.includes(provider) ? `${provider} ${name}` : name;
}

/** A sentence of the gateway with its dollars as this page writes them. */
export const plain = (text) => (text ?? "").replace(/\$(\d+\.\d{3,6})/g, (_, dollars) => usd(Number(dollars) * 1e6));

/** The steps of a candidate, in words. */
export function steps(plan) {
  return (plan.steps ?? []).map((step) => {
    const size = step.width ? ` ${step.width}×${step.height}` : "";
    if (step.op === "generate") return `${short(step.model)}${size}`;
    if (step.op === "resize") return `resize to${size}`;
    if (step.op === "upscale") return `enlarge with ${short(step.model) || "resampling"}${size}`;
    return [step.op, step.model ? short(step.model) : "", size].filter(Boolean).join(" ");
  }).join(" → ");
}

/** Why this plan and not another, in sentences. `explained` is an answer of `POST /plan`. */
export function why(explained) {
  const all = explained.candidates ?? [];
  const chosen = all.find((candidate) => candidate.chosen);
  const floor = percent(explained.floor);
  if (!chosen) return [`Nothing may run for this ${explained.task}: no plan is sure enough to meet the floor of ${floor} and every other term.`];
  const e = chosen.expected;
  const told = [
    `${short(chosen.model)} is expected to be accepted ${Math.round(e.accept * 100)} times of 100 at first look, and at least ${Math.round(e.accept_interval[0] * 100)} with confidence: enough for the floor of ${floor}${explained.tier ? ` (${explained.tier})` : ""}.`,
    `At ${usd(micros(e.cost_usd))} a request it is the cheapest way to an accepted picture: ${usd(micros(e.per_accepted_usd))}, looks included.`,
  ];
  const next = all.find((candidate) => !candidate.chosen && candidate.reason?.code === "dearer");
  if (next) told.push(`Next would be ${short(next.model)}: ${plain(next.reason.text)}.`);
  const better = all.filter((c) => !c.chosen && c.expected.accept > e.accept + 0.005).sort((a, b) => b.expected.accept - a.expected.accept)[0];
  if (better && better !== next) told.push(`The best, ${short(better.model)}, would please ${Math.round(better.expected.accept * 100)} of 100 for ${usd(micros(better.expected.cost_usd))}: ${plain(better.reason?.text)}.`);
  const cheaper = all.filter((c) => !c.chosen && c.reason?.code === "floor").length;
  if (cheaper) told.push(`${count(cheaper, "plan")} ${cheaper === 1 ? "is" : "are"} below the floor.`);
  if (explained.rule) told.push(`The rule “${explained.rule}” of the policy set the terms.`);
  return told;
}
