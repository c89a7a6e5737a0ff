// The pieces every page is made of.
import { Problem } from "./api.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { ago, fullTime, moment } from "./words.js";

const PATHS = {
  inbox: "M3 13h5l1.500 3h5l1.500-3h5M5.500 5h13L21 13v6H3v-6z",
  contacts: "M16 19c0-3-2.200-5-5-5s-5 2-5 5M11 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6M17 6v6M14 9h6",
  campaigns: "M4 10v4h3l8 5V5L7 10zM18.500 9a4 4 0 0 1 0 6",
  phones: "M8 3h8a1 1 0 0 1 1 1v16a1 1 0 0 1-1 1H8a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1M11 18h2",
  activity: "M3 12h4l3-8 4 16 3-8h4",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 9.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5M9 19.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14M16.500 16.500 21 21",
  plus: "M12 5v14M5 12h14", close: "M6 6l12 12M18 6 6 18", back: "M14 6l-6 6 6 6", send: "M12 19V6M6 12l6-6 6 6",
  check: "M5 12.500l4.500 4.500L19 7.500", clock: "M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16M12 8v4l2.500 2",
  alert: "M12 4 2.500 20h19zM12 10v4M12 17v.500", battery: "M3 9h15v6H3zM21 11v2", pen: "M4 20l4-1L19 8l-3-3L5 16z",
  upload: "M12 16V5M7 10l5-5 5 5M4 20h16", download: "M12 4v11M7 10l5 5 5-5M4 20h16", copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  guide: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M9.500 9.500a2.500 2.500 0 1 1 3.500 2.300c-.700.300-1 .700-1 1.700M12 16.500v.500",
};

