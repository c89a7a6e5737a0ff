"""What erased messages leave behind: nothing of the person, all of what they used up.

A phone's cap and gap count every text it was given, also to somebody who is erased later. A rebuild
from a log that lacks those dispatches would count fewer. So the phones' rows are noted as they
stand at message.forgotten, the note is put on record (message.restated) before anything is deleted,
and a rebuild adds the difference to what it counted itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.scheduler.project.contact import contact_of
from services.scheduler.project.message import RECENT_MAX, RECENT_S, give_back
from services.scheduler.project.tables import (
    CONTACT,
    MESSAGE,
    PHONE,
    STANDING,
    Phone,
    Standing,
)
from shared import events as e
from shared.rows import Rows


def _forgotten(rows: Rows, seq: int, event: e.Event, data: e.MessageForgotten) -> None:
    for message_id, _ in data.messages:
        message = rows.get(MESSAGE, message_id)
        if message is None:
            continue
        if message.state == "dispatched":
            give_back(rows, message, submitted=True)  # whatever the phone does, nobody will hear
        rows.remove(MESSAGE, message_id)
    if not data.last:
        return
    contact = contact_of(rows, event, data.contact_id)  # a rebuild may never have heard of it
    if contact.successor_id is None:
        _note(rows, event, data.contact_id, None, contact.phone_id)
    for phone_id in data.phones:
        phone = rows.get(PHONE, phone_id)
        if phone is not None:
            _note(rows, event, phone_id, phone, None)


def _note(
    rows: Rows, event: e.Event, id: str, phone: Phone | None, contact_phone: str | None
) -> None:
    rows.put(
        STANDING,
        Standing(
            id=id,
            workspace_id=event.workspace_id,
            forgotten=event.id,
            day=phone.day if phone else "",
            sent_today=phone.sent_today if phone else 0,
            recent=[list(entry) for entry in phone.recent] if phone else [],
            last_dispatch_at=phone.last_dispatch_at if phone else None,
            last_command_id=phone.last_command_id if phone else None,
            contact_phone=contact_phone,
        ),
    )


def _restated(rows: Rows, seq: int, event: e.Event, data: e.MessageRestated) -> None:
    own = rows.get(STANDING, data.contact_id)
    if own is not None and own.forgotten == data.forgotten:
        rows.remove(STANDING, data.contact_id)
        contact = rows.edit(CONTACT, data.contact_id)
        if contact is not None and contact.phone_id == own.contact_phone:
            contact.phone_id = data.contact_phone
    for use in data.phones:
        own = rows.get(STANDING, use.phone_id)
        if own is None or own.forgotten != data.forgotten:
            continue
        rows.remove(STANDING, use.phone_id)
        phone = rows.edit(PHONE, use.phone_id)
        if phone is not None:
            _add_missing(phone, own, use)


def _add_missing(phone: Phone, own: Standing, use: e.PhoneUse) -> None:
    """Bring ``phone`` to where it would be had nothing been deleted before it was noted.

    ``own`` is what this fold had counted then, ``use`` what was true; events since then are in
    ``phone`` on top of ``own``. Where nothing is missing, nothing changes.
    """
    if use.day == phone.day:
        counted = own.sent_today if own.day == use.day else 0
        phone.sent_today = max(0, phone.sent_today + use.sent_today - counted)
    elif use.day > phone.day:  # dates as ISO writes them; "" before the first
        phone.day, phone.sent_today = use.day, use.sent_today
    at = phone.last_dispatch_at
    known = {tuple(entry) for entry in own.recent}
    missing = [list(entry) for entry in use.recent if entry not in known]
    if at == own.last_dispatch_at:  # none since
        phone.last_dispatch_at, phone.last_command_id = use.last_dispatch_at, use.last_command_id
        phone.recent = [list(entry) for entry in use.recent]
    elif missing and at is not None:
        merged = sorted([*missing, *phone.recent], key=lambda entry: entry[0])
        from_s = at.timestamp() - RECENT_S
        phone.recent = [r for r in merged[-RECENT_MAX:-1] if r[0] > from_s] + merged[-1:]


APPLY: Mapping[type[e.Data], Callable[[Rows, int, e.Event, Any], None]] = {
    e.MessageForgotten: _forgotten,
    e.MessageRestated: _restated,
}
