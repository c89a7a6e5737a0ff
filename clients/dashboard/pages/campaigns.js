// Campaigns: written, looked at on real people, forecast before the start, followed while they run.
import { at, get, patch, post, remove } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Badge, Button, Check, Confirm, Dialog, Empty, Field, Loading, More, Note, Time, Trouble, useLoad, usePages, useRun } from "../parts.js";
import { Link, go } from "../place.js";
import { listen } from "../stream.js";
import { STATES as MESSAGE_STATES, brief, count, phone, plural, reason } from "../words.js";
import { Chart } from "./chart.js";
import { Counter } from "./composer.js";
import { Timeline } from "./timeline.js";

const SETTLE_MS = 500;
const KINDS = { draft: "", running: "good", paused: "warn", completed: "good", cancelled: "bad" };
const WORDS = { draft: "Draft", running: "Running", paused: "Paused", completed: "Completed", cancelled: "Cancelled" };
const DONE = ["sent", "delivered"], UNDERWAY = ["queued", "dispatched", "accepted", "submitted"], LOST = ["rejected", "expired", "failed", "unknown", "cancelled"];
const sum = (totals, names) => names.reduce((all, name) => all + (totals[name] ?? 0), 0);
const words = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);

/** Out, under way, not sent, to come: as a bar. */
function Progress({ of }) {
  const { totals, recipients } = of;
  const parts = [["good", "out", sum(totals, DONE)], ["busy", "under way", sum(totals, UNDERWAY)], ["bad", "not sent", sum(totals, LOST)], ["skip", "skipped", totals.skipped], ["rest", "to come", totals.pending]];
  const words = parts.filter(([, , n]) => n).map(([, word, n]) => `${count(n)} ${word}`).join(", ");
  return html`<div class="progress" role="img" aria-label=${words}>${parts.map(([kind, , n]) => n > 0 && html`<span key=${kind} class=${kind} style=${{ flexGrow: n / (recipients || 1) }}></span>`)}</div>
    <p class="hint">${words || "Nobody yet"}</p>`;
}

function Compose({ of, close, done }) {
  const tags = of?.contact_filter.tags, window = of?.send_window;
  const [v, set] = useState({ name: of?.name ?? "", template: of?.template ?? "Hi {{first_name|there}}, ", any: tags?.any.join(", ") ?? "", none: tags?.none.join(", ") ?? "", opted_in: of?.contact_filter.opted_in ?? false, hours: !!window, start: window?.start ?? "09:00", end: window?.end ?? "17:00" });
  const put = (name) => (value) => set({ ...v, [name]: value });
  const box = useRef(null);
  const [busy, trouble, save] = useRun(() => {
    const body = {
      name: v.name, template: v.template,
      contact_filter: { tags: { any: words(v.any), none: words(v.none) }, opted_in: v.opted_in },
      send_window: v.hours ? { days: ["monday", "tuesday", "wednesday", "thursday", "friday"], start: v.start, end: v.end } : null,
    };
    return of ? patch(`/v1/campaigns/${of.id}`, body) : post("/v1/campaigns", body);
  }, (made) => (done?.(made), close(), go(`/app/campaigns/${made.id}`)));
  const insert = (name) => put("template")(`${v.template}{{${name}|there}}`);
  return html`<${Dialog} title=${of ? "Change campaign" : "New campaign"} close=${close} wide><form ref=${box} onSubmit=${(e) => (e.preventDefault(), save())}>
    <${Field} label="Name" hint="Only your team sees it." required autofocus value=${v.name} onValue=${put("name")} error=${trouble?.fields.name} />
    <${Field} label="Text" as="textarea" rows="4" required value=${v.template} onValue=${put("template")} error=${trouble?.fields.template} hint="What is between {{ and }} is filled in for each person; behind | stands what people get who lack it." />
    <p class="actions start">${["first_name", "last_name", "company"].map((name) => html`<${Button} key=${name} onClick=${() => insert(name)}>${`{{${name}}}`}</${Button}>`)}</p><${Counter} text=${v.template} />
    <fieldset><legend>Whom it is for</legend><div class="pair"><${Field} label="With one of these tags" value=${v.any} onValue=${put("any")} hint="With commas between. Empty: everybody." /><${Field} label="Without these tags" value=${v.none} onValue=${put("none")} /></div>
      <${Check} label="Only people who said yes" checked=${v.opted_in} onValue=${put("opted_in")} /></fieldset>
    <fieldset><legend>When</legend><${Check} label="Only on weekdays, between" checked=${v.hours} onValue=${put("hours")} hint="Quiet hours are kept in any case." />
      ${v.hours && html`<div class="pair"><${Field} label="From" type="time" value=${v.start} onValue=${put("start")} /><${Field} label="Until" type="time" value=${v.end} onValue=${put("end")} /></div>`}</fieldset>
    ${trouble && !trouble.fields.name && !trouble.fields.template && html`<${Trouble} of=${trouble} />`}
    <div class="actions"><${Button} onClick=${close}>Cancel</${Button}><${Button} kind="main" type="submit" busy=${busy}>Save draft</${Button}></div></form></${Dialog}>`;
}

