// The gateway as the page calls it: with the key that was typed in, kept for this tab alone.

const KEY = "tollgate.key";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

/** What the gateway said no with. */
export class Refused extends Error {
  constructor(status, body) {
    super(body?.detail ?? body?.error?.message ?? `The gateway answered ${status}.`);
    this.status = status;
    this.body = body;
    this.code = body?.error?.code ?? "";
  }
}

let shutOut = () => {};
/** Called when a key is missing or wrong. */
export function onShutOut(run) {
  shutOut = run;
}

async function send(method, path, body, headers = {}, signal) {
  const all = { ...headers };
  if (key.get()) all.authorization = `Bearer ${key.get()}`;
  if (body !== undefined) all["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers: all, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { detail: "The gateway cannot be reached." });
  }
  if (answer.ok || answer.status === 304) return answer;
  const refused = new Refused(answer.status, await answer.json().catch(() => null));
  if (answer.status === 401) shutOut(refused);
  throw refused;
}

const kept = new Map();

/** A GET; `same` is true when nothing changed since the last one of this path. */
export async function read(path, signal) {
  const before = kept.get(path);
  const answer = await send("GET", path, undefined, before ? { "if-none-match": before.tag } : {}, signal);
  if (answer.status === 304) return { data: before.data, same: true };
  const data = await answer.json();
  const tag = answer.headers.get("etag");
  if (tag) {
    if (kept.size > 60) kept.delete(kept.keys().next().value);
    kept.set(path, { tag, data });
  }
  return { data, same: false };
}

export const post = async (path, body, signal) => (await send("POST", path, body, {}, signal)).json();

export const plan = (ask, signal) => post("/plan", ask, signal);

export const judge = (id, image, accepted, rater, reason) =>
  post(`/generations/${encodeURIComponent(id)}/feedback`, { accepted, image, rater, ...(reason ? { reason } : {}) });

export const upscale = (id, width, height, image) =>
  post(`/generations/${encodeURIComponent(id)}/upscale`, { width, height, image, response_format: "url" });

/** Generates: asynchronously where the gateway offers it, so that its progress is heard; else by waiting. */
export async function generate(ask, hear, signal) {
  const answer = await send("POST", "/generate", { ...ask, response_format: "url" }, { prefer: "respond-async" }, signal);
  const first = await answer.json();
  if (answer.status !== 202) return first;
  const job = answer.headers.get("location") ?? `/jobs/${first.id}`;
  return follow(job, hear, signal);
}

/** Follows a job by its events, and asks for it when they break off. */
async function follow(job, hear, signal) {
  try {
    const answer = await send("GET", `${job}/events`, undefined, { accept: "text/event-stream" }, signal);
    for await (const { event, data } of events(answer.body)) {
      const told = JSON.parse(data || "{}");
      hear(event, told);
      if (["succeeded", "failed", "cancelled"].includes(told.status ?? event)) break;
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
  }
  for (;;) {
    const told = await (await send("GET", `${job}?wait=20`, undefined, {}, signal)).json();
    hear("state", told);
    if (told.status === "succeeded") return told;
    if (told.status === "failed" || told.status === "cancelled") throw new Refused(502, told.detail || told.error ? told : { detail: `The job was ${told.status}.` });
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value.replaceAll("\r", "");
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const told = { event: "message", data: "" };
      for (const line of text.slice(0, end).split("\n")) {
        const [name, ...rest] = line.split(":");
        if (name === "event") told.event = rest.join(":").trim();
        if (name === "data") told.data += rest.join(":").trimStart();
      }
      text = text.slice(end + 2);
      if (told.data || told.event !== "message") yield told;
    }
  }
}

/** Runs `look` every `pause` milliseconds while the page is seen, until the answer's `stop` is called. */
export function live(pause, look) {
  let timer = 0;
  let stopped = false;
  const turn = async () => {
    clearTimeout(timer);
    if (!document.hidden) await look().catch(() => {});
    if (!stopped) timer = setTimeout(turn, pause);
  };
  const seen = () => !document.hidden && turn();
  document.addEventListener("visibilitychange", seen);
  timer = setTimeout(turn, pause);
  return () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
  };
}
