// The life of one message: every fact with its time, and why it waits now.
import { get, post } from "../api.js";
import { html, useEffect } from "../html.js";
import { Badge, Button, Dialog, Loading, Note, Time, Trouble, useLoad, useRun } from "../parts.js";
import { listen } from "../stream.js";
import { STATES, day, moment, phone, plural, second, waiting } from "../words.js";

const SERVICES = { api: "API", scheduler: "Scheduler", gateway: "Phone", inbound: "Replies", webhooks: "Webhooks" };
const KINDS = { delivered: "good", sent: "good", received: "good", failed: "bad", rejected: "bad", expired: "bad", unknown: "warn" };

export function Timeline({ id, close, changed }) {
  const message = useLoad(() => get(`/v1/messages/${id}`), [id]);
  const line = useLoad(() => get(`/v1/messages/${id}/timeline`), [id]);
  const look = () => (message.again(), line.again());
  useEffect(() => listen(({ data }) => data?.message_id === id && setTimeout(look, 100)), [id]);
  const said = message.data;
  const outbound = said?.direction === "outbound";
  const again = (made) => (changed?.(made?.message ?? made), look());
  const [busy, trouble, cancel] = useRun(() => post(`/v1/messages/${id}/cancel`), again);
  const [resolving, refused, resolve] = useRun((decision) => post(`/v1/messages/${id}/resolve`, { decision }), again);
  return html`<${Dialog} title="What happened to this message" close=${close} drawer>
    <${Trouble} of=${message.trouble ?? line.trouble ?? trouble ?? refused} again=${message.trouble ? look : undefined} />
    ${!said || !line.data ? html`<${Loading} />` : html`
      <p><${Badge} kind=${KINDS[said.state]}>${STATES[said.state]}</${Badge}> <span class="hint">${outbound ? `to ${phone(said.to)}` : `from ${phone(said.from)}`} · ${plural(said.segments, "SMS part")}${said.test ? " · test" : ""}</span></p>
      <blockquote class="text">${said.body || "The text was erased."}</blockquote>
      ${line.data.waiting && html`<${Note} kind="warn" icon="clock">${waiting(line.data.waiting)}</${Note}>`}
      ${said.state === "queued" && !said.cancel_requested && html`<p><${Button} busy=${busy} onClick=${() => cancel()}>Do not send it</${Button}></p>`}
      ${said.waiting?.reason === "quarantined" && html`<${Note} kind="warn">Nobody can tell whether the phone sent it. 8ms never sends twice by itself: you decide.
        <p><${Button} busy=${resolving} onClick=${() => resolve("retry")}>Send again</${Button}> <${Button} busy=${resolving} onClick=${() => resolve("drop")}>Leave it</${Button}></p></${Note}>`}
      <ol class="facts">${line.data.data.map((fact, n) => html`<li key=${n}><${Time} at=${fact.at} show=${(at) => `${day(at)} ${second(at)}`} />
        <p>${fact.detail}</p><span class="hint">${SERVICES[fact.service] ?? fact.service} · <code>${fact.type}</code></span></li>`)}</ol>
      <p class="hint">Id <code>${said.id}</code>${said.send_at && `, not before ${moment(said.send_at)}`}</p>`}
  </${Dialog}>`;
}
