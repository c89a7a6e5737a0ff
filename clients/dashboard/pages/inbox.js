// The inbox: conversations beside the one that is open.
import { at, get, post } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Button, Dialog, Empty, Field, Icon, Loading, Ticks, Time, Trouble, useRun } from "../parts.js";
import { Link, go } from "../place.js";
import { listen } from "../stream.js";
import { STATES, brief, nameOr } from "../words.js";
import { Counter } from "./composer.js";
import { Thread } from "./thread.js";

const PAGE = 50, KEPT_MAX = 1_000, SETTLE_MS = 120;
const VIEWS = [["", "All"], ["unread", "Unread"], ["closed", "Closed"]];
const ENDED = new Set(["failed", "rejected", "expired"]);

const newestFirst = (rows) => rows.sort((a, b) => (a.last_message_at < b.last_message_at ? 1 : -1));
const fits = (row, view) => (view === "unread" ? row.unread > 0 : view === "closed" ? row.state === "closed" : row.state === "open");

/** The list with what changed: ``touched`` rows replaced or added where they belong, gone ones out. */
function merged(rows, touched, gone, view, kept) {
  const byId = new Map(rows.map((row) => [row.id, row]));
  for (const id of gone) byId.delete(id);
  for (const row of touched) fits(row, view) || row.id === kept ? byId.set(row.id, row) : byId.delete(row.id);
  return newestFirst([...byId.values()]).slice(0, KEPT_MAX);
}

/** The conversations of a view, kept up to date by the event stream. */
function useConversations(view, q, open) {
  const [state, set] = useState({ rows: null, cursor: null, more: false, trouble: null });
  const opened = useRef(open);
  opened.current = open;
  const list = (cursor) => get(at("/v1/conversations", { status: view || (q ? "" : "open"), q, limit: PAGE, cursor }));
  const load = async () => {
    try {
      const page = await list(null);
      set({ rows: page.data, cursor: page.next_cursor, more: page.has_more, trouble: null });
    } catch (trouble) {
      set((s) => ({ ...s, trouble }));
    }
  };
  const more = async () => {
    const page = await list(state.cursor).catch((trouble) => void set((s) => ({ ...s, trouble })));
    if (page) set((s) => ({ ...s, rows: merged([...s.rows, ...page.data], [], [], view), cursor: page.next_cursor, more: page.has_more }));
  };
  useEffect(() => {
    set((s) => ({ ...s, rows: null }));
    const timer = setTimeout(load, q ? 180 : 0);
    return () => clearTimeout(timer);
  }, [view, q]);
  useEffect(() => {
    let timer = null;
    const changed = new Set();
    const look = async () => {
      timer = null;
      const ids = [...changed];
      changed.clear();
      const found = await Promise.all(ids.map((id) => get(`/v1/conversations/${id}`).catch((failed) => (failed.status === 404 ? "gone" : null))));
      const gone = ids.filter((_, n) => found[n] === "gone");
      const rows = found.filter((row) => row && row !== "gone");
      set((s) => s.rows && { ...s, rows: merged(s.rows, q ? rows.filter((r) => s.rows.some((o) => o.id === r.id)) : rows, gone, view, opened.current) } || s);
    };
    const off = listen(({ data }) => {
      if (!data?.conversation_id) return;
      changed.add(data.conversation_id);
      timer ??= setTimeout(look, SETTLE_MS);
    });
    return () => (clearTimeout(timer), off());
  }, [view, q]);
  return { ...state, more: state.more && more, again: load };
}

function Row({ row, open }) {
  const said = row.last_message, bad = said && ENDED.has(said.state);
  return html`<li><${Link} to=${`/app/inbox/${row.id}`} class=${`conversation ${row.unread ? "new" : ""}`} aria-current=${open ? "true" : undefined}>
    <span class="top"><strong class="cut">${nameOr(row.contact)}</strong><${Time} at=${row.last_message_at} show=${brief} /></span>
    <span class="under"><span class=${`cut ${bad ? "bad-text" : ""}`}>${said?.direction === "outbound" && html`<${Tick} state=${said.state} bad=${bad} />`}${said ? said.body || "(erased)" : "No messages"}</span>
      ${row.contact.do_not_contact && html`<span class="badge bad">Opted out</span>`}
      ${row.unread > 0 && html`<span class="unread" aria-label=${`${row.unread} unread`}>${row.unread}</span>`}</span>
  </${Link}></li>`;
}

const Tick = ({ state, bad }) => html`<span class="tick" title=${STATES[state]}>${bad ? html`<${Icon} name="alert" size=${13} />` : html`<${Ticks} state=${state} />`}<span class="unseen">${STATES[state]}: </span></span>`;

