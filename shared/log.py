"""The event log: append, read, look. The only file that imports nats.

Writing has two modes (ARCHITECTURE.md, rule 4). A *decision* carries a Guard: it is stored only if
nothing newer than what it was decided on is under the guard's subject. An *observation* has none;
its id keeps a retry from being stored twice. Appends that wait together are committed together: a
few go out singly, more as one atomic batch with one sync to disk (docs/benchmarks.md).

Reading acknowledges nothing: the reader keeps its own position (shared/projector.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.errors import NotFoundError
from nats.protocol.parser import Parser

from shared import reader, wire
from shared.errors import Conflict, LogUnavailable
from shared.events import ENTITIES, Event, encode
from shared.reader import AT_ONCE, Batch, Patience, Record

STREAM = "EVENTS"
APPEND_TIMEOUT_S = 5.0  # how long a caller waits for its append before it answers 503
RESEND_AFTER_S = 1.0  # an append without an answer is sent again with the same id
ALONE_MAX = 4  # up to so many in flight go singly (0.25 ms each); a batch takes 1 ms and one sync
SECOND_MIN = 32  # while a batch is on its way, so many are worth a second one; never a third
BATCH_MAX = 1000  # the server's limit for an atomic batch
BATCH_BYTES_MAX = 4 * 1024 * 1024
PING_S = 5  # a connection that is dead, and nobody said so, is given up after two or three
ERASE_TIMEOUT_S = 30.0  # the server rewrites a block of up to 8 MB
SAY_AGAIN_S = 5.0  # while the first connection fails, say so this often
_WRONG_LAST_SEQUENCE = (10071, 10164)

STREAM_CONFIG: dict[str, Any] = {
    "name": STREAM,
    "subjects": [f"{entity}.>" for entity in ENTITIES],
    "retention": "limits",
    "storage": "file",
    "compression": "s2",
    "discard": "new",
    "max_age": 0,
    "num_replicas": 1,
    "duplicate_window": 120_000_000_000,
    "allow_atomic": True,
    "allow_direct": True,
    "deny_delete": False,
    "deny_purge": False,
    "allow_rollup_hdrs": False,
}


@dataclass(frozen=True, slots=True)
class Guard:
    """Store only if the newest event under ``subject`` is ``expected``.

    ``subject`` may have wildcards; 0 expects that there is none.
    """

    subject: str
    expected: int


@dataclass(frozen=True, slots=True)
class LogState:
    """Where the log ends and when it was created: the identity a position belongs to."""

    last_seq: int
    created: datetime
    messages: int


class _Ack(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    count: int = 0
    duplicate: bool = False
    error: dict[str, Any] | None = None


class Repeated(int):
    """The sequence of an event that the log had already, under the same id: ours, or another's."""


class _Append:
    __slots__ = ("deadline", "done", "guard", "id", "payload", "sent_at", "subject")

    def __init__(
        self, subject: str, payload: bytes, id: str, guard: Guard | None, done: asyncio.Future[int]
    ) -> None:
        self.subject = subject
        self.payload = payload
        self.id = id
        self.guard = guard
        self.done = done
        self.sent_at = 0.0
        self.deadline = time.monotonic() + APPEND_TIMEOUT_S

    def frame(self, reply: str, batch: str = "") -> bytes:
        """The message to publish; ``batch`` are further header lines."""
        headers = f"Nats-Msg-Id: {self.id}\r\n{batch}"
        if self.guard is not None:
            headers += (
                f"Nats-Expected-Last-Subject-Sequence: {self.guard.expected}\r\n"
                f"Nats-Expected-Last-Subject-Sequence-Subject: {self.guard.subject}\r\n"
            )
        return wire.frame(self.subject, reply, headers, self.payload)


_decode_ack = msgspec.json.Decoder(_Ack).decode


Sink = Callable[[bytes, bytes, bytes, bytes], None]
"""Takes a message on the spot: subject, reply, headers, payload."""


