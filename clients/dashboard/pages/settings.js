// Settings: the workspace and its rules, keys, webhooks, team, plan, account.
import { get, patch, post, remove } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { Ago, Badge, Button, Check, Confirm, Dialog, Field, Loading, More, Note, Secret, Time, Trouble, useLoad, usePages, useRun } from "../parts.js";
import { Link } from "../place.js";
import { count, date } from "../words.js";
import { Account } from "./account.js";
import { Warnings } from "./phones.js";
import { Webhooks } from "./webhooks.js";

const zones = () => Intl.supportedValuesOf?.("timeZone") ?? [];

/** The API's warnings are read before a rule is loosened. */
function Rules() {
  const workspace = useLoad(() => get("/v1/workspace"), []);
  if (!workspace.data) return html`<${Trouble} of=${workspace.trouble} again=${workspace.again} />${!workspace.trouble && html`<${Loading} />`}`;
  return html`<${RulesForm} key=${workspace.data.updated_at} of=${workspace.data} done=${workspace.set} />`;
}

function RulesForm({ of, done }) {
  const [v, set] = useState({ name: of.name, timezone: of.timezone, region: of.region, quiet: !!of.quiet_hours, start: of.quiet_hours?.start ?? "21:00", end: of.quiet_hours?.end ?? "08:00", help_text: of.help_text ?? "", opt_out_text: of.opt_out_text ?? "" });
  const [warnings, warn] = useState(null), [saved, setSaved] = useState(false);
  const put = (name) => (value) => (set({ ...v, [name]: value }), warn(null), setSaved(false));
  const [busy, trouble, save] = useRun(async (sure) => {
    const quiet = v.quiet ? { start: v.start, end: v.end } : null;
    const wanted = { name: v.name, timezone: v.timezone, region: v.region.toUpperCase(), quiet_hours: quiet, help_text: v.help_text || null, opt_out_text: v.opt_out_text || null };
    const changed = Object.fromEntries(Object.entries(wanted).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(of[key])));
    try {
      return await patch("/v1/workspace", { ...changed, ...(sure ? { acknowledge_risk: true } : {}) });
    } catch (problem) {
      if (problem.code !== "confirmation_required") throw problem;
      warn(problem);
      return null;
    }
  }, (made) => made && (setSaved(true), done(made)));
  return html`<form class="card" onSubmit=${(e) => (e.preventDefault(), save(false))}><h2>Workspace</h2>
    <div class="pair"><${Field} label="Name" required value=${v.name} onValue=${put("name")} error=${trouble?.fields.name} /><${Field} label="Country" hint="Of numbers written without +: US, DE, …" maxlength="2" value=${v.region} onValue=${put("region")} error=${trouble?.fields.region} /></div>
    <${Field} label="Time zone" list="zones" value=${v.timezone} onValue=${put("timezone")} error=${trouble?.fields.timezone} /><datalist id="zones">${zones().map((zone) => html`<option key=${zone} value=${zone} />`)}</datalist>
    <h3>Quiet hours</h3><${Check} label="Text nobody at night" hint="On the clock of whoever is texted, as far as their number tells." checked=${v.quiet} onValue=${put("quiet")} />
    ${v.quiet && html`<div class="pair"><${Field} label="From" type="time" value=${v.start} onValue=${put("start")} /><${Field} label="Until" type="time" value=${v.end} onValue=${put("end")} /></div>`}
    <h3>Automatic answers</h3><${Field} label="To HELP" as="textarea" rows="2" value=${v.help_text} onValue=${put("help_text")} hint="Empty: none." error=${trouble?.fields.help_text} /><${Field} label="To STOP" as="textarea" rows="2" value=${v.opt_out_text} onValue=${put("opt_out_text")} hint="Empty: our confirmation. It is the last text they get." error=${trouble?.fields.opt_out_text} />
    <${Warnings} of=${warnings} busy=${busy} go=${() => save(true)} />${trouble && !Object.keys(trouble.fields).length && html`<${Trouble} of=${trouble} />`}
    <div class="actions">${saved && html`<span class="good-text" role="status">Saved</span>`}${!warnings && html`<${Button} kind="main" type="submit" busy=${busy}>Save</${Button}>`}</div></form>`;
}

