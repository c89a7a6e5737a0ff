// What happens, as it happens: GET /v1/events/stream, read with fetch, since EventSource sends no
// Authorization header. After a broken connection it goes on behind the last event it saw.
import { identity } from "./api.js";

const SILENT_MS = 40_000; // the server says something every 15 s
const WAIT_MAX_MS = 15_000;

const listeners = new Set();
const watchers = new Set();
let state = "off"; // off, connecting, live, broken
let last = "";
let stop = null;
let wake = () => {};

/** Hear every event {id, type, timestamp, data}; returns how to stop hearing. */
export function listen(hear) {
  listeners.add(hear);
  return () => listeners.delete(hear);
}

/** Told the state of the connection whenever it changes, and now. */
export function watch(tell) {
  watchers.add(tell);
  tell(state);
  return () => watchers.delete(tell);
}

function become(next) {
  if (state === next) return;
  state = next;
  for (const tell of watchers) tell(state);
}

/** Begin, until ``end``. */
export function begin() {
  if (stop) return;
  stop = new AbortController();
  run(stop.signal);
}

/** End, and forget where we were: the next session may be another workspace's. */
export function end() {
  stop?.abort();
  stop = null;
  last = "";
  become("off");
}

async function run(ended) {
  for (let failures = 0; !ended.aborted; failures++) {
    become(failures ? "broken" : "connecting");
    try {
      await follow(ended, () => (failures = 0));
      if (ended.aborted) return;
    } catch {
      if (ended.aborted) return;
    }
    become("broken");
    const wait = Math.min(WAIT_MAX_MS, 500 * 2 ** failures) * (0.7 + 0.6 * Math.random());
    await new Promise((done) => {
      wake = done;
      setTimeout(done, wait);
    });
  }
}

async function follow(ended, connected) {
  const attempt = new AbortController();
  const giveUp = () => attempt.abort();
  ended.addEventListener("abort", giveUp, { once: true });
  let silence = setTimeout(giveUp, SILENT_MS);
  try {
    const who = await identity();
    if (!who) return end();
    const headers = last ? { ...who, "Last-Event-ID": last } : who;
    const response = await fetch("/v1/events/stream", { headers, signal: attempt.signal });
    if (response.status === 401) await identity({ fresh: true });
    if (response.status === 422) last = ""; // the place is not known any more: go on with what comes
    if (!response.ok) throw new Error(String(response.status));
    connected();
    become("live");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(giveUp, SILENT_MS);
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      blocks.forEach(take);
    }
  } finally {
    clearTimeout(silence);
    ended.removeEventListener("abort", giveUp);
  }
}

function take(block) {
  let type = "", data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("id: ")) last = line.slice(4);
    else if (line.startsWith("event: ")) type = line.slice(7);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (!data || type === "closed") return;
  const event = JSON.parse(data);
  for (const hear of [...listeners]) hear(event);
}

addEventListener("online", () => wake());