export function Icon({ name, size = 18 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 24 24" aria-hidden="true">
    <path d=${PATHS[name]} /></svg>`;
}

/** One, two or no ticks: how far a text got. */
export function Ticks({ state }) {
  const many = state === "delivered" ? 2 : state === "sent" ? 1 : 0;
  if (!many) return html`<${Icon} name="clock" size=${13} />`;
  return html`<svg class="icon ticks" width="17" height="13" viewBox="0 0 30 20" aria-hidden="true">
    <path d=${many === 2 ? "M2 11l5 5L17 5M12 14l2 2L26 5" : "M7 11l5 5L22 5"} /></svg>`;
}

export function Time({ at, show = moment }) {
  return at ? html`<time datetime=${at} title=${fullTime(at)}>${show(at)}</time>` : null;
}

/** A time that says how long ago it is, and keeps saying so. */
export function Ago({ at }) {
  const [, again] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => again((n) => n + 1), 5_000);
    return () => clearInterval(timer);
  }, []);
  return html`<${Time} at=${at} show=${ago} />`;
}

export function Button({ kind = "", busy, icon, children, ...rest }) {
  return html`<button type="button" ...${rest} class=${`button ${kind}`} disabled=${busy || rest.disabled} aria-busy=${busy ? "true" : undefined}>
    ${icon && html`<${Icon} name=${icon} />`}${children}</button>`;
}

let numbers = 0;
const useId = () => useState(() => `f${++numbers}`)[0];

/** A labelled input; ``error`` is what the API says is wrong with it. */
export function Field({ label, hint, error, as = "input", children, onValue, ...rest }) {
  const id = useId();
  const described = [hint && `${id}h`, error && `${id}e`].filter(Boolean).join(" ") || undefined;
  const input = html`<${as} id=${id} aria-describedby=${described} aria-invalid=${error ? "true" : undefined}
    onInput=${onValue && ((e) => onValue(e.currentTarget.value))} ...${rest}>${children}</${as}>`;
  return html`<div class="field"><label for=${id}>${label}</label>${input}
    ${hint && html`<p class="hint" id=${`${id}h`}>${hint}</p>`}
    ${error && html`<p class="wrong" id=${`${id}e`}>${error}</p>`}</div>`;
}

export function Check({ label, hint, onValue, ...rest }) {
  const id = useId();
  return html`<div class="check"><input type="checkbox" id=${id} ...${rest} onChange=${(e) => onValue(e.currentTarget.checked)} />
    <label for=${id}>${label}${hint && html`<span class="hint">${hint}</span>`}</label></div>`;
}

/** What went wrong, in the API's words. */
export function Trouble({ of, again }) {
  if (!of) return null;
  const shown = new Set(Object.values(of.fields ?? {}));
  return html`<div class="note bad" role="alert"><${Icon} name="alert" /><div><p>${of.message}</p>
    ${[...shown].filter((one) => one !== of.message).map((one) => html`<p>${one}</p>`)}
    ${of.body?.request_id && of.status >= 500 && html`<p class="hint">Request ${of.body.request_id}</p>`}</div>
    ${again && html`<${Button} onClick=${again}>Try again</${Button}>`}</div>`;
}

export function Note({ kind = "", icon = "alert", children, action }) {
  return html`<div class=${`note ${kind}`}><${Icon} name=${icon} /><div>${children}</div>${action}</div>`;
}

export function Empty({ icon, title, children, action }) {
  return html`<div class="empty"><${Icon} name=${icon} size=${32} /><h2>${title}</h2><p>${children}</p>${action}</div>`;
}

export function Loading({ lines = 5 }) {
  return html`<div class="loading" role="status"><span class="unseen">Loading</span>
    ${Array.from({ length: lines }, (_, n) => html`<div class="bone" key=${n}></div>`)}</div>`;
}

export function Badge({ kind = "", children }) {
  return html`<span class=${`badge ${kind}`}>${children}</span>`;
}

/** A dialog of the browser's own: it keeps the focus and closes with Escape. */
export function Dialog({ title, close, children, wide, drawer }) {
  const ref = useRef(null), id = useId();
  useLayoutEffect(() => {
    const box = ref.current, before = document.activeElement;
    box.showModal();
    return () => {
      box.close();
      before?.focus?.();
    };
  }, []);
  const outside = (e) => e.target === ref.current && close();
  return html`<dialog ref=${ref} class=${drawer ? "drawer" : wide ? "wide" : ""} aria-labelledby=${id} onMouseDown=${outside}
      onCancel=${(e) => (e.preventDefault(), close())}>
    <header><h2 id=${id}>${title}</h2><${Button} kind="quiet icon-only" icon="close" aria-label="Close" onClick=${close} /></header>
    <div class="inside">${children}</div></dialog>`;
}

/** Ask before something that cannot be taken back. */
export function Confirm({ title, action, danger, run, close, children }) {
  const [busy, trouble, go] = useRun(run, close);
  return html`<${Dialog} title=${title} close=${close}>${children}<${Trouble} of=${trouble} />
    <div class="actions"><${Button} onClick=${close}>Cancel</${Button}>
    <${Button} kind=${danger ? "danger" : "main"} busy=${busy} onClick=${go}>${action}</${Button}></div></${Dialog}>`;
}

/** [busy, problem, run]: run ``work`` once at a time, keep what it refuses, then call ``done``. */
export function useRun(work, done) {
  const [state, set] = useState({ busy: false, trouble: null });
  const there = useRef(true);
  useEffect(() => () => (there.current = false), []);
  const run = async (...given) => {
    set({ busy: true, trouble: null });
    try {
      const made = await work(...given);
      if (there.current) set({ busy: false, trouble: null });
      done?.(made);
      return made;
    } catch (trouble) {
      if (!(trouble instanceof Problem) && !trouble.final && trouble.name !== "SignInFailed") console.warn(trouble);
      if (there.current) set({ busy: false, trouble });
    }
    return undefined;
  };
  return [state.busy, state.trouble, run, () => set({ busy: false, trouble: null })];
}

/** {data, trouble, again, set}: what ``load`` gives, loaded anew when one of ``on`` changes. */
export function useLoad(load, on) {
  const [state, set] = useState({ data: null, trouble: null });
  const turn = useRef(0);
  const again = async () => {
    const mine = ++turn.current;
    try {
      const data = await load();
      if (mine === turn.current) set({ data, trouble: null });
    } catch (trouble) {
      if (mine === turn.current) set((before) => ({ ...before, trouble }));
    }
  };
  useEffect(() => {
    again();
    return () => void turn.current++;
  }, on);
  return { ...state, again, set: (data) => set({ data, trouble: null }) };
}

/** A list that grows page by page: {rows, more, loading, trouble, next, again}. */
export function usePages(fetchPage, on) {
  const [state, set] = useState({ rows: [], cursor: null, more: false, loading: true, trouble: null });
  const turn = useRef(0);
  const load = async (cursor, rows) => {
    const mine = ++turn.current;
    set((before) => ({ ...before, rows, loading: true, trouble: null }));
    try {
      const page = await fetchPage(cursor);
      if (mine !== turn.current) return;
      set({ rows: [...rows, ...page.data], cursor: page.next_cursor, more: page.has_more, loading: false, trouble: null });
    } catch (trouble) {
      if (mine === turn.current) set((before) => ({ ...before, loading: false, trouble }));
    }
  };
  useEffect(() => {
    load(null, []);
    return () => void turn.current++;
  }, on);
  const next = () => state.more && !state.loading && load(state.cursor, state.rows);
  return { ...state, next, again: () => load(null, []), edit: (change) => set((s) => ({ ...s, rows: change(s.rows) })) };
}

export function More({ list }) {
  if (list.trouble) return html`<${Trouble} of=${list.trouble} again=${list.again} />`;
  if (list.loading) return html`<${Loading} lines=${3} />`;
  return list.more ? html`<p class="more"><${Button} onClick=${list.next}>Show more</${Button}></p>` : null;
}

/** Something to copy: shown once, never logged. */
export function Secret({ label, value }) {
  const [copied, set] = useState(false);
  const copy = async () => {
    await navigator.clipboard?.writeText(value);
    set(true);
  };
  return html`<div class="secret"><span class="hint">${label}</span><code tabindex="0">${value}</code>
    <${Button} icon=${copied ? "check" : "copy"} onClick=${copy}>${copied ? "Copied" : "Copy"}</${Button}></div>`;
}
