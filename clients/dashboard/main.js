// The dashboard: who is signed in, the frame around every page, and which page it is.
import { get } from "./api.js";
import { html, render, useEffect, useState } from "./html.js";
import { Activity } from "./pages/activity.js";
import { Campaigns } from "./pages/campaigns.js";
import { Contacts } from "./pages/contacts.js";
import { Guide } from "./pages/guide.js";
import { Inbox } from "./pages/inbox.js";
import { Login } from "./pages/login.js";
import { Phones } from "./pages/phones.js";
import { Settings } from "./pages/settings.js";
import { Button, Icon, Loading, Trouble, useLoad } from "./parts.js";
import { Link, go, usePlace } from "./place.js";
import * as session from "./session.js";
import * as stream from "./stream.js";

const PAGES = [
  ["inbox", "Inbox", Inbox], ["contacts", "Contacts", Contacts], ["campaigns", "Campaigns", Campaigns],
  ["phones", "Phones", Phones], ["activity", "Activity", Activity], ["settings", "Settings", Settings],
];
const BROKEN_MS = 1_500; // a connection that is back sooner is not worth a word

function Connection() {
  const [broken, set] = useState(false);
  useEffect(() => {
    let timer;
    const off = stream.watch((state) => {
      clearTimeout(timer);
      if (state === "broken") timer = setTimeout(() => set(true), BROKEN_MS);
      else if (state === "live") set(false);
    });
    return () => (clearTimeout(timer), off());
  }, []);
  return broken && html`<p class="broken" role="status">No connection. What happens meanwhile appears when it is back.</p>`;
}

function Unread() {
  const [count, set] = useState(0);
  useEffect(() => {
    let timer, there = true;
    const look = async () => {
      const page = await get("/v1/conversations?status=unread&limit=100").catch(() => null);
      if (page && there) set(page.data.length);
    };
    look();
    const off = stream.listen((event) => {
      if (event.type !== "reply.received" && event.type !== "conversation.read") return;
      clearTimeout(timer);
      timer = setTimeout(look, 300);
    });
    return () => ((there = false), clearTimeout(timer), off());
  }, []);
  useEffect(() => void (document.title = count ? `(${count}) 8ms` : "8ms"), [count]);
  return count ? html`<span class="unread" aria-label=${`${count} unread`}>${count > 99 ? "99+" : count}</span>` : null;
}

function Frame({ me, children, page }) {
  const here = me.workspaces.find((one) => one.id === me.workspace_id);
  const change = (id) => {
    session.useWorkspace(id);
    location.assign("/app");
  };
  return html`<div class="frame">
    <a class="skip" href="#page">To the page</a>
    <nav class="side" aria-label="Pages">
      <p class="brand"><svg width="24" height="24" viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="8" class="mark" /><path class="mark-in" d="M9 8h14a3 3 0 0 1 3 3v8a3 3 0 0 1-3 3h-7l-5 4v-4H9a3 3 0 0 1-3-3v-8a3 3 0 0 1 3-3z" /></svg> 8ms</p>
      <ul>${PAGES.map(([path, name]) => html`<li key=${path}><${Link} to=${`/app/${path}`} aria-current=${page === path ? "page" : undefined}>
        <${Icon} name=${path} /><span>${name}</span>${path === "inbox" && html`<${Unread} />`}</${Link}></li>`)}</ul>
      <div class="who">
        <${Link} to="/app/guide" class="guide" aria-current=${page === "guide" ? "page" : undefined}><${Icon} name="guide" /><span>Getting started</span></${Link}>
        ${me.workspaces.length > 1
          ? html`<select aria-label="Workspace" value=${me.workspace_id} onChange=${(e) => change(e.currentTarget.value)}>
              ${me.workspaces.map((one) => html`<option key=${one.id} value=${one.id}>${one.name}</option>`)}</select>`
          : html`<strong class="cut">${here?.name}</strong>`}
        <span class="cut hint">${me.user?.email}</span>
      </div>
    </nav>
    <main id="page" tabindex="-1"><${Connection} />${children}</main>
  </div>`;
}

function Signed() {
  const [page, ...rest] = usePlace();
  const me = useLoad(() => get("/v1/me"), []);
  useEffect(() => {
    stream.begin();
    return () => stream.end();
  }, []);
  if (!me.data) return me.trouble ? html`<div class="alone"><${Trouble} of=${me.trouble} again=${me.again} />
    <p><${Button} onClick=${() => session.forget()}>Sign out</${Button}></p></div>` : html`<div class="alone"><${Loading} /></div>`;
  const Page = page === "guide" ? Guide : PAGES.find(([path]) => path === page)?.[2];
  return html`<${Frame} me=${me.data} page=${page}>${Page ? html`<${Page} key=${page} rest=${rest} me=${me.data} />` : html`<${Lost} />`}</${Frame}>`;
}

function Lost() {
  return html`<div class="page"><h1>There is no such page</h1><p><${Link} to="/app/inbox">To the inbox</${Link}></p></div>`;
}

function App() {
  const [signed, set] = useState(session.signedIn());
  useEffect(() => session.onSignedOut(() => {
    set(false);
    go("/login");
  }), []);
  useEffect(() => {
    if (signed && location.pathname === "/login") go("/app/inbox", { replace: true });
    if (!signed && location.pathname !== "/login") go("/login", { replace: true });
  }, [signed]);
  return signed ? html`<${Signed} />` : html`<${Login} done=${() => (go("/app/inbox", { replace: true }), set(true))} />`;
}

session.takeFromAddress();
render(html`<${App} />`, document.getElementById("app"));
