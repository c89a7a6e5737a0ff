"""Ordered reading of a stream without acknowledgements, for ever.

An ephemeral, ack-none pull consumer; requests are outstanding before events come, so that an event
is pushed the moment it is stored. A gap in the consumer's own sequence, a silence, a reconnect or
an answer that says the consumer is gone means: begin again behind the last event handed out.

With more than one filter the server looks through every subject of a block for every event it
finds there: 2,000 to 3,000 a second, where the whole stream comes at 30,000 to 150,000. So a reader
that is far behind reads everything and picks out its own, and filters only near the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from shared import wire
from shared.errors import LogUnavailable

if TYPE_CHECKING:
    from shared.log import Log

READ_BATCH_MAX = 2000  # events handed out at once
GATHERED_MAX = 500  # records are handed out at once when so many have gathered
PULL_MAX = 4000  # events asked for ahead: what a slow reader may have to hold
EXPIRES_S = 30
HEARTBEAT_S = 5
SILENCE_S = 12.0  # neither event nor heartbeat for so long: make the consumer anew
INACTIVE_S = 60  # the server forgets an abandoned consumer after this
RETRY_S = 0.2
PICK_TIMEOUT_S = 5.0
SIFT_ABOVE = 2000  # events behind: fewer are there in a second whichever way they are read
SIFT_SHARE = 10  # the whole stream comes so many times faster than what is filtered out of it
NEAR_END = 1000  # events of any kind: from here on the filters are cheap


class Record(Struct, frozen=True, gc=False):
    """One stored event: its sequence, when the log stored it, and its bytes."""

    seq: int
    stored_ns: int
    subject: str
    data: bytes

    @property
    def stored_at(self) -> datetime:
        """When the log stored it."""
        return datetime.fromtimestamp(self.stored_ns / 1e9, UTC)


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records; ``pending`` is how many more the log held after the last of them."""

    records: Sequence[Record]
    pending: int


class Patience:
    """Which records may gather before they are handed out, and how long.

    A batch costs the same few round trips whatever is in it, so what nobody waits for comes in
    batches of a moment. ``gathers`` are the beginnings of such subjects; while ``waiting`` says so
    they do not gather either, and ``hurry`` hands out what has.
    """

    def __init__(self, gather_s: float, gathers: Sequence[str]) -> None:
        self.gather_s = gather_s
        self._gathers = tuple(subject.encode() for subject in gathers)
        self.waiting: Callable[[], bool] = lambda: False
        self.hurry: Callable[[], None] = lambda: None

    def may_gather(self, subject: bytes) -> bool:
        """Whether a record under ``subject`` may wait for others."""
        return subject.startswith(self._gathers) and not self.waiting()


AT_ONCE = Patience(0, ())


async def read(
    log: Log,
    stream: str,
    filters: Sequence[str],
    after: int,
    *,
    last_per_subject: bool = False,
    patience: Patience = AT_ONCE,
) -> AsyncGenerator[Batch, None]:
    """Batches of records after sequence ``after``; the first may be empty and says what is pending.

    While nothing is stored an empty batch comes every few seconds: the reader is still at the end.
    With ``last_per_subject`` it begins with the newest record of every subject instead.
    """
    while True:
        try:
            cursor = await _Cursor.open(log, stream, filters, after, last_per_subject, patience)
        except LogUnavailable:
            await asyncio.sleep(RETRY_S)
            continue
        try:
            if not last_per_subject and await _worth_sifting(log, stream, cursor, after):
                sifted = _sift(log, stream, filters, after, cursor.pending)
                async with contextlib.aclosing(sifted) as batches:
                    async for batch, reached in batches:
                        yield batch
                        after = reached
                continue
            async with contextlib.aclosing(cursor.batches()) as batches:
                async for batch in batches:
                    yield batch
                    if batch.records:
                        after = batch.records[-1].seq
                        last_per_subject = False
        except LogUnavailable:
            pass
        finally:
            await cursor.close()
        await asyncio.sleep(RETRY_S)


async def _worth_sifting(log: Log, stream: str, cursor: _Cursor, after: int) -> bool:
    """Whether so many of the events after ``after`` are wanted that all may as well be read."""
    if len(cursor.filters) < 2 or cursor.pending < SIFT_ABOVE:
        return False
    info = await log.api(f"STREAM.INFO.{stream}")
    return info["state"]["last_seq"] - after < cursor.pending * SIFT_SHARE


