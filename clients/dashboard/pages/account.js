// The person's account: where they are signed in, and the way out.
import { html, useState } from "../html.js";
import { Button, Confirm } from "../parts.js";
import * as session from "../session.js";

export function Account({ me }) {
  const [ask, set] = useState(false);
  return html`<section class="card"><h2>You</h2><p>Signed in as <strong>${me.user?.email}</strong>, ${me.role === "owner" ? "an owner" : "a member"} of this workspace.</p>
    <div class="actions start"><${Button} onClick=${() => session.signOut("local")}>Sign out</${Button}><${Button} onClick=${() => set(true)}>Sign out everywhere…</${Button}></div>
    ${ask && html`<${Confirm} title="Sign out everywhere?" action="Sign out everywhere" danger close=${() => set(false)} run=${() => session.signOut("global")}><p>Every browser that is signed in as you has to sign in again, this one too. API keys go on working.</p></${Confirm}>`}</section>`;
}