class _Client(Client):
    """nats-py, with a shorter way for what there is much of: reading the log, appending to it.

    Its own takes most of the time of both: a queue, a task and parsed headers for each message.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sinks: dict[int, Sink] = {}  # by the subscription's id
        self._ps = _Parser(self)

    def put(self, frames: Sequence[bytes]) -> bool:
        """Write to the server now; False when there is no connection, and then it is dropped."""
        if not self.is_connected or self._transport is None:
            return False
        if self._pending:  # what was published the library's way goes first
            frames = [*self._pending, *frames]
            self._pending, self._pending_data_size = [], 0
        try:
            self._transport.write(b"".join(frames))
        except (RuntimeError, OSError):
            return False  # closed this very moment; uvloop says so with a RuntimeError
        return True

    async def deliver(self, piece: wire.Piece) -> None:
        """Hand a message to its sink, or to the library."""
        sid, subject, reply, headers, payload = piece
        sink = self.sinks.get(sid)
        if sink is None:
            await self._process_msg(sid, subject, reply, payload, headers)
            return
        try:
            sink(subject, reply, headers, payload)
        except Exception as error:  # noqa: BLE001 - the connection must outlive it
            await self._error_cb(error)


class _Parser(Parser):
    """Messages are cut out by shared/wire.py; the library's parser sees only control lines."""

    def reset(self) -> None:
        super().reset()
        self._rest = b""

    async def parse(self, data: bytes = b"") -> None:
        client = cast(_Client, cast(Any, self).nc)
        pieces, self._rest = wire.split(self._rest + data)
        for piece in pieces:
            if piece.sid:
                await client.deliver(piece)
            else:
                await super().parse(piece.payload)


