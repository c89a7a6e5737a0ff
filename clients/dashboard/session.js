// Who is signed in. The access token lives in memory alone; the refresh token is in this browser's
// storage, so that a reload stays signed in. A token is used once: tabs take turns to refresh.
const KEY = "8ms.session";
const EARLY_S = 60; // refreshed so long before the access token ends
const OWN = "8ms.";

let access = null; // {token, expiresAt}
let refreshing = null;
const leaving = new Set();

const read = () => JSON.parse(localStorage.getItem(KEY) || "null");
const write = (session) => localStorage.setItem(KEY, JSON.stringify(session));

/** What failed with the sign-in service, as a sentence for the person. */
export class SignInFailed extends Error {}

/** Whether this browser holds a session. */
export const signedIn = () => read() !== null;

/** Told when the session ends, here or in another tab. */
export const onSignedOut = (tell) => leaving.add(tell);

/** The workspace in use, where the person is in several; null: their first. */
export const workspace = () => read()?.workspace ?? null;

/** Use another workspace from now on. */
export function useWorkspace(id) {
  write({ ...read(), workspace: id });
}

/** Take the session a sign-in link brought in the address, and clean the address; true if one was there. */
export function takeFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (!given.has("refresh_token")) return false;
  history.replaceState(null, "", location.pathname + location.search);
  keep({
    access_token: given.get("access_token"),
    refresh_token: given.get("refresh_token"),
    expires_at: Number(given.get("expires_at")),
  });
  return true;
}

function keep(tokens) {
  access = { token: tokens.access_token, expiresAt: tokens.expires_at };
  write({ workspace: workspace(), refresh: tokens.refresh_token });
}

async function post(path, body, token) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(`/auth/v1${path}`, { method: "POST", headers, body: JSON.stringify(body ?? {}) });
  } catch {
    throw new SignInFailed("8ms cannot be reached. Check your connection, then try again.");
  }
  const text = await response.text();
  const said = text ? JSON.parse(text) : {};
  if (response.ok) return said;
  const failed = new SignInFailed(WORDS[said.error_code] ?? said.detail ?? said.msg ?? "That did not work. Try again.");
  failed.final = response.status >= 400 && response.status < 500 && response.status !== 429;
  failed.url = said.sign_in_url;
  throw failed;
}

const WORDS = {
  over_email_send_rate_limit: "A mail went to this address less than a minute ago. Use that one, or wait a moment.",
  over_request_rate_limit: "That was a little too often. Wait a minute, then try again.",
  otp_expired: "This code does not work. It may be older than 15 minutes, or mistyped.",
  validation_failed: "This is not an e-mail address.",
  email_provider_disabled: "This installation sends no mail yet: EIGHTMS_MAIL_FROM and a mail server are not set.",
};

/** Mail a link and a code to an address. */
export const askForLink = (email) =>
  post(`/otp?redirect_to=${encodeURIComponent(location.origin + "/app")}`, { email });

/** Sign in with the code of the mail. */
export async function signInWithCode(email, code) {
  keep(await post("/verify", { type: "email", email, token: code }));
}

/** An access token that is good for a while; null when the session is over. */
export async function token({ fresh = false } = {}) {
  if (!fresh && access && access.expiresAt - EARLY_S > Date.now() / 1000) return access.token;
  refreshing ??= alone(refresh).finally(() => (refreshing = null));
  await refreshing;
  return access?.token ?? null;
}

const alone = (work) => (navigator.locks ? navigator.locks.request("8ms.refresh", work) : work());

async function refresh() {
  const session = read();
  if (!session) return;
  try {
    keep(await post("/token?grant_type=refresh_token", { refresh_token: session.refresh }));
  } catch (failed) {
    if (!failed.final) throw failed;
    forget();
  }
}

/** End the session: here, or with "global" everywhere. */
export async function signOut(scope = "local") {
  try {
    await post(`/logout?scope=${scope}`, {}, await token());
  } finally {
    forget();
  }
}

/** Forget everything this browser kept, drafts too. */
export function forget() {
  access = null;
  for (const key of Object.keys(localStorage)) if (key.startsWith(OWN)) localStorage.removeItem(key);
  for (const tell of leaving) tell();
}

addEventListener("storage", (change) => {
  if (change.key === KEY && change.newValue === null) forget();
});
