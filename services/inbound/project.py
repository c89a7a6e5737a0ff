"""Log → inbound's tables. The only writer of their rows.

A text is opened by sms.received and closed by reply.received with the same message id. Its row
stays, emptied of what was said, so that the same text reported twice is not answered twice. Which
automatic answers were given is read from reply.received: in send.requested they are a handful among
every message of the installation.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from services.inbound.decide import CONFIRMATION, HELP
from shared import events
from shared.events import Event
from shared.projector import Projection
from shared.rows import Key, Rows, Table

FILTERS = (
    "sms.received.>",
    "reply.received.>",
    "contact.opted_out.>",
    "contact.opted_in.>",
    "contact.erased.>",
    "message.forgotten.>",
    "workspace.>",
)

MOVE_OPEN = "UPDATE incoming SET contact_id = $2, moved = true WHERE contact_id = $1 AND open"
"""What nobody has decided about when its sender is erased counts as coming after: it may be a STOP.
"""
SUPPRESS = "UPDATE contact SET opted_out = true WHERE id = $1"


class Incoming(Struct):
    """A received text; once ``open`` is false, only that it was there.

    ``moved``: it came under the id of somebody erased and is their successor's; such a row does not
    stay, since what it was made of is deleted.
    """

    id: str
    workspace_id: str
    contact_id: str
    open: bool
    seq: int
    event_id: str
    phone_id: str
    subscription_id: int | None
    sender: str
    sender_kind: str
    body: str
    parts: int
    received_at: datetime
    at: datetime
    moved: bool


class Contact(Struct):
    """Somebody's consent and the last automatic answers; no row for who never said a word of it.

    ``successor_id`` is set of an erased person: whose the number is now.
    """

    id: str
    workspace_id: str
    opted_out: bool = False
    consent_message_id: str | None = None
    confirmed_at: datetime | None = None
    helped_at: datetime | None = None
    successor_id: str | None = None


class Workspace(Struct):
    """What automatic answers say."""

    workspace_id: str
    name: str
    help_text: str | None
    opt_out_text: str | None


def _texts(event: Event) -> Iterable[Key]:
    match event.data:
        case events.SmsReceived() | events.ReplyReceived() as data:
            return ((data.message_id,),)
        case events.MessageForgotten() as data:
            return [(message_id,) for message_id in data.received]
        case _:
            return ()


def _contacts(event: Event) -> Iterable[Key]:
    match event.data:
        case events.ContactErased() as data:
            return ((data.contact_id,), (data.successor_id,))
        case events.WorkspaceState():
            return ()
        case data:
            return ((data.contact_id,),)


INCOMING = Table("incoming", Incoming, keys=_texts)
CONTACT = Table("contact", Contact, keys=_contacts)
WORKSPACE = Table("workspace", Workspace, key=("workspace_id",))
TABLES = (INCOMING, CONTACT, WORKSPACE)


def apply(rows: Rows, seq: int, event: Event) -> None:
    """Fold one event into the rows."""
    data = event.data
    match data:
        case events.SmsReceived():
            _received(rows, seq, event, data)
        case events.ReplyReceived():
            _closed(rows, event, data)
        case events.ContactOptedOut() | events.ContactOptedIn():
            _consent(rows, event, data)
        case events.ContactErased():
            _erased(rows, event, data)
        case events.MessageForgotten():
            _forgotten(rows, data)
        case events.WorkspaceState():
            rows.put(
                WORKSPACE,
                Workspace(data.workspace_id, data.name, data.help_text, data.opt_out_text),
            )
        case _:
            pass  # workspace.erased and the like: nothing of it is kept here


def _consent(rows: Rows, event: Event, data: events.Consent) -> None:
    contact = _contact(rows, event, data.contact_id)
    opted_out = isinstance(data, events.ContactOptedOut)
    if contact.successor_id is None:
        contact.opted_out, contact.consent_message_id = opted_out, data.message_id
    elif opted_out:  # decided while its sender was erased
        rows.then(SUPPRESS, contact.successor_id)


def _erased(rows: Rows, event: Event, data: events.ContactErased) -> None:
    rows.put(
        CONTACT,
        Contact(data.contact_id, event.workspace_id, True, successor_id=data.successor_id),
    )
    successor = _contact(rows, event, data.successor_id)
    successor.opted_out = successor.opted_out or data.suppressed
    rows.then(MOVE_OPEN, data.contact_id, data.successor_id)


def _forgotten(rows: Rows, data: events.MessageForgotten) -> None:
    for message_id in data.received:
        text = rows.get(INCOMING, message_id)
        if text is not None and not (text.open and text.moved):
            rows.remove(INCOMING, message_id)
    contact = rows.edit(CONTACT, data.contact_id)
    if contact is None:
        return
    contact.confirmed_at = contact.helped_at = None  # the texts that were answered are gone
    if not contact.opted_out and contact.successor_id is None:
        rows.remove(CONTACT, data.contact_id)  # which a rebuild may never have made


def _received(rows: Rows, seq: int, event: Event, data: events.SmsReceived) -> None:
    if rows.get(INCOMING, data.message_id) is not None:
        return  # the phone told of the same text twice
    sender = rows.get(CONTACT, data.contact_id)
    successor_id = sender.successor_id if sender is not None else None
    rows.put(
        INCOMING,
        Incoming(
            id=data.message_id,
            workspace_id=event.workspace_id,
            contact_id=successor_id or data.contact_id,
            open=True,
            seq=seq,
            event_id=event.id,
            phone_id=data.phone_id,
            subscription_id=data.subscription_id,
            sender=data.sender,
            sender_kind=data.sender_kind,
            body=data.body,
            parts=data.parts,
            received_at=data.received_at,
            at=event.at,
            moved=successor_id is not None,
        ),
    )


def _closed(rows: Rows, event: Event, data: events.ReplyReceived) -> None:
    text = rows.get(INCOMING, data.message_id)
    if text is not None and not text.open:
        return
    contact = rows.get(CONTACT, data.contact_id)
    if contact is not None and contact.successor_id is not None:
        rows.remove(INCOMING, data.message_id)  # decided a moment too early: erased with the rest
        return
    if text is not None and text.moved:
        rows.remove(INCOMING, data.message_id)
    elif text is not None:
        rows.edit(INCOMING, data.message_id)
        text.open, text.sender, text.body = False, "", ""
    if data.answered == CONFIRMATION:
        _contact(rows, event, data.contact_id).confirmed_at = event.at
    elif data.answered == HELP:
        _contact(rows, event, data.contact_id).helped_at = event.at


def _contact(rows: Rows, event: Event, contact_id: str) -> Contact:
    return rows.edit(CONTACT, contact_id) or rows.put(
        CONTACT, Contact(contact_id, event.workspace_id)
    )


PROJECTION = Projection("inbound", FILTERS, TABLES, apply)
