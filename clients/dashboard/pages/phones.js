// Phones: how each one is right now, pairing by QR code, and how careful it is.
import { get, patch, post, remove } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Ago, Badge, Button, Check, Confirm, Dialog, Empty, Field, Icon, Loading, Note, Time, Trouble, useLoad, useRun } from "../parts.js";
import { listen } from "../stream.js";
import { count, moment, phone as number, span } from "../words.js";
import { Handset } from "./handset.js";

const LOOK_MS = 10_000, PAIRING_LOOK_MS = 1_000, SETTLE_MS = 250;
const STATES = { online: ["good", "Connected"], late: ["warn", "Late"], offline: ["bad", "Offline"] };

/** All phones, kept up to date. */
export function usePhones() {
  const phones = useLoad(() => get("/v1/phones?limit=100"), []);
  const again = useRef(null);
  again.current = phones.again;
  useEffect(() => {
    let timer = null;
    const soon = () => (timer ??= setTimeout(() => ((timer = null), again.current()), SETTLE_MS));
    const off = listen(({ type }) => (type.startsWith("phone.") || type === "sms.sent") && soon());
    const every = setInterval(() => document.visibilityState === "visible" && again.current(), LOOK_MS);
    return () => (off(), clearTimeout(timer), clearInterval(every));
  }, []);
  return phones;
}

function Battery({ of }) {
  if (of.battery === null) return html`<span class="hint">Battery unknown</span>`;
  const low = of.battery <= 15 && !of.charging;
  return html`<span class=${low ? "bad-text" : ""}><${Icon} name="battery" size=${16} /> ${of.battery} %${of.charging ? ", charging" : low ? ", low" : ""}</span>`;
}

function Today({ of }) {
  const cap = of.effective_daily_cap ?? of.daily_cap, sent = of.sent_today ?? 0;
  const share = cap ? Math.min(100, (100 * sent) / cap) : 100;
  return html`<div class="today"><p><span>${count(sent)} of ${count(cap)} texts today</span>
      ${of.warmup === "on" && cap < of.daily_cap && html`<span class="hint">warming up to ${count(of.daily_cap)}</span>`}</p>
    <div class="bar" role="meter" aria-label="Texts today" aria-valuemin="0" aria-valuemax=${cap} aria-valuenow=${sent}><span style=${{ width: `${share}%` }} class=${share >= 100 ? "full" : ""}></span></div></div>`;
}

function Card({ of, edit, drop, handset }) {
  const [kind, word] = STATES[of.state];
  const next = of.next_slot_at && new Date(of.next_slot_at) > new Date();
  return html`<article class="card phone" data-state=${of.state}>
    <header><h2 class="cut">${of.label}</h2><${Badge} kind=${kind}>${word}</${Badge}></header>
    <p class="hint cut">${of.simulated ? "Simulated: nothing leaves this installation" : `${of.manufacturer} ${of.model}, Android ${of.android}`}</p>
    <p class="row"><${Battery} of=${of} /><span class="hint">${of.network ?? "Network unknown"}</span></p>
    <${Today} of=${of} />
    <dl class="pairs"><div><dt>Next text</dt><dd>${of.state === "offline" ? "when it is back" : next ? html`<${Time} at=${of.next_slot_at} show=${moment} />` : "any time"}</dd></div>
      <div><dt>Pause between texts</dt><dd>${span(of.min_gap_s)}</dd></div>
      <div><dt>Last sign of life</dt><dd>${of.last_heartbeat_at ? html`<${Ago} at=${of.last_heartbeat_at} />` : "none yet"}</dd></div>
      <div><dt>SIM</dt><dd>${of.sims.map((sim) => sim.number ? number(sim.number) : sim.carrier).join(", ") || "none"}</dd></div></dl>
    <footer>${of.simulated && html`<${Button} icon="phones" onClick=${() => handset(of)}>Open handset</${Button}>`}<${Button} icon="settings" onClick=${() => edit(of)}>Limits</${Button}><${Button} kind="quiet" onClick=${() => drop(of)}>Remove</${Button}></footer>
  </article>`;
}

/** A QR code that flips to Connected by itself, and is made anew when it runs out. */
function Pair({ close, done }) {
  const [pairing, set] = useState(null), [phone, setPhone] = useState(null), [left, setLeft] = useState(0);
  const [busy, trouble, open] = useRun(async () => set(await post("/v1/phones/pairings", {})));
  useEffect(() => void open(), []);
  useEffect(() => {
    if (!pairing || phone) return undefined;
    const ticking = setInterval(() => setLeft(Math.max(0, Math.ceil((new Date(pairing.expires_at) - Date.now()) / 1000))), 500);
    const looking = setInterval(async () => {
      const now = await get(`/v1/phones/pairings/${pairing.id}`).catch(() => null);
      if (now?.state === "used" && now.phone_id) {
        const made = await get(`/v1/phones/${now.phone_id}`).catch(() => null);
        if (made) (setPhone(made), done());
      } else if (now?.state === "expired") open();
    }, PAIRING_LOOK_MS);
    return () => (clearInterval(ticking), clearInterval(looking));
  }, [pairing, phone]);
  return html`<${Dialog} title="Add a phone" close=${close}><div aria-live="polite">
    ${phone ? html`<div class="empty good"><${Icon} name="check" size=${40} /><h2>Connected</h2><p>${phone.label} sends and receives for you now. A new number warms up: it may send a little more every day.</p><${Button} kind="main" onClick=${close}>Done</${Button}></div>`
    : pairing ? html`<ol class="steps"><li>Open 8ms on the Android phone.</li><li>Scan this code with it.</li></ol>
      <img class="qr" alt="QR code that pairs a phone" src=${`data:image/svg+xml,${encodeURIComponent(pairing.qr_svg)}`} />
      <p class="center hint">Good for ${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}, once. A new one comes by itself.</p>
      <details><summary>Without a camera</summary><p class="hint">Open this link on the phone. Whoever has it can pair a phone, so keep it to yourself.</p><code class="break">${pairing.uri}</code></details>`
    : html`<${Loading} />`}</div><${Trouble} of=${trouble} again=${busy ? undefined : open} /></${Dialog}>`;
}

