"""Log → gateway's rows: who the phones are, what each must still be told, what each has said.

The only writer of these tables. A command is two rows: ``offer``, with its text, is there as long
as the phone has something to be told about it; ``command``, without, stays, because a delivery
report may come days later. The number of a frame is the sequence of the event that made it: it
grows, never repeats, and a rebuild gives the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct

from services.gateway.facts import Fact
from shared import events as e
from shared import ids
from shared.projector import Projection
from shared.rows import Key, Rows, Table

FILTERS = (
    "send.dispatched.>",
    "send.cancel_requested.>",
    "send.cancelled.>",
    "send.expired.>",
    "send.rejected.>",
    "sms.>",
    "phone.>",
    "workspace.created.>",
    "workspace.updated.>",
    "contact.erased.>",
    "message.forgotten.>",
)

PHONE_HINT = "phone:"
"""Before a phone's id: the phone itself changed (credential, state). The bare id: its frames."""

DROP_OFFERS = "DELETE FROM offer WHERE phone_id = $1"
"""An unpaired phone is told nothing any more, also when it comes back: the scheduler has given its
commands to others, or to a person to decide."""


class Phone(Struct):
    id: str
    workspace_id: str
    device_hash: str
    label: str
    generation: int
    sims: list[Any]  # e.Sim, or the same as it comes back from its column
    sims_seq: int
    simulated: bool
    state: str
    state_seq: int
    unpaired: bool
    journal_head: int
    paired_seq: int
    pairing_id: str | None


class Offer(Struct):
    message_id: str
    workspace_id: str
    contact_id: str
    command_id: str
    phone_id: str
    to_number: str
    body: str
    subscription_id: int | None
    expires_at: datetime
    frame_seq: int
    cancel_wanted: bool
    accepted: bool


class Command(Struct):
    id: str
    workspace_id: str
    phone_id: str
    message_id: str
    contact_id: str
    attempt: int
    parts: int
    facts: int
    cause: str


class Received(Struct):
    message_id: str
    workspace_id: str


class Workspace(Struct):
    workspace_id: str
    region: str


class Renewed(Struct):
    """Whose a number is since the person who had it was erased; ``id`` is its keyed hash."""

    id: str
    workspace_id: str
    contact_id: str


def _messages(event: e.Event) -> Iterable[Key]:
    data = event.data
    return [(id,) for id, _ in data.messages] if isinstance(data, e.MessageForgotten) else ()


def _heads(event: e.Event) -> Iterable[Key]:
    data = event.data
    return [(head.phone_id,) for head in data.heads] if isinstance(data, e.MessageForgotten) else ()


PHONE = Table("phone", Phone, by=("phone_id",), keys=_heads)
OFFER = Table("offer", Offer, ("message_id",), by=("message_id",), keys=_messages)
COMMAND = Table("command", Command, by=("command_id",))
RECEIVED = Table("received", Received, ("message_id",), insert_only=True)
WORKSPACE = Table("workspace", Workspace, ("workspace_id",))
RENEWED = Table("renewed", Renewed)

_FACTS: dict[type[e.SmsFact], Fact] = {
    e.SmsAccepted: Fact.ACCEPTED,
    e.SmsSubmitted: Fact.SUBMITTED,
    e.SmsSent: Fact.SENT,
    e.SmsDelivered: Fact.DELIVERED,
    e.SmsFailed: Fact.FAILED,
    e.SmsUnknown: Fact.UNKNOWN,
    e.SmsCancelled: Fact.CANCELLED,
}


def apply(rows: Rows, seq: int, event: e.Event) -> None:
    """One event into rows; pure."""
    match event.data:
        case e.SendDispatched() as data:
            _dispatched(rows, seq, event, data)
        case e.SendCancelRequested() as data:
            _take_back(rows, seq, data.message_id, data.command_id)
        case e.SendCancelled() | e.SendExpired() | e.SendRejected() as data:
            _take_back(rows, seq, data.message_id, None)
        case e.SmsFact() as data:
            _said(rows, data)
        case e.SmsReceived() as data:
            rows.put(RECEIVED, Received(data.message_id, event.workspace_id))
            _journal_reached(rows, data.phone_id, data.generation, data.journal_seq)
        case e.WorkspaceState() as data:
            rows.put(WORKSPACE, Workspace(data.workspace_id, data.region))
        case e.ContactErased() as data:
            rows.put(RENEWED, Renewed(data.root_id, event.workspace_id, data.successor_id))
        case e.MessageForgotten() as data:
            _forgotten(rows, event, data)
        case _:
            _phone_event(rows, seq, event)


