"""Webhook endpoints and the attempts to reach them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.api.project.tables import ATTEMPT, ENDPOINT, Attempt, Endpoint
from shared import events as e
from shared.rows import Rows

FORGET_ATTEMPTS = "DELETE FROM attempt WHERE endpoint_id = $1"


def _saved(rows: Rows, seq: int, event: e.Event, data: e.WebhookEndpointSaved) -> None:
    known = rows.get(ENDPOINT, data.endpoint_id)
    rows.put(
        ENDPOINT,
        Endpoint(
            id=data.endpoint_id,
            workspace_id=event.workspace_id,
            url=data.url,
            types=list(data.types),
            enabled=data.enabled,
            ordered=data.ordered,
            description=data.description,
            seq=seq,
            created_at=known.created_at if known else event.at,
            updated_at=event.at,
            disabled_reason=None if data.enabled else "user",
        ),
    )
    rows.hint(data.endpoint_id)


def _removed(rows: Rows, seq: int, event: e.Event, data: e.WebhookEndpointRemoved) -> None:
    rows.remove(ENDPOINT, data.endpoint_id)
    rows.hint(data.endpoint_id)
    rows.then(FORGET_ATTEMPTS, data.endpoint_id)


def _disabled(rows: Rows, seq: int, event: e.Event, data: e.WebhookEndpointDisabled) -> None:
    endpoint = rows.edit(ENDPOINT, data.endpoint_id)
    if endpoint is not None:
        endpoint.enabled, endpoint.disabled_reason = False, data.reason
        endpoint.seq, endpoint.updated_at = seq, event.at
        rows.hint(data.endpoint_id)


def _attempted(rows: Rows, seq: int, event: e.Event, data: e.WebhookAttempted) -> None:
    if rows.get(ENDPOINT, data.endpoint_id) is None:
        return  # removed while this attempt was under way
    rows.put(
        ATTEMPT,
        Attempt(
            id=data.attempt_id,
            workspace_id=event.workspace_id,
            endpoint_id=data.endpoint_id,
            delivery_id=data.delivery_id,
            event_id=data.event_id,
            event_type=data.event_type,
            attempt=data.attempt,
            trigger=data.trigger,
            outcome=data.outcome,
            url=data.url,
            duration_ms=data.duration_ms,
            at=event.at,
            status=data.status,
            error=data.error,
            response=data.response,
            next_at=data.next_at,
        ),
    )


APPLY: Mapping[type[e.Data], Callable[[Rows, int, e.Event, Any], None]] = {
    e.WebhookEndpointSaved: _saved,
    e.WebhookEndpointRemoved: _removed,
    e.WebhookEndpointDisabled: _disabled,
    e.WebhookAttempted: _attempted,
}
