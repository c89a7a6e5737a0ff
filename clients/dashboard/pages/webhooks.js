// Webhooks: where to tell what happens, every attempt to, and the means to look into it.
import { get, patch, post, remove } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { Badge, Button, Check, Confirm, Dialog, Empty, Field, Loading, More, Note, Secret, Time, Trouble, useLoad, usePages, useRun } from "../parts.js";
import { Link, go } from "../place.js";
import { count, moment, plural, second } from "../words.js";

const TYPES = ["sms.sent", "sms.delivered", "sms.failed", "reply.received", "reply.classified", "contact.opted_out", "contact.opted_in", "phone.online", "phone.offline", "campaign.completed"];
const OUTCOMES = { delivered: ["good", "Delivered"], failed: ["warn", "Failed, tried again"], exhausted: ["bad", "Given up"] };
const WHY = { user: "Switched off by you.", gone: "It answered 410: it wants nothing more.", failing: "Nothing worked for five days." };
const LOOK_MS = 3_000;

function Edit({ of, close, done }) {
  const [url, setUrl] = useState(of?.url ?? ""), [types, setTypes] = useState(of?.types ?? ["sms.delivered", "sms.failed", "reply.received", "contact.opted_out"]), [made, setMade] = useState(null);
  const [ordered, setOrdered] = useState(of?.ordered ?? false);
  const all = types.includes("*");
  const turn = (type) => (on) => setTypes(on ? [...types, type] : types.filter((one) => one !== type));
  const [busy, trouble, save] = useRun(() => (of ? patch(`/v1/webhooks/${of.id}`, { url, types, ordered }) : post("/v1/webhooks", { url, types, ordered })), (it) => (done(it), of ? close() : setMade(it)));
  if (made) return html`<${Dialog} title="Webhook" close=${close}><p><strong>Copy the secret now: it is shown only once.</strong> With it you check that a delivery is ours.</p><${Secret} label="Secret" value=${made.secret} /><div class="actions"><${Button} kind="main" onClick=${() => (close(), go(`/app/settings/webhooks/${made.id}`))}>Done</${Button}></div></${Dialog}>`;
  return html`<${Dialog} title=${of ? "Change webhook" : "New webhook"} close=${close}><form onSubmit=${(e) => (e.preventDefault(), save())}>
    <${Field} label="Address" type="url" required autofocus placeholder="https://example.com/hooks/8ms" value=${url} onValue=${setUrl} error=${trouble?.fields.url} />
    <fieldset><legend>What to tell</legend><${Check} label="Everything, also what comes later" checked=${all} onValue=${(on) => setTypes(on ? ["*"] : ["reply.received"])} />${!all && html`<div class="pair">${TYPES.map((type) => html`<${Check} key=${type} label=${type} checked=${types.includes(type)} onValue=${turn(type)} />`)}</div>`}</fieldset>
    <${Check} label="Keep the order within a conversation" hint="One that fails holds back those behind it." checked=${ordered} onValue=${setOrdered} />
    ${trouble && !trouble.fields.url && html`<${Trouble} of=${trouble} />`}<div class="actions"><${Button} onClick=${close}>Cancel</${Button}><${Button} kind="main" type="submit" busy=${busy} disabled=${!types.length}>Save</${Button}></div></form></${Dialog}>`;
}

function Replay({ of, close, done }) {
  const [hours, setHours] = useState("24"), [failed, setFailed] = useState(true), [begun, setBegun] = useState(null);
  const [busy, trouble, go] = useRun(() => post(`/v1/webhooks/${of.id}/replay`, { since: new Date(Date.now() - hours * 3_600_000).toISOString(), only_failed: failed }), (made) => (setBegun(made), done()));
  return html`<${Dialog} title="Deliver again" close=${close}>${begun ? html`<${Note} kind="good" icon="check">${plural(begun.deliveries, "delivery", "deliveries")} on the way. They have the same webhook-id as before.</${Note}><div class="actions"><${Button} kind="main" onClick=${close}>Done</${Button}></div>`
    : html`<${Field} label="What happened in the last" as="select" value=${hours} onValue=${setHours}><option value="1">hour</option><option value="24">day</option><option value="168">week</option></${Field}><${Check} label="Only what never arrived" checked=${failed} onValue=${setFailed} /><${Trouble} of=${trouble} /><div class="actions"><${Button} onClick=${close}>Cancel</${Button}><${Button} kind="main" busy=${busy} onClick=${() => go()}>Deliver again</${Button}></div>`}</${Dialog}>`;
}

const hex = (bytes) => Array.from(new Uint8Array(bytes), (n) => n.toString(16).padStart(2, "0")).join("");
const base64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
const key = (raw) => crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
const hmac = async (raw, text) => crypto.subtle.sign("HMAC", await key(raw), new TextEncoder().encode(text));

