"""Rows kept in memory until a commit says that they changed.

Every instance hears of every commit, its own and the leading one's (shared/projector.py), so an
entry is dropped on all of them the moment its row changes. Announcements may be lost with the
connection; therefore a reconnect drops everything, and no entry is believed for long.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from shared.bus import Wake

V = TypeVar("V")
ENTRIES_MAX = 20_000  # a few MB; past it the cache starts afresh
BELIEVED_S = 30.0  # how long an announcement that got lost can matter


class Hinted(Generic[V]):
    """Values by key, loaded when missing; a hint equal to the key drops its value."""

    def __init__(self, load: Callable[[str], Awaitable[V | None]]) -> None:
        self._load = load
        self._entries: dict[str, tuple[V, float]] = {}
        self._drops = 0

    def known(self, key: str) -> V | None:
        """The value if it is at hand."""
        entry = self._entries.get(key)
        if entry is None or entry[1] < time.monotonic():
            return None
        return entry[0]

    async def get(self, key: str) -> V | None:
        """The value, loaded if need be; None if there is none (which is not remembered)."""
        value = self.known(key)
        if value is not None:
            return value
        drops = self._drops
        value = await self._load(key)
        # A drop while we read may have been about what we read: use it, do not keep it.
        if value is not None and drops == self._drops:
            if len(self._entries) >= ENTRIES_MAX:
                self._entries.clear()
            self._entries[key] = (value, time.monotonic() + BELIEVED_S)
        return value

    def heard(self, wake: Wake) -> None:
        """A batch was committed somewhere."""
        if not wake.hints:
            return
        self._drops += 1
        if "*" in wake.hints:
            self._entries.clear()
        for hint in wake.hints:
            self._entries.pop(hint, None)

    def forget(self) -> None:
        """The connection was gone: what was announced meanwhile is unknown."""
        self._drops += 1
        self._entries.clear()
