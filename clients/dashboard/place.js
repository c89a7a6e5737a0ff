// Where in the dashboard we are: the address, and how it changes.
import { html, useEffect, useState } from "./html.js";

const HOME = "/app/inbox";
const tellers = new Set();

/** Go to a page under /app. */
export function go(path, { replace = false } = {}) {
  if (path === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", path);
  for (const tell of tellers) tell();
}

addEventListener("popstate", () => {
  for (const tell of tellers) tell();
});

/** The parts of the address behind /app, and it again whenever it changes. */
export function usePlace() {
  const [, again] = useState(0);
  useEffect(() => {
    const tell = () => again((n) => n + 1);
    tellers.add(tell);
    return () => tellers.delete(tell);
  }, []);
  return (location.pathname === "/app" ? HOME : location.pathname).split("/").slice(2);
}

/** A link within the dashboard. */
export function Link({ to, children, ...rest }) {
  const follow = (click) => {
    if (click.metaKey || click.ctrlKey || click.shiftKey || click.button) return;
    click.preventDefault();
    go(to);
  };
  return html`<a href=${to} onClick=${follow} ...${rest}>${children}</a>`;
}
