"""Journals on their way up: every phone's entries, batched per phone, scheduled from one place.

At most one call per phone is under way, so entries arrive in order; at most CALLS_AT_ONCE in all.
What becomes durable within one flush interval, or during a call, goes up together.
"""

import asyncio
import logging
import random
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto

import aiohttp
from yarl import URL

from clients.simphone import protocol
from clients.simphone.phone import Phone
from clients.simphone.surroundings import Surroundings

log = logging.getLogger("simphone")

CALLS_AT_ONCE = 256  # enough to hide a slow gateway, few enough to leave it connections
CALL_TIMEOUT_S = 30.0  # a gateway that has not answered by then has not stored anything useful


class State(Enum):
    IDLE = auto()
    QUEUED = auto()
    CALLING = auto()
    WAITING = auto()  # pausing after a failure


@dataclass(slots=True)
class Lane:
    """One phone's way up. `hello` is set while the gateway must be told the inventory."""

    phone: Phone
    url: URL
    headers: dict[str, str]
    state: State = State.IDLE
    attempt: int = 0
    timer: asyncio.TimerHandle | None = None
    hello: asyncio.Future[None] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """Entries of one journal call; a heartbeat (`beat`) always travels alone."""

    first_seq: int
    entries: list[bytes]
    beat: bool


def next_call(phone: Phone, now: datetime) -> Call | None:
    """The oldest entries that fit one call: MAX_ENTRIES, MAX_CALL_BYTES, up to a heartbeat."""
    if not phone.pending:
        return None
    first_seq, first, _ = phone.pending[0]
    if first is None:
        beat = protocol.encode_entry(first_seq, now, "health", phone.health())
        return Call(first_seq, [beat], beat=True)
    entries: list[bytes] = []
    size = 0
    for _, entry, _ in phone.pending:
        if entry is None or len(entries) == protocol.MAX_ENTRIES:
            break
        size += len(entry) + 1
        if entries and size > protocol.MAX_CALL_BYTES:
            break
        entries.append(entry)
    return Call(first_seq, entries, beat=False)


