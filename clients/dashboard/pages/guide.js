// Getting started: a phone, a text, its fate, a reply, STOP. Each step is ticked by what really happened.
import { at, get, post } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { Badge, Button, Icon, Loading, Note, Ticks, Trouble, useLoad, useRun } from "../parts.js";
import { Link } from "../place.js";
import { listen } from "../stream.js";
import { STATES, phone as shown, waiting } from "../words.js";
import { Handset } from "./handset.js";
import { simulate, usePhones } from "./phones.js";
import { Timeline } from "./timeline.js";

// Numbers that belong to nobody, around the world: somewhere it is always day, so no quiet hours.
const PEOPLE = ["+14155550123", "+12125550123", "+18085550123", "+16715550123", "+493023125123"];
const HELLO = "Hello! This is my first text with 8ms. Reply STOP to opt out.";
const OUT = new Set(["submitted", "sent", "delivered"]);
const SOON_MS = 60_000;

/** Somebody who may be texted right now, as the API's own dry run says. */
async function somebody(phone) {
  const tried = await Promise.all(PEOPLE.map((to) => post("/v1/sms/send?dry_run=true", { to, body: HELLO, phone_id: phone.id }).catch(() => null)));
  const good = tried.find((one) => one && !one.suppressed && !one.rejected && (!one.earliest_at || new Date(one.earliest_at) - Date.now() < SOON_MS));
  return (good ?? tried.find((one) => one && !one.suppressed) ?? { to: PEOPLE[0] }).to;
}

function Step({ n, title, done, now, children }) {
  return html`<li class=${`step ${done ? "done" : now ? "now" : "later"}`} aria-current=${now ? "step" : undefined}>
    <span class="n" aria-hidden="true">${done ? html`<${Icon} name="check" size=${16} />` : n}</span>
    <div><h2>${title}${done && html`<span class="unseen"> (done)</span>`}</h2>${(now || done) && children}</div></li>`;
}

/** What was said with one person, and whether they opted out; followed live. */
function useStory(person) {
  const [contactId, setContactId] = useState(null);
  const story = useLoad(async () => {
    if (!person) return null;
    let id = contactId;
    if (!id) {
      const found = await get(at("/v1/contacts", { q: person, limit: 1 }));
      id = found.data[0]?.id ?? null;
      setContactId(id);
    }
    if (!id) return { messages: [], contact: null };
    const [messages, contact] = await Promise.all([get(at("/v1/messages", { contact_id: id, limit: 50 })), get(`/v1/contacts/${id}`)]);
    return { messages: messages.data, contact };
  }, [person, contactId]);
  useEffect(() => listen(({ data, type }) => {
    if (/^(sms|send|reply|contact)\./.test(type) && data && (!contactId || data.contact_id === contactId)) setTimeout(story.again, 120);
  }), [person, contactId]);
  return story;
}

export function Guide() {
  const phones = usePhones();
  const phone = phones.data?.data.find((one) => one.simulated);
  const [person, setPerson] = useState(sessionStorage.getItem("8ms.person")), [open, show] = useState(null);
  useEffect(() => {
    if (phone && !person) somebody(phone).then((found) => (sessionStorage.setItem("8ms.person", found), setPerson(found)));
  }, [phone?.id, person]);
  const story = useStory(person);
  const [adding, refused, add] = useRun(simulate, phones.again);
  const [sending, notSent, send] = useRun((body) => post("/v1/sms/send", { to: person, body, phone_id: phone.id }), story.again);
  const texts = story.data?.messages ?? [];
  const first = texts.filter((one) => one.direction === "outbound" && one.source !== "confirmation").at(-1);
  const delivered = first && OUT.has(first.state), replied = texts.some((one) => one.direction === "inbound");
  const stopped = story.data?.contact?.do_not_contact;
  const [tried, setTried] = useState(null);
  useEffect(() => void (notSent?.code === "recipient_opted_out" && setTried(notSent)), [notSent]);
  if (!phones.data) return html`<div class="page"><h1>Getting started</h1><${Trouble} of=${phones.trouble} /><${Loading} /></div>`;
  const steps = [!!phone, !!first, !!delivered, replied, !!stopped, !!tried];
  const now = steps.indexOf(false);
  return html`<div class="page guide-page"><header class="head"><div><h1>Getting started</h1><p class="hint">The whole of 8ms in a minute, with a phone that is not there. Nothing leaves this installation.</p></div></header>
    <div class="two"><ol class="guide-steps">
      <${Step} n="1" title="Add a phone" done=${steps[0]} now=${now === 0}>${phone
        ? html`<p>${phone.label} is ${phone.state === "online" ? "connected" : phone.state}. A real one is added the same way, on <${Link} to="/app/phones">Phones</${Link}>, with a QR code.</p>`
        : html`<p>A simulated phone pairs, sends and receives like a real one.</p><${Button} kind="main" busy=${adding} onClick=${() => add()}>Add a simulated phone</${Button}><${Trouble} of=${refused} /><p class="hint">Or <${Link} to="/app/phones">pair your Android phone</${Link}>.</p>`}</${Step}>
      <${Step} n="2" title="Send yourself a text" done=${steps[1]} now=${now === 1}>${first ? html`<p>“${first.body}”</p>`
        : html`<p>To ${shown(person ?? "")}, the person whose handset you see.</p><${Button} kind="main" icon="send" busy=${sending} disabled=${!person} onClick=${() => send(HELLO)}>Send it</${Button}><${Trouble} of=${notSent} />`}</${Step}>
      <${Step} n="3" title="See it delivered" done=${steps[2]} now=${now === 2}>${first && html`<p><${Ticks} state=${first.state} /> <${Badge} kind=${delivered ? "good" : ""}>${STATES[first.state]}</${Badge}> <button type="button" class="link" onClick=${() => show(first.id)}>What happened to it</button></p>
        ${first.state === "queued" && first.waiting && html`<${Note} kind="warn" icon="clock">${waiting(first.waiting)}</${Note}>`}`}</${Step}>
      <${Step} n="4" title="Reply from the handset" done=${steps[3]} now=${now === 3}><p>${replied ? html`Your reply is in the <${Link} to=${`/app/inbox/${first?.conversation_id ?? ""}`}>inbox</${Link}>. It got there while you looked.` : "Type something on the handset, or press one of the buttons below it."}</p></${Step}>
      <${Step} n="5" title="Say STOP" done=${steps[4]} now=${now === 4}><p>${stopped ? "They opted out. One confirmation went out, and nothing else will, from anywhere." : "Press STOP on the handset. 8ms obeys in the same moment."}</p></${Step}>
      <${Step} n="6" title="Try to send anyway" done=${steps[5]} now=${now === 5}>${tried ? html`<${Note} kind="good" icon="check"><strong>Refused, as it must be.</strong> ${tried.message}</${Note}><p>That was all of it. <${Link} to="/app/inbox">Go to the inbox</${Link}>, or <${Link} to="/app/phones">add your own phone</${Link}>.</p>`
        : html`<${Button} busy=${sending} onClick=${() => send("Are you sure?")}>Send one more text</${Button}>`}</${Step}>
    </ol>
    <aside aria-label="Simulated handset">${phone && person ? html`<${Handset} phone=${phone} person=${person} />` : html`<div class="handset empty-handset"><div class="screen"><p class="quiet">The handset of the person you text appears here.</p></div></div>`}</aside></div>
    ${open && html`<${Timeline} id=${open} close=${() => show(null)} />`}
  </div>`;
}
