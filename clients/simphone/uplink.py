"""Journals on their way up: every phone's entries, batched per phone, scheduled from one place.

A call costs the phone its radio and the gateway a round of database and log, and no fact is in such
a hurry that it could not wait for the next one: the journal is durable, and the server paces. So
the first entry of a phone waits `flush_ms` for company, which is long enough for everything that
follows from one command to go up together, and a phone that has just called waits longer, unless
there is plenty to tell. Only a phone that connects calls at once.

At most one call per phone is under way, so entries arrive in order; at most CALLS_AT_ONCE in all.
"""

import asyncio
import logging
import random
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from functools import partial

from clients.simphone import http, protocol
from clients.simphone.phone import Phone
from clients.simphone.surroundings import Surroundings

log = logging.getLogger("simphone")

FLUSH_MS = 50.0  # longer than a text takes to its receipt, where the carrier takes no time
CALL_EVERY_MS = 200.0  # what a phone has less than plenty of waits for so long after its last call
PLENTY = 10  # entries, of three or four texts: a phone is given no more before it has told of these
CALLS_AT_ONCE = 256  # enough to hide a slow gateway, few enough to leave it connections
CALL_TIMEOUT_S = 30.0  # a gateway that has not answered by then has not stored anything useful
DRAIN_STEP_S = 0.01


class State(Enum):
    IDLE = auto()
    GATHERING = auto()  # waiting for company
    READY = auto()
    CALLING = auto()
    WAITING = auto()  # pausing after a failure


@dataclass(slots=True)
class Lane:
    """One phone's way up. `hello` is set while the gateway must be told the inventory; `called_s`
    is when it last called, by the loop's clock; `timer` ends its gathering or waiting."""

    phone: Phone
    origin: http.Origin
    head: bytes  # of its calls
    state: State = State.IDLE
    called_s: float = 0.0
    attempt: int = 0
    timer: asyncio.TimerHandle | None = None
    hello: asyncio.Future[None] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """Entries of one journal call; a heartbeat (`beat`) always travels alone. `last`: there are no
    others that would have to wait for the next call."""

    first_seq: int
    entries: list[bytes]
    beat: bool
    last: bool


def next_call(phone: Phone, now: datetime) -> Call | None:
    """The oldest entries that fit one call: MAX_ENTRIES, MAX_CALL_BYTES, up to a heartbeat."""
    if not phone.pending:
        return None
    first_seq, first, _ = phone.pending[0]
    if first is None:
        beat = protocol.encode_entry(first_seq, now, "health", phone.health())
        return Call(first_seq, [beat], beat=True, last=len(phone.pending) == 1)
    entries: list[bytes] = []
    size = 0
    for _, entry, _ in phone.pending:
        if entry is None or len(entries) == protocol.MAX_ENTRIES:
            break
        size += len(entry) + 1
        if entries and size > protocol.MAX_CALL_BYTES:
            break
        entries.append(entry)
    return Call(first_seq, entries, beat=False, last=len(entries) == len(phone.pending))


