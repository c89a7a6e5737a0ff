"""What 8ms says by itself when a workspace has not written its own words."""

from __future__ import annotations

import unicodedata

from shared.text import GSM7_SINGLE_SEPTETS, segments

# One part of GSM 7-bit, whatever the workspace is called: the law wants a confirmation, and nobody
# wants to pay for three parts of it. It names the sender and says that it ends (CTIA handbook).
_AND_SO = "No more messages will be sent. Reply START to resubscribe."
NAMED = "You are unsubscribed from {name}. " + _AND_SO
UNNAMED = "You are unsubscribed. " + _AND_SO


def confirmation(name: str) -> str:
    """The opt-out confirmation of the workspace called `name`: always one part of GSM 7-bit.

    A name that does not fit loses its accents, then what GSM 7-bit cannot say, then its end; one
    that has nothing left is not mentioned.
    """
    name = " ".join(name.split())
    if name and _fits(NAMED.format(name=name)):
        return NAMED.format(name=name)
    plain = unicodedata.normalize("NFKD", name[:GSM7_SINGLE_SEPTETS])
    kept = " ".join("".join(c for c in plain if segments(c).encoding == "gsm7").split())
    while kept and not _fits(NAMED.format(name=kept)):
        kept = kept[:-1].rstrip()
    return NAMED.format(name=kept) if kept else UNNAMED


def _fits(text: str) -> bool:
    size = segments(text)
    return size.encoding == "gsm7" and size.parts == 1