/** Write to somebody new. */
export function NewMessage({ close, to: given = "" }) {
  const [to, setTo] = useState(given), [body, setBody] = useState("");
  const [busy, trouble, send] = useRun(
    () => post("/v1/sms/send", { to, body }),
    ({ message }) => (close(), go(`/app/inbox/${message.conversation_id}`)),
  );
  const submit = (e) => (e.preventDefault(), send());
  return html`<${Dialog} title="New message" close=${close}><form onSubmit=${submit}>
    <${Field} label="To" type="tel" autocomplete="off" required autofocus value=${to} onValue=${setTo} hint="With + and country code, or as your country writes it." error=${trouble?.fields?.to} />
    <${Field} label="Message" as="textarea" rows="4" required value=${body} onValue=${setBody} error=${trouble?.fields?.body} />
    <${Counter} text=${body} />
    ${trouble && !trouble.fields?.to && !trouble.fields?.body && html`<${Trouble} of=${trouble} />`}
    <div class="actions"><${Button} onClick=${close}>Cancel</${Button}><${Button} kind="main" type="submit" busy=${busy} disabled=${!to.trim() || !body}>Send</${Button}></div>
  </form></${Dialog}>`;
}

const KEYS = [["j / k", "Next, previous conversation"], ["r", "Reply"], ["e", "Close or reopen"], ["n", "New message"], ["/", "Search"], ["Esc", "Out of the text field"], ["?", "This list"]];

function Keys({ close }) {
  return html`<${Dialog} title="Keyboard" close=${close}><dl class="keys">${KEYS.map(([key, does]) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${does}</dd></div>`)}</dl></${Dialog}>`;
}

/** j, k, r, e, n, / and ? wherever nobody is typing. */
function useKeys(act) {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    const hear = (e) => {
      if (e.metaKey || e.ctrlKey || e.altKey || document.querySelector("dialog[open]")) return;
      if (e.target.closest("input, textarea, select")) {
        if (e.key === "Escape") e.target.blur();
        return;
      }
      const does = latest.current[e.key];
      if (does) (e.preventDefault(), does());
    };
    addEventListener("keydown", hear);
    return () => removeEventListener("keydown", hear);
  }, []);
}

export function Inbox({ rest: [open] }) {
  const [view, setView] = useState(""), [q, setQ] = useState(""), [box, setBox] = useState(null);
  const list = useConversations(view, q.trim(), open);
  const rows = list.rows ?? [];
  const row = rows.find((one) => one.id === open);
  const move = (by) => () => {
    const next = rows[Math.min(rows.length - 1, Math.max(0, rows.findIndex((one) => one.id === open) + by))];
    if (next) go(`/app/inbox/${next.id}`);
  };
  const toggle = async () => {
    if (row) await post(`/v1/conversations/${row.id}/${row.state === "open" ? "close" : "reopen"}`).then(list.again, () => {});
  };
  useKeys({
    j: move(1), k: move(-1), e: toggle, n: () => setBox("new"), "?": () => setBox("keys"),
    r: () => document.querySelector(".composer textarea")?.focus(), "/": () => document.querySelector(".find input")?.focus(),
  });
  useEffect(() => document.querySelector(".conversation[aria-current]")?.scrollIntoView({ block: "nearest" }), [open]);
  return html`<div class=${`inbox ${open ? "one" : ""}`}>
    <section class="list" aria-label="Conversations">
      <header><h1>Inbox</h1><${Button} kind="main" icon="pen" onClick=${() => setBox("new")}>New</${Button}></header>
      <div class="find"><${Icon} name="search" /><input type="search" placeholder="Search people" aria-label="Search people" value=${q} onInput=${(e) => setQ(e.currentTarget.value)} /></div>
      <div class="tabs" role="group" aria-label="Which">${VIEWS.map(([key, name]) => html`<button type="button" key=${key} aria-pressed=${view === key} onClick=${() => setView(key)}>${name}</button>`)}
        <button type="button" class="help" aria-label="Keyboard shortcuts" onClick=${() => setBox("keys")}>?</button></div>
      <${Trouble} of=${list.trouble} again=${list.again} />
      ${!list.rows && !list.trouble ? html`<${Loading} lines=${8} />` : html`<${Rows} list=${list} rows=${rows} open=${open} q=${q} view=${view} />`}
    </section>
    ${open ? html`<${Thread} key=${open} id=${open} reload=${list.again} />` : html`<section class="thread none"><${Empty} icon="inbox" title="No conversation is open">Pick one on the left, or press <kbd>j</kbd>.</${Empty}></section>`}
    ${box === "new" && html`<${NewMessage} close=${() => setBox(null)} to=${/^[+\d][\d ()-]{5,}$/.test(q) ? q : ""} />`}
    ${box === "keys" && html`<${Keys} close=${() => setBox(null)} />`}
  </div>`;
}

function Rows({ list, rows, open, q, view }) {
  if (rows.length) return html`<ul class="conversations">${rows.map((one) => html`<${Row} key=${one.id} row=${one} open=${one.id === open} />`)}
    ${list.more && html`<li class="more"><${Button} onClick=${list.more}>Show more</${Button}></li>`}</ul>`;
  if (q) return html`<${Empty} icon="search" title="Nobody found">No conversation with “${q}”.</${Empty}>`;
  if (view === "unread") return html`<${Empty} icon="check" title="All read">New replies appear here by themselves.</${Empty}>`;
  if (view === "closed") return html`<${Empty} icon="inbox" title="Nothing closed">Press <kbd>e</kbd> in a conversation to close it.</${Empty}>`;
  return html`<${Empty} icon="inbox" title="No conversations yet" action=${html`<${Link} to="/app/guide" class="button main">Get started</${Link}>`}>Add a phone and send yourself a text: it takes a minute.</${Empty}>`;
}

