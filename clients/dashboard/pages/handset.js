// The other side: the person a simulated phone texts with. Reads what arrived, types replies.
import { get, post } from "../api.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../html.js";
import { Button, Field, Icon, Trouble, useLoad, useRun } from "../parts.js";
import { listen } from "../stream.js";
import { phone as shown, time } from "../words.js";

const SETTLE_MS = 150, NEWEST = 50;
const HEARD = /^(sms|reply|send)\./;
const QUICK = ["Yes, please!", "Who is this?", "STOP", "START"];

/** What passed between a simulated phone and one person, oldest first. */
function useTexts(phone) {
  const texts = useLoad(() => get(`/v1/phones/${phone.id}/simulated-texts?limit=${NEWEST}`), [phone.id]);
  const again = useRef(null);
  again.current = texts.again;
  useEffect(() => {
    let timer = null;
    const off = listen(({ type }) => HEARD.test(type) && (timer ??= setTimeout(() => ((timer = null), again.current()), SETTLE_MS)));
    return () => (off(), clearTimeout(timer));
  }, []);
  return texts;
}

/** ``person`` fixes whom we play; without it one is picked of those who were texted. */
export function Handset({ phone, person }) {
  const texts = useTexts(phone);
  const all = [...(texts.data?.data ?? [])].reverse();
  const people = [...new Set(all.map((one) => one.number))].reverse();
  const [picked, pick] = useState(null), [body, setBody] = useState(""), [from, setFrom] = useState("+14155550123");
  const who = person ?? picked ?? people[0] ?? from;
  const box = useRef(null);
  const [busy, trouble, reply] = useRun((text) => post(`/v1/phones/${phone.id}/simulate-reply`, { from: who, body: text }), () => (setBody(""), texts.again()));
  const here = all.filter((one) => one.number === who);
  useLayoutEffect(() => void (box.current.scrollTop = box.current.scrollHeight), [here.length]);
  const submit = (e) => (e.preventDefault(), body.trim() && reply(body));
  return html`<div class="handset">
    <div class="screen"><p class="bezel">${people.length > 1 && !person
        ? html`<select aria-label="Whose handset" value=${who} onChange=${(e) => pick(e.currentTarget.value)}>${people.map((one) => html`<option key=${one} value=${one}>${shown(one)}</option>`)}</select>`
        : html`<strong>${shown(who)}</strong>`}<span>The person you text</span></p>
      <ol class="texts" ref=${box} tabindex="0" aria-label="Texts on the handset" aria-live="polite">
        ${here.length ? here.map((one) => html`<li key=${one.id} class=${one.direction === "in" ? "out" : "in"}><p>${one.body}</p><span>${time(one.at)}</span></li>`) : html`<li class="quiet">Nothing has arrived yet.</li>`}</ol>
      <form onSubmit=${submit}><input aria-label="Reply from the handset" placeholder="Text back" value=${body} onInput=${(e) => setBody(e.currentTarget.value)} />
        <button type="submit" class="button main round" aria-label="Send from the handset" disabled=${busy || !body.trim()}><${Icon} name="send" /></button></form></div>
    <div class="quick" role="group" aria-label="Quick replies">${QUICK.map((text) => html`<${Button} key=${text} disabled=${busy} onClick=${() => reply(text)}>${text}</${Button}>`)}</div>
    ${!people.length && !person && html`<${Field} label="Whose number" value=${from} onValue=${setFrom} />`}
    <${Trouble} of=${trouble ?? texts.trouble} />
  </div>`;
}
