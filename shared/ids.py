"""Ids: a prefix that says what it names, and a ULID, 128 bits as 26 characters of base32.

`msg_01M84KWEEHWZ1A8XXJDESW8HWJ` sorts by the time it was made, holds no personal data and no dot,
so that it fits a subject of the log, a URL and a header (`webhook-id` must not contain a dot).

    ws    workspace            key   API key              cnv   conversation (of a contact)
    con   contact              whk   webhook endpoint     pair  pairing of a phone
    msg   message              att   delivery attempt     usr   user
    phn   phone                evt   event                req   HTTP request
    cmd   command to a phone   cmp   campaign             tsk   long task
    fil   file of a task       aud   audience of a campaign  dlv   webhook delivery
    sec   webhook secret       mem   member of a workspace
    prv   privacy request

Two ways to get one. `new` makes an id nobody had before: 48 bits of milliseconds, 80 bits of
chance. `derive` and `derive_keyed` compute one from what it names, so that two writers, or a
writer and its own retry, arrive at the same id. A number or an idempotency key is small enough to
be guessed from an unkeyed hash, so whatever is made from one uses the keyed form.
"""

import hashlib
import hmac
import os
import re
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford base32: no I, L, O, U, so that an id survives being read aloud."""

ENTROPY_BYTES = 10
"""The random part of a ULID: 80 bits."""

_PAIRS = tuple(a + b for a in ALPHABET for b in ALPHABET)
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_MAX_MS = (1 << 48) - 1
_TAIL = re.compile("[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII)
_LENGTH_BYTES = 4


def new(prefix: str, now_ms: int | None = None, entropy: bytes | None = None) -> str:
    """Make an id that sorts by time.

    In: the kind's prefix; the time in milliseconds since 1970 and 10 random bytes, both of which a
    pure decision passes in and everybody else leaves out. Two ids of one millisecond are in no
    particular order. Errors: ValueError for a time outside 48 bits or entropy of another length.
    """
    ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    chance = os.urandom(ENTROPY_BYTES) if entropy is None else entropy
    if not 0 <= ms <= _MAX_MS:
        raise ValueError("an id's time must fit 48 bits of milliseconds")
    if len(chance) != ENTROPY_BYTES:
        raise ValueError(f"an id's entropy is {ENTROPY_BYTES} bytes")
    return f"{prefix}_{_encode(ms, chance)}"


def derive(prefix: str, *parts: str) -> str:
    """The id of what `parts` name: the same prefix and parts always give the same id.

    SHA-256 over the prefix and the parts, each preceded by its length (so that ("ab", "c") and
    ("a", "bc") differ), cut to 16 bytes. Anybody who knows the parts can compute it: use
    `derive_keyed` where that would tell something. Such an id does not sort by time.
    """
    digest = hashlib.sha256(_framed(prefix, parts)).digest()
    return f"{prefix}_{_encode_digest(digest)}"


def derive_keyed(key: bytes, prefix: str, *parts: str) -> str:
    """As `derive`, by HMAC-SHA256: without `key` nobody can tell which parts an id is made from."""
    if not key:
        raise ValueError("a keyed id needs a key")
    digest = hmac.digest(key, _framed(prefix, parts), "sha256")
    return f"{prefix}_{_encode_digest(digest)}"


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` is an id of this kind, in exactly the spelling this module writes."""
    head = len(prefix) + 1
    return text[:head] == f"{prefix}_" and _TAIL.fullmatch(text, head) is not None


def created_ms(text: str) -> int:
    """When an id made by `new` was made, in milliseconds since 1970.

    Of a derived id (a contact's, a conversation's, a command's, a message's with an idempotency
    key) it means nothing. Errors: ValueError when `text` is not an id.
    """
    prefix, _, tail = text.rpartition("_")
    if not prefix or _TAIL.fullmatch(tail) is None:
        raise ValueError("not an id")
    ms = 0
    for character in tail[:10]:
        ms = ms << 5 | _VALUES[character]
    return ms


def contact_id(identity_key: bytes, workspace_id: str, number: str, generation: int) -> str:
    """The contact who has `number` (E.164) in a workspace.

    Keyed, because there are few enough numbers to try them all. `generation` starts at 0 and grows
    when the person is erased, so that an erased id is never used again.
    """
    return derive_keyed(identity_key, "con", workspace_id, number, str(generation))


def message_id(identity_key: bytes, workspace_id: str, idempotency_key: str) -> str:
    """The message of a request with an idempotency key; without one a message is `new("msg")`."""
    return derive_keyed(identity_key, "msg", workspace_id, idempotency_key)


def conversation_id(contact_id: str) -> str:
    """The conversation with a contact: there is one, so it has the contact's id, as cnv."""
    if not is_id("con", contact_id):
        raise ValueError("not a contact id")
    return "cnv_" + contact_id[4:]


def command_id(message_id: str, attempt: int) -> str:
    """What a phone is told for one attempt of a message: once seen, it is never sent twice."""
    return derive("cmd", message_id, str(attempt))


def _framed(prefix: str, parts: tuple[str, ...]) -> bytes:
    # surrogatepass: JSON may carry a lone surrogate, and an id must come out of every text.
    framed = b""
    for part in (prefix, *parts):
        text = part.encode("utf-8", "surrogatepass")
        framed += len(text).to_bytes(_LENGTH_BYTES, "big") + text
    return framed


def _encode_digest(digest: bytes) -> str:
    return _encode(int.from_bytes(digest[:6], "big"), digest[6:16])


def _encode(ms: int, chance: bytes) -> str:
    # Two characters a step and no integer above 50 bits: this is on the path of every request.
    p = _PAIRS
    high = int.from_bytes(chance[:5], "big")
    low = int.from_bytes(chance[5:], "big")
    return (
        f"{p[ms >> 40]}{p[ms >> 30 & 1023]}{p[ms >> 20 & 1023]}{p[ms >> 10 & 1023]}{p[ms & 1023]}"
        f"{p[high >> 30]}{p[high >> 20 & 1023]}{p[high >> 10 & 1023]}{p[high & 1023]}"
        f"{p[low >> 30]}{p[low >> 20 & 1023]}{p[low >> 10 & 1023]}{p[low & 1023]}"
    )
