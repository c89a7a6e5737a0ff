"""Workspaces and API keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.api.project.tables import API_KEY, WORKSPACE, ApiKey, Workspace
from shared import events as e
from shared.rows import Rows


def _workspace(rows: Rows, seq: int, event: e.Event, data: e.WorkspaceState) -> None:
    known = rows.get(WORKSPACE, data.workspace_id)
    quiet = data.quiet_hours
    rows.put(
        WORKSPACE,
        Workspace(
            workspace_id=data.workspace_id,
            name=data.name,
            timezone=data.timezone,
            region=data.region,
            campaign_failover_s=data.campaign_failover_s,
            resend_unknown=data.resend_unknown,
            seq=seq,
            created_at=known.created_at if known else event.at,
            updated_at=event.at,
            quiet_start=quiet.start if quiet else None,
            quiet_end=quiet.end if quiet else None,
            failover_s=data.failover_s,
            help_text=data.help_text,
            opt_out_text=data.opt_out_text,
            acknowledged=list(data.acknowledged) or None,
        ),
    )
    rows.hint(data.workspace_id)


def _key_created(rows: Rows, seq: int, event: e.Event, data: e.ApiKeyCreated) -> None:
    if rows.get(API_KEY, data.key_id) is not None:
        return
    rows.put(
        API_KEY,
        ApiKey(
            id=data.key_id,
            workspace_id=event.workspace_id,
            name=data.name,
            mode=data.mode,
            hash=data.hash,
            last_four=data.last_four,
            scopes=list(data.scopes),
            created_by=event.actor.id,
            created_at=event.at,
            expires_at=data.expires_at,
        ),
    )
    rows.hint(data.hash)


def _key_revoked(rows: Rows, seq: int, event: e.Event, data: e.ApiKeyRevoked) -> None:
    key = rows.edit(API_KEY, data.key_id)
    if key is not None and key.revoked_at is None:
        key.revoked_at = event.at
        rows.hint(key.hash)


APPLY: Mapping[type[e.Data], Callable[[Rows, int, e.Event, Any], None]] = {
    e.WorkspaceCreated: _workspace,
    e.WorkspaceUpdated: _workspace,
    e.ApiKeyCreated: _key_created,
    e.ApiKeyRevoked: _key_revoked,
}
