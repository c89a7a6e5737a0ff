"""Due deliveries → customers' servers → webhook.attempted.

Every endpoint is a lane of its own. A lane takes few deliveries at a time, and an endpoint that
keeps failing takes one, out of a small share of all slots: however many dead endpoints there are
and however long they let us wait, the others find room.

Nothing is leased: only the leader acts, and it remembers what is under way, and what is done but
not yet in its rows. After a crash what was not recorded is sent again, under the same webhook-id.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from aiohttp.abc import AbstractResolver

from services.webhooks import secrets, sign
from services.webhooks.decide import Due, Result, outcome
from services.webhooks.outside import Sender
from services.webhooks.settings import WebhookSettings
from shared.bus import Wake
from shared.errors import LogUnavailable
from shared.events import Event
from shared.service import Context
from shared.sql import queries
from shared.vault import VaultError

SLOTS = 128  # requests under way; each may hold 64 KiB of answer and a socket
UNRECORDED_MAX = 1024  # attempts under way or made and not yet in the log: what a crash may repeat
SLOTS_FAILING = 32  # of those, for endpoints that keep failing
PER_ENDPOINT = 10
PER_FAILING_ENDPOINT = 1  # to see whether it is back, without holding up anybody
FAILING_AFTER = 3  # failures in a row
ORDERED_MAX = 5000  # open deliveries of an ordered endpoint looked at for the next to make
FULL_S = 1.0  # when to look again if no lane has room; an attempt usually ends sooner
RECORD_RETRY_S = 0.5  # when the log is away
NEVER = 1 << 62  # a sequence that no log reaches
STOP_S = 5.0  # for attempts under way to end and be recorded, before they are given up

sql = queries("services.webhooks")


@dataclass
class Lane:
    """What is known of an endpoint in this term."""

    running: int = 0  # requests
    failures: int = 0  # in a row
    timer: datetime | None = None  # when to look at it again by the clock

    @property
    def failing(self) -> bool:
        """Whether it gets one attempt at a time."""
        return self.failures >= FAILING_AFTER

    def room(self) -> int:
        """How many more attempts it may have under way."""
        return (PER_FAILING_ENDPOINT if self.failing else PER_ENDPOINT) - self.running


class Deliverer:
    """Makes the attempts. ``resolver`` replaces the system's, in tests."""

    def __init__(self, context: Context, resolver: AbstractResolver | None = None) -> None:
        self._context = context
        self._resolver = resolver
        self._settings: WebhookSettings = context.settings
        self._schedule_s = self._settings.schedule_s()
        self._log = structlog.get_logger().bind(actor="deliverer")
        context.projector.on_commit.append(self._heard)
        self._reset()

    def _reset(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._stirred = asyncio.Event()  # a request ended or something was committed
        self._look: dict[str, None] = {}  # lanes that may have something due, longest wait first
        self._timers: list[tuple[datetime, str]] = []  # when a lane has something due
        self._busy: set[str] = set()  # deliveries whose attempt is under way or not yet recorded
        self._done: dict[
            str, int
        ] = {}  # recorded at this sequence, which the rows may not hold yet
        self._tasks: set[asyncio.Task[None]] = set()
        self._sender: Sender | None = None

    def _heard(self, wake: Wake) -> None:
        for endpoint_id in wake.hints:
            if endpoint_id != "*":  # a term begins, and start() looks at everything
                self._look[endpoint_id] = None
        self._stirred.set()

    # -- a term ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin with every endpoint that has something open."""
        self._reset()
        for row in await self._context.db.owner.fetch(sql.open_endpoints):
            self._look[row["endpoint_id"]] = None
        self._sender = Sender(
            development=self._settings.development,
            timeout_s=self._settings.webhook_timeout_s,
            resolver=self._resolver,
        )

    async def stop(self) -> None:
        """Give attempts under way a moment to be recorded; what is given up is sent again."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._sender is not None:
            await self._sender.close()
            self._sender = None

    async def step(self) -> float | None:
        """Start what is due and has room; seconds until more is due, None for "when woken"."""
        self._stirred.clear()
        now = self._context.clock.now()
        reached = self._context.projector.status.position
        self._done = {id: seq for id, seq in self._done.items() if seq > reached}
        while self._timers and self._timers[0][0] <= now:
            endpoint_id = heapq.heappop(self._timers)[1]
            self._lanes[endpoint_id].timer = None
            self._look[endpoint_id] = None
        rooms = self._rooms()
        if rooms:
            await self._claim(rooms, now)
        if self._look:  # lanes without room, or with more than they had room for
            # Not wait_for: before Python 3.12 it loses a cancellation that comes with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FULL_S):
                    await self._stirred.wait()
            return 0
        return (self._timers[0][0] - now).total_seconds() if self._timers else None

    def _rooms(self) -> dict[str, int]:
        """How many deliveries each lane may start now, the lane that waited longest first."""
        lanes = self._lanes.values()
        free = SLOTS - sum(lane.running for lane in lanes)
        free = min(free, UNRECORDED_MAX - len(self._busy))
        failing = SLOTS_FAILING - sum(lane.running for lane in lanes if lane.failing)
        rooms: dict[str, int] = {}
        for endpoint_id in self._look:
            lane = self._lanes.setdefault(endpoint_id, Lane())
            room = min(lane.room(), free, failing if lane.failing else free)
            if room <= 0:
                continue
            rooms[endpoint_id] = room
            free -= room
            failing -= room if lane.failing else 0
        return rooms

    async def _claim(self, rooms: dict[str, int], now: datetime) -> None:
        """Start the due deliveries of these lanes; look again at those that may have more."""
        # Taken off before the query: what is committed while it runs puts a lane back on.
        for endpoint_id in rooms:
            del self._look[endpoint_id]
        taken = [*self._busy, *self._done]
        try:
            records = await self._context.db.owner.fetch(
                sql.claim, list(rooms), list(rooms.values()), now, taken, ORDERED_MAX
            )
        except BaseException:
            self._look.update(dict.fromkeys(rooms))
            raise
        started = dict.fromkeys(rooms, 0)
        later: dict[str, datetime] = {}
        for record in records:
            endpoint_id = record["endpoint_id"]
            if record["later"] is not None:
                later[endpoint_id] = record["later"]
            if record["delivery_id"] is not None:
                started[endpoint_id] += 1
                self._begin(record)
        for endpoint_id, count in started.items():
            if count == rooms[endpoint_id]:
                self._look[endpoint_id] = None
            elif endpoint_id in later:
                self._set_timer(endpoint_id, later[endpoint_id])

    def _set_timer(self, endpoint_id: str, at: datetime) -> None:
        """Look at a lane at a time. An earlier timer stays, and finds out what is due then."""
        lane = self._lanes[endpoint_id]
        if lane.timer is None or at < lane.timer:
            lane.timer = at
            heapq.heappush(self._timers, (at, endpoint_id))

    # -- one attempt -----------------------------------------------------------------------------

    def _begin(self, record: Any) -> None:
        due = Due(**{field: record[field] for field in Due.__struct_fields__})
        lane = self._lanes[due.endpoint_id]
        lane.running += 1
        self._busy.add(due.delivery_id)
        task = asyncio.create_task(self._attempt(due, lane, record["body"], record["sealed"]))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, due))

    def _ended(self, task: asyncio.Task[None], due: Due) -> None:
        self._tasks.discard(task)
        self._busy.discard(due.delivery_id)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # A fault of ours: not again in this term, lest it goes round and round.
            self._done[due.delivery_id] = NEVER
            self._log.error("attempt failed", delivery_id=due.delivery_id, exc_info=error)

    async def _attempt(
        self, due: Due, lane: Lane, body: str | None, sealed: Iterable[bytes] | None
    ) -> None:
        try:
            result = await self._post(due, body, sealed)
        finally:
            lane.running -= 1
            self._stirred.set()
        lane.failures = 0 if result.delivered else lane.failures + 1
        now = self._context.clock.now()
        seq = await self._record(outcome(due, result, body or "", self._schedule_s, now))
        self._done[due.delivery_id] = seq
        self._count(result)

    async def _post(self, due: Due, body: str | None, sealed: Iterable[bytes] | None) -> Result:
        if body is None:
            return Result(0, error="body_pruned")
        try:
            keys = secrets.opened(self._context.keys, due.endpoint_id, sealed or ())
        except VaultError as error:
            self._log.error("secret unreadable", endpoint=due.endpoint_id, reason=str(error))
            keys = []
        if not keys:
            return Result(0, error="no_secret")
        payload = body.encode()
        at_s = int(self._context.clock.now().timestamp())
        headers = sign.headers(keys, due.event_id, at_s, payload)
        sender = self._sender
        if sender is None:
            raise RuntimeError("an attempt outside a term")
        return await sender.post(due.url, headers, payload)

    async def _record(self, events: list[Event]) -> int:
        """Store the outcome, for as long as it takes; the last sequence."""
        while True:
            try:
                results = await self._context.log.append_many(events)
            except LogUnavailable:
                await asyncio.sleep(RECORD_RETRY_S)
                continue
            return max(seq for seq in results if isinstance(seq, int))

    def _count(self, result: Result) -> None:
        metrics = self._context.metrics
        ended = "delivered" if result.delivered else "failed"
        metrics.count("webhook_attempts_total", "Webhook attempts", outcome=ended)
        metrics.observe("webhook_seconds", "Time to a status", result.duration_ms / 1000)
