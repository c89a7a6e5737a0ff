"""What a service that keeps anything about people answers while some of it is erased.

``ask.<service>.traces``: how much of this do your rows still hold, once they hold the log up to
``seq``? Asked before, the answer goes into the report; asked after, it must be nothing, and only
then is anything deleted from the log (services/api/erasure.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Struct

from shared.bus import Handler
from shared.errors import NotReady
from shared.service import Context

QUESTION = "traces"
PASS_S = 2.0  # for the rows to get there; the asker gives up after three


class Asked(Struct, frozen=True, kw_only=True):
    """Messages and events by id, and the sequence that the rows must hold."""

    workspace_id: str
    seq: int
    messages: list[tuple[str, int]] = []
    events: list[str] = []

    @property
    def message_ids(self) -> list[str]:
        """The messages, without their attempts."""
        return [id for id, _ in self.messages]


Count = Callable[[Any, Asked], Awaitable[dict[str, int]]]
"""Rows of each table that the question names, on a connection of the workspace's."""


def traces(context: Context, count: Count) -> dict[str, Handler]:
    """The question and its handler; NotReady while the rows are behind."""

    async def handle(body: dict[str, Any]) -> dict[str, int]:
        asked = msgspec.convert(body, Asked)
        if not await context.projector.passed(asked.seq, PASS_S):
            raise NotReady("the rows are not there yet")
        async with context.db.tenant(asked.workspace_id) as db:
            return await count(db, asked)

    return {QUESTION: handle}
