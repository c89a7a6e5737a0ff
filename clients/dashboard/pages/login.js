// Sign in: an address, then the mailed link or its code.
import { html, useEffect, useState } from "../html.js";
import { Button, Field, Note, useRun } from "../parts.js";
import * as session from "../session.js";

const HERE = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** Whether this is a developer's machine that shows its mail at /dev/mail. */
function useShownMail() {
  const [shown, set] = useState(false);
  useEffect(() => {
    if (HERE.has(location.hostname)) fetch("/dev/mail", { method: "HEAD" }).then((one) => set(one.ok), () => {});
  }, []);
  return shown;
}

export function Login({ done }) {
  const [email, setEmail] = useState(""), [code, setCode] = useState(""), [asked, setAsked] = useState(false);
  const mail = useShownMail();
  const [asking, refused, ask] = useRun(() => session.askForLink(email.trim()), () => setAsked(true));
  const [checking, wrong, check] = useRun(() => session.signInWithCode(email.trim(), code.replaceAll(" ", "")), done);
  const submit = (run) => (e) => (e.preventDefault(), run());
  const elsewhere = refused?.url && html`<${Note} kind="bad">${refused.message}</${Note}>`;
  return html`<main class="login"><div class="card">
    <h1>Sign in to 8ms</h1>
    ${!asked
      ? html`<form onSubmit=${submit(ask)}><p>We mail you a link. No password.</p>
          <${Field} label="E-mail address" type="email" autocomplete="email" required autofocus value=${email} onValue=${setEmail}
            error=${!elsewhere && refused?.message} />${elsewhere}
          <${Button} kind="main wide" type="submit" busy=${asking}>Mail me a link</${Button}></form>`
      : html`<form onSubmit=${submit(check)}><p>A mail is on its way to <strong>${email}</strong>. Open its link, or type its code here.</p>
          <${Field} label="Code" inputmode="numeric" autocomplete="one-time-code" pattern="[0-9 ]{6,7}" maxlength="7" required autofocus
            value=${code} onValue=${setCode} error=${wrong?.message} />
          <${Button} kind="main wide" type="submit" busy=${checking}>Sign in</${Button}>
          <p class="center"><button type="button" class="link" onClick=${() => (setAsked(false), setCode(""))}>Use another address</button></p></form>`}
    ${mail && html`<${Note} icon="inbox">This is a development installation: <a href="/dev/mail" target="_blank" rel="noopener">its mail is shown here</a>.</${Note}>`}
  </div><p class="center hint">New here? The same link makes you a workspace of your own.</p></main>`;
}
