"""Runs what a service does to the outside: only while it leads, only when it has caught up.

An actor has ``step()``, which does what is due and returns how many seconds from now the next thing
is due (0: at once, None: nothing until woken). A commit wakes it, so nothing waits for a poll; the
timer is for what becomes due by the clock alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

import structlog

from shared.errors import EightMsError
from shared.projector import Projector
from shared.sql import UNREACHABLE

IDLE_S = 30.0  # look again at the latest after this, whatever step() said
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.1, 5.0


class Actor(Protocol):
    """The action half of a service."""

    async def start(self) -> None:
        """A term of leading begins: forget what an earlier term remembered."""
        ...

    async def step(self) -> float | None:
        """Do what is due; seconds until more is due, None for "when woken"."""
        ...

    async def stop(self) -> None:
        """The term ends or the process drains: finish or abandon what is under way."""
        ...


class Worker:
    """Drives one actor."""

    def __init__(self, name: str, projector: Projector, actor: Actor) -> None:
        self.name, self._projector, self._actor = name, projector, actor
        self.wake = asyncio.Event()
        self._log = structlog.get_logger().bind(worker=name)
        projector.on_commit.append(lambda _: self.wake.set())
        projector.on_resign.append(self.wake.set)

    async def run(self) -> None:
        """Act whenever this instance leads; for ever, until cancelled."""
        while True:
            await self._projector.leading.wait()
            try:
                await self._term()
            finally:
                await self._stop()

    async def _stop(self) -> None:
        try:
            await self._actor.stop()
        except Exception:  # noqa: BLE001 - the next term starts all the same
            self._log.exception("stop failed")

    async def _term(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        started = False
        term = self._projector.term  # lost and won again meanwhile is another one: start afresh
        while self._projector.leading.is_set() and self._projector.term == term:
            self.wake.clear()
            try:
                if not started:
                    await self._actor.start()
                    started = True
                delay_s = await self._actor.step()
                backoff_s = BACKOFF_FIRST_S
            except (EightMsError, *UNREACHABLE) as error:
                self._log.warning("backing off", error=type(error).__name__, seconds=backoff_s)
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
                continue
            except Exception:  # noqa: BLE001 - an actor that dies unheard is worse
                self._log.exception("step failed", seconds=BACKOFF_MAX_S)
                await asyncio.sleep(BACKOFF_MAX_S)
                continue
            if delay_s is not None and delay_s <= 0:
                await asyncio.sleep(0)
                continue
            wait_s = IDLE_S if delay_s is None else min(delay_s, IDLE_S)
            # Not wait_for: before Python 3.12 it loses a cancellation that comes with the wake.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self.wake.wait()
