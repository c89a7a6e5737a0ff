// Texts a day, by phone: what was sent and what is to come, in one picture and one table.
import { html } from "../html.js";
import { count } from "../words.js";

const HEIGHT = 120, BAR = 36, GAP = 10, DAYS_MAX = 60, TONES = 5;
const named = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });

/** ``days`` and ``real``: [{date, phone_id, messages}]. */
export function Chart({ days, real, label }) {
  const dates = [...new Set([...real, ...days].map((one) => one.date))].sort().slice(0, DAYS_MAX);
  if (!dates.length) return null;
  const phones = [...new Set([...real, ...days].map((one) => one.phone_id))];
  const stack = (date) => [...real.filter((one) => one.date === date).map((one) => ({ ...one, real: true })), ...days.filter((one) => one.date === date)];
  const total = (date) => stack(date).reduce((all, one) => all + one.messages, 0);
  const most = Math.max(...dates.map(total), 1);
  const width = dates.length * (BAR + GAP);
  const bars = dates.map((date, n) => {
    let y = HEIGHT;
    return stack(date).map((one, m) => {
      const height = Math.max(2, (one.messages / most) * HEIGHT);
      y -= height;
      return html`<rect key=${`${date}${m}`} x=${n * (BAR + GAP)} y=${y + 18} width=${BAR} height=${height} rx="3" class=${`tone${phones.indexOf(one.phone_id) % TONES} ${one.real ? "" : "planned"}`} />`;
    });
  });
  const words = (date) => named.format(new Date(`${date}T00:00:00Z`));
  return html`<figure class="chart"><div class="scroll" tabindex="0" role="region" aria-label="Texts a day, as a picture"><svg width=${width} height=${HEIGHT + 40} role="img" aria-label=${`Texts a day: ${dates.map((date) => `${words(date)} ${total(date)}`).join(", ")}`}>
      ${bars}${dates.map((date, n) => html`<text key=${date} x=${n * (BAR + GAP) + BAR / 2} y=${HEIGHT + 34}>${words(date)}</text><text class="value" x=${n * (BAR + GAP) + BAR / 2} y=${HEIGHT - (total(date) / most) * HEIGHT + 12}>${count(total(date))}</text>`)}</svg></div>
    <figcaption class="hint">${phones.slice(0, TONES).map((id, n) => html`<span key=${id}><i class=${`tone${n}`}></i>${label(id)}</span>`)}${real.length > 0 && days.length > 0 && html`<span><i class="tone0"></i>sent</span><span><i class="tone0 planned"></i>to come</span>`}</figcaption></figure>`;
}