async def _sift(
    log: Log, stream: str, filters: Sequence[str], after: int, pending: int
) -> AsyncGenerator[tuple[Batch, int], None]:
    """Batches of what is under ``filters``, and the sequence reached, until the end is near."""
    wanted = _matcher(filters)
    cursor = await _Cursor.open(log, stream, (), after, False, AT_ONCE)
    try:
        async with contextlib.aclosing(cursor.batches()) as batches:
            async for batch in batches:
                records = [record for record in batch.records if wanted(record.subject)]
                pending = max(1, pending - len(records))  # 0 would say that the end is reached
                after = batch.records[-1].seq if batch.records else after
                yield Batch(records, pending), after
                if batch.pending < NEAR_END:
                    return
    finally:
        await cursor.close()


def _matcher(filters: Sequence[str]) -> Callable[[str], object]:
    """Tells whether a subject is under one of ``filters`` (``*`` one token, ``>`` the rest)."""
    tokens = {"*": r"[^.]+", ">": ".+"}
    patterns = (r"\.".join(tokens.get(t, re.escape(t)) for t in f.split(".")) for f in filters)
    return re.compile("|".join(patterns)).fullmatch


async def history(
    log: Log, stream: str, filters: Sequence[str], until: int | None = None
) -> list[Record]:
    """What the log holds under ``filters`` now, oldest first, up to sequence ``until``."""
    out: list[Record] = []
    async with contextlib.aclosing(read(log, stream, filters, 0)) as batches:
        async for batch in batches:
            out.extend(r for r in batch.records if until is None or r.seq <= until)
            if not batch.pending or (until and batch.records and batch.records[-1].seq >= until):
                break
    return out


async def pick(log: Log, stream: str, seqs: Sequence[int]) -> dict[int, bytes]:
    """The events with these sequences, all asked for at once; without those that were erased.

    LogUnavailable when the answers do not come in time.
    """
    found: dict[int, bytes] = {}
    missing: list[int] = []
    inbox, done = log.nc.new_inbox(), asyncio.Event()

    def received(subject: bytes, _: bytes, headers: bytes, payload: bytes) -> None:
        seq = int(subject.rpartition(b".")[2])
        if wire.status(headers)[0]:
            missing.append(seq)
        else:
            found[seq] = payload
        if len(found) + len(missing) == len(seqs):
            done.set()

    if not seqs:
        return found
    sub = await log.tap(f"{inbox}.*", received)
    try:
        log.nc.put([_ask_for(stream, seq, f"{inbox}.{seq}") for seq in seqs])
        async with asyncio.timeout(PICK_TIMEOUT_S):
            await done.wait()
    except TimeoutError:
        raise LogUnavailable("the log did not show what was asked for") from None
    finally:
        await log.unsubscribe(sub)
    for seq in missing:  # a replica that is behind has not got it yet: the leader knows
        with contextlib.suppress(NotInLog):
            found[seq] = await _from_leader(log, stream, seq)
    return found


class NotInLog(LogUnavailable):
    """It was erased, or never was."""


def _ask_for(stream: str, seq: int, reply: str) -> bytes:
    return wire.plain(f"$JS.API.DIRECT.GET.{stream}", reply, b'{"seq":%d}' % seq)


async def _from_leader(log: Log, stream: str, seq: int) -> bytes:
    asked = msgspec.json.encode({"seq": seq})
    reply = await log.request(f"$JS.API.STREAM.MSG.GET.{stream}", asked, PICK_TIMEOUT_S)
    answer = _decode_stored(reply.data)
    if answer.message is not None:
        return answer.message.data
    if answer.error is not None and answer.error.code == 404:
        raise NotInLog(f"{seq} is not in the log")
    raise LogUnavailable("the log did not show what was asked for")


class _Message(Struct):
    data: bytes = b""  # base64, as msgspec reads bytes


class _Error(Struct):
    code: int = 0


class _Stored(Struct):
    message: _Message | None = None
    error: _Error | None = None


_decode_stored = msgspec.json.Decoder(_Stored).decode


