"""Requests that wait together are served together.

A statement for one request and a statement for fifty cost nearly the same, so what requests of a
workspace want from PostgreSQL is put in line: while one round is under way, the next one gathers.
The first in line starts at once, and nobody waits for company, unless the last round had plenty:
then the next one may gather a moment longer, for it will have plenty as well. While one round is
under way, a second begins if plenty wait: one is read for while what the other made is written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
ROUND_MAX = 256  # of one round: keeps statements and answers small enough to be quick
ROUNDS_MAX = 2  # of a workspace at a time
PLENTY = 8  # in one round: so many requests at once are load, and load is served in larger rounds


class Gather(Generic[T, R]):
    """Serves items in rounds per workspace; ``serve(workspace_id, items)``: a result for each.

    ``linger_s`` is how long a round gathers after one with plenty.
    """

    def __init__(
        self,
        serve: Callable[[str, Sequence[T]], Awaitable[Sequence[R]]],
        linger_s: float = 0.0,
    ) -> None:
        self._serve, self._linger_s = serve, linger_s
        self._lines: dict[str, deque[tuple[T, asyncio.Future[R]]]] = {}
        self._running: dict[str, int] = {}  # rounds at a time
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, workspace_id: str, item: T) -> asyncio.Future[R]:
        """The result for ``item``; the future fails with whatever its round failed with."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        line = self._lines.setdefault(workspace_id, deque())
        line.append((item, future))
        running = self._running.get(workspace_id, 0)
        if running == 0 or (running < ROUNDS_MAX and len(line) >= PLENTY):
            self._running[workspace_id] = running + 1
            task = loop.create_task(self._rounds(workspace_id, line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return future

    async def _rounds(self, workspace_id: str, line: deque[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            await self._all_rounds(workspace_id, line)
        finally:
            self._running[workspace_id] -= 1
            if not self._running[workspace_id]:
                del self._running[workspace_id], self._lines[workspace_id]

    async def _all_rounds(
        self, workspace_id: str, line: deque[tuple[T, asyncio.Future[R]]]
    ) -> None:
        while line:
            taken = [line.popleft() for _ in range(min(len(line), ROUND_MAX))]
            try:
                results = await self._serve(workspace_id, [item for item, _ in taken])
            except BaseException as error:
                for _, future in taken:
                    if not future.done():
                        future.set_exception(error)
                if not isinstance(error, Exception):  # cancelled: the process ends
                    raise
                continue
            for (_, future), result in zip(taken, results, strict=True):
                if not future.done():
                    future.set_result(result)
            if self._linger_s and len(taken) >= PLENTY:
                await asyncio.sleep(self._linger_s)