/** Which of a delivery's signatures are right; worked out in this browser, nothing is sent. */
function Checker({ close }) {
  const [v, set] = useState({ secret: "", body: "", plain: "", id: "", timestamp: "", signature: "" }), [said, say] = useState(null);
  const put = (name) => (value) => (set({ ...v, [name]: value }), say(null));
  const [busy, trouble, check] = useRun(async () => {
    const secret = v.secret.trim(), found = [];
    if (v.plain) found.push(["X-8ms-Signature", v.plain.trim() === `sha256=${hex(await hmac(new TextEncoder().encode(secret), v.body))}`]);
    if (v.signature) {
      const raw = Uint8Array.from(atob(secret.replace(/^whsec_/, "")), (one) => one.charCodeAt(0));
      const right = `v1,${base64(await hmac(raw, `${v.id.trim()}.${v.timestamp.trim()}.${v.body}`))}`;
      found.push(["webhook-signature", v.signature.trim().split(/\s+/).includes(right)]);
    }
    say(found);
  });
  return html`<${Dialog} title="Check a signature" close=${close}><p class="hint">Paste what your server got. It is checked in this browser and goes nowhere.</p><form onSubmit=${(e) => (e.preventDefault(), check())}>
    <${Field} label="Secret" required autocomplete="off" value=${v.secret} onValue=${put("secret")} placeholder="whsec_…" /><${Field} label="Body, exactly as it came" as="textarea" rows="4" required value=${v.body} onValue=${put("body")} />
    <${Field} label="X-8ms-Signature" value=${v.plain} onValue=${put("plain")} placeholder="sha256=…" /><details><summary>Standard Webhooks headers</summary><${Field} label="webhook-id" value=${v.id} onValue=${put("id")} /><${Field} label="webhook-timestamp" value=${v.timestamp} onValue=${put("timestamp")} /><${Field} label="webhook-signature" value=${v.signature} onValue=${put("signature")} placeholder="v1,…" /></details>
    ${said?.map(([name, right]) => html`<${Note} key=${name} kind=${right ? "good" : "bad"} icon=${right ? "check" : "alert"}><strong>${name} is ${right ? "right" : "wrong"}.</strong> ${right ? "" : "The secret, or a byte of the body, is another one."}</${Note}>`)}${trouble && html`<${Note} kind="bad">This secret is no secret of ours.</${Note}>`}
    <div class="actions"><${Button} onClick=${close}>Close</${Button}><${Button} kind="main" type="submit" busy=${busy} disabled=${!v.plain && !v.signature}>Check</${Button}></div></form></${Dialog}>`;
}

function Attempts({ list }) {
  const [busy, trouble, resend] = useRun((id) => post(`/v1/webhooks/attempts/${id}/resend`), () => setTimeout(list.again, 800));
  return html`<${Trouble} of=${trouble} />${list.rows.length ? html`<ul class="attempts">${list.rows.map((one) => {
    const [kind, word] = OUTCOMES[one.outcome] ?? ["", one.outcome];
    return html`<li key=${one.id}><details><summary><${Badge} kind=${kind}>${word}</${Badge}><span class="cut">${one.event_type}</span><span class="hint">${one.status ?? one.error ?? ""} · ${count(one.duration_ms)} ms</span><${Time} at=${one.at} show=${(at) => `${moment(at)}`} /></summary>
      <dl class="pairs"><div><dt>webhook-id</dt><dd><code class="break">${one.event_id}</code></dd></div><div><dt>Try</dt><dd>${one.attempt}, because of ${one.trigger}, at ${second(one.at)}</dd></div>${one.next_at && html`<div><dt>Next try</dt><dd><${Time} at=${one.next_at} /></dd></div>`}${one.error && html`<div><dt>Error</dt><dd>${one.error}</dd></div>`}</dl>${one.response && html`<pre>${one.response}</pre>`}<p><${Button} busy=${busy} onClick=${() => resend(one.id)}>Send again</${Button}></p></details></li>`;
  })}</ul>` : !list.loading && html`<p class="hint">Nothing was delivered yet. Send a test.</p>`}`;
}