/** What to change; where a limit is loosened the API's warnings are read first. */
function Limits({ of, close, done }) {
  const [values, set] = useState({ label: of.label, min_gap_s: String(of.min_gap_s), daily_cap: String(of.daily_cap), warmup: of.warmup });
  const [warnings, warn] = useState(null);
  const put = (name) => (value) => (set({ ...values, [name]: value }), warn(null));
  const wanted = { label: values.label, min_gap_s: Number(values.min_gap_s), daily_cap: Number(values.daily_cap), warmup: values.warmup };
  const [busy, trouble, save] = useRun(async (sure) => {
    const changed = Object.fromEntries(Object.entries(wanted).filter(([name, value]) => value !== of[name]));
    try {
      return await patch(`/v1/phones/${of.id}`, { ...changed, ...(sure ? { acknowledge_risk: true } : {}) });
    } catch (problem) {
      if (problem.code !== "confirmation_required") throw problem;
      warn(problem);
      return null;
    }
  }, (made) => made && (done(), close()));
  const submit = (e) => (e.preventDefault(), save(false));
  return html`<${Dialog} title=${of.label} close=${close}><form onSubmit=${submit}>
    <${Field} label="Name" value=${values.label} onValue=${put("label")} required error=${trouble?.fields.label} />
    <${Field} label="Pause between texts, in seconds" type="number" min="0" value=${values.min_gap_s} onValue=${put("min_gap_s")} error=${trouble?.fields.min_gap_s} hint="People do not text every second. Carriers notice who does." />
    <${Field} label="Texts a day" type="number" min="0" value=${values.daily_cap} onValue=${put("daily_cap")} error=${trouble?.fields.daily_cap} />
    <${Check} label="Warm a new number up" hint="Fewer texts in its first days, a little more every day." checked=${values.warmup === "on"} onValue=${(on) => put("warmup")(on ? "on" : "off")} />
    <${Warnings} of=${warnings} busy=${busy} go=${() => save(true)} />
    ${trouble && !Object.keys(trouble.fields).length && html`<${Trouble} of=${trouble} />`}
    <div class="actions"><${Button} onClick=${close}>Cancel</${Button}>${!warnings && html`<${Button} kind="main" type="submit" busy=${busy}>Save</${Button}>`}</div></form></${Dialog}>`;
}

/** What loosening a limit risks, in the API's words. */
export function Warnings({ of, busy, go }) {
  if (!of) return null;
  const lines = of.body.warnings ?? [of.message];
  return html`<${Note} kind="warn"><strong>Before you loosen this</strong><ul>${lines.map((line, n) => html`<li key=${n}>${line}</li>`)}</ul>
    <p><${Button} kind="danger" busy=${busy} onClick=${go}>I understand, do it</${Button}></p></${Note}>`;
}

/** Add a simulated phone, which has no SIM that could be harmed: it need not pause. */
export async function simulate() {
  const made = await post("/v1/phones/simulated", {});
  return patch(`/v1/phones/${made.id}`, { min_gap_s: 0, acknowledge_risk: true });
}

export function Phones() {
  const phones = usePhones();
  const [box, set] = useState(null);
  const close = () => set(null);
  const [busy, trouble, add] = useRun(simulate, phones.again);
  const rows = phones.data?.data;
  const buttons = html`<${Button} busy=${busy} onClick=${() => add()}>Add a simulated phone</${Button}><${Button} kind="main" icon="plus" onClick=${() => set({ pair: true })}>Add a phone</${Button}>`;
  return html`<div class="page"><header class="head"><h1>Phones</h1><div class="actions">${buttons}</div></header>
    <${Trouble} of=${trouble ?? phones.trouble} again=${phones.trouble ? phones.again : undefined} />
    ${!rows ? !phones.trouble && html`<${Loading} />` : rows.length
      ? html`<div class="cards">${rows.map((one) => html`<${Card} key=${one.id} of=${one} edit=${(edit) => set({ edit })} drop=${(drop) => set({ drop })} handset=${(handset) => set({ handset })} />`)}</div>`
      : html`<${Empty} icon="phones" title="No phone yet">Texts go out through the SIM of an Android phone of yours. To see how it feels, add a simulated one: it costs nothing and sends nothing.</${Empty}>`}
    ${box?.pair && html`<${Pair} close=${close} done=${phones.again} />`}
    ${box?.edit && html`<${Limits} of=${box.edit} close=${close} done=${phones.again} />`}
    ${box?.handset && html`<${Dialog} title=${`Handset: ${box.handset.label}`} close=${close}><${Handset} phone=${box.handset} /></${Dialog}>`}
    ${box?.drop && html`<${Confirm} title=${`Remove ${box.drop.label}?`} action="Remove" danger close=${close} run=${async () => (await remove(`/v1/phones/${box.drop.id}`), phones.again())}>
      <p>It stops sending and receiving for you at once, and must be paired anew to come back. Conversations stay. Texts that wait for it take another phone.</p></${Confirm}>`}
  </div>`;
}
