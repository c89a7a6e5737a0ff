"""Log → notes and people. Two bodies make trouble on purpose: "poison" and "violate"."""

from __future__ import annotations

from msgspec import Struct

from shared import events as e
from shared.projector import Projection
from shared.rows import Rows, Table

FILTERS = ("send.requested.>", "send.rejected.>", "contact.saved.>", "phone.unpaired.>")
RENAME = "UPDATE note SET state = 'unpaired' WHERE phone_id = $1"


class Note(Struct):
    id: str
    workspace_id: str
    person_id: str
    phone_id: str | None
    body: str
    state: str
    seen: int
    tags: list[str]
    seq: int


class Person(Struct):
    id: str
    workspace_id: str
    notes: int
    name: str | None


NOTE = Table("note", Note, by=("message_id",))
PERSON = Table("person", Person, by=("contact_id",))


def apply(rows: Rows, seq: int, event: e.Event) -> None:
    """One event into rows; pure."""
    match event.data:
        case e.SendRequested() as data:
            if data.body == "poison":
                raise ValueError("cannot be applied")
            if rows.get(NOTE, data.message_id) is not None:
                return
            state = "nonsense" if data.body == "violate" else "open"
            rows.put(
                NOTE,
                Note(
                    data.message_id,
                    event.workspace_id,
                    data.contact_id,
                    data.phone_id,
                    data.body,
                    state,
                    1,
                    [data.source],
                    seq,
                ),
            )
            person = rows.edit(PERSON, data.contact_id)
            if person is None:
                person = rows.put(PERSON, Person(data.contact_id, event.workspace_id, 0, None))
            person.notes += 1
            rows.hint(data.contact_id)
        case e.SendRejected() as data:
            note = rows.edit(NOTE, data.message_id)
            if note is not None:
                note.state, note.seen = "rejected", note.seen + 1
        case e.ContactSaved() as data:
            person = rows.edit(PERSON, data.contact_id)
            if person is not None:
                person.name = data.first_name
        case e.PhoneUnpaired() as data:
            rows.then(RENAME, data.phone_id)
        case _:
            pass


PROJECTION = Projection("tiny", FILTERS, (NOTE, PERSON), apply)