class Log:
    """A connection to the log. Make one per process with ``await Log.connect(url, name)``."""

    def __init__(self, nc: _Client) -> None:
        self.nc = nc
        self.js = cast(Any, nc).jetstream()
        self.closed = asyncio.Event()  # the client gave up for good: only a restart helps
        self.on_reconnect: list[Callable[[], None]] = []
        self._inbox = nc.new_inbox()
        self._tokens = 0
        self._in_flight: dict[str, list[_Append]] = {}
        self._waiting: deque[_Append] = deque()
        self._again: list[_Append] = []
        self._pumping = False
        self._busy = asyncio.Event()  # something waits for its acknowledgement
        self._batches = 0  # on their way
        self._tasks: list[asyncio.Task[None]] = []
        self._asking: set[asyncio.Task[None]] = set()

    @classmethod
    async def connect(cls, url: str, name: str) -> Log:
        """Connected to NATS at ``url``, with its user and password; waits as long as it takes."""
        nc = _Client()
        holder: list[Log] = []
        said_at = 0.0

        async def reconnected() -> None:
            for log in holder:
                log._reconnected()

        async def closed() -> None:
            for log in holder:
                log.closed.set()

        async def complain(error: Exception) -> None:
            nonlocal said_at
            slog = structlog.get_logger()
            if isinstance(error, nats.errors.Error | OSError):
                if not holder and time.monotonic() - said_at > SAY_AGAIN_S:
                    said_at = time.monotonic()
                    slog.warning("waiting for NATS", error=type(error).__name__)
                elif "permissions" in str(error):
                    slog.error("NATS refused", error=str(error))
                # The rest is a lost connection: the client reconnects by itself, and what it cost
                # shows in appends and readiness.
            else:
                slog.error("a callback failed", exc_info=error)

        await nc.connect(
            url,
            name=name,
            no_echo=True,  # what a process announces is for the others
            max_reconnect_attempts=-1,
            reconnect_time_wait=cast(int, 0.1),
            connect_timeout=2,
            ping_interval=PING_S,
            max_outstanding_pings=2,
            pending_size=0,  # nothing is kept while disconnected: a 503 must not be stored later
            skip_subject_validation=True,
            reconnected_cb=reconnected,
            closed_cb=closed,
            error_cb=complain,
        )
        log = cls(nc)
        holder.append(log)
        await log.tap(f"{log._inbox}.*", log._acked)
        log._tasks = [asyncio.create_task(log._resend())]
        return log

    @property
    def connected(self) -> bool:
        """Whether NATS is reachable now."""
        return self.nc.is_connected

    async def close(self) -> None:
        """Wait for appends under way (bounded by their timeout), then close the connection."""
        while self._in_flight or self._waiting or self._again or self._asking:
            await asyncio.sleep(0.01)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(Exception):
            await self.nc.close()

    # -- writing ---------------------------------------------------------------------------------

    async def append(self, event: Event, guard: Guard | None = None) -> int:
        """Store ``event``; its sequence. Conflict if the guard refuses, LogUnavailable if late."""
        return await self.submit(event, guard)

    async def append_many(
        self, events: Sequence[Event], guards: Sequence[Guard | None] | None = None
    ) -> list[int | Conflict]:
        """Store events in their order; for each its sequence or the Conflict that refused it."""
        guards = guards or [None] * len(events)
        results = await asyncio.gather(
            *[self.submit(event, guard) for event, guard in zip(events, guards, strict=True)],
            return_exceptions=True,
        )
        out: list[int | Conflict] = []
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, Conflict):
                raise result
            out.append(result)
        return out

    def submit(self, event: Event, guard: Guard | None = None) -> asyncio.Future[int]:
        """Put ``event`` in line; the future ends as ``append`` does. Order in, order stored."""
        return self._line_up(event.subject, encode(event), event.id, guard)

    def restore(self, subject: str, id: str, payload: bytes) -> asyncio.Future[int]:
        """As ``submit``, for an event that a log held before: its bytes stay as they were."""
        return self._line_up(subject, payload, id, None)

    def _line_up(
        self, subject: str, payload: bytes, id: str, guard: Guard | None
    ) -> asyncio.Future[int]:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if not self.nc.is_connected:
            done.set_exception(LogUnavailable("no connection to NATS"))
            return done
        if len(payload) > self.nc.max_payload:  # the server would hang up on all of us
            done.set_exception(LogUnavailable(f"{len(payload)} bytes are too much for one event"))
            return done
        self._waiting.append(_Append(subject, payload, id, guard, done))
        self._kick()
        self._busy.set()
        return done

    def _kick(self) -> None:
        """Publish what waits at the end of this turn of the loop: what comes in it goes along."""
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        while self._waiting:
            only_batches = len(self._in_flight) == self._batches
            if not self._batches and len(self._waiting) + len(self._in_flight) <= ALONE_MAX:
                self._publish_alone(self._waiting.popleft())
            elif not self._in_flight:
                self._publish_batch()
            elif only_batches and self._batches == 1 and len(self._waiting) >= SECOND_MIN:
                self._publish_batch()  # the server takes it in while it syncs the first
            else:
                break  # what is on its way comes back soon; gather until then

    def _publish_alone(self, entry: _Append) -> None:
        # When disconnected, _resend sends it again, or ends it at its deadline.
        entry.sent_at = time.monotonic()
        self.nc.put([entry.frame(self._token([entry]))])

    def _publish_batch(self) -> None:
        entries: list[_Append] = []
        size = 0
        subjects: dict[str, set[str]] = {}  # key, the last token → what the batch writes under it
        while self._waiting and len(entries) < BATCH_MAX and size < BATCH_BYTES_MAX:
            entry = self._waiting[0]
            if entry.guard is not None and _is_guarded(entry.guard.subject, subjects):
                break  # the server does not hold a batch against itself: it goes with the next one
            entries.append(self._waiting.popleft())
            size += len(entry.payload)
            subjects.setdefault(entry.subject.rpartition(".")[2], set()).add(entry.subject)
        if len(entries) == 1:
            self._publish_alone(entries[0])
            return
        self._batches += 1
        token = self._token(entries)
        batch_id = f"Nats-Batch-Id: {uuid.uuid4().hex}\r\nNats-Batch-Sequence: "
        frames = [one.frame("", f"{batch_id}{n}\r\n") for n, one in enumerate(entries[:-1], 1)]
        commit = f"{batch_id}{len(entries)}\r\nNats-Batch-Commit: 1\r\n"
        frames.append(entries[-1].frame(token, commit))
        entries[0].sent_at = time.monotonic()
        self.nc.put(frames)

    def _token(self, entries: list[_Append]) -> str:
        self._tokens += 1
        reply = f"{self._inbox}.{self._tokens}"
        self._in_flight[reply] = entries
        return reply

    def _acked(self, subject: bytes, _: bytes, headers: bytes, payload: bytes) -> None:
        entries = self._in_flight.pop(subject.decode(), None)
        if entries is None:
            return
        if headers and wire.status(headers)[0]:  # 503: the stream has no leader yet
            self._again.extend(entries)
        else:
            ack = _decode_ack(payload)
            if ack.error is None:
                first = Repeated(ack.seq) if ack.duplicate else ack.seq - len(entries) + 1
                for n, entry in enumerate(entries):
                    _finish(entry, first + n if n else first)
            elif len(entries) > 1:  # one refusal refuses the batch: each alone, in order
                for entry in entries:
                    self._publish_alone(entry)
            else:
                self._refused(entries[0], ack.error)
        if len(entries) > 1:
            self._batches -= 1  # only now: what came later goes out later
        self._kick()

    def _refused(self, entry: _Append, error: dict[str, Any]) -> None:
        if entry.guard is None or error.get("err_code") not in _WRONG_LAST_SEQUENCE:
            _fail(entry, LogUnavailable(f"the log refused the append: {error.get('description')}"))
            return
        task = asyncio.create_task(self._conflict_or_ours(entry, entry.guard))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _conflict_or_ours(self, entry: _Append, guard: Guard) -> None:
        """R1 checks the sequence before the id: after a lost ack our own event blocks us."""
        try:
            last = await self.js.get_last_msg(STREAM, guard.subject)
        except NotFoundError:
            _fail(entry, Conflict(guard.subject, guard.expected, 0))
            return
        except (nats.errors.Error, TimeoutError):
            self._again.append(entry)
            return
        headers: dict[str, str] = last.headers or {}
        if headers.get("Nats-Msg-Id") == entry.id and last.seq:
            _finish(entry, last.seq)
        else:
            _fail(entry, Conflict(guard.subject, guard.expected, last.seq or 0))

    async def _resend(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            if not (self._in_flight or self._again or self._waiting or self._asking):
                self._busy.clear()
                await self._busy.wait()
                continue
            now = time.monotonic()
            late = [r for r, es in self._in_flight.items() if now - es[0].sent_at > RESEND_AFTER_S]
            for reply in late:
                entries = self._in_flight.pop(reply)
                if len(entries) > 1:
                    self._batches -= 1
                self._again.extend(entries)
            again, self._again = self._again, []
            for entry in again:
                if now > entry.deadline:
                    _fail(entry, LogUnavailable("no acknowledgement in time"))
                elif not entry.done.cancelled():
                    self._publish_alone(entry)
            while self._waiting and now > self._waiting[0].deadline:
                _fail(self._waiting.popleft(), LogUnavailable("no acknowledgement in time"))
            self._kick()

    def _reconnected(self) -> None:
        for callback in self.on_reconnect:
            callback()
        for entries in self._in_flight.values():
            entries[0].sent_at = 0.0  # the answers are lost with the connection: ask again at once

    # -- erasing ---------------------------------------------------------------------------------

    async def erase(self, seq: int) -> bool:
        """Overwrite one event where it is stored; False if it was gone. Only api may."""
        try:
            await self.api(f"STREAM.MSG.DELETE.{STREAM}", {"seq": seq}, ERASE_TIMEOUT_S)
        except LogUnavailable as error:
            if not str(error).endswith(("not found", "no message found", "deleted message")):
                raise
            return False
        return True

    # -- reading ---------------------------------------------------------------------------------

    def read(
        self, filters: Sequence[str], after: int, patience: Patience = AT_ONCE
    ) -> AsyncGenerator[Batch, None]:
        """Every event under ``filters`` after ``after``, in order, without end (reader.py)."""
        return reader.read(self, STREAM, filters, after, patience=patience)

    async def state(self) -> LogState:
        """Where the log ends now; LogUnavailable if NATS or the stream is away."""
        info = await self.api("STREAM.INFO." + STREAM)
        state = info["state"]
        created = datetime.fromisoformat(info["created"])  # nanoseconds are cut to microseconds
        return LogState(state["last_seq"], created, state["messages"])

    async def ensure_stream(self) -> None:
        """Create the stream, or bring its configuration to ours. Needs the deploy user."""
        try:
            await self.api("STREAM.CREATE." + STREAM, STREAM_CONFIG)
        except LogUnavailable as error:
            if "already in use" not in str(error):
                raise
            info = await self.api("STREAM.INFO." + STREAM)
            await self.api(
                "STREAM.UPDATE." + STREAM,
                STREAM_CONFIG | {"metadata": info["config"].get("metadata", {})},
            )

    async def api(self, subject: str, body: Any = None, timeout: float = 5.0) -> dict[str, Any]:
        """A JetStream API request; its JSON answer, or LogUnavailable with the server's words."""
        payload = b"" if body is None else msgspec.json.encode(body)
        msg = await self.request("$JS.API." + subject, payload, timeout)
        answer: dict[str, Any] = msgspec.json.decode(msg.data)
        if "error" in answer:
            raise LogUnavailable(answer["error"].get("description", "refused"))
        return answer

    async def history(self, filters: Sequence[str], until: int | None = None) -> list[Record]:
        """Everything stored under ``filters`` now (up to sequence ``until``), oldest first."""
        return await reader.history(self, STREAM, filters, until)

    # -- beside the log: core NATS, best effort --------------------------------------------------

    async def publish(
        self, subject: str, payload: bytes, *, reply: str = "", headers: Any = None
    ) -> bool:
        """Hand it to NATS; False when there is no connection, and then it is dropped."""
        try:
            if headers is None and len(payload) <= self.nc.max_payload:
                return self.nc.put([wire.plain(subject, reply, payload)])
            await self.nc.publish(subject, payload, reply=reply, headers=headers)
        except (nats.errors.Error, OSError):
            return False
        return True

    async def request(self, subject: str, payload: bytes, timeout: float) -> Msg:
        """One answer; LogUnavailable when none comes in time or nobody is there."""
        try:
            return await self.nc.request(subject, payload, timeout=timeout)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            short = ".".join(subject.removeprefix("$JS.API.").split(".")[:2])
            raise LogUnavailable(f"{short}: {type(error).__name__}") from error

    async def subscribe(
        self, subject: str, heard: Callable[[Msg], Awaitable[None]], *, queue: str = ""
    ) -> Subscription:
        """Call ``heard`` for each message, however many wait: dropping one would be silent."""
        return await cast(Any, self.nc).subscribe(
            subject, queue, cb=heard, pending_msgs_limit=-1, pending_bytes_limit=-1
        )

    async def tap(self, subject: str, sink: Sink) -> Subscription:
        """As ``subscribe``, but on the spot: no queue, no task, headers as they came."""
        subscription = await self.subscribe(subject, _unheard)
        self.nc.sinks[_sid(subscription)] = sink
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Hear no more of it, whether connected or not."""
        self.nc.sinks.pop(_sid(subscription), None)
        with contextlib.suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()


def _is_guarded(guard: str, subjects: dict[str, set[str]]) -> bool:
    """Whether ``guard`` covers one of ``subjects``, which are grouped by their last token."""
    last = guard.rpartition(".")[2]
    groups = subjects.values() if last in ("*", ">") else [subjects.get(last, set())]
    return any(_covers(guard, subject) for group in groups for subject in group)


def _covers(guard: str, subject: str) -> bool:
    wanted, tokens = guard.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted, tokens = wanted[:-1], tokens[: len(wanted) - 1]
    return len(wanted) == len(tokens) and all(
        w in ("*", t) for w, t in zip(wanted, tokens, strict=True)
    )


async def _unheard(_: Msg) -> None:
    """For a subscription with a sink: the library never gets its messages."""


def _sid(subscription: Subscription) -> int:
    return cast(Any, subscription)._id


def _finish(entry: _Append, seq: int) -> None:
    if not entry.done.done():
        entry.done.set_result(seq)


def _fail(entry: _Append, error: Exception) -> None:
    if not entry.done.done():
        entry.done.set_exception(error)
