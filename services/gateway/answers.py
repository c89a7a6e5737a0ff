"""What the gateway answers on the bus: links for new phones, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.gateway import pairing
from shared import ids, sql
from shared.bus import Handler
from shared.problems import Problem
from shared.service import Context
from shared.traces import Asked, traces

Q = sql.queries("services.gateway")


def answers(context: Context) -> Mapping[str, Handler]:
    """Question → handler."""

    async def open_pairing(body: dict[str, Any]) -> dict[str, Any]:
        label, phones_max = str(body.get("label") or ""), body.get("phones_max")
        return await pairing.open_link(context, _workspace(body), label, phones_max)

    async def state(body: dict[str, Any]) -> dict[str, Any]:
        return await pairing.state_of(context, _workspace(body), str(body.get("id")))

    async def count(db: Any, asked: Asked) -> dict[str, int]:
        commands = [
            ids.command_id(id, n) for id, attempts in asked.messages for n in range(1, attempts + 1)
        ]
        row = await db.fetchrow(Q.traces, commands, asked.message_ids)
        return dict(row)

    return {"open_pairing": open_pairing, "pairing": state, **traces(context, count)}


def _workspace(body: dict[str, Any]) -> str:
    workspace_id = str(body.get("workspace_id"))
    if not ids.is_id("ws", workspace_id):
        raise Problem.at("#/workspace_id", "invalid", "workspace_id is not an id.")
    return workspace_id
