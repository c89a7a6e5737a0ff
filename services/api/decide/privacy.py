"""What of the log goes in an erasure, and what must be said before it does. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from shared import events as e
from shared import ids
from shared.problems import Problem

MESSAGES_MAX: Final = 200
"""Messages named by one event: some 30 KB of ids."""

STAY: Final = (
    e.ContactErased,
    e.ConversationErased,
    e.MessageForgotten,
    e.MessageRestated,
    e.CampaignSkipped,
)
"""What tells of erasures holds nothing of a person, and must be there for a rebuild; so does that
somebody got nothing of a campaign, which is an id and a reason."""

ERASED_DETAIL: Final = "What this request made was erased since."


@dataclass
class Gathered:
    """What the log holds of somebody that must go, and what it says of others."""

    seqs: list[int] = field(default_factory=list[int])
    messages: dict[str, int] = field(default_factory=dict[str, int])  # id → attempts
    received: list[str] = field(default_factory=list[str])
    events: list[str] = field(default_factory=list[str])  # what customers may have been told of
    phones: dict[str, None] = field(default_factory=dict[str, None])
    heads: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    fields: dict[str, None] = field(default_factory=dict[str, None])  # names of custom fields
    last_seq: int = 0  # of everything under the contact, also what stays
    opted_out: int = 0  # sequence of the newest opt-out among it
    erased: tuple[int, e.ContactErased] | None = None  # as last said


def gather(
    records: Iterable[tuple[int, e.Event]], scope: str, took_effect: int, told: Collection[str]
) -> Gathered:
    """Of everything under a contact: what goes.

    ``scope``: contact (all of it), or conversation: what was said before the erasure took effect
    and what came of that since. ``told`` are the types customers hear of.
    """
    found = Gathered()
    for seq, event in records:
        found.last_seq = max(found.last_seq, seq)
        data: Any = event.data
        if isinstance(data, e.ContactErased):
            found.erased = (seq, data)
        if isinstance(data, STAY) or not _goes(seq, event, scope, took_effect, found):
            continue
        found.seqs.append(seq)
        if event.type in told:
            found.events.append(event.id)
        if isinstance(data, e.ContactOptedOut):
            found.opted_out = seq
        if isinstance(data, e.ContactSaved):
            found.fields |= dict.fromkeys(data.custom_fields)
        message_id: str | None = getattr(data, "message_id", None)
        if message_id is not None and not isinstance(data, e.Consent):
            attempt = data.attempt if isinstance(data, e.SendDispatched) else 0
            found.messages[message_id] = max(found.messages.get(message_id, 0), attempt)
        if isinstance(data, e.SmsReceived):
            found.received.append(data.message_id)
        if isinstance(data, e.SendDispatched):
            found.phones[data.phone_id] = None
        if isinstance(data, (e.SmsFact, e.SmsReceived)):
            head = (data.generation, data.journal_seq)
            found.heads[data.phone_id] = max(found.heads.get(data.phone_id, head), head)
    return found


def _goes(seq: int, event: e.Event, scope: str, took_effect: int, found: Gathered) -> bool:
    if scope == "contact":
        return True
    if event.type.startswith("contact."):
        return False
    return seq < took_effect or getattr(event.data, "message_id", None) in found.messages


def forgotten(found: Gathered, contact_id: str, request_id: str) -> list[e.MessageForgotten]:
    """The events that name what goes; the last one names every phone."""
    messages = list(found.messages.items())
    received = set(found.received)
    pieces = [messages[n : n + MESSAGES_MAX] for n in range(0, len(messages), MESSAGES_MAX)] or [[]]
    heads = tuple(
        e.JournalHead(phone_id=phone_id, generation=generation, seq=seq)
        for phone_id, (generation, seq) in found.heads.items()
    )
    share = -(-len(found.events) // len(pieces))
    out: list[e.MessageForgotten] = []
    for n, piece in enumerate(pieces):
        last = n == len(pieces) - 1
        out.append(
            e.MessageForgotten(
                contact_id=contact_id,
                request_id=request_id,
                messages=tuple(piece),
                received=tuple(id for id, _ in piece if id in received),
                events=tuple(found.events[n * share : (n + 1) * share]),
                phones=tuple(found.phones),
                heads=heads if last else (),
                fields=tuple(found.fields) if last else (),
                last=last,
            )
        )
    return out


def erasure(identity_key: bytes, row: Any, request_id: str) -> e.ContactErased:
    """A contact's erasure, as its row stands."""
    workspace_id, number, generation = row["workspace_id"], row["number"], row["generation"]

    def who(generation: int) -> str:
        return ids.contact_id(identity_key, workspace_id, number, generation)

    return e.ContactErased(
        contact_id=row["id"],
        root_id=who(0),
        generation=generation,
        successor_id=who(generation + 1),
        suppressed=row["opted_out"],
        request_id=request_id,
    )


def suppressed(found: Gathered) -> e.ContactErased | None:
    """The erasure said again, where a STOP came in after it; None if it knows of every one."""
    if found.erased is None or found.opted_out < found.erased[0]:
        return None
    return msgspec.structs.replace(found.erased[1], suppressed=True)


def restated(contact_id: str, forgotten: str, standings: Any) -> e.MessageRestated:
    """What the scheduler says of phones as of ``forgotten``, as the event."""
    phones = msgspec.convert(standings["phones"], tuple[e.PhoneUse, ...])
    return e.MessageRestated(
        contact_id=contact_id,
        forgotten=forgotten,
        phones=phones,
        contact_phone=standings["contact_phone"],
    )


def conversation_erasure(row: Any, request_id: str) -> e.ConversationErased:
    """A conversation's erasure: what only its messages said of the contact is said again."""
    return e.ConversationErased(
        contact_id=row["id"],
        conversation_id=ids.conversation_id(row["id"]),
        request_id=request_id,
        number=row["number"],
        kind=row["kind"],
        generation=row["generation"],
        created_at=row["created_at"],
    )


def erased() -> Problem:
    """410: what a repeated request hears whose answer held something of somebody erased."""
    return Problem(410, "erased", ERASED_DETAIL)
