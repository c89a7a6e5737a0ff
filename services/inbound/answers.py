"""What inbound answers on the bus: whether it still holds anything of what is being erased."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.bus import Handler
from shared.service import Context
from shared.sql import queries
from shared.traces import Asked, traces

sql = queries("services.inbound")


def answers(context: Context) -> Mapping[str, Handler]:
    """Question → handler."""

    async def count(db: Any, asked: Asked) -> dict[str, int]:
        return {"texts": await db.fetchval(sql.traces, asked.message_ids)}

    return traces(context, count)
