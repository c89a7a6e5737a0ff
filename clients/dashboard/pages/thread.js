// One conversation: what was said, how far each text got, and the reply.
import { at, get, newKey, post } from "../api.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../html.js";
import { Button, Confirm, Field, Icon, Loading, Note, Ticks, Time, Trouble, useLoad } from "../parts.js";
import { Link } from "../place.js";
import { listen } from "../stream.js";
import { STATES, date, day, nameOr, named, phone, time, waitingShort } from "../words.js";
import { Composer } from "./composer.js";
import { Timeline } from "./timeline.js";

const PAGE = 50, KEPT_MAX = 1_000, SETTLE_MS = 60, NEAR_END_PX = 80;
const BAD = new Set(["failed", "rejected", "expired"]);

const byTime = (a, b) => (a.created_at < b.created_at || (a.created_at === b.created_at && a.id < b.id) ? -1 : 1);

/** The messages of a conversation, oldest first, kept up to date; and texts on their way to the API. */
function useMessages(id) {
  const [state, set] = useState({ known: new Map(), cursor: null, more: false, ready: false, trouble: null });
  const [leaving, setLeaving] = useState([]);
  const put = (found, page) => set((s) => {
    const known = new Map(s.known);
    for (const one of found) known.set(one.id, one);
    return { ...s, known, ready: true, trouble: null, ...page };
  });
  const load = async (cursor) => {
    try {
      const page = await get(at(`/v1/conversations/${id}/messages`, { limit: PAGE, cursor }));
      put(page.data, { cursor: page.next_cursor, more: page.has_more });
    } catch (trouble) {
      if (trouble.status === 404) put([], { more: false }); // nothing was said yet
      else set((s) => ({ ...s, trouble }));
    }
  };
  useEffect(() => {
    load(null);
    let timer = null;
    const changed = new Set();
    const look = async () => {
      timer = null;
      const ids = [...changed];
      changed.clear();
      const found = await Promise.all(ids.map((one) => get(`/v1/messages/${one}`).catch(() => null)));
      put(found.filter(Boolean));
      const refs = new Set(found.map((one) => one?.client_ref).filter(Boolean));
      if (refs.size) setLeaving((all) => all.filter((one) => !refs.has(one.key)));
    };
    const off = listen(({ type, data, timestamp }) => {
      if (data?.conversation_id !== id || !data.message_id) return;
      if (type === "reply.received") put([received(data, timestamp)]);
      changed.add(data.message_id);
      timer ??= setTimeout(look, SETTLE_MS);
    });
    return () => (clearTimeout(timer), off());
  }, [id]);
  const change = (key, values) => setLeaving((all) => all.map((one) => (one.key === key ? { ...one, ...values } : one)));
  const attempt = async (text) => {
    try {
      const { message } = await post("/v1/sms/send", { contact_id: `con_${id.slice(4)}`, body: text.body, category: "conversation", client_ref: text.key }, { key: text.key });
      put([message]);
      setLeaving((all) => all.filter((one) => one.key !== text.key));
    } catch (problem) {
      change(text.key, { problem });
    }
  };
  const send = (body) => {
    const text = { key: newKey(), body, created_at: new Date().toISOString() };
    setLeaving((all) => [...all, text]);
    attempt(text);
  };
  const again = (text) => {
    // What was refused gets a new key, what may have arrived keeps its own: it is never sent twice.
    const key = text.problem.status && text.problem.status < 500 ? newKey() : text.key;
    setLeaving((all) => all.map((one) => (one.key === text.key ? { ...text, key, problem: null } : one)));
    attempt({ ...text, key });
  };
  const drop = (text) => setLeaving((all) => all.filter((one) => one.key !== text.key));
  const messages = [...state.known.values()].sort(byTime).slice(-KEPT_MAX);
  return { ...state, messages, leaving, send, again, drop, older: () => load(state.cursor), reload: () => load(null), put };
}

