"""One running gateway: its parts, and the work that goes on beside requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from services.gateway.credentials import Credentials
from services.gateway.journal import Journal
from services.gateway.presence import Presence
from services.gateway.stream import Streams
from shared import ids
from shared.service import Context

AGAIN_S = 1.0  # pause before work that failed begins again
_HERE = "gateway"


class Instance:
    """Everything a gateway process has beside its context; ``id`` tells instances apart."""

    def __init__(self, context: Context) -> None:
        self.id = ids.new("ins")
        self.credentials = Credentials(context)
        self.presence = Presence(context, self.id)
        self.streams = Streams(context, self.presence, self.id)
        self.journal = Journal(context)
        self._tasks: list[asyncio.Task[None]] = []
        context.metrics.gauge(
            "rows_age_seconds",
            "Seconds since the rows here were at the end of the log",
            context.projector.status.head_age_s,
        )
        context.extra[_HERE] = self

    @staticmethod
    def of(context: Context) -> Instance:
        """The instance that was made for ``context``."""
        return context.extra[_HERE]

    async def start(self) -> None:
        """Listen to the other instances, and begin what goes on beside requests."""
        await self.streams.listen()
        work = (self.presence.run, self.streams.pump, self.streams.tick)
        self._tasks = [asyncio.create_task(_forever(one)) for one in work]

    async def stop(self) -> None:
        """End the streams; the phones go elsewhere."""
        self.streams.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _forever(work: Callable[[], Awaitable[None]]) -> None:
    log = structlog.get_logger()
    while True:
        try:
            await work()
        except Exception:
            log.exception("begins again", work=work.__qualname__)
        await asyncio.sleep(AGAIN_S)