function One({ id }) {
  const endpoint = useLoad(() => get(`/v1/webhooks/${id}`), [id]);
  const list = usePages((cursor) => get(`/v1/webhooks/${id}/attempts?limit=25${cursor ? `&cursor=${cursor}` : ""}`), [id]);
  const [box, set] = useState(null), [type, setType] = useState("sms.delivered"), [secret, setSecret] = useState(null);
  const soon = () => setTimeout(list.again, 1_000);
  const [busy, trouble, act] = useRun((work) => work());
  const test = () => act(async () => (await post(`/v1/webhooks/${id}/test`, { type }), soon()));
  const turn = () => act(async () => endpoint.set(await patch(`/v1/webhooks/${id}`, { enabled: one.state !== "enabled" })));
  const rotate = async () => setSecret((await post(`/v1/webhooks/${id}/rotate-secret`, { grace_s: 86_400 })).secret);
  useEffect(() => {
    const every = setInterval(() => document.visibilityState === "visible" && list.rows.length <= 25 && !document.querySelector(".attempts details[open]") && list.again(), LOOK_MS * 5);
    return () => clearInterval(every);
  });
  const one = endpoint.data;
  if (!one) return html`<${Trouble} of=${endpoint.trouble} again=${endpoint.again} />${!endpoint.trouble && html`<${Loading} />`}`;
  return html`<p><${Link} to="/app/settings/webhooks">All webhooks</${Link}></p><section class="card"><header><h2 class="cut">${one.url}</h2><${Badge} kind=${one.state === "enabled" ? "good" : "bad"}>${one.state === "enabled" ? "On" : "Off"}</${Badge}></header>
    ${one.state === "disabled" && html`<${Note} kind="warn">${WHY[one.disabled_reason] ?? "It is off."}</${Note}>`}<p class="hint">${one.types.includes("*") ? "Everything" : one.types.join(", ")}${one.ordered ? " · in order" : ""}</p>
    <div class="actions start"><${Button} icon="pen" onClick=${() => set("edit")}>Change</${Button}><${Button} busy=${busy} onClick=${turn}>${one.state === "enabled" ? "Switch off" : "Switch on"}</${Button}><${Button} onClick=${() => set("rotate")}>New secret…</${Button}><${Button} onClick=${() => set("replay")}>Deliver again…</${Button}><${Button} onClick=${() => set("check")}>Check a signature…</${Button}><${Button} kind="quiet" onClick=${() => set("drop")}>Remove</${Button}></div>
    <div class="inline"><${Field} label="Send a test" as="select" value=${type} onValue=${setType}>${TYPES.map((name) => html`<option key=${name}>${name}</option>`)}</${Field}><${Button} busy=${busy} onClick=${test}>Send</${Button}></div><${Trouble} of=${trouble} /></section>
    <section class="card"><header><h2>Deliveries</h2><${Button} onClick=${list.again}>Look again</${Button}></header><${Attempts} list=${list} /><${More} list=${{ ...list, loading: list.loading && !list.rows.length }} /></section>
    ${box === "edit" && html`<${Edit} of=${one} close=${() => set(null)} done=${endpoint.set} />`}${box === "replay" && html`<${Replay} of=${one} close=${() => set(null)} done=${soon} />`}${box === "check" && html`<${Checker} close=${() => set(null)} />`}
    ${box === "rotate" && html`<${Confirm} title="Make a new secret?" action="Make it" close=${() => set(null)} run=${rotate}><p>For a day both sign, so that you can change over without losing a delivery.</p></${Confirm}>`}
    ${secret && html`<${Dialog} title="New secret" close=${() => setSecret(null)}><p><strong>Copy it now: it is shown only once.</strong></p><${Secret} label="Secret" value=${secret} /></${Dialog}>`}
    ${box === "drop" && html`<${Confirm} title="Remove this webhook?" action="Remove" danger close=${() => set(null)} run=${async () => (await remove(`/v1/webhooks/${id}`), go("/app/settings/webhooks"))}><p>Nothing more is delivered to ${one.url}, and what waits is dropped.</p></${Confirm}>`}`;
}

function All() {
  const list = usePages((cursor) => get(`/v1/webhooks?limit=50${cursor ? `&cursor=${cursor}` : ""}`), []);
  const [box, set] = useState(null);
  return html`<section class="card"><header><h2>Webhooks</h2><div class="actions"><${Button} onClick=${() => set("check")}>Check a signature</${Button}><${Button} kind="main" icon="plus" onClick=${() => set("new")}>New webhook</${Button}></div></header>
    ${list.rows.length ? html`<ul class="items">${list.rows.map((one) => html`<li key=${one.id}><div class="cut"><${Link} to=${`/app/settings/webhooks/${one.id}`} class="cut">${one.url}</${Link}><p class="hint cut">${one.types.includes("*") ? "Everything" : one.types.join(", ")}</p></div><${Badge} kind=${one.state === "enabled" ? "good" : "bad"}>${one.state === "enabled" ? "On" : "Off"}</${Badge}></li>`)}</ul>`
      : !list.loading && !list.trouble && html`<${Empty} icon="activity" title="No webhook yet">8ms tells your server what happens, signed, and tries for three days. Every attempt is listed here.</${Empty}>`}<${More} list=${list} />
    ${box === "new" && html`<${Edit} close=${() => set(null)} done=${list.again} />`}${box === "check" && html`<${Checker} close=${() => set(null)} />`}</section>`;
}

export const Webhooks = ({ rest: [id] }) => (id ? html`<${One} key=${id} id=${id} />` : html`<${All} />`);
