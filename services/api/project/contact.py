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
    GONE,
    MESSAGE,
    NEXT,
    TIMELINE,
    Contact,
    ContactField,
    ContactWord,
    Timeline,
)
from shared import events as e
from shared.rows import Rows

SUPPRESS = """
WITH successor AS (UPDATE contact SET opted_out = true WHERE id = $1)
UPDATE renewed SET suppressed = true WHERE id = $2
"""


def contact_of(
    rows: Rows, event: e.Event, contact_id: str, number: str, kind: str = "number"
) -> Contact:
    """The contact's row; it begins with the first event that names the person."""
    contact = rows.get(CONTACT, contact_id)
    if contact is None or contact.workspace_id == NEXT:
        contact = rows.put(
            CONTACT,
            Contact(
                id=contact_id,
                workspace_id=event.workspace_id,
                number=number,
                kind=kind,
                generation=contact.generation if contact else 0,
                saved=False,
                opted_out=contact.opted_out if contact else False,
                seq=0,
                created_at=event.at,
                updated_at=event.at,
            ),
        )
    return contact


def is_erased(rows: Rows, contact_id: str) -> bool:
    """Whether the person is erased: what was on its way meanwhile is void."""
    contact = rows.get(CONTACT, contact_id)
    return contact is not None and contact.workspace_id == GONE


def words_of(contact: Contact) -> set[str]:
    """What a contact is found by."""
    names = (contact.first_name, contact.last_name, contact.company, contact.email)
    return search.index(names, contact.tags or ())


def _saved(rows: Rows, seq: int, event: e.Event, data: e.ContactSaved) -> None:
    known = rows.get(CONTACT, data.contact_id)
    if known is not None and known.workspace_id == GONE:
        return
    born = known is not None and known.workspace_id != NEXT
    contact = Contact(
        id=data.contact_id,
        workspace_id=event.workspace_id,
        number=data.number,
        kind=data.kind,
        generation=data.generation,
        saved=True,
        opted_out=known.opted_out if known else False,
        seq=seq,
        created_at=known.created_at if known and born else event.at,
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
    before, after = words_of(known) if known else set(), words_of(contact)
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


def _consent(rows: Rows, seq: int, event: e.Event, data: e.Consent) -> None:
    known = rows.get(CONTACT, data.contact_id)
    if known is not None and known.workspace_id == GONE:
        if isinstance(data, e.ContactOptedOut) and known.consent:  # a STOP that was on its way
            rows.then(SUPPRESS, known.consent["successor_id"], known.consent["root_id"])
        return
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
