// Contacts: a list of any length, of which only what is in sight is drawn; one person; files in and out.
import { at, download, get, patch, post, remove } from "../api.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../html.js";
import { Badge, Button, Confirm, Dialog, Empty, Field, Icon, Loading, Note, Time, Trouble, useLoad, usePages, useRun } from "../parts.js";
import { Link } from "../place.js";
import { listen } from "../stream.js";
import { brief, count, moment, nameOr, named, phone as shown } from "../words.js";
import { Import } from "./import.js";

const ROW_PX = 48, SPARE_ROWS = 12, PAGE = 100, NEAR_END_ROWS = 60;

/** Which rows are in sight of ``box``, which scrolls. */
function useSight(box, rows) {
  const [sight, set] = useState({ top: 0, height: 800 });
  useLayoutEffect(() => {
    const it = box.current;
    if (!it) return undefined;
    const look = () => set({ top: it.scrollTop, height: it.clientHeight });
    look();
    const sized = new ResizeObserver(look);
    sized.observe(it);
    it.addEventListener("scroll", look, { passive: true });
    return () => (sized.disconnect(), it.removeEventListener("scroll", look));
  }, [rows > 0]);
  const first = Math.max(0, Math.floor(sight.top / ROW_PX) - SPARE_ROWS);
  return [first, Math.min(rows, Math.ceil((sight.top + sight.height) / ROW_PX) + SPARE_ROWS)];
}

function Table({ list, open }) {
  const box = useRef(null);
  const [first, last] = useSight(box, list.rows.length);
  useEffect(() => void (last + NEAR_END_ROWS > list.rows.length && list.next()), [last, list.rows.length, list.more]);
  return html`<div class="table" ref=${box} role="table" aria-label="Contacts" aria-rowcount=${list.more ? -1 : list.rows.length + 1} tabindex="0">
    <div class="tr th" role="row" aria-rowindex="1"><span role="columnheader">Name</span><span role="columnheader">Number</span><span role="columnheader" class="wide-only">Company</span><span role="columnheader" class="wide-only">Tags</span><span role="columnheader" class="wide-only">Since</span></div>
    <div role="rowgroup" class="rows" style=${{ height: `${list.rows.length * ROW_PX}px` }}>${list.rows.slice(first, last).map((one, n) => html`
      <div class="tr" role="row" key=${one.id} aria-rowindex=${first + n + 2} style=${{ transform: `translateY(${(first + n) * ROW_PX}px)` }}>
        <span role="cell" class="cut"><button type="button" class="link plain cut" onClick=${() => open(one.id)}>${named(one) || "No name"}</button>${one.do_not_contact && html` <${Badge} kind="bad">Opted out</${Badge}>`}</span>
        <span role="cell" class="cut num">${shown(one.phone)}</span><span role="cell" class="cut wide-only">${one.company}</span>
        <span role="cell" class="cut wide-only">${one.tags.map((tag) => html`<${Badge} key=${tag}>${tag}</${Badge}> `)}</span><span role="cell" class="hint wide-only"><${Time} at=${one.created_at} show=${brief} /></span></div>`)}</div></div>`;
}

const BLANK = { phone: "", first_name: "", last_name: "", email: "", company: "", tags: "" };
const LABELS = { first_name: "First name", last_name: "Last name", email: "E-mail", company: "Company" };

/** Add somebody, or change who is there: ``of``. */
function Edit({ of, close, done }) {
  const [values, set] = useState(of ? { ...BLANK, ...Object.fromEntries(Object.keys(BLANK).map((key) => [key, of[key] ?? ""])), tags: of.tags.join(", ") } : BLANK);
  const tags = values.tags.split(",").map((tag) => tag.trim()).filter(Boolean);
  const [busy, trouble, save] = useRun(() => {
    const named = Object.fromEntries(Object.keys(LABELS).filter((key) => of || values[key]).map((key) => [key, values[key] || null]));
    return of ? patch(`/v1/contacts/${of.id}`, { ...named, tags }) : post("/v1/contacts", { phone: values.phone, ...named, tags });
  }, (made) => (done(made), close()));
  const put = (name) => (value) => set({ ...values, [name]: value });
  return html`<${Dialog} title=${of ? "Change contact" : "New contact"} close=${close}><form onSubmit=${(e) => (e.preventDefault(), save())}>
    ${!of && html`<${Field} label="Phone number" type="tel" required autofocus value=${values.phone} onValue=${put("phone")} error=${trouble?.fields.phone} />`}
    <div class="pair">${Object.entries(LABELS).map(([key, label]) => html`<${Field} key=${key} label=${label} type=${key === "email" ? "email" : "text"} value=${values[key]} onValue=${put(key)} error=${trouble?.fields[key]} />`)}</div>
    <${Field} label="Tags" value=${values.tags} onValue=${put("tags")} hint="With commas between." error=${trouble?.fields.tags} />
    ${trouble && !Object.keys(trouble.fields).length && html`<${Trouble} of=${trouble} />`}
    <div class="actions"><${Button} onClick=${close}>Cancel</${Button}><${Button} kind="main" type="submit" busy=${busy}>Save</${Button}></div></form></${Dialog}>`;
}

const CONSENT = { unknown: "Never said", opted_in: "Said yes", opted_out: "Said stop" };

