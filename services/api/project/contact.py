"""People and their conversations' state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.api import search
from services.api.project.tables import (
    CONTACT,
    CONTACT_FIELD,
    CONTACT_WORD,
    CONVERSATION,
    MESSAGE,
    TIMELINE,
    Contact,
    ContactField,
    ContactWord,
    Timeline,
)
from shared import events as e
from shared.rows import Rows


def contact_of(
    rows: Rows, event: e.Event, contact_id: str, number: str, kind: str = "number"
) -> Contact:
    """The contact's row; it begins with the first event that names the person."""
    contact = rows.get(CONTACT, contact_id)
    if contact is None:
        contact = rows.put(
            CONTACT,
            Contact(
                id=contact_id,
                workspace_id=event.workspace_id,
                number=number,
                kind=kind,
                generation=0,
                saved=False,
                opted_out=False,
                seq=0,
                created_at=event.at,
                updated_at=event.at,
            ),
        )
    return contact


def _saved(rows: Rows, seq: int, event: e.Event, data: e.ContactSaved) -> None:
    known = rows.get(CONTACT, data.contact_id)
    contact = Contact(
        id=data.contact_id,
        workspace_id=event.workspace_id,
        number=data.number,
        kind=data.kind,
        generation=data.generation,
        saved=True,
        opted_out=known.opted_out if known else False,
        seq=seq,
        created_at=known.created_at if known else event.at,
        updated_at=event.at,
        first_name=data.first_name,
        last_name=data.last_name,
        email=data.email,
        company=data.company,
        tags=list(data.tags) or None,
        custom_fields=dict(data.custom_fields) or None,
        timezone=data.timezone,
        consent=known.consent if known else None,
    )
    before, after = _words(known) if known else set(), _words(contact)
    for word in before - after:
        rows.remove(CONTACT_WORD, contact.workspace_id, word, contact.id)
    for word in after - before:
        rows.put(
            CONTACT_WORD, ContactWord(contact.workspace_id, word, contact.id, contact.created_at)
        )
    old = known.custom_fields if known and known.custom_fields else {}
    for name in data.custom_fields.keys() - old.keys():
        rows.put(CONTACT_FIELD, ContactField(contact.workspace_id, name))
    rows.put(CONTACT, contact)


def _words(contact: Contact) -> set[str]:
    names = (contact.first_name, contact.last_name, contact.company, contact.email)
    return search.index(names, contact.tags or ())


def _consent(rows: Rows, seq: int, event: e.Event, data: e.Consent) -> None:
    contact_of(rows, event, data.contact_id, data.number)
    contact = rows.edit(CONTACT, data.contact_id)
    if contact is None:
        return
    contact.opted_out = isinstance(data, e.ContactOptedOut)
    contact.seq, contact.updated_at = seq, event.at
    contact.consent = {
        "state": "opted_out" if contact.opted_out else "opted_in",
        "source": data.source,
        "at": event.at,
        "message_id": data.message_id,
    }
    if data.message_id and rows.get(MESSAGE, data.message_id) is not None:
        detail = {k: v for k in ("source", "rule", "tier") if (v := getattr(data, k))}
        rows.put(
            TIMELINE,
            Timeline(data.message_id, seq, event.workspace_id, event.at, event.type, detail),
        )


def _read(rows: Rows, seq: int, event: e.Event, data: e.ConversationRead) -> None:
    conversation = rows.edit(CONVERSATION, data.contact_id)
    if conversation is not None:
        conversation.unread = 0


def _state(rows: Rows, seq: int, event: e.Event, data: e.Data) -> None:
    conversation = rows.edit(CONVERSATION, data.key)
    if conversation is not None:
        conversation.state = "closed" if isinstance(data, e.ConversationClosed) else "open"


APPLY: Mapping[type[e.Data], Callable[[Rows, int, e.Event, Any], None]] = {
    e.ContactSaved: _saved,
    e.ContactOptedOut: _consent,
    e.ContactOptedIn: _consent,
    e.ConversationRead: _read,
    e.ConversationClosed: _state,
    e.ConversationReopened: _state,
}
