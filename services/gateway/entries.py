"""What a phone may say in a journal call: read strictly, entry by entry, and never more than that.

A call whose frame is wrong is refused as a whole, with a pointer. A wrong entry is set aside with
its ``seq``, a code and a sentence, and the others count: one bad entry must not block a phone's
facts for ever. Every number has bounds that PostgreSQL and every later reader can hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Struct

from shared.problems import Problem

ENTRIES_MAX = 500  # in one call (the phone protocol)
SEQ_MAX = 2**53 - 1  # what every JSON reader holds exactly
PARTS_MAX = 255  # the header of a concatenated message counts in one byte (TS 23.040, 9.2.3.24.1)
BODY_MAX_CHARS = 40_000  # 255 parts of 153 characters, and a little
SENDER_MAX_CHARS = 250  # shared/numbers.py reads no more
SIMS_MAX = 16
OPEN_COMMANDS_MAX = 10_000  # a phone holds a few; one that was away for long may hold more
_YEARS = range(1970, 9999)  # a phone's clock may be wrong; beyond these a zone's offset overflows
_ODD_TIME = "A time is outside the years 1970 to 9998."

T = TypeVar("T")
Seq = Annotated[int, Meta(ge=1, le=SEQ_MAX)]
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Count = Annotated[int, Meta(ge=1, le=PARTS_MAX)]
Instant = Annotated[datetime, Meta(tz=True)]
Id = Annotated[str, Meta(min_length=1, max_length=64)]
Short = Annotated[str, Meta(max_length=100)]
Percent = Annotated[float, Meta(ge=0, le=100)]


class SimCard(Struct, frozen=True, kw_only=True):
    """A SIM as the phone reports it."""

    subscription_id: Int32
    slot: Int32 = 0
    carrier: Short | None = None
    number: Short | None = None
    iccid_hash: Annotated[str, Meta(max_length=200)] | None = None


class Inventory(Struct, frozen=True, kw_only=True):
    """What the phone holds: its open commands, the end of its journal, its SIMs, its health."""

    battery: Percent | None = None
    charging: bool | None = None
    network: Short | None = None
    open_commands: Annotated[list[Id], Meta(max_length=OPEN_COMMANDS_MAX)] | None = None
    journal_head: Annotated[int, Meta(ge=0, le=SEQ_MAX)] = 0
    app_version: Short | None = None
    sims: Annotated[list[SimCard], Meta(max_length=SIMS_MAX)] | None = None


class Entry(Struct, frozen=True, kw_only=True, tag_field="type"):
    """One line of a phone's journal; ``at`` is the phone's own clock."""

    seq: Seq
    at: Instant


class CommandEntry(Entry, frozen=True, kw_only=True):
    """A fact about a command."""

    command_id: Id


class Accepted(CommandEntry, frozen=True, kw_only=True, tag="accepted"):
    """It is in the phone's own journal."""


class Submitted(CommandEntry, frozen=True, kw_only=True, tag="submitted"):
    """Written before SmsManager is called; ``parts`` as the phone counts them."""

    parts: Count


class SentPart(Struct, frozen=True):
    n: Count
    result_code: Int32


class Sent(CommandEntry, frozen=True, kw_only=True, tag="sent"):
    """Results of some or all parts."""

    parts: Annotated[list[SentPart], Meta(min_length=1, max_length=PARTS_MAX)]


class DeliveredPart(Struct, frozen=True):
    n: Count
    tp_status: Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Delivered(CommandEntry, frozen=True, kw_only=True, tag="delivered"):
    """Delivery reports of some or all parts."""

    parts: Annotated[list[DeliveredPart], Meta(min_length=1, max_length=PARTS_MAX)]


class Failed(CommandEntry, frozen=True, kw_only=True, tag="failed"):
    """A part was refused: SmsManager's result code and, of a generic failure, the error code."""

    result_code: Int32
    error_code: Int32 | None = None
    part: Count | None = None


class Cancelled(CommandEntry, frozen=True, kw_only=True, tag="cancelled"):
    """It was not submitted and never will be."""


class Unknown(CommandEntry, frozen=True, kw_only=True, tag="unknown"):
    """The phone stopped between ``submitted`` and a result."""


class Received(Entry, frozen=True, kw_only=True, tag="received"):
    """A text came in."""

    sender: Annotated[str, Meta(min_length=1, max_length=SENDER_MAX_CHARS)] = msgspec.field(
        name="from"
    )
    body: Annotated[str, Meta(max_length=BODY_MAX_CHARS)]
    received_at: Instant
    provider_id: Id | Annotated[int, Meta(ge=0, le=2**63 - 1)]
    parts: Count = 1
    subscription_id: Int32 | None = None


class Health(Entry, frozen=True, kw_only=True, tag="health"):
    """Telemetry: it becomes presence, never an event. What a phone cannot tell it leaves out."""

    battery: Percent | None = None
    charging: bool | None = None
    network: Short | None = None