/** A reply as the stream tells it, as a message. */
const received = (data, timestamp) => ({
  id: data.message_id, direction: "inbound", state: "received", body: data.body, from: data.from, created_at: data.received_at ?? timestamp,
  segments: data.parts, waiting: null, error: null, contact_id: data.contact_id, conversation_id: data.conversation_id,
});

function Fate({ message }) {
  if (message.direction === "inbound") return html`<${Time} at=${message.created_at} show=${time} />`;
  if (BAD.has(message.state)) return html`<span class="bad-text"><${Icon} name="alert" size=${13} /> ${STATES[message.state]}${message.error?.detail && `: ${message.error.detail}`}</span>`;
  const words = message.state === "queued" ? (message.waiting ? waitingShort(message.waiting) : "Waiting for its turn") : STATES[message.state];
  return html`<span><${Time} at=${message.created_at} show=${time} /> · ${words}</span> <${Ticks} state=${message.state} />`;
}

function Bubble({ message, show }) {
  const mine = message.direction === "outbound";
  return html`<li class=${mine ? "mine" : "theirs"}><button type="button" class=${`bubble ${BAD.has(message.state) ? "failed" : ""}`} onClick=${() => show(message.id)} aria-haspopup="dialog">
      <span class="unseen">${mine ? "You: " : "They: "}</span>${message.body || html`<em>The text was erased.</em>`}</button>
    <p class="fate">${message.source === "confirmation" && "Automatic · "}${message.campaign_id && "Campaign · "}<${Fate} message=${message} /></p></li>`;
}

function Leaving({ text, again, drop }) {
  const { problem } = text;
  return html`<li class="mine"><div class=${`bubble ${problem ? "failed" : "leaving"}`}>${text.body}</div>
    <p class="fate" role=${problem ? "alert" : undefined}>${problem
      ? html`<span class="bad-text"><${Icon} name="alert" size=${13} /> Not sent. ${problem.message}</span> <button type="button" class="link" onClick=${() => again(text)}>Try again</button> <button type="button" class="link" onClick=${() => drop(text)}>Discard</button>`
      : "Sending"}</p></li>`;
}

function Messages({ list, show }) {
  const box = useRef(null), stays = useRef(true), height = useRef(0);
  const { messages, leaving } = list;
  const scrolled = () => (stays.current = box.current.scrollHeight - box.current.scrollTop - box.current.clientHeight < NEAR_END_PX);
  useLayoutEffect(() => {
    const it = box.current;
    if (stays.current) it.scrollTop = it.scrollHeight;
    else if (messages[0]?.id !== it.first) it.scrollTop += it.scrollHeight - height.current; // older ones came above
    it.first = messages[0]?.id;
    height.current = it.scrollHeight;
  }, [messages.length, leaving.length, messages.at(-1)?.state, leaving.at(-1)?.problem]);
  useEffect(() => {
    const it = box.current;
    const seen = new ResizeObserver(() => stays.current && (it.scrollTop = it.scrollHeight));
    seen.observe(it);
    return () => seen.disconnect();
  }, []);
  let last = "";
  const rows = [];
  for (const message of messages) {
    const here = day(message.created_at);
    if (here !== last) rows.push(html`<li class="day" key=${here + message.id}><span title=${date(message.created_at)}>${here}</span></li>`);
    last = here;
    rows.push(html`<${Bubble} key=${message.id} message=${message} show=${show} />`);
  }
  return html`<div class="messages" ref=${box} onScroll=${scrolled} tabindex="0" role="region" aria-label="Messages">
    ${list.more && html`<p class="more"><${Button} onClick=${() => ((stays.current = false), list.older())}>Show earlier</${Button}></p>`}
    <ol aria-live="polite" aria-relevant="additions">${rows}${leaving.map((text) => html`<${Leaving} key=${text.key} text=${text} again=${list.again} drop=${list.drop} />`)}</ol></div>`;
}