const SETS = {
  all: ["Everything", ["*"]],
  send: ["Send texts and see what became of them", ["messages:write", "messages:read"]],
  read: ["Only look", ["messages:read", "contacts:read", "conversations:read", "phones:read", "webhooks:read", "campaigns:read", "workspace:read", "members:read", "events:read"]],
};

function NewKey({ close, done, owner }) {
  const [name, setName] = useState(""), [mode, setMode] = useState("live"), [set, choose] = useState(owner ? "all" : "send"), [made, setMade] = useState(null);
  const [busy, trouble, make] = useRun(() => post("/v1/api-keys", { name, mode, scopes: SETS[set][1] }), (key) => (setMade(key), done()));
  return html`<${Dialog} title="New API key" close=${close}>${made
    ? html`<p><strong>Copy it now: it is shown only once.</strong></p><${Secret} label=${made.name} value=${made.key} /><div class="actions"><${Button} kind="main" onClick=${close}>Done</${Button}></div>`
    : html`<form onSubmit=${(e) => (e.preventDefault(), make())}><${Field} label="Name" hint="What it is for." required autofocus value=${name} onValue=${setName} error=${trouble?.fields.name} />
      <${Field} label="Kind" as="select" value=${mode} onValue=${setMode}><option value="live">Live</option><option value="test">Test: reaches only simulated phones</option></${Field}>
      <${Field} label="May" as="select" value=${set} onValue=${choose}>${Object.entries(SETS).filter(([key]) => owner || key !== "all").map(([key, [words]]) => html`<option key=${key} value=${key}>${words}</option>`)}</${Field}>
      <${Trouble} of=${trouble} /><div class="actions"><${Button} onClick=${close}>Cancel</${Button}><${Button} kind="main" type="submit" busy=${busy}>Make it</${Button}></div></form>`}</${Dialog}>`;
}

function Keys({ me }) {
  const list = usePages((cursor) => get(`/v1/api-keys?limit=50${cursor ? `&cursor=${cursor}` : ""}`), []);
  const [making, make] = useState(false), [drop, setDrop] = useState(null);
  return html`<section class="card"><header><h2>API keys</h2><${Button} kind="main" icon="plus" onClick=${() => make(true)}>New key</${Button}></header><p class="hint">For programs of yours. <a href="/v1/docs" target="_blank" rel="noopener">How to use the API</a></p>
    <ul class="items">${list.rows.map((one) => html`<li key=${one.id}><div class="cut"><strong>${one.name}</strong> <${Badge} kind=${one.mode === "test" ? "warn" : ""}>${one.mode}</${Badge}><p class="hint cut">ends in ${one.last_four} · ${one.scopes.includes("*") ? "everything" : one.scopes.join(", ")} · ${one.last_used_at ? html`used <${Ago} at=${one.last_used_at} />` : "never used"}${one.expires_at ? ` · until ${date(one.expires_at)}` : ""}</p></div><${Button} onClick=${() => setDrop(one)} aria-label=${`Revoke ${one.name}`}>Revoke</${Button}></li>`)}</ul>
    ${!list.rows.length && !list.loading && html`<p class="hint">None yet.</p>`}<${More} list=${list} />
    ${making && html`<${NewKey} owner=${me.role !== "member"} close=${() => make(false)} done=${list.again} />`}
    ${drop && html`<${Confirm} title=${`Revoke ${drop.name}?`} action="Revoke" danger close=${() => setDrop(null)} run=${async () => (await remove(`/v1/api-keys/${drop.id}`), list.again())}><p>Whatever uses it stops working at once. It cannot be taken back.</p></${Confirm}>`}</section>`;
}

