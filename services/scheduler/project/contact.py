"""Contacts and workspaces: consent, clocks, and which phone a person knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from services.scheduler.project.tables import CONTACT, WORKSPACE, Contact, Workspace
from shared import events as e
from shared.rows import Rows


def contact_of(rows: Rows, event: e.Event, contact_id: str) -> Contact:
    contact = rows.edit(CONTACT, contact_id)
    if contact is None:
        contact = rows.put(CONTACT, Contact(contact_id, event.workspace_id, False, None, None, 0))
    return contact


def heard_of(rows: Rows, seq: int, event: e.Event, data: Any) -> None:
    """Whatever else happened to a contact: what guards compare with moves on."""
    contact_of(rows, event, data.contact_id).seq = seq


def _saved(rows: Rows, seq: int, event: e.Event, data: e.ContactSaved) -> None:
    contact = contact_of(rows, event, data.contact_id)
    contact.timezone, contact.seq = data.timezone, seq


def _consent(rows: Rows, seq: int, event: e.Event, data: e.Consent) -> None:
    contact = contact_of(rows, event, data.contact_id)
    contact.opted_out, contact.seq = isinstance(data, e.ContactOptedOut), seq


def _replied(rows: Rows, seq: int, event: e.Event, data: e.ReplyReceived) -> None:
    contact_of(rows, event, data.contact_id).phone_id = data.phone_id


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
    e.ReplyReceived: _replied,
    e.WorkspaceCreated: _workspace,
    e.WorkspaceUpdated: _workspace,
}
