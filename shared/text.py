"""How many SMS parts a text takes: the estimate shown before sending and counted by the pacing.

An SMS carries 140 octets: 160 septets of the GSM 7-bit alphabet (3GPP TS 23.038, 6.2.1), or 70
UTF-16 units of UCS-2. A longer text is cut into parts that each give 6 octets to a header which
puts them together again (3GPP TS 23.040, 9.2.3.24.1); 153 septets or 67 units are left. One
character outside the GSM alphabet turns the whole text into UCS-2. A phone may count differently
(national shift tables); where it reports its own count of parts, that one wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

GSM7_SINGLE_SEPTETS = 160
GSM7_PART_SEPTETS = 153
UCS2_SINGLE_UNITS = 70
UCS2_PART_UNITS = 67
# More is refused: carriers and phones begin to drop long texts at nine or ten parts.
MAX_PARTS = 10

_ESCAPE = "\x1b"
_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = "\f^{}\\[~]|€"
# Possessive (`*+`): a character that does not fit ends the match, nothing is tried again.
_ALL_BASIC = re.compile(f"[{re.escape(_BASIC)}]*+").fullmatch
_ALL_GSM7 = re.compile(f"[{re.escape(_BASIC + _EXTENSION)}]*+").fullmatch
_EXTENSIONS = re.compile(f"[{re.escape(_EXTENSION)}]").findall
_ESCAPED = {ord(char): _ESCAPE + char for char in _EXTENSION}


class Segments(NamedTuple):
    """What a text costs on the air.

    `units` are septets for gsm7 (a character of the extension table is two) and UTF-16 units for
    ucs2. `parts` is not limited here: whoever sends compares it with MAX_PARTS.
    """

    encoding: Literal["gsm7", "ucs2"]
    units: int
    parts: int


def segments(body: str) -> Segments:
    """Count the parts of `body`; an empty text is one empty SMS. Raises nothing.

    An escape pair (extension character) and a surrogate pair are never divided between two parts,
    so there can be more parts than units divided by the size of a part.
    """
    if _ALL_BASIC(body) is not None:  # nearly every text: nothing to escape, nothing to keep whole
        septets = len(body)
        if septets <= GSM7_SINGLE_SEPTETS:
            return Segments("gsm7", septets, 1)
        return Segments("gsm7", septets, -(-septets // GSM7_PART_SEPTETS))
    if _ALL_GSM7(body) is not None:
        return _gsm7_with_escapes(body)
    # Lone surrogates are not text, but a broken client can send them and they count as they stand.
    return _ucs2(body.encode("utf-16-le", "surrogatepass"))


def _gsm7_with_escapes(body: str) -> Segments:
    units = len(body) + len(_EXTENSIONS(body))
    if units <= GSM7_SINGLE_SEPTETS:
        return Segments("gsm7", units, 1)
    septets = body.translate(_ESCAPED)

    def divides_pair(position: int) -> bool:
        return septets[position - 1] == _ESCAPE

    return Segments("gsm7", units, _parts(units, GSM7_PART_SEPTETS, divides_pair))


def _ucs2(octets: bytes) -> Segments:
    units = len(octets) // 2
    if units <= UCS2_SINGLE_UNITS:
        return Segments("ucs2", units, 1)

    def divides_pair(position: int) -> bool:
        before, after = octets[2 * position - 1], octets[2 * position + 1]  # high octets
        return 0xD8 <= before <= 0xDB and 0xDC <= after <= 0xDF

    return Segments("ucs2", units, _parts(units, UCS2_PART_UNITS, divides_pair))


def _parts(units: int, part_units: int, divides_pair: Callable[[int], bool]) -> int:
    """Fill part after part; a cut that would divide a pair is made one unit earlier."""
    parts, position = 1, part_units
    while position < units:
        if divides_pair(position):
            position -= 1
        parts += 1
        position += part_units
    return parts