function Person({ id, close, changed }) {
  const person = useLoad(() => get(`/v1/contacts/${id}`), [id]);
  const [box, set] = useState(null), [note, setNote] = useState("");
  const one = person.data, shut = () => set(null);
  const took = (made) => (person.set(made), changed());
  const turn = one?.do_not_contact ? "opt-in" : "opt-out";
  return html`<${Dialog} title=${one ? nameOr(one) : "Contact"} close=${close} drawer>
    <${Trouble} of=${person.trouble} again=${person.again} />
    ${!one ? !person.trouble && html`<${Loading} />` : html`
      ${one.do_not_contact && html`<${Note} kind="bad">Opted out<${Time} at=${one.consent.at} show=${(when) => ` ${moment(when)}`} />. Nothing is sent to this number.</${Note}>`}
      <p class="actions start"><${Link} to=${`/app/inbox/${one.conversation_id}`} class="button main" onClickCapture=${close}><${Icon} name="inbox" />Conversation</${Link}><${Button} icon="pen" onClick=${() => set("edit")}>Change</${Button}></p>
      <dl class="pairs">${[["Number", shown(one.phone)], ["E-mail", one.email], ["Company", one.company], ["Tags", one.tags.join(", ")], ["Time zone", one.timezone], ["Consent", CONSENT[one.consent.state]], ...Object.entries(one.custom_fields)].filter(([, value]) => value).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      <p class="hint">Since <${Time} at=${one.created_at} /></p><p class="actions start"><${Button} onClick=${() => set("turn")}>${turn === "opt-in" ? "Opt them in…" : "Opt them out…"}</${Button}><${Button} kind="danger" onClick=${() => set("erase")}>Erase…</${Button}></p>
      ${box === "edit" && html`<${Edit} of=${one} close=${shut} done=${took} />`}
      ${box === "turn" && html`<${Confirm} title=${turn === "opt-in" ? "Text them again?" : "Never text them again?"} action=${turn === "opt-in" ? "Opt them in" : "Opt them out"} danger=${turn === "opt-out"} close=${shut} run=${async () => took(await post(`/v1/contacts/${id}/${turn}`, note ? { note } : {}))}>
        <p>${turn === "opt-in" ? "Only when they asked for it themselves." : "Whatever waits for them is cancelled, and nothing more is sent, from anywhere."}</p><${Field} label="How do you know?" as="textarea" rows="2" value=${note} onValue=${setNote} hint="Kept as evidence." /></${Confirm}>`}
      ${box === "erase" && html`<${Confirm} title=${`Erase ${nameOr(one)}?`} action="Erase for good" danger close=${shut} run=${async () => (await remove(`/v1/contacts/${id}`), changed(), close())}>
        <p>The name, the number and every text with them are destroyed, in the log too. It cannot be taken back. That they opted out is still obeyed.</p></${Confirm}>`}`}
  </${Dialog}>`;
}

export function Contacts() {
  const [q, setQ] = useState(""), [tag, setTag] = useState(""), [out, setOut] = useState(""), [box, set] = useState(null), [turn, again] = useState(0);
  const [asked, ask] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => ask(q.trim()), 180);
    return () => clearTimeout(timer);
  }, [q]);
  const list = usePages((cursor) => get(at("/v1/contacts", { q: asked, tag, opted_out: out, limit: PAGE, cursor })), [asked, tag, out, turn]);
  useEffect(() => listen(({ type, data }) => {
    if (type.startsWith("contact.opted") && data?.contact_id) get(`/v1/contacts/${data.contact_id}`).then((fresh) => list.edit((rows) => rows.map((row) => (row.id === fresh.id ? fresh : row))), () => {});
  }), []);
  const reload = () => again((n) => n + 1);
  const [busy, trouble, save] = useRun(() => download(at("/v1/contacts/export", { tag, opted_out: out }), "contacts.csv"));
  const filtered = asked || tag || out;
  return html`<div class="page full"><header class="head"><h1>Contacts</h1><div class="actions"><${Button} icon="download" busy=${busy} onClick=${() => save()}>Export</${Button}><${Button} icon="upload" onClick=${() => set({ file: true })}>Import</${Button}><${Button} kind="main" icon="plus" onClick=${() => set({ add: true })}>Add</${Button}></div></header>
    <div class="filters"><div class="find"><${Icon} name="search" /><input type="search" aria-label="Search contacts" placeholder="Name, company or number" value=${q} onInput=${(e) => setQ(e.currentTarget.value)} /></div>
      <input class="tag" aria-label="With the tag" placeholder="Tag" value=${tag} onChange=${(e) => setTag(e.currentTarget.value.trim())} />
      <select aria-label="Consent" value=${out} onChange=${(e) => setOut(e.currentTarget.value)}><option value="">Everybody</option><option value="false">May be texted</option><option value="true">Opted out</option></select>
      <span class="hint" role="status">${list.rows.length > 0 && `${count(list.rows.length)}${list.more ? " and more" : ""}`}</span></div>
    <${Trouble} of=${trouble ?? list.trouble} again=${list.trouble ? list.again : undefined} />
    ${list.rows.length ? html`<${Table} list=${list} open=${(id) => set({ id })} />` : list.loading ? html`<${Loading} lines=${10} />`
      : filtered ? html`<${Empty} icon="search" title="Nobody found">Nobody is like that.</${Empty}>`
      : html`<${Empty} icon="contacts" title="No contacts yet" action=${html`<${Button} kind="main" icon="upload" onClick=${() => set({ file: true })}>Import a file</${Button}>`}>Whoever you text, or who texts you, is here. A CSV file brings everybody at once.</${Empty}>`}
    ${box?.add && html`<${Edit} close=${() => set(null)} done=${reload} />`}${box?.file && html`<${Import} close=${() => set(null)} done=${reload} />`}${box?.id && html`<${Person} id=${box.id} close=${() => set(null)} changed=${reload} />`}
  </div>`;
}
