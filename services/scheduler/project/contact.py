"""Contacts and workspaces: consent, clocks, and which phone a person knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from services.scheduler.project.tables import CONTACT, WORKSPACE, Contact, Workspace
from shared import events as e
from shared.rows import Rows

SUPPRESS = "UPDATE contact SET opted_out = true WHERE id = $1"


def contact_of(rows: Rows, event: e.Event, contact_id: str) -> Contact:
    contact = rows.edit(CONTACT, contact_id)
    if contact is None:
        contact = rows.put(CONTACT, Contact(contact_id, event.workspace_id, False, None, None, 0))
    return contact


def is_erased(rows: Rows, contact_id: str) -> bool:
    """Whether the person is erased: what still comes under the id (it was on its way) is void."""
    contact = rows.get(CONTACT, contact_id)
    return contact is not None and contact.successor_id is not None


def heard_of(rows: Rows, seq: int, event: e.Event, data: Any) -> None:
    """Whatever else happened to a contact: what guards compare with moves on."""
    if not is_erased(rows, data.contact_id):
        contact_of(rows, event, data.contact_id).seq = seq


def _saved(rows: Rows, seq: int, event: e.Event, data: e.ContactSaved) -> None:
    if not is_erased(rows, data.contact_id):
        contact = contact_of(rows, event, data.contact_id)
        contact.timezone, contact.seq = data.timezone, seq


def _consent(rows: Rows, seq: int, event: e.Event, data: e.Consent) -> None:
    contact = contact_of(rows, event, data.contact_id)
    opted_out = isinstance(data, e.ContactOptedOut)
    if contact.successor_id is None:
        contact.opted_out, contact.seq = opted_out, seq
    elif opted_out:  # a STOP on its way while its sender was erased
        rows.then(SUPPRESS, contact.successor_id)


def _replied(rows: Rows, seq: int, event: e.Event, data: e.ReplyReceived) -> None:
    if not is_erased(rows, data.contact_id):
        contact_of(rows, event, data.contact_id).phone_id = data.phone_id


def _erased(rows: Rows, seq: int, event: e.Event, data: e.ContactErased) -> None:
    """What waits is refused from here on; message.forgotten, which names it, removes it."""
    rows.put(
        CONTACT,
        Contact(data.contact_id, event.workspace_id, True, None, None, seq, data.successor_id),
    )
    successor = contact_of(rows, event, data.successor_id)
    successor.opted_out = successor.opted_out or data.suppressed


def _workspace(rows: Rows, seq: int, event: e.Event, data: e.WorkspaceState) -> None:
    quiet = data.quiet_hours
    rows.put(
        WORKSPACE,
        Workspace(
            id=data.workspace_id,
            workspace_id=data.workspace_id,
            timezone=data.timezone,
            quiet_start=quiet.start if quiet else None,
            quiet_end=quiet.end if quiet else None,
            failover_s=data.failover_s,
            campaign_failover_s=data.campaign_failover_s,
            resend_unknown=data.resend_unknown,
        ),
    )


def local_date(rows: Rows, event: e.Event) -> str:
    workspace = rows.get(WORKSPACE, event.workspace_id)
    zone = ZoneInfo(workspace.timezone if workspace else "UTC")
    return event.at.astimezone(zone).date().isoformat()


APPLY: Mapping[type[e.Data], Callable[[Rows, int, e.Event, Any], None]] = {
    e.ContactSaved: _saved,
    e.ContactOptedOut: _consent,
    e.ContactOptedIn: _consent,
    e.ContactErased: _erased,
    e.ReplyReceived: _replied,
    e.WorkspaceCreated: _workspace,
    e.WorkspaceUpdated: _workspace,
}