class _Cursor:
    def __init__(
        self,
        log: Log,
        stream: str,
        name: str,
        filters: Sequence[str],
        pending: int,
        patience: Patience,
    ) -> None:
        self.log, self.stream, self.name, self.pending = log, stream, name, pending
        self.filters = filters
        self.inbox = log.nc.new_inbox()
        self.patience = patience
        self.got: deque[Record] = deque()
        self.ready = False  # what was got has gathered long enough
        self.timer: asyncio.TimerHandle | None = None
        self.wake = asyncio.Event()
        self.asked = 0
        self.due = 1  # the consumer's own sequence: a gap shows a lost delivery
        self.heard = time.monotonic()
        self.broken = False
        self.idle = False  # the server said that everything stored was handed out
        self.sub: Any = None

    @classmethod
    async def open(
        cls,
        log: Log,
        stream: str,
        filters: Sequence[str],
        after: int,
        last: bool,
        patience: Patience,
    ) -> _Cursor:
        name = f"r{uuid.uuid4().hex}"
        config: dict[str, Any] = {
            "name": name,
            "filter_subjects": list(filters),
            "ack_policy": "none",
            "max_deliver": 1,
            "deliver_policy": "last_per_subject" if last else "by_start_sequence",
            "inactive_threshold": INACTIVE_S * 1_000_000_000,
            "mem_storage": True,
            "num_replicas": 1,
        }
        if not last:
            config["opt_start_seq"] = after + 1
        info = await log.api(
            f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config}
        )
        cursor = cls(log, stream, name, filters, info["num_pending"], patience)
        cursor.sub = await log.tap(cursor.inbox, cursor.received)
        log.on_reconnect.append(cursor.reconnected)
        if patience is not AT_ONCE:
            patience.hurry = cursor.hand_out
        return cursor

    def reconnected(self) -> None:
        self.broken = True
        self.wake.set()

    def hand_out(self) -> None:
        """What was got, if anything, is handed out now."""
        if self.got:
            self.ready = True
            self.wake.set()

    def received(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        """A record, or a word of the server's."""
        self.heard = time.monotonic()
        if not reply:
            self.wake.set()
            self._told(*wire.status(headers))
            return
        seq, due, stored_ns, pending = _metadata(reply)
        if due != self.due:
            self.broken = True
            self.wake.set()
            return
        self.due += 1
        self.asked -= 1
        self.pending, self.idle = pending, False
        self.got.append(Record(seq, stored_ns, subject.decode(), payload))
        if self.ready:
            return
        if len(self.got) >= GATHERED_MAX or not self.patience.may_gather(subject):
            self.hand_out()
        elif self.timer is None:
            loop = asyncio.get_running_loop()
            self.timer = loop.call_later(self.patience.gather_s, self.hand_out)

    def _told(self, status: int, headers: dict[str, str]) -> None:
        """A word of the server's about a request instead of an event."""
        if status == 100:  # idle: nothing to deliver beyond what it says it has delivered
            delivered = int(headers.get("Nats-Last-Consumer", self.due - 1))
            self.broken = self.broken or delivered >= self.due
            self.idle = delivered == self.due - 1
        elif status == 408 or headers.get("Description") == "Batch Completed":
            self.asked = 0  # the request is over: make a new one
        else:  # the consumer was deleted or forgotten (503), its leader moved, the server stops
            self.broken = True

    async def batches(self) -> AsyncGenerator[Batch, None]:
        yield Batch((), self.pending)
        while not self.broken:
            self.wake.clear()
            await self._ask()
            if self.got and self.ready:
                take = min(len(self.got), READ_BATCH_MAX)
                records = [self.got.popleft() for _ in range(take)]
                if not self.got:
                    self._gather_anew()
                yield Batch(records, self.pending + len(self.got))
                continue
            if self.idle and not self.got:
                self.idle, self.pending = False, 0
                yield Batch((), 0)
            # Not wait_for: before Python 3.12 it loses a cancellation that comes with the wake.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SILENCE_S):
                    await self.wake.wait()
            if not self.got and time.monotonic() - self.heard >= SILENCE_S:
                return

    def _gather_anew(self) -> None:
        self.ready = False
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    async def _ask(self) -> None:
        if self.asked + len(self.got) > PULL_MAX // 2:
            return
        self.asked += PULL_MAX
        body = {
            "batch": PULL_MAX,
            "expires": EXPIRES_S * 1_000_000_000,
            "idle_heartbeat": HEARTBEAT_S * 1_000_000_000,
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.name}"
        if not await self.log.publish(subject, msgspec.json.encode(body), reply=self.inbox):
            self.broken = True

    async def close(self) -> None:
        self._gather_anew()
        self.log.on_reconnect.remove(self.reconnected)
        await self.log.unsubscribe(self.sub)
        with contextlib.suppress(LogUnavailable):
            if self.log.connected:
                await self.log.api(f"CONSUMER.DELETE.{self.stream}.{self.name}", timeout=1)


def _metadata(reply: bytes) -> tuple[int, int, int, int]:
    """(stream seq, consumer seq, timestamp ns, pending) from an ack subject, version 1 or 2."""
    t = reply.split(b".")
    at = 5 if len(t) == 9 else 7  # v2 has the domain and the account's hash in front
    return int(t[at]), int(t[at + 1]), int(t[at + 2]), int(t[at + 3])