function Team({ me }) {
  const list = usePages((cursor) => get(`/v1/members?limit=50${cursor ? `&cursor=${cursor}` : ""}`), []);
  const [email, setEmail] = useState(""), [role, setRole] = useState("member"), [drop, setDrop] = useState(null);
  const owner = me.role === "owner";
  const [busy, trouble, invite] = useRun(() => post("/v1/members", { email, role }), () => (setEmail(""), list.again()));
  const [, refused, change] = useRun((one, to) => patch(`/v1/members/${one.id}`, { role: to }), list.again);
  return html`<section class="card"><h2>Team</h2><ul class="items">${list.rows.map((one) => html`<li key=${one.id}><div class="cut"><strong class="cut">${one.email}</strong>${one.state === "invited" && html` <${Badge} kind="warn">invited</${Badge}>`}<p class="hint">${one.joined_at ? html`since <${Time} at=${one.joined_at} />` : html`invited <${Time} at=${one.created_at} />`}</p></div>
      ${owner ? html`<select aria-label=${`Role of ${one.email}`} value=${one.role} onChange=${(e) => change(one, e.currentTarget.value)}><option value="owner">Owner</option><option value="member">Member</option></select><${Button} onClick=${() => setDrop(one)} aria-label=${`Remove ${one.email}`}>Remove</${Button}>` : html`<${Badge}>${one.role}</${Badge}>`}</li>`)}</ul>
    <${Trouble} of=${refused} /><${More} list=${list} />
    ${owner && html`<form class="inline" onSubmit=${(e) => (e.preventDefault(), invite())}><${Field} label="Invite" type="email" placeholder="grace@example.com" required value=${email} onValue=${setEmail} error=${trouble?.fields.email} /><${Field} label="As" as="select" value=${role} onValue=${setRole}><option value="member">Member</option><option value="owner">Owner</option></${Field}><${Button} kind="main" type="submit" busy=${busy}>Invite</${Button}></form>${trouble && !trouble.fields.email && html`<${Trouble} of=${trouble} />`}<p class="hint">Members cannot manage the team, the plan or the end of the account.</p>`}
    ${drop && html`<${Confirm} title=${`Remove ${drop.email}?`} action="Remove" danger close=${() => setDrop(null)} run=${async () => (await remove(`/v1/members/${drop.id}`), list.again())}><p>They are out at once, everywhere. API keys they made stay: look at those too.</p></${Confirm}>`}</section>`;
}

const USED = [["phones", "Phones"], ["contacts", "Saved contacts"], ["seats", "Team"]];

function Billing() {
  const billing = useLoad(() => get("/v1/billing"), []);
  const leave = (made) => location.assign(made.url);
  const back = `${location.origin}/app/settings/billing`;
  const [busy, trouble, open] = useRun((path, body) => post(`/v1/billing/${path}`, { ...body, return_url: back }), leave);
  const of = billing.data;
  if (!of) return html`<${Trouble} of=${billing.trouble} again=${billing.again} />${!billing.trouble && html`<${Loading} />`}`;
  return html`<section class="card"><h2>Plan: ${of.plan_name}</h2>
    ${of.warnings.map((one) => html`<${Note} key=${one.code} kind="warn">${one.detail}</${Note}>`)}
    <dl class="pairs">${USED.map(([key, word]) => html`<div key=${key}><dt>${word}</dt><dd>${count(of.usage[key])}${of.limits[key] === null ? ", no limit" : ` of ${count(of.limits[key])}`}</dd></div>`)}
      ${of.current_period_end && html`<div><dt>${of.ends_at ? "Ends" : "Renews"}</dt><dd>${date(of.ends_at ?? of.current_period_end)}</dd></div>`}</dl><${Trouble} of=${trouble} />
    ${!of.enabled ? html`<p class="hint">This installation charges nothing: everything is unlimited.</p>`
      : of.state === "none" || of.state === "canceled" ? html`<ul class="items">${of.plans.filter((one) => one.intervals.length).map((one) => html`<li key=${one.id}><div><strong>${one.name}</strong><p class="hint">${USED.map(([key, word]) => `${word}: ${one.limits[key] === null ? "any number" : count(one.limits[key])}`).join(" · ")}</p></div>${one.intervals.map((interval) => html`<${Button} key=${interval} kind="main" busy=${busy} onClick=${() => open("checkout", { plan: one.id, interval })}>Pay by the ${interval}</${Button}>`)}</li>`)}</ul>`
      : html`<p><${Button} busy=${busy} onClick=${() => open("portal", {})}>Change plan, card or invoices</${Button}></p>`}</section>`;
}