class Uplink:
    """Calls `POST /phone/v1/journal` for every phone that has something to tell."""

    def __init__(
        self,
        wires: http.Wires,
        around: Surroundings,
        *,
        flush_ms: float,
        rng: random.Random,
    ) -> None:
        self._wires, self._around, self._rng = wires, around, rng
        self._flush_s, self._every_s = flush_ms / 1000, CALL_EVERY_MS / 1000
        self._lanes: dict[str, Lane] = {}
        self._ready: deque[Lane] = deque()
        self._calls = 0  # under way

    def open(self, phone: Phone) -> None:
        """Begin to serve a phone, with the credential it has now."""
        target = http.Target.of(phone.endpoint + "/phone/v1/journal")
        headers = {
            "Authorization": f"Bearer {phone.credential}",
            "Content-Type": "application/json",
        }
        self._lanes[phone.phone_id] = Lane(phone, target.origin, target.head("POST", headers))

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
            self._around.journal.after(self._now, lane)  # with what is being written now
        return lane.hello

    def mark(self, phone: Phone) -> None:
        """The phone has something to tell."""
        lane = self._lanes.get(phone.phone_id)
        if lane is not None and lane.state in (State.IDLE, State.GATHERING):
            self._gather(lane)

    async def drain(self, timeout_s: float) -> None:
        """Tell what can be told within `timeout_s`."""
        deadline = self._around.loop.time() + timeout_s
        self._flush_s = self._every_s = 0.0
        for lane in self._lanes.values():
            if lane.state is State.GATHERING:
                self._now(lane)
        while self._calls and self._around.loop.time() < deadline:
            await asyncio.sleep(DRAIN_STEP_S)

    def stop(self) -> None:
        """Give up all calls."""
        for lane in list(self._lanes.values()):
            self.close(lane.phone)

    def _gather(self, lane: Lane) -> None:
        """Call when there was time for company, or when there is plenty."""
        if len(lane.phone.pending) >= PLENTY:
            self._now(lane)
        elif lane.state is State.IDLE:
            loop = self._around.loop
            lane.state = State.GATHERING
            due_s = max(loop.time() + self._flush_s, lane.called_s + self._every_s)
            lane.timer = loop.call_at(due_s, self._now, lane)

    def _now(self, lane: Lane) -> None:
        """Call as soon as there is room for it; what is under way, or pausing, comes first."""
        if lane.state in (State.IDLE, State.GATHERING):
            if lane.timer is not None:
                lane.timer.cancel()
                lane.timer = None
            lane.state = State.READY
            self._ready.append(lane)
            self._pump()

    def _pump(self) -> None:
        while self._ready and self._calls < CALLS_AT_ONCE:
            lane = self._ready.popleft()
            if self._lanes.get(lane.phone.phone_id) is lane:
                self._call(lane)

    def _call(self, lane: Lane) -> None:
        phone, hello = lane.phone, lane.hello
        call = next_call(phone, self._around.now())
        if call is None and hello is None:
            lane.state = State.IDLE
            return
        lane.state = State.CALLING
        inventory = phone.inventory() if hello is not None else None
        body = protocol.encode_call(inventory, call.entries if call else [])
        lane.called_s = self._around.loop.time()
        self._around.counters.journal_calls += 1
        self._calls += 1
        then = partial(self._answered, lane, call, hello)
        request = http.Call(http.with_body(lane.head, body), then)
        self._wires.call(lane.origin, request, CALL_TIMEOUT_S)

    def _answered(
        self,
        lane: Lane,
        call: Call | None,
        hello: asyncio.Future[None] | None,
        answer: http.Answer | None,
    ) -> None:
        self._calls -= 1
        try:
            if self._lanes.get(lane.phone.phone_id) is lane:
                self._act(lane, call, hello, answer)
            # else unpaired, or in airplane mode since: it asks again when it is back
            self._pump()
        except Exception as error:  # noqa: BLE001 - the process ends, as after any lost step
            self._around.journal.broken(error)

    def _act(
        self,
        lane: Lane,
        call: Call | None,
        hello: asyncio.Future[None] | None,
        answer: http.Answer | None,
    ) -> None:
        if answer is None:
            self._retry(lane, None)
        elif answer.status == 200:
            try:
                ack = protocol.decode(answer.body, protocol.Ack)
            except protocol.Malformed:
                self._retry(lane, None)
                return
            if hello is not None:
                lane.hello = None
                if not hello.done():
                    hello.set_result(None)
            self._take(lane, call, ack)
        elif answer.status in protocol.UNPAIRED_STATUSES:
            self._around.dismiss(lane.phone)
        else:
            if answer.status < 500:
                log.warning(
                    "phone %s: journal call answered %d", lane.phone.phone_id, answer.status
                )
            self._retry(lane, protocol.parse_retry_after(answer.retry_after, datetime.now(UTC)))

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
        if lane.hello is not None or (call and not call.last):
            self._now(lane)
        elif phone.pending:
            self._gather(lane)

    def _retry(self, lane: Lane, retry_after_s: float | None) -> None:
        self._around.counters.journal_failures += 1
        lane.state = State.WAITING
        pause_s = protocol.backoff_s(lane.attempt, retry_after_s, self._rng)
        lane.attempt += 1
        lane.timer = self._around.loop.call_later(pause_s, self._again, lane)

    def _again(self, lane: Lane) -> None:
        lane.state, lane.timer = State.IDLE, None
        self._now(lane)