class Uplink:
    """Calls `POST /phone/v1/journal` for every phone that has something to tell."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        around: Surroundings,
        *,
        flush_ms: float,
        rng: random.Random,
    ) -> None:
        self._session, self._around, self._rng = session, around, rng
        self._flush_s = flush_ms / 1000
        self._lanes: dict[str, Lane] = {}
        self._ready: deque[Lane] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._armed = False
        self._urls: dict[str, URL] = {}
        self._timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)

    def open(self, phone: Phone) -> None:
        """Begin to serve a phone, with the credential it has now."""
        url = self._urls.get(phone.endpoint)
        if url is None:
            url = self._urls[phone.endpoint] = URL(phone.endpoint + "/phone/v1/journal")
        headers = {
            "Authorization": f"Bearer {phone.credential}",
            "Content-Type": "application/json",
        }
        self._lanes[phone.phone_id] = Lane(phone, url, headers)

    def close(self, phone: Phone) -> None:
        """Stop serving a phone. What it has not told yet stays in its journal."""
        lane = self._lanes.pop(phone.phone_id, None)
        if lane is None:
            return
        if lane.timer is not None:
            lane.timer.cancel()
        if lane.hello is not None:
            lane.hello.cancel()

    def hello(self, phone: Phone) -> asyncio.Future[None]:
        """Tell the gateway what the phone holds; done once it has answered.

        Called before a stream is opened, never while one is open: a command the gateway is
        offering at that moment would be missing from the inventory, and be given away twice.
        """
        lane = self._lanes[phone.phone_id]
        if lane.hello is None:
            lane.hello = self._around.loop.create_future()
            self._queue(lane)
        return lane.hello

    def mark(self, phone: Phone) -> None:
        """The phone has something to tell."""
        lane = self._lanes.get(phone.phone_id)
        if lane is not None:
            self._queue(lane)

    async def drain(self, timeout_s: float) -> None:
        """Tell what can be told within `timeout_s`."""
        deadline = self._around.loop.time() + timeout_s
        self._pump()
        while self._tasks and (left_s := deadline - self._around.loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            self._pump()

    async def stop(self) -> None:
        """Abandon all calls."""
        for lane in list(self._lanes.values()):
            self.close(lane.phone)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _queue(self, lane: Lane) -> None:
        if lane.state is State.IDLE:
            lane.state = State.QUEUED
            self._ready.append(lane)
            if not self._armed:
                self._armed = True
                self._around.loop.call_later(self._flush_s, self._tick)

    def _tick(self) -> None:
        self._armed = False
        self._pump()

    def _pump(self) -> None:
        while self._ready and len(self._tasks) < CALLS_AT_ONCE:
            lane = self._ready.popleft()
            if self._lanes.get(lane.phone.phone_id) is lane:
                lane.state = State.CALLING
                task = self._around.loop.create_task(self._call(lane))
                self._tasks.add(task)
                task.add_done_callback(self._called)

    def _called(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._around.journal.broken(error)
        if not self._armed:
            self._pump()

    async def _call(self, lane: Lane) -> None:
        phone, hello = lane.phone, lane.hello
        call = next_call(phone, self._around.now())
        if call is None and hello is None:
            lane.state = State.IDLE
            return
        inventory = phone.inventory() if hello is not None else None
        body = protocol.encode_call(inventory, call.entries if call else [])
        self._around.counters.journal_calls += 1
        status, retry_after_s, ack = await self._post(lane, body)
        if self._lanes.get(phone.phone_id) is not lane:
            return  # unpaired, or in airplane mode since: it asks again when it is back
        if status in protocol.UNPAIRED_STATUSES:
            self._around.dismiss(phone)
        elif ack is None:
            if status is not None and status < 500:
                log.warning("phone %s: journal call answered %d", phone.phone_id, status)
            self._retry(lane, retry_after_s)
        else:
            if hello is not None:
                lane.hello = None
                if not hello.done():
                    hello.set_result(None)
            self._take(lane, call, ack)

    async def _post(
        self, lane: Lane, body: bytes
    ) -> tuple[int | None, float | None, protocol.Ack | None]:
        """Status (None: no answer), seconds of Retry-After, and the answer if it is one."""
        try:
            async with self._session.post(
                lane.url,
                data=body,
                headers=lane.headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                raw = await response.read()
                if response.status == 200:
                    return 200, None, protocol.decode(raw, protocol.Ack)
                wait = response.headers.get("Retry-After")
                return response.status, protocol.parse_retry_after(wait, datetime.now(UTC)), None
        except (aiohttp.ClientError, OSError, protocol.Malformed):
            return None, None, None

    def _take(self, lane: Lane, call: Call | None, ack: protocol.Ack) -> None:
        phone = lane.phone
        for rejected in ack.rejected:
            self._around.counters.rejected += 1
            log.warning(
                "phone %s: journal entry %s rejected: %s",
                phone.phone_id,
                rejected.seq,
                rejected.code[:60],
            )
        phone.acknowledged(ack.acked_seq)
        if call and call.beat and phone.pending and phone.pending[0][0] == call.first_seq:
            phone.forget_first()  # telemetry, not history: an answer is all a heartbeat wants
        if call and phone.pending and phone.pending[0][0] == call.first_seq:
            self._retry(lane, None)  # answered, but nothing stored
            return
        lane.attempt, lane.state = 0, State.IDLE
        if phone.pending or lane.hello is not None:
            self._queue(lane)

    def _retry(self, lane: Lane, retry_after_s: float | None) -> None:
        self._around.counters.journal_failures += 1
        lane.state = State.WAITING
        pause_s = protocol.backoff_s(lane.attempt, retry_after_s, self._rng)
        lane.attempt += 1
        lane.timer = self._around.loop.call_later(pause_s, self._again, lane)

    def _again(self, lane: Lane) -> None:
        lane.state, lane.timer = State.IDLE, None
        self._queue(lane)