const SOURCES = { keyword: "They texted", phrase: "They texted", classifier: "Their text was read as a wish to stop:", user: "Somebody of your team noted it", api: "It was noted through the API", ghl: "It was noted in the CRM" };

function OptedOut({ contact, ask }) {
  const { source, at: since } = contact.consent;
  return html`<${Note} kind="bad" action=${html`<${Button} onClick=${ask}>Undo…</${Button}>`}>
    <strong>${named(contact) || phone(contact.phone)} opted out.</strong> ${SOURCES[source] ?? "It was noted"}${source === "keyword" || source === "phrase" ? " a word that means stop" : ""}${since && html`, <${Time} at=${since} />`}. Nothing is sent to this number any more, from anywhere, except the one confirmation they got.</${Note}>`;
}

function OptIn({ contact, close, done }) {
  const [note, set] = useState("");
  return html`<${Confirm} title="Text them again?" action="Opt them in" close=${close} run=${async () => done(await post(`/v1/contacts/${contact.id}/opt-in`, note ? { note } : {}))}>
    <p>Only when they asked for it themselves. Texting somebody who said stop is against the law in most countries, and gets SIMs blocked. They can also text START, which undoes it by itself.</p>
    <${Field} label="How do you know?" as="textarea" rows="2" value=${note} onValue=${set} hint="Kept as evidence, with your name." /></${Confirm}>`;
}

export function Thread({ id, reload }) {
  const list = useMessages(id);
  const contact = useLoad(() => get(`/v1/contacts/con_${id.slice(4)}`), [id]);
  const conversation = useLoad(() => get(`/v1/conversations/${id}`), [id]);
  const [shown, show] = useState(null), [asks, setAsks] = useState(false);
  const heard = list.messages.findLast((one) => one.direction === "inbound")?.id;
  useEffect(() => listen(({ type, data }) => {
    if (data?.conversation_id === id && (type.startsWith("contact.") || type.startsWith("conversation."))) (contact.again(), conversation.again());
  }), [id]);
  useEffect(() => {
    const look = () => {
      if (heard && document.visibilityState === "visible") post(`/v1/conversations/${id}/read`).catch(() => {});
    };
    look();
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, [id, heard]);
  const toggle = async () => {
    const said = await post(`/v1/conversations/${id}/${conversation.data.state === "open" ? "close" : "reopen"}`).catch(() => null);
    if (said) (conversation.set(said), reload());
  };
  if (contact.trouble) return html`<section class="thread"><${Trouble} of=${contact.trouble} again=${contact.again} /></section>`;
  const who = contact.data;
  return html`<section class="thread" aria-label=${who ? `Conversation with ${nameOr(who)}` : "Conversation"}>
    <header><${Link} to="/app/inbox" class="button quiet icon-only only-small" aria-label="Back to the list"><${Icon} name="back" /></${Link}>
      <div class="cut"><h2 class="cut">${who ? nameOr(who) : " "}</h2><p class="hint cut">${who && [named(who) && phone(who.phone), who.company, ...who.tags].filter(Boolean).join(" · ")}</p></div>
      ${conversation.data && html`<${Button} onClick=${toggle} icon=${conversation.data.state === "open" ? "check" : "inbox"}>${conversation.data.state === "open" ? "Close" : "Reopen"}</${Button}>`}</header>
    ${who?.do_not_contact && html`<${OptedOut} contact=${who} ask=${() => setAsks(true)} />`}
    <${Trouble} of=${list.trouble} again=${list.reload} />
    ${list.ready ? html`<${Messages} list=${list} show=${show} />` : html`<${Loading} />`}
    <${Composer} conversation=${id} send=${list.send} />
    ${shown && html`<${Timeline} id=${shown} close=${() => show(null)} changed=${(one) => list.put([one])} />`}
    ${asks && html`<${OptIn} contact=${who} close=${() => setAsks(false)} done=${contact.set} />`}
  </section>`;
}
