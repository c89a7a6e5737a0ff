"""Erasure: what nobody may see goes at once, and nothing that is on its way brings it back.

What must outlive a person stays under ids alone: that the id is used up, and whether the number
opted out (rows of nobody's workspace: tables.py, GONE and NEXT).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.api.project.contact import words_of
from services.api.project.tables import (
    CONTACT,
    CONTACT_FIELD,
    CONTACT_WORD,
    CONVERSATION,
    GONE,
    NEXT,
    PRIVACY_REQUEST,
    RENEWED,
    Contact,
    ContactField,
    ContactWord,
    PrivacyRequest,
    Renewed,
)
from shared import events as e
from shared.rows import Rows

FORGET_ALL = "SELECT forget_contact($1, $2, $3, $4::text[], $5)"
FORGET_NOTES = """
DELETE FROM audit WHERE workspace_id = $2 AND target = $1 AND seq < $3
   AND type <> ALL ($4::text[]) AND type LIKE $5
"""
# What the log deletes under a contact, by scope; and what stays in it.
GOES = {"contact": "%", "conversation": "conversation.%"}
STAYS = [e.ContactErased.TYPE, e.ConversationErased.TYPE]


def _erased(rows: Rows, seq: int, event: e.Event, data: e.ContactErased) -> None:
    known = rows.get(CONTACT, data.contact_id)
    if known is not None:
        for word in words_of(known):
            rows.remove(CONTACT_WORD, event.workspace_id, word, known.id)
    names = {"successor_id": data.successor_id, "root_id": data.root_id}
    rows.put(CONTACT, _nobody(data.contact_id, GONE, data.generation, seq, event, consent=names))
    rows.remove(CONVERSATION, data.contact_id)
    _succeeded(rows, event, data)
    _takes_effect(rows, seq, data.request_id)
    rows.then(FORGET_ALL, data.contact_id, event.workspace_id, seq, STAYS, GOES["contact"])


def _succeeded(rows: Rows, event: e.Event, data: e.ContactErased) -> None:
    """The number goes to the next generation, and with it a STOP."""
    generation = data.generation + 1
    known = rows.get(RENEWED, data.root_id)
    if known is None or known.generation <= generation:
        again = known is not None and known.generation == generation and known.suppressed
        rows.put(
            RENEWED,
            Renewed(
                data.root_id,
                event.workspace_id,
                data.successor_id,
                generation,
                data.suppressed or again,
            ),
        )
    successor = rows.get(CONTACT, data.successor_id)
    if successor is None:
        unborn = _nobody(data.successor_id, NEXT, generation, 0, event)
        unborn.opted_out = data.suppressed
        rows.put(CONTACT, unborn)
    elif data.suppressed and successor.workspace_id != GONE:
        rows.edit(CONTACT, data.successor_id)
        successor.opted_out = True


def _nobody(
    id: str, whose: str, generation: int, seq: int, event: e.Event, consent: Any = None
) -> Contact:
    return Contact(
        id=id,
        workspace_id=whose,
        number="",
        kind="number",
        generation=generation,
        saved=False,
        opted_out=False,
        seq=seq,
        created_at=event.at,
        updated_at=event.at,
        consent=consent,
    )


def _conversation_erased(rows: Rows, seq: int, event: e.Event, data: e.ConversationErased) -> None:
    """What only the deleted messages said about the contact is said here."""
    known = rows.edit(CONTACT, data.contact_id)
    if known is None:
        known = rows.put(CONTACT, _nobody(data.contact_id, event.workspace_id, 0, 0, event))
    known.number, known.kind, known.generation = data.number, data.kind, data.generation
    known.created_at, known.updated_at = data.created_at, event.at
    for word in words_of(known):
        rows.put(CONTACT_WORD, ContactWord(event.workspace_id, word, known.id, known.created_at))
    rows.remove(CONVERSATION, data.contact_id)
    _takes_effect(rows, seq, data.request_id)
    rows.then(FORGET_ALL, data.contact_id, event.workspace_id, seq, STAYS, GOES["conversation"])


def _takes_effect(rows: Rows, seq: int, request_id: str) -> None:
    request = rows.edit(PRIVACY_REQUEST, request_id)
    if request is not None and request.state == "requested":
        request.state, request.seq = "erasing", seq


def _forgotten(rows: Rows, seq: int, event: e.Event, data: e.MessageForgotten) -> None:
    """What came under an erased id since: the texts were never shown, what else is noted goes."""
    for name in data.fields:
        rows.put(CONTACT_FIELD, ContactField(event.workspace_id, name))
    request = rows.get(PRIVACY_REQUEST, data.request_id)
    if request is not None and request.scope == "contact":
        rows.then(FORGET_NOTES, data.contact_id, event.workspace_id, seq, STAYS, GOES["contact"])


def _requested(rows: Rows, seq: int, event: e.Event, data: e.PrivacyRequested) -> None:
    if rows.get(PRIVACY_REQUEST, data.request_id) is not None:
        return
    rows.put(
        PRIVACY_REQUEST,
        PrivacyRequest(
            id=data.request_id,
            workspace_id=event.workspace_id,
            kind=data.kind,
            scope=data.scope,
            state="requested",
            requested_by=event.actor.id,
            created_at=event.at,
            seq=seq,
            contact_id=data.contact_id,
            message_id=data.message_id,
            before=data.before,
        ),
    )
    rows.hint(data.request_id)


def _fulfilled(rows: Rows, seq: int, event: e.Event, data: e.PrivacyFulfilled) -> None:
    request = rows.edit(PRIVACY_REQUEST, data.request_id)
    if request is not None:
        request.state, request.counts, request.fulfilled_at = "done", data.counts, event.at
        rows.hint(data.request_id)


APPLY: Mapping[type[e.Data], Callable[[Rows, int, e.Event, Any], None]] = {
    e.ContactErased: _erased,
    e.ConversationErased: _conversation_erased,
    e.MessageForgotten: _forgotten,
    e.PrivacyRequested: _requested,
    e.PrivacyFulfilled: _fulfilled,
}
