"""Keeps the vault small: forgets answers to repeated requests when their day is over."""

from __future__ import annotations

import time
from typing import Any

from shared.service import Context
from shared.sql import queries

SWEEP_EVERY_S = 30.0
SWEEP_MAX = 5_000  # rows at once: a short transaction; more are due at once again


class Sweeper:
    """Deletes expired idempotency records; on the leading instance only."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self._sql: Any = queries("services.api")
        self._due = 0.0

    async def start(self) -> None:
        """A term begins: look at once."""
        self._due = 0.0

    async def step(self) -> float | None:
        """Forget what is due, when it is time to look: every commit wakes an actor."""
        left_s = self._due - time.monotonic()
        if left_s > 0:
            return left_s
        status = await self._c.db.owner.execute(
            self._sql.forget_answers, self._c.clock.now(), SWEEP_MAX
        )
        if status == f"DELETE {SWEEP_MAX}":
            return 0.0
        self._due = time.monotonic() + SWEEP_EVERY_S
        return SWEEP_EVERY_S

    async def stop(self) -> None:
        """Nothing is under way."""