function Preview({ of }) {
  const preview = useLoad(() => post(`/v1/campaigns/${of.id}/preview`, {}), [of.id, of.updated_at]);
  const said = preview.data;
  return html`<section class="card"><h2>What people get</h2><${Trouble} of=${preview.trouble} again=${preview.again} />${!said ? !preview.trouble && html`<${Loading} lines=${3} />` : html`
    <p><strong>${plural(said.recipients, "person", "people")}</strong>, ${plural(said.segments, "SMS part")} together.</p>
    ${said.missing.map((one) => html`<${Note} key=${one.variable} kind="warn"><strong>${plural(one.count, "person lacks", "people lack")} ${one.variable}.</strong> Write {{${one.variable}|something}} in the text for them, or start without it.</${Note}>`)}
    <ul class="previews">${said.data.slice(0, 4).map((one) => html`<li key=${one.contact_id}><span class="hint">${phone(one.to)} · ${plural(one.segments, "part")}${one.skipped ? ` · skipped: ${reason(one.skipped)}` : ""}</span><blockquote class="text">${one.body}</blockquote></li>`)}</ul>
    <${Skipped} of=${said.skipped} />`}</section>`;
}

const Skipped = ({ of }) => of.length > 0 && html`<p class="hint">Skipped: ${of.map((one) => `${count(one.count)} ${reason(one.reason)}`).join(", ")}.</p>`;

function Forecast({ of, report }) {
  const step = Math.ceil((20 * of.totals.pending) / (of.recipients || 1)); // anew each time a twentieth has gone
  const forecast = useLoad(() => post(`/v1/campaigns/${of.id}/forecast`), [of.id, of.updated_at, of.state, step]);
  const phones = useLoad(() => get("/v1/phones?limit=100"), []);
  const label = (id) => phones.data?.data.find((one) => one.id === id)?.label ?? "A phone";
  const said = forecast.data;
  return html`<section class="card"><h2>${of.state === "draft" ? "How it would go" : "What is still to come"}</h2><${Trouble} of=${forecast.trouble} again=${forecast.again} />${!said ? !forecast.trouble && html`<${Loading} lines=${3} />` : html`
    <p>${said.waiting ? html`<strong>It would never finish: ${reason(said.waiting)}.</strong> Add a phone first.` : said.messages ? html`<strong>${plural(said.messages, "text")}</strong>, the last one leaves <strong><${Time} at=${said.finish_at} /></strong>.` : "There is nothing to send."}</p>
    <${Chart} days=${said.by_day} real=${report?.by_day ?? []} label=${label} /><${Skipped} of=${said.skipped} />
    <p class="hint">Worked out by the same rules that send: daily limits, pauses, quiet hours on each recipient's clock, and what else waits.</p>`}</section>`;
}

function People({ id, state }) {
  const [open, show] = useState(null);
  const list = useLoad(() => get(at("/v1/messages", { campaign_id: id, limit: 50 })), [id, state]);
  if (!list.data?.data.length) return null;
  return html`<section class="card"><h2>Each text</h2><ul class="events">${list.data.data.map((one) => html`<li key=${one.id}><span class="num">${phone(one.to)}</span><${Badge} kind=${one.state === "delivered" || one.state === "sent" ? "good" : LOST.includes(one.state) ? "bad" : ""}>${MESSAGE_STATES[one.state]}</${Badge}><button type="button" class="link cut" onClick=${() => show(one.id)}>${one.error?.detail ?? one.body}</button></li>`)}</ul>
    ${open && html`<${Timeline} id=${open} close=${() => show(null)} />`}</section>`;
}

const NUMBERS = [["delivered", "delivered"], ["sent", "sent"], ["failed", "failed"], ["skipped", "skipped"]];

