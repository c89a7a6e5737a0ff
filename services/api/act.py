"""Keeps the vault small: forgets answers to repeated requests when their day is over, tasks and
files when their week is, the request log after some days, links and sessions in their time."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from services.api.decide.sign_in import SESSION_IDLE
from services.api.sign_in.signing import RETIRES_AFTER
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
        oldest = now - timedelta(days=self._c.settings.requests_kept_days)
        for statement, before, most in (
            (sql.forget_answers, now, SWEEP_MAX),
            (sql.tasks_forget, now, SWEEP_MAX),
            (sql.files_forget, now, FILES_MAX),
            (sql.forget_requests, oldest, SWEEP_MAX),
            (sql.forget_one_time, now, SWEEP_MAX),
            (sql.forget_sessions, now - SESSION_IDLE, SWEEP_MAX),
            (sql.forget_mail, now, SWEEP_MAX),
        ):
            more |= await self._c.db.owner.execute(statement, before, most) == f"DELETE {most}"
        await self._c.db.owner.execute(sql.forget_signing_keys, now - RETIRES_AFTER)
        if more:
            return 0.0
        self._due = time.monotonic() + SWEEP_EVERY_S
        return SWEEP_EVERY_S

    async def stop(self) -> None:
        """Nothing is under way."""
