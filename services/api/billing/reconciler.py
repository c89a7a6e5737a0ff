"""Asks Stripe what its webhooks missed; on the leading instance only."""

from __future__ import annotations

import time
from typing import Any

import structlog

from services.api.billing.desk import Billing
from shared import events as e
from shared.errors import EightMsError
from shared.problems import Problem
from shared.service import Context
from shared.sql import queries

EVERY_S = 3600.0  # how long a lost webhook can matter
SOONER_S = 300.0  # when some could not be asked about
PAGE, PAUSE_S = 20, 4.0  # 5 a second, of the 25 Stripe allows a test account
AWAY_AFTER, AWAY_S = 3, 60.0  # failures in a row: Stripe, or what it takes to write, is away


class Reconciler:
    """Asks Stripe about every customer once an hour, and at the begin of a term: webhooks get lost,
    and a process may end between a webhook and the log."""

    def __init__(self, context: Context, billing: Billing) -> None:
        self._c, self._billing = context, billing
        self._sql: Any = queries("services.api")
        self._after, self._due, self._failed = "", 0.0, 0

    async def start(self) -> None:
        """A term begins: everybody, from the first on."""
        self._after, self._due, self._failed = "", 0.0, 0

    async def step(self) -> float | None:
        """A few customers, when it is their time. Who fails is passed over until the next time, so
        that one whom Stripe refuses keeps nobody from being asked about."""
        left_s = self._due - time.monotonic()
        if left_s > 0:
            return left_s
        rows = await self._c.db.owner.fetch(
            self._sql.customers_after, self._after, self._billing.stripe.livemode, PAGE
        )
        in_a_row = 0
        for row in rows:
            try:
                await self._billing.sync(row["workspace_id"], e.Actor("system", "api"), None)
                in_a_row = 0
            except (Problem, EightMsError) as error:
                log = structlog.get_logger().bind(workspace_id=row["workspace_id"])
                log.warning("not reconciled", error=type(error).__name__)
                self._failed += 1
                in_a_row += 1
                if in_a_row == AWAY_AFTER:
                    return self._again(AWAY_S)
            self._after = row["workspace_id"]
        if len(rows) == PAGE:
            return self._again(PAUSE_S)
        pause_s = SOONER_S if self._failed else EVERY_S
        self._after, self._failed = "", 0
        return self._again(pause_s)

    def _again(self, seconds: float) -> float:
        self._due = time.monotonic() + seconds
        return seconds

    async def stop(self) -> None:
        """Nothing is under way."""
