// Writing a reply: the draft outlives a reload, the parts are counted while typing.
import { html, useLayoutEffect, useRef, useState } from "../html.js";
import { Icon } from "../parts.js";
import { segments } from "../segments.js";
import { plural } from "../words.js";

const BODY_MAX = 1530, HEIGHT_MAX = 200;
const place = (conversation) => `8ms.draft.${conversation}`;

/** How many SMS parts a text takes, and why, when it is more than it seems. */
export function Counter({ text }) {
  const { parts, left, unicode } = segments(text);
  if (!parts) return html`<p class="counter hint" aria-live="off">Nothing written yet</p>`;
  return html`<p class="counter hint">${plural(parts, "SMS part")}, ${left} left${unicode && ", with special characters (70 a part)"}</p>`;
}

export function Composer({ conversation, send }) {
  const [body, set] = useState(localStorage.getItem(place(conversation)) ?? "");
  const box = useRef(null);
  const write = (text) => {
    set(text);
    text ? localStorage.setItem(place(conversation), text) : localStorage.removeItem(place(conversation));
  };
  useLayoutEffect(() => {
    box.current.style.height = "auto";
    box.current.style.height = `${Math.min(HEIGHT_MAX, box.current.scrollHeight + 2)}px`;
  }, [body]);
  const submit = (e) => {
    e.preventDefault();
    if (!body.trim()) return;
    send(body);
    write("");
    box.current.focus();
  };
  const key = (e) => {
    if (e.key === "Enter" && !e.shiftKey && !e.isComposing) submit(e);
  };
  return html`<form class="composer" onSubmit=${submit}>
    <div class="write"><textarea ref=${box} rows="1" maxlength=${BODY_MAX} aria-label="Reply" placeholder="Write a reply" value=${body} onInput=${(e) => write(e.currentTarget.value)} onKeyDown=${key}></textarea>
    <button type="submit" class="button main round" aria-label="Send" disabled=${!body.trim()}><${Icon} name="send" /></button></div>
    <div class="under"><${Counter} text=${body} /><span class="hint keys-hint"><kbd>Enter</kbd> sends, <kbd>Shift Enter</kbd> a new line</span></div>
  </form>`;
}
