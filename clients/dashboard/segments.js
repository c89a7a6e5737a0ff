// How many SMS parts a text takes (3GPP TS 23.038): 160 or 153 characters of the GSM alphabet, 70 or
// 67 UTF-16 units of anything else.
const BASIC = new Set(
  "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà",
);
const EXTENDED = new Set("^{}\\[~]|€\f");

/** {parts, left, unicode}: parts of ``text``, characters left in the last one, whether it is not GSM. */
export function segments(text) {
  const sizes = [];
  let unicode = false;
  for (const letter of text) {
    if (BASIC.has(letter)) sizes.push(1);
    else if (EXTENDED.has(letter)) sizes.push(2);
    else unicode = true;
  }
  const units = unicode ? Array.from(text, (letter) => letter.length) : sizes;
  const [alone, each] = unicode ? [70, 67] : [160, 153];
  const total = units.reduce((sum, n) => sum + n, 0);
  if (total <= alone) return { parts: total ? 1 : 0, left: alone - total, unicode };
  let parts = 1, used = 0; // a letter is never cut in two
  for (const n of units) {
    if (used + n > each) [parts, used] = [parts + 1, 0];
    used += n;
  }
  return { parts, left: each - used, unicode };
}
