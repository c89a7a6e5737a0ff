// A CSV file of contacts: what its columns are taken for, what would happen, and then doing it.
import { call, download, get } from "../api.js";
import { html, useState } from "../html.js";
import { Button, Dialog, Note, Trouble, useRun } from "../parts.js";
import { count, plural } from "../words.js";

const LOOK_MS = 400, SAMPLE_BYTES = 64 * 1024, SAMPLE_ROWS = 4;
const FIELDS = [["phone", "Phone number"], ["first_name", "First name"], ["last_name", "Last name"], ["name", "Whole name"], ["email", "E-mail"], ["company", "Company"], ["tags", "Tags"], ["timezone", "Time zone"], ["do_not_contact", "Opted out"]];
const COUNTS = [["created", "new"], ["updated", "changed"], ["unchanged", "as they are"], ["opted_out", "opted out"], ["failed", "not taken"]];

/** The first rows of a file, only to be looked at; what counts is how the API reads it. */
async function sample(file) {
  const bytes = await file.slice(0, SAMPLE_BYTES).arrayBuffer();
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: file.size <= SAMPLE_BYTES }).decode(bytes);
  } catch {
    text = new TextDecoder("windows-1252").decode(bytes);
  }
  const head = text.split("\n", 1)[0];
  const mark = [",", ";", "\t", "|"].sort((a, b) => head.split(b).length - head.split(a).length)[0];
  const rows = [[""]];
  let quoted = false;
  for (let n = 0; n < text.length && rows.length <= SAMPLE_ROWS + 1; n++) {
    const row = rows.at(-1), letter = text[n];
    if (letter === '"') quoted && text[n + 1] === '"' ? (row[row.length - 1] += text[++n]) : (quoted = !quoted);
    else if (!quoted && letter === mark) row.push("");
    else if (!quoted && letter === "\n") rows.push([""]);
    else if (letter !== "\r") row[row.length - 1] += letter;
  }
  return rows.filter((row) => row.some(Boolean)).slice(0, SAMPLE_ROWS + 1);
}

export function Import({ close, done }) {
  const [file, setFile] = useState(null), [rows, setRows] = useState([]), [mapping, map] = useState({}), [task, setTask] = useState(null), [stage, setStage] = useState("choose");
  const run = async (dry) => {
    const form = new FormData();
    form.append("file", file);
    if (Object.keys(mapping).length) form.append("mapping", JSON.stringify(mapping));
    let now = await call("POST", `/v1/contacts/bulk${dry ? "?dry_run=true" : ""}`, undefined, { form });
    setTask(now);
    while (now.status === "queued" || now.status === "running") {
      await new Promise((wait) => setTimeout(wait, LOOK_MS));
      now = await get(`/v1/tasks/${now.id}`);
      setTask(now);
    }
    return now;
  };
  const [busy, trouble, go] = useRun(async (dry) => {
    setStage(dry ? "checking" : "running");
    const ended = await run(dry).catch((problem) => (setStage(dry ? "choose" : "checked"), Promise.reject(problem)));
    setStage(dry ? "checked" : "done");
    if (!dry && ended.status === "done") done();
  });
  const choose = async (chosen) => {
    if (!chosen) return;
    (setFile(chosen), setTask(null), map({}), setStage("choose"), setRows(await sample(chosen)));
  };
  const taken = task?.summary?.columns ?? {};
  const failed = task?.status === "failed";
  const [saving, , save] = useRun(() => download(task.result_url, "not-taken.csv"));
  return html`<${Dialog} title="Import contacts" close=${close} wide>
    <label class="drop" onDragOver=${(e) => e.preventDefault()} onDrop=${(e) => (e.preventDefault(), choose(e.dataTransfer.files[0]))}><strong>${file ? file.name : "Choose a CSV file, or drop it here"}</strong><span class="hint">One line per person. Separator and encoding are found out by themselves; people are recognised by their number.</span>
      <input type="file" accept=".csv,text/csv,text/plain" onChange=${(e) => choose(e.currentTarget.files[0])} /></label>
    ${rows.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Columns of the file"><table class="sheet"><thead><tr>${rows[0].map((name, n) => html`<th key=${n} scope="col">${name || `Column ${n + 1}`}
        <select aria-label=${`Column ${name} is`} value=${name in mapping ? mapping[name] ?? "leave" : ""} disabled=${busy || stage === "done"} onChange=${(e) => { const { value } = e.currentTarget; const { [name]: _, ...rest } = mapping; map(value ? { ...rest, [name]: value === "leave" ? null : value } : rest); setStage("choose"); }}>
          <option value="">${taken[name] ? `By its name: ${taken[name].replace("custom_fields.", "own field ")}` : "By its name"}</option>${FIELDS.map(([key, label]) => html`<option key=${key} value=${key}>${label}</option>`)}<option value=${`custom_fields.${name}`}>Own field</option><option value="leave">Leave out</option></select></th>`)}</tr></thead>
      <tbody>${rows.slice(1).map((row, n) => html`<tr key=${n}>${row.map((cell, m) => html`<td key=${m}>${cell}</td>`)}</tr>`)}</tbody></table></div>`}
    ${(stage === "checking" || stage === "running") && task && html`<p role="status">${stage === "checking" ? "Looking at" : "Taking"} ${plural(task.done, "row")}${task.total ? ` of ${count(task.total)}` : ""}</p><progress aria-label="Progress" max=${task.total || 1} value=${task.total ? task.done : undefined}></progress>`}
    ${failed ? html`<${Note} kind="bad"><strong>This file cannot be read.</strong> ${task.errors[0]?.detail ?? ""} Say above what its columns are, then check again.</${Note}>`
      : (stage === "checked" || stage === "done") && html`<${Note} kind=${task.summary.failed ? "warn" : "good"} icon="check"><strong>${stage === "done" ? "Done." : "This is what would happen. Nothing is saved yet."}</strong>
        <p>${COUNTS.filter(([key]) => task.summary[key]).map(([key, word]) => `${count(task.summary[key])} ${word}`).join(", ") || "Nobody is in it"}.</p>
        ${task.errors.length > 0 && html`<details><summary>${plural(task.errors_total, "row")} with a problem</summary><ul>${task.errors.slice(0, 20).map((one, n) => html`<li key=${n}>Row ${one.row}: ${one.detail}</li>`)}</ul></details>`}
        ${task.result_url && html`<p><${Button} icon="download" busy=${saving} onClick=${() => save()}>Rows that are not taken</${Button}></p>`}</${Note}>`}
    <${Trouble} of=${trouble} />
    <div class="actions"><${Button} onClick=${close}>${stage === "done" ? "Close" : "Cancel"}</${Button}>
      ${file && stage !== "done" && html`<${Button} busy=${busy} onClick=${() => go(true)} kind=${stage === "checked" ? "" : "main"}>Check it</${Button}>`}${stage === "checked" && !failed && html`<${Button} kind="main" busy=${busy} onClick=${() => go(false)}>Import</${Button}>`}</div>
  </${Dialog}>`;
}
