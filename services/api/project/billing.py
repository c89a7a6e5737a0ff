"""What workspaces pay for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.api.project.tables import SUBSCRIPTION, Subscription
from shared import events as e
from shared.rows import Rows


def _changed(rows: Rows, seq: int, event: e.Event, data: e.SubscriptionChanged) -> None:
    state = {name: getattr(data, name) for name in data.__struct_fields__}
    rows.put(SUBSCRIPTION, Subscription(**state, seq=seq, updated_at=event.at))
    rows.hint(data.workspace_id)


APPLY: Mapping[type[e.Data], Callable[[Rows, int, e.Event, Any], None]] = {
    e.SubscriptionChanged: _changed,
}
