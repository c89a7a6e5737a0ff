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
    "workspace.>",
)


class Incoming(Struct):
    """A received text; once ``open`` is false, only that it was there."""

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


class Contact(Struct):
    """Somebody's consent and the last automatic answers; no row for who never said a word of it."""

    id: str
    workspace_id: str
    opted_out: bool = False
    consent_message_id: str | None = None
    confirmed_at: datetime | None = None
    helped_at: datetime | None = None


class Workspace(Struct):
    """What automatic answers say."""

    workspace_id: str
    name: str
    help_text: str | None
    opt_out_text: str | None


def _texts(event: Event) -> Iterable[Key]:
    if isinstance(event.data, (events.SmsReceived, events.ReplyReceived)):
        return ((event.data.message_id,),)
    return ()


def _contacts(event: Event) -> Iterable[Key]:
    if isinstance(event.data, (events.Consent, events.ReplyReceived)):
        return ((event.data.contact_id,),)
    return ()


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
            contact = _contact(rows, event, data.contact_id)
            contact.opted_out = isinstance(data, events.ContactOptedOut)
            contact.consent_message_id = data.message_id
        case events.WorkspaceState():
            rows.put(
                WORKSPACE,
                Workspace(data.workspace_id, data.name, data.help_text, data.opt_out_text),
            )
        case _:
            pass  # workspace.erased and the like: nothing of it is kept here


def _received(rows: Rows, seq: int, event: Event, data: events.SmsReceived) -> None:
    if rows.get(INCOMING, data.message_id) is not None:
        return  # the phone told of the same text twice
    rows.put(
        INCOMING,
        Incoming(
            id=data.message_id,
            workspace_id=event.workspace_id,
            contact_id=data.contact_id,
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
        ),
    )


def _closed(rows: Rows, event: Event, data: events.ReplyReceived) -> None:
    text = rows.edit(INCOMING, data.message_id)
    if text is None or not text.open:
        return
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