const ERASED = { requested: ["warn", "Begun"], effective: ["warn", "Gone from sight, bytes being destroyed"], done: ["good", "Done"] };
const SCOPES = { contact: "A person", conversation: "A conversation", message: "The text of a message", account: "The account", retention: "What was kept long enough" };

function Privacy() {
  const list = usePages((cursor) => get(`/v1/privacy/requests?limit=25${cursor ? `&cursor=${cursor}` : ""}`), []);
  const [number, setNumber] = useState(""), [ask, setAsk] = useState(false);
  const erase = async () => (await post("/v1/privacy/requests", { type: "erasure", subject: { phone: number } }), setNumber(""), list.again());
  return html`<section class="card"><h2>Erase a person</h2><p class="hint">Name, number and every text with them are destroyed, in the log too. That they opted out is still obeyed: only a keyed hash of the number is kept for that.</p>
    <form class="inline" onSubmit=${(e) => (e.preventDefault(), setAsk(true))}><${Field} label="Phone number" type="tel" required value=${number} onValue=${setNumber} /><${Button} kind="danger" type="submit" disabled=${!number.trim()}>Erase…</${Button}></form>
    ${ask && html`<${Confirm} title=${`Erase ${number}?`} action="Erase for good" danger close=${() => setAsk(false)} run=${erase}><p>It cannot be taken back.</p></${Confirm}>`}</section>
    <section class="card"><header><h2>Erasures</h2><${Button} onClick=${list.again}>Look again</${Button}></header>${list.rows.length ? html`<ul class="items">${list.rows.map((one) => html`<li key=${one.id}><div class="cut"><strong>${SCOPES[one.scope]}</strong><p class="hint cut">asked <${Time} at=${one.created_at} />${one.fulfilled_at && html`, done <${Time} at=${one.fulfilled_at} />`} · ${one.id}</p></div><${Badge} kind=${ERASED[one.state][0]}>${ERASED[one.state][1]}</${Badge}></li>`)}</ul>` : !list.loading && html`<p class="hint">Nobody was erased.</p>`}<${More} list=${list} /></section>`;
}

const PAGES = [["workspace", "Workspace", Rules], ["keys", "API keys", Keys], ["webhooks", "Webhooks", Webhooks], ["team", "Team", Team], ["billing", "Billing", Billing], ["privacy", "Privacy", Privacy], ["account", "Account", Account]];

export function Settings({ rest: [page = "workspace", ...rest], me }) {
  const Page = PAGES.find(([key]) => key === page)?.[2] ?? Rules;
  useEffect(() => document.querySelector(".sub [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }), [page]);
  return html`<div class="page"><header class="head"><h1>Settings</h1><${Link} to="/app/guide" class="only-small">Getting started</${Link}></header><nav class="tabs sub" aria-label="Settings">${PAGES.map(([key, name]) => html`<${Link} key=${key} to=${`/app/settings/${key}`} aria-current=${key === page ? "page" : undefined}>${name}</${Link}>`)}</nav><${Page} key=${page} me=${me} rest=${rest} /></div>`;
}
