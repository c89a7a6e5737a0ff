// Calls of the public API: the dashboard has no other way to anything.
import * as session from "./session.js";

const TRIES = 3; // of a request whose answer was lost; its Idempotency-Key makes that safe
const WAIT_MS = 700;
const RETRIED = new Set([502, 503, 504]);

/** What the API refused, in its own words. ``fields`` maps a field to what is wrong with it. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || "That did not work.");
    this.status = status;
    this.code = body.code;
    this.body = body;
    this.fields = {};
    for (const one of body.errors ?? []) {
      const name = (one.pointer ?? "").replace(/^#\//, "").split("/")[0];
      if (name) this.fields[name] ??= one.detail;
    }
  }
}

const OFFLINE = { code: "offline", detail: "8ms cannot be reached right now. Check your connection." };
const OVER = { code: "signed_out", detail: "You are signed out. Sign in again." };

/** A new Idempotency-Key. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (n) => n.toString(16).padStart(2, "0")).join("");
}

/** Headers that say who asks; null when nobody is signed in any more. */
export async function identity(options) {
  const token = await session.token(options);
  if (!token) return null;
  const headers = { Authorization: `Bearer ${token}` };
  if (session.workspace()) headers["X-8ms-Workspace"] = session.workspace();
  return headers;
}

async function attempt(method, path, init, fresh) {
  const who = await identity({ fresh });
  if (!who) throw new Problem(401, OVER);
  return fetch(path, { ...init, method, headers: { ...init.headers, ...who } });
}

async function answered(method, path, init) {
  for (let tried = 1; ; tried++) {
    try {
      let response = await attempt(method, path, init, false);
      if (response.status === 401) response = await attempt(method, path, init, true);
      if (!RETRIED.has(response.status) || tried === TRIES) return response;
    } catch (failed) {
      if (failed instanceof Problem || failed.name === "AbortError") throw failed;
      if (tried === TRIES) throw new Problem(0, OFFLINE);
    }
    await new Promise((done) => setTimeout(done, WAIT_MS * tried));
  }
}

/** The answer's JSON; throws a Problem. ``form`` sends a file, ``file`` wants one back. */
export async function call(method, path, body, { key, signal, form, file } = {}) {
  const headers = {};
  if (method === "POST" || method === "PATCH") headers["Idempotency-Key"] = key ?? newKey();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const init = { headers, signal, body: form ?? (body === undefined ? undefined : JSON.stringify(body)) };
  const response = await answered(method, path, init);
  if (response.ok && file) return response.blob();
  const text = await response.text();
  let said = null;
  try {
    said = text ? JSON.parse(text) : null;
  } catch {
    said = { detail: `The answer could not be read (${response.status}).` };
  }
  if (!response.ok) throw new Problem(response.status, said ?? {});
  return said;
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body, options) => call("POST", path, body, options);
export const patch = (path, body, options) => call("PATCH", path, body, options);
export const remove = (path, options) => call("DELETE", path, undefined, options);

/** A path with its query; empty values are left out. */
export function at(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

/** Save a file the API answers with. */
export async function download(path, name) {
  const address = URL.createObjectURL(await call("GET", path, undefined, { file: true }));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