function One({ id }) {
  const campaign = useLoad(() => get(`/v1/campaigns/${id}`), [id]);
  const started = campaign.data && campaign.data.state !== "draft";
  const report = useLoad(() => (started ? get(`/v1/campaigns/${id}/report`) : Promise.resolve(null)), [id, started, campaign.data?.totals.pending, campaign.data?.state]);
  const [box, set] = useState(null), [missing, setMissing] = useState(null);
  const latest = useRef(null);
  latest.current = () => (campaign.again(), report.again());
  useEffect(() => {
    let timer = null;
    const off = listen(({ data }) => data?.campaign_id === id && (timer ??= setTimeout(() => ((timer = null), latest.current()), SETTLE_MS)));
    return () => (off(), clearTimeout(timer));
  }, [id]);
  const [busy, trouble, act] = useRun((what, body) => post(`/v1/campaigns/${id}/${what}`, body), (made) => (campaign.set(made), set(null)));
  const one = campaign.data;
  if (!one) return html`<div class="page"><${Trouble} of=${campaign.trouble} again=${campaign.again} />${!campaign.trouble && html`<${Loading} />`}</div>`;
  const start = async () => {
    const preview = await post(`/v1/campaigns/${id}/preview`, {});
    setMissing(preview.missing.map((each) => each.variable));
    set("start");
  };
  return html`<div class="page"><p><${Link} to="/app/campaigns">All campaigns</${Link}></p><header class="head"><div><h1>${one.name}</h1><p><${Badge} kind=${KINDS[one.state]}>${WORDS[one.state]}</${Badge}> <span class="hint">made <${Time} at=${one.created_at} /></span></p></div>
    <div class="actions">${one.state === "draft" && html`<${Button} kind="quiet" onClick=${() => set("drop")}>Delete</${Button}>`}${(one.state === "draft" || one.state === "paused") && html`<${Button} icon="pen" onClick=${() => set("edit")}>Change</${Button}>`}
      ${one.state === "running" && html`<${Button} busy=${busy} onClick=${() => act("pause")}>Pause</${Button}>`}${one.state === "paused" && html`<${Button} kind="main" busy=${busy} onClick=${() => act("resume")}>Resume</${Button}>`}
      ${(one.state === "running" || one.state === "paused") && html`<${Button} kind="danger" onClick=${() => set("cancel")}>Cancel it</${Button}>`}${one.state === "draft" && html`<${Button} kind="main" icon="send" onClick=${start}>Start…</${Button}>`}</div></header>
    <${Trouble} of=${trouble} />
    ${started && html`<section class="card"><h2>How it goes</h2><${Progress} of=${one} />${report.data && html`<dl class="numbers">${NUMBERS.map(([key, word]) => html`<div key=${key}><dt>${word}</dt><dd>${count(report.data.totals[key])}</dd></div>`)}<div><dt>replied</dt><dd>${count(report.data.replied)}</dd></div><div><dt>opted out</dt><dd>${count(report.data.opted_out)}</dd></div></dl>
      ${report.data.failures.length > 0 && html`<p class="hint">Not sent: ${report.data.failures.map((each) => `${count(each.count)} ${reason(each.reason)}`).join(", ")}.</p>`}<${Skipped} of=${report.data.skipped} />`}</section>`}
    ${(one.state === "draft" || one.state === "running" || one.state === "paused") && html`<${Forecast} of=${one} report=${report.data} />`}
    ${(one.state === "completed" || one.state === "cancelled") && report.data && html`<section class="card"><h2>How it went</h2><${Chart} days=${[]} real=${report.data.by_day} label=${() => "sent"} /></section>`}
    ${one.state === "draft" ? html`<${Preview} of=${one} />` : html`<${People} id=${id} state=${JSON.stringify(one.totals)} />`}
    ${box === "edit" && html`<${Compose} of=${one} close=${() => set(null)} done=${campaign.set} />`}
    ${box === "start" && html`<${Confirm} title=${`Start ${one.name}?`} action="Start" close=${() => set(null)} run=${async () => campaign.set(await post(`/v1/campaigns/${id}/start`, { acknowledge_missing: missing }))}><p>Texts begin to go out as phones become free. You can pause it at any time.</p>${missing?.length > 0 && html`<${Note} kind="warn">For some people these stay empty: ${missing.join(", ")}.</${Note}>`}</${Confirm}>`}
    ${box === "cancel" && html`<${Confirm} title=${`Cancel ${one.name}?`} action="Cancel the campaign" danger close=${() => set(null)} run=${async () => campaign.set(await post(`/v1/campaigns/${id}/cancel`))}><p>Whoever has not got their text gets none. It cannot be resumed.</p></${Confirm}>`}
    ${box === "drop" && html`<${Confirm} title=${`Delete ${one.name}?`} action="Delete" danger close=${() => set(null)} run=${async () => (await remove(`/v1/campaigns/${id}`), go("/app/campaigns"))}><p>Nothing was sent for it.</p></${Confirm}>`}
  </div>`;
}

function All() {
  const list = usePages((cursor) => get(at("/v1/campaigns", { limit: 25, cursor })), []);
  const [making, make] = useState(false);
  const add = html`<${Button} kind="main" icon="plus" onClick=${() => make(true)}>New campaign</${Button}>`;
  return html`<div class="page"><header class="head"><h1>Campaigns</h1>${add}</header>
    ${list.rows.length ? html`<ul class="lines">${list.rows.map((one) => html`<li key=${one.id} class="card"><header><h2 class="cut"><${Link} to=${`/app/campaigns/${one.id}`}>${one.name}</${Link}></h2><${Badge} kind=${KINDS[one.state]}>${WORDS[one.state]}</${Badge}></header>
        <p class="hint cut">${one.template}</p>${one.state === "draft" ? html`<p class="hint">Changed <${Time} at=${one.updated_at} show=${brief} /></p>` : html`<${Progress} of=${one} />`}</li>`)}</ul>`
      : !list.loading && !list.trouble && html`<${Empty} icon="campaigns" title="No campaign yet">A text to many people, sent as your phones have room for it. Before it starts you see what each one gets and when the last text leaves.</${Empty}>`}
    <${More} list=${list} />${making && html`<${Compose} close=${() => make(false)} />`}</div>`;
}

export const Campaigns = ({ rest: [id] }) => (id ? html`<${One} key=${id} id=${id} />` : html`<${All} />`);
