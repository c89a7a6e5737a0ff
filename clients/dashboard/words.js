// What the product says: times in the reader's zone, numbers, states and reasons in words.
const DAY_MS = 86_400_000;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const short = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const long = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", year: "numeric" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const counted = new Intl.NumberFormat();

export const count = (n) => counted.format(n ?? 0);
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
const daysAgo = (date) => Math.round((midnight(new Date()) - midnight(date)) / DAY_MS);

export const time = (iso) => clock.format(new Date(iso));
export const second = (iso) => exact.format(new Date(iso));
export const fullTime = (iso) => (iso ? full.format(new Date(iso)) : "");
export const date = (iso) => long.format(new Date(iso));

/** The heading above a day's messages. */
export function day(iso) {
  const at = new Date(iso), ago = daysAgo(at);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  return ago > 1 && ago < 7 ? weekday.format(at) : long.format(at);
}

/** As short as a list wants it. */
export function brief(iso) {
  if (!iso) return "";
  const at = new Date(iso), ago = daysAgo(at);
  if (ago === 0) return clock.format(at);
  if (ago === 1) return "Yesterday";
  return ago > 1 && ago < 7 ? weekday.format(at).slice(0, 3) : short.format(at);
}

/** A moment to come or gone by, with its day where that is not today. */
export function moment(iso) {
  if (!iso) return "";
  const at = new Date(iso), ago = daysAgo(at);
  if (ago === 0) return clock.format(at);
  if (ago === -1) return `tomorrow ${clock.format(at)}`;
  if (ago === 1) return `yesterday ${clock.format(at)}`;
  return `${short.format(at)}, ${clock.format(at)}`;
}

/** How long ago, in words. */
export function ago(iso) {
  if (!iso) return "never";
  const seconds = Math.round((new Date(iso) - Date.now()) / 1000);
  if (Math.abs(seconds) < 10) return "just now";
  for (const [unit, size] of [["second", 60], ["minute", 60], ["hour", 24], ["day", Infinity]]) {
    const step = { second: 1, minute: 60, hour: 3600, day: 86400 }[unit];
    if (Math.abs(seconds) < step * size) return relative.format(Math.round(seconds / step), unit);
  }
  return "";
}

/** A span of seconds in words. */
export function span(seconds) {
  for (const [unit, size] of [["hour", 3600], ["minute", 60]]) if (seconds && seconds % size === 0) return plural(seconds / size, unit);
  return seconds ? plural(seconds, "second") : "none";
}

/** A number so that it can be read. */
export function phone(number) {
  const us = /^\+1(\d{3})(\d{3})(\d{4})$/.exec(number ?? "");
  return us ? `+1 ${us[1]} ${us[2]} ${us[3]}` : number ?? "";
}

export const named = (person) => [person?.first_name, person?.last_name].filter(Boolean).join(" ");
export const nameOr = (person) => named(person) || phone(person?.phone);

export const STATES = {
  queued: "Waiting", dispatched: "On its way to the phone", accepted: "On the phone", submitted: "Given to the network",
  sent: "Sent", delivered: "Delivered", rejected: "Refused", cancelled: "Cancelled", expired: "Expired",
  failed: "Failed", unknown: "Sent or not: unknown", received: "Received",
};

const REASONS = {
  no_phone: "No phone can send it. Add a phone, or wait for one.",
  phone_offline: "Its phone is offline. It goes out as soon as the phone is back.",
  min_gap: "The phone pauses between texts, so that its SIM is not taken for a robot's.",
  daily_cap: "The phone has sent what is safe for today.",
  quiet_hours: "It is night where the recipient is.",
  send_window: "Its campaign sends only at certain times.",
  scheduled: "It was scheduled.",
  queue: "Other texts are before it.",
  retry: "Sending failed, and is tried again.",
  failover_wait: "Its phone is gone; another one takes over after a while.",
  campaign_paused: "Its campaign is paused.",
  quarantined: "Its phone cannot tell whether it was sent. Open it to decide.",
};

/** Why a message waits and until when, as a sentence. */
export function waiting(wait) {
  if (!wait) return "";
  const why = wait.detail || REASONS[wait.reason] || wait.reason;
  const place = wait.position ? ` It is number ${count(wait.position)} in the queue.` : "";
  return wait.until ? `${why}${place} Until ${moment(wait.until)}.` : why + place;
}

const SHORT = {
  no_phone: "no phone", phone_offline: "phone offline", min_gap: "pause between texts", daily_cap: "daily limit",
  quiet_hours: "quiet hours", send_window: "campaign hours", scheduled: "scheduled", queue: "in the queue",
  retry: "tried again", failover_wait: "other phone takes over", campaign_paused: "campaign paused",
  quarantined: "set aside",
};

/** The same in a few words, for below a message. */
export function waitingShort(wait) {
  if (!wait) return "Waiting";
  const until = wait.until ? ` until ${moment(wait.until)}` : "";
  return `Waiting: ${SHORT[wait.reason] ?? wait.reason}${until}`;
}

export const LINKS = {
  opted_out: "opted out", invalid_number: "no valid number", missing_variable: "a blank stays empty",
  no_number: "no number", duplicate: "twice in the list", not_mobile: "not a number that can be texted",
};
export const reason = (code) => LINKS[code] ?? SHORT[code] ?? String(code).replaceAll("_", " ");