AnyEntry = (
    Accepted | Submitted | Sent | Delivered | Failed | Cancelled | Unknown | Received | Health
)


class Rejected(Struct, frozen=True):
    """An entry that is set aside. ``seq`` is 0 where there was none to be read."""

    seq: int
    code: str
    detail: str


class Call(NamedTuple):
    """A journal call as far as it could be read."""

    inventory: Inventory | None
    entries: list[AnyEntry]
    rejected: list[Rejected]


class _Whole(Struct):
    inventory: Inventory | None = None
    entries: list[AnyEntry] = []


class _Envelope(Struct):
    inventory: msgspec.Raw = msgspec.Raw(b"null")
    entries: list[msgspec.Raw] = []


class _Numbered(Struct):
    seq: Seq


_whole = msgspec.json.Decoder(_Whole).decode
_envelope = msgspec.json.Decoder(_Envelope).decode
_inventory = msgspec.json.Decoder(Inventory | None).decode
_entry = msgspec.json.Decoder(AnyEntry).decode
_numbered = msgspec.json.Decoder(_Numbered).decode
# What decoding raises: not JSON, not the right JSON, not UTF-8, nested too deep.
_WRONG = (msgspec.DecodeError, ValueError, RecursionError)


def read_call(raw: bytes) -> Call:
    """The call in ``raw``. Problem: not JSON, not a call, a wrong inventory, too many entries."""
    try:
        whole = _whole(raw)
        call = Call(whole.inventory, whole.entries, [])
    except _WRONG:
        call = _piece_by_piece(raw)
    if len(call.entries) + len(call.rejected) > ENTRIES_MAX:
        raise Problem.at("#/entries", "too_many_entries", f"A call has at most {ENTRIES_MAX}.")
    odd = [entry for entry in call.entries if not _has_sane_times(entry)]
    if odd:
        call.rejected.extend(Rejected(entry.seq, "invalid_entry", _ODD_TIME) for entry in odd)
        call = call._replace(entries=[x for x in call.entries if _has_sane_times(x)])
    return call


def _has_sane_times(entry: AnyEntry) -> bool:
    if not isinstance(entry, Received):
        return entry.at.year in _YEARS
    return entry.at.year in _YEARS and entry.received_at.year in _YEARS


def _piece_by_piece(raw: bytes) -> Call:
    try:
        envelope = _leniently(_envelope, raw)
    except msgspec.ValidationError as error:
        raise _refused(error, "") from None
    except _WRONG:
        raise Problem(400, "malformed_json", "The body is not valid JSON.") from None
    try:
        inventory = _leniently(_inventory, bytes(envelope.inventory))
    except _WRONG as error:
        raise _refused(error, "/inventory") from None
    entries: list[AnyEntry] = []
    rejected: list[Rejected] = []
    for one in envelope.entries:
        try:
            entries.append(_leniently(_entry, bytes(one)))
        except _WRONG as error:
            rejected.append(Rejected(_seq_of(bytes(one)), *_why(error)))
    return Call(inventory, entries, rejected)


def _leniently(decode: Callable[[bytes], T], raw: bytes) -> T:
    """``raw`` decoded; where it is nearly JSON, what is no character becomes U+FFFD.

    A text somebody sent must not be lost, or block the journal, for half an emoji in it.
    """
    try:
        return decode(raw)
    except msgspec.ValidationError:
        raise
    except _WRONG:
        found: Any = json.loads(raw.decode("utf-8", "replace"), parse_constant=lambda _: None)
        text = json.dumps(found, ensure_ascii=False)
        return decode(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode())


def _seq_of(raw: bytes) -> int:
    try:
        return _leniently(_numbered, raw).seq
    except _WRONG:
        return 0


def _why(failure: Exception) -> tuple[str, str]:
    """Code and sentence for an entry that does not decode."""
    if not isinstance(failure, msgspec.ValidationError):
        return "invalid_entry", "This cannot be read."
    error = str(failure)
    if "at `$.type`" in error or "field `type`" in error:
        return "unknown_type", "This is not a type of journal entry."
    if error.startswith("Object missing required field"):
        return "missing_field", f"{error}."
    return "invalid_entry", f"{error}."


def _refused(error: Exception, under: str) -> Problem:
    """The 422 for what msgspec found: "Expected `int`, got `str` - at `$.a.b[0]`"."""
    what, _, where = str(error).partition(" - at `$")
    path = where.rstrip("`").replace("[", ".").replace("]", "").replace(".", "/")
    return Problem.at(f"#{under}{path}", "invalid", f"{what}.")


def clean(text: str) -> str:
    """``text`` without the one character that PostgreSQL cannot store."""
    return text.replace("\0", "\ufffd") if "\0" in text else text
