"""Keeps the vault small: forgets answers to repeated requests when their day is over, tasks and
files when their week is, and the request log after some days."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from shared.service import Context
from shared.sql import queries

SWEEP_EVERY_S = 30.0
FILES_MAX = 20  # at once: each may have hundreds of pieces
SWEEP_MAX = 5_000  # rows at once: a short transaction; more are due at once again


class Sweeper:
    """Deletes what has expired; on the leading instance only."""

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
        sql, now, more = self._sql, self._c.clock.now(), False
        for statement, most in (
            (sql.forget_answers, SWEEP_MAX),
            (sql.tasks_forget, SWEEP_MAX),
            (sql.files_forget, FILES_MAX),
        ):
            more |= await self._c.db.owner.execute(statement, now, most) == f"DELETE {most}"
        oldest = now - timedelta(days=self._c.settings.requests_kept_days)
        done = await self._c.db.owner.execute(sql.forget_requests, oldest, SWEEP_MAX)
        more |= done == f"DELETE {SWEEP_MAX}"
        if more:
            return 0.0
        self._due = time.monotonic() + SWEEP_EVERY_S
        return SWEEP_EVERY_S

    async def stop(self) -> None:
        """Nothing is under way."""