def _dispatched(rows: Rows, seq: int, event: e.Event, data: e.SendDispatched) -> None:
    if rows.get(COMMAND, data.command_id) is not None:
        return  # decided twice: the first is the one that is offered
    phone = rows.get(PHONE, data.phone_id)
    if phone is None or phone.unpaired:
        return  # nobody to hand it to; the scheduler learns that from phone.unpaired
    rows.put(
        COMMAND,
        Command(
            id=data.command_id,
            workspace_id=event.workspace_id,
            phone_id=data.phone_id,
            message_id=data.message_id,
            contact_id=data.contact_id,
            attempt=data.attempt,
            parts=data.parts,
            facts=0,
            cause=event.id,
        ),
    )
    rows.put(
        OFFER,
        Offer(
            message_id=data.message_id,
            workspace_id=event.workspace_id,
            contact_id=data.contact_id,
            command_id=data.command_id,
            phone_id=data.phone_id,
            to_number=data.to,
            body=data.body,
            subscription_id=data.subscription_id,
            expires_at=data.expires_at,
            frame_seq=seq,
            cancel_wanted=False,
            accepted=False,
        ),
    )
    rows.hint(data.phone_id)


def _take_back(rows: Rows, seq: int, message_id: str, command_id: str | None) -> None:
    offer = rows.get(OFFER, message_id)
    if offer is None or offer.cancel_wanted or command_id not in (None, offer.command_id):
        return
    rows.edit(OFFER, message_id)
    offer.cancel_wanted, offer.frame_seq, offer.body = True, seq, ""
    rows.hint(offer.phone_id)


def _said(rows: Rows, data: e.SmsFact) -> None:
    _journal_reached(rows, data.phone_id, data.generation, data.journal_seq)
    command = rows.edit(COMMAND, data.command_id)
    if command is None:
        return
    fact = _FACTS[type(data)]
    command.facts |= fact
    if isinstance(data, e.SmsSubmitted):
        command.parts = data.parts
    offer = rows.get(OFFER, data.message_id)
    if offer is None or offer.command_id != data.command_id:
        return
    if fact is Fact.ACCEPTED:
        rows.edit(OFFER, data.message_id)
        offer.accepted, offer.body = True, ""
    else:
        rows.remove(OFFER, data.message_id)


def _journal_reached(rows: Rows, phone_id: str, generation: int, journal_seq: int) -> None:
    phone = rows.get(PHONE, phone_id)
    if phone is not None and phone.generation == generation and phone.journal_head < journal_seq:
        rows.edit(PHONE, phone_id)
        phone.journal_head = journal_seq


def _forgotten(rows: Rows, event: e.Event, data: e.MessageForgotten) -> None:
    """Nothing is offered any more, and what a phone still says of it is not its to say. Ids of what
    came in stay: a phone that finds it in its inbox again must not bring it back."""
    for message_id, attempts in data.messages:
        rows.remove(OFFER, message_id)
        for attempt in range(1, attempts + 1):
            rows.remove(COMMAND, ids.command_id(message_id, attempt))
    for message_id in data.received:
        rows.put(RECEIVED, Received(message_id, event.workspace_id))
    for head in data.heads:
        _journal_reached(rows, head.phone_id, head.generation, head.seq)


def _phone_event(rows: Rows, seq: int, event: e.Event) -> None:
    phone_id = event.data.phone_id
    phone = rows.edit(PHONE, phone_id)
    match event.data:
        case e.PhonePaired() as data:
            _paired(rows, seq, event, data, phone)
        case _ if phone is None:
            return
        case e.PhoneConfigured() as data:
            phone.label = data.label
        case e.PhoneSimsChanged() as data:
            phone.sims, phone.sims_seq = list(data.sims), seq
        case e.PhoneUnpaired():
            phone.unpaired, phone.state, phone.state_seq = True, "offline", seq
            rows.then(DROP_OFFERS, phone_id)
            rows.hint(phone_id)
        case e.PhoneOnline() | e.PhoneLate() | e.PhoneOffline() if not phone.unpaired:
            phone.state, phone.state_seq = event.type.removeprefix("phone."), seq
        case _:
            return
    rows.hint(PHONE_HINT + phone_id)


def _paired(rows: Rows, seq: int, event: e.Event, data: e.PhonePaired, known: Phone | None) -> None:
    if known is not None and known.generation >= data.generation:
        return  # the same pairing again
    rows.put(
        PHONE,
        Phone(
            id=data.phone_id,
            workspace_id=event.workspace_id,
            device_hash=data.device_hash,
            label=data.label,
            generation=data.generation,
            sims=list(data.sims),
            sims_seq=seq,
            simulated=data.simulated,
            state="offline",
            state_seq=seq,
            unpaired=False,
            journal_head=0,
            paired_seq=seq,
            pairing_id=event.cause,
        ),
    )
    rows.hint(data.phone_id)


TABLES = (PHONE, OFFER, COMMAND, RECEIVED, WORKSPACE, RENEWED)
PROJECTION = Projection("gateway", FILTERS, TABLES, apply, gathers=("sms.",))
