// Activity: the workspace's own event log as it grows, and who changed what.
import { at, get } from "../api.js";
import { html, useEffect, useState } from "../html.js";
import { Badge, Button, Empty, More, Time, usePages } from "../parts.js";
import { listen } from "../stream.js";
import { day, phone, second } from "../words.js";
import { Timeline } from "./timeline.js";

const KEPT_MAX = 300;
const KINDS = [["", "Everything"], ["send.*,sms.*,reply.received", "Messages"], ["contact.*,conversation.*", "People"], ["phone.*", "Phones"], ["campaign.*", "Campaigns"], ["webhook.*,api_key.*,workspace.*,member.*", "Settings"]];
const GOOD = /delivered|sent$|online|opted_in|completed/, BAD = /failed|rejected|expired|offline|opted_out|disabled/;

const fits = (type, filter) => !filter || filter.split(",").some((one) => (one.endsWith("*") ? type.startsWith(one.slice(0, -1)) : type === one));
const about = (data) => data?.body || data?.error?.detail || [phone(data?.to ?? data?.from ?? data?.number ?? ""), data?.phone_id ?? data?.campaign_id ?? data?.endpoint_id ?? ""].filter(Boolean).join(" · ");
const kind = (type) => (GOOD.test(type) ? "good" : BAD.test(type) ? "bad" : "");

function Live() {
  const [filter, set] = useState(""), [rows, setRows] = useState([]), [open, show] = useState(null), [held, hold] = useState(false);
  useEffect(() => {
    let waiting = [], frame = 0;
    const put = () => {
      frame = 0;
      const fresh = waiting.reverse();
      waiting = [];
      setRows((before) => [...fresh, ...before].slice(0, KEPT_MAX));
    };
    const off = held ? () => {} : listen((event) => {
      waiting.push(event);
      if (waiting.length > KEPT_MAX) waiting.shift();
      frame ||= setTimeout(put, 100);
    });
    return () => (off(), clearTimeout(frame));
  }, [held]);
  const shown = rows.filter((one) => fits(one.type, filter));
  return html`<div class="bar-of"><div class="tabs" role="group" aria-label="Which events">${KINDS.map(([key, name]) => html`<button type="button" key=${key} aria-pressed=${filter === key} onClick=${() => set(key)}>${name}</button>`)}</div>
      <${Button} onClick=${() => hold(!held)}>${held ? "Go on" : "Pause"}</${Button}></div>
    ${shown.length ? html`<ul class="events">${shown.map((one) => html`<li key=${one.id}><${Time} at=${one.timestamp} show=${second} /><${Badge} kind=${kind(one.type)}>${one.type}</${Badge}>
        ${one.data?.message_id ? html`<button type="button" class="link cut" onClick=${() => show(one.data.message_id)}>${about(one.data) || one.data.message_id}</button>` : html`<span class="cut">${about(one.data)}</span>`}</li>`)}</ul>`
      : html`<${Empty} icon="activity" title="Listening">Everything that happens from now on appears here by itself: send a text and watch it go its way.</${Empty}>`}
    ${open && html`<${Timeline} id=${open} close=${() => show(null)} />`}`;
}

const DOERS = { user: "Somebody of the team", api_key: "API key", phone: "A phone", system: "8ms", ghl: "The CRM", stripe: "Stripe" };

function Audit() {
  const list = usePages((cursor) => get(at("/v1/audit", { limit: 50, cursor })), []);
  let last = "";
  return html`${list.rows.length > 0 && html`<ul class="events audit">${list.rows.map((one, n) => {
    const here = day(one.at), head = here !== last && html`<h2>${here}</h2>`;
    last = here;
    return html`<li key=${n}>${head}<${Time} at=${one.at} show=${second} /><${Badge} kind=${kind(one.type)}>${one.type}</${Badge}><span class="cut">${DOERS[one.actor.kind]} <span class="hint">on ${one.target}</span></span></li>`;
  })}</ul>`}<${More} list=${list} />`;
}

export function Activity() {
  const [view, set] = useState("live");
  return html`<div class="page"><header class="head"><h1>Activity</h1><div class="tabs" role="group" aria-label="View"><button type="button" aria-pressed=${view === "live"} onClick=${() => set("live")}>Live</button><button type="button" aria-pressed=${view === "audit"} onClick=${() => set("audit")}>Who changed what</button></div></header>
    ${view === "live" ? html`<${Live} />` : html`<${Audit} />`}</div>`;
}
