"""Which queues are to be looked at: now, and when. Memory only; the queues themselves are rows.

A queue is *active* when something about it changed. When a timer of it rings it is *timed* as well:
then who waits in it is looked at although its phone cannot take anybody, and the next timer is set.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from itertools import islice


class Queues:
    """By id: a phone's, or a workspace's for texts that any phone may take."""

    def __init__(self) -> None:
        self._active: dict[str, str] = {}  # queue → workspace, in the order of their turns
        self._timed: set[str] = set()
        self._timers: list[tuple[float, str, str]] = []
        self._set: set[tuple[float, str]] = set()
        self._empty: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._active)

    def activate(self, queue: str, workspace_id: str, *, timed: bool = False) -> None:
        """Look at it in the next step."""
        self._active[queue] = workspace_id
        self._empty.discard(queue)
        if timed:
            self._timed.add(queue)

    def stir(self, queue: str, workspace_id: str) -> None:
        """As ``activate``, of a queue whose phone changed: unless nobody was left in it."""
        if queue not in self._empty:
            self._active[queue] = workspace_id

    def is_empty(self, queue: str) -> bool:
        """Whether nobody who is due is left in it, as far as we were told."""
        return queue in self._empty

    def occupied(self, queues: Iterable[str]) -> None:
        """Somebody joined these; ``left_empty`` says who did not have to stay."""
        self._empty.difference_update(queues)

    def left_empty(self, queues: Iterable[str]) -> None:
        """Everybody due in these was decided on: who joins one, or is due later, activates it."""
        self._empty.update(queues)

    def ring(self, at: datetime | None, queue: str, workspace_id: str) -> None:
        """Look at it at ``at``; however often this is said, one timer is set."""
        if at is None or (at.timestamp(), queue) in self._set:
            return
        self._set.add((at.timestamp(), queue))
        heapq.heappush(self._timers, (at.timestamp(), queue, workspace_id))

    def rung(self, now: datetime) -> None:
        """Activate what has become due."""
        while self._timers and self._timers[0][0] <= now.timestamp():
            at, queue, workspace_id = heapq.heappop(self._timers)
            self._set.discard((at, queue))
            self.activate(queue, workspace_id, timed=True)

    @property
    def next_at(self) -> float:
        """When the next timer rings, in seconds since 1970; infinite without one."""
        return self._timers[0][0] if self._timers else float("inf")

    def take(self, most: int) -> tuple[dict[str, str], list[str]]:
        """The queues whose turn it is with their workspaces, and which of them are timed."""
        taken = dict(islice(self._active.items(), most))
        for queue in taken:
            del self._active[queue]
        self._empty.difference_update(taken)
        timed = [queue for queue in taken if queue in self._timed]
        self._timed.difference_update(timed)
        return taken, timed

    def give_back(self, taken: Mapping[str, str], timed: Collection[str]) -> None:
        """They were taken and could not be looked at: their turn is still the next."""
        self._active = {**taken, **self._active}
        self._timed.update(timed)
