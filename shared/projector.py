"""Feeds the log to one projection. PostgreSQL holds the only position; JetStream holds none.

A session advisory lock elects the one instance that projects and acts. Each batch moves the
position by compare-and-set first, in the transaction that saves the rows: should two ever believe
they lead, the row lock makes the second wait and then lose (ARCHITECTURE.md, rule 2).
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import getpid
from socket import gethostname
from typing import Any

import asyncpg
import structlog

from shared.bus import Bus, Wake
from shared.errors import LogRegressed, LogUnavailable, LostRace, ProjectionFailed
from shared.events import Event, UndecodableEvent, decode
from shared.log import Log
from shared.reader import Batch, Patience, Record
from shared.rows import Move, Rows, Table, fold
from shared.sql import UNREACHABLE, Database

RETRY_S = 0.25
GATHER_S = 0.01  # short against what a person or a webhook's receiver notices
STOPPED_RETRY_S = 2.0  # a person may have mended it: a replay, a restored log
LOAD_MAX = 1000  # events whose rows are looked for at once
READ_POSITION = "SELECT seq, log_created, tableoid FROM position"
# tableoid: rows at hand from before a replay must not go into the tables it swapped in
ADVANCE = "BEGIN; UPDATE position SET seq = {1} WHERE seq = {0} AND tableoid = {2}"
ADOPT = "UPDATE position SET log_created = $1 WHERE log_created IS NULL"
LEAD = "SELECT pg_advisory_lock(hashtext($1), hashtext(current_schema()))"
# A leader whose machine vanished gives up the lock after some 20 s, not after the two hours that
# TCP's own defaults take. A leader that cannot reach its lock any more knows it before that.
PROBE = "SELECT"
PROBE_S, PROBE_TIMEOUT_S = 5.0, 5.0
KEEPALIVES = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
}


Saved = Mapping[str, Mapping[tuple[str, ...], Any]]
"""What a batch changed: table → key → row (None: deleted). Rows live on: copy what you keep."""


@dataclass(frozen=True)
class Projection:
    """What a service makes of the log: subjects, tables, and the pure function between them.

    ``gathers`` are the beginnings of subjects whose rows nothing waits for but now and then a
    request: while none does, they gather for GATHER_S and come as one batch.
    """

    service: str
    filters: Sequence[str]
    tables: Sequence[Table[Any]]
    apply: Callable[[Rows, int, Event], None]
    gathers: Sequence[str] = ()


@dataclass
class Status:
    """How the projector stands, for readiness, metrics and people."""

    leading: bool = False
    caught_up: bool = False
    position: int = 0
    pending: int = 0
    at_head: float = 0.0  # monotonic time when it was last at the end of the log
    failed: str | None = None
    events: int = 0
    batches: int = 0
    waiters: list[tuple[int, int, asyncio.Future[bool]]] = field(
        default_factory=list[tuple[int, int, asyncio.Future[bool]]]
    )

    def head_age_s(self) -> float:
        """Seconds since the projection was last at the end of the log."""
        return time.monotonic() - self.at_head if self.at_head else float("inf")


class Projector:
    """Runs one projection in this process; also tells this process what others committed."""

    def __init__(self, projection: Projection, log: Log, db: Database, bus: Bus, url: str) -> None:
        self.projection, self.log, self.db, self.bus = projection, log, db, bus
        self._url = url
        self.status = Status()
        self.on_commit: list[Callable[[Wake], None]] = []
        self.on_rows: list[Callable[[Saved], None]] = []  # only while leading, before on_commit
        # As on_rows, but before the commit: the position it will reach, and all rows at hand. For
        # who acts on the log alone and not on rows that others read.
        self.on_fold: list[Callable[[int, Saved, Rows], None]] = []
        self.on_resign: list[Callable[[], None]] = []  # this instance leads no more
        self.leading = asyncio.Event()  # set while this instance leads *and* has caught up
        self.term = 0  # counts the times it began to lead: what an actor remembers is of one term
        self._ticket = 0
        self._patience = Patience(GATHER_S, projection.gathers)
        self._patience.waiting = lambda: bool(self.status.waiters)
        self._log = structlog.get_logger().bind(service=projection.service)

    # -- for everybody in the process ------------------------------------------------------------

    async def passed(self, seq: int, timeout_s: float) -> bool:
        """Wait until the rows hold everything up to ``seq``; False if not within ``timeout_s``."""
        status = self.status
        if status.position >= seq:
            return True
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._ticket += 1
        heapq.heappush(status.waiters, (seq, self._ticket, future))
        self._patience.hurry()
        timer = loop.call_later(timeout_s, _settle, future, False)
        try:
            return await future
        finally:
            timer.cancel()

    def heard(self, wake: Wake) -> None:
        """A batch was committed, here or by the leading instance elsewhere."""
        status = self.status
        status.position = max(status.position, wake.seq)
        while status.waiters and status.waiters[0][0] <= status.position:
            _settle(heapq.heappop(status.waiters)[2], True)
        for callback in self.on_commit:
            callback(wake)

    # -- leading ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Stand by, lead, project; for ever. Where a person must decide it says so and waits."""
        await self.bus.on_wake(self.projection.service, self._heard_from_others)
        while True:
            try:
                await self._lead()
            except LostRace as error:
                self._log.warning("another instance leads, standing by", reason=str(error))
            except UNREACHABLE as error:
                self._log.warning("waiting for PostgreSQL", error=type(error).__name__)
            except LogUnavailable as error:
                self._log.warning("waiting for NATS", error=str(error))
            except (LogRegressed, ProjectionFailed, asyncpg.PostgresError) as why:
                await self._stopped(_reason(self.projection.service, why))
            except Exception as error:  # noqa: BLE001 - a projector that dies unheard is worse
                self._log.exception("projector failed")
                await self._stopped(f"{self.projection.service} failed: {type(error).__name__}")
            finally:
                self._resign()
            _end_if_cancelled()
            await asyncio.sleep(RETRY_S)

    async def _stopped(self, reason: str) -> None:
        """Nothing is projected until a person acts; nothing is skipped. Said once."""
        if self.status.failed != reason:
            self._log.error("stopped: a person must decide", reason=reason)
        self.status.failed = reason
        self._resign()
        await asyncio.sleep(STOPPED_RETRY_S)

    def _resign(self) -> None:
        self.leading.clear()
        self.status.leading = self.status.caught_up = False
        for callback in self.on_resign:
            callback()

    def _heard_from_others(self, wake: Wake) -> None:
        if not self.status.leading:
            self.status.pending = wake.pending
            if not wake.pending:
                self.status.at_head = time.monotonic()
            self.heard(wake)

    async def _lead(self) -> None:
        """One term as leader: it lasts until the lock's connection or the race is lost."""
        async with contextlib.AsyncExitStack() as stack:
            leader = f"{self.projection.service}@{gethostname()}:{getpid()}"  # for `eightms lag`
            lock = await asyncpg.connect(
                self._url,
                timeout=5,
                server_settings={
                    "role": f"eightms_{self.projection.service}",
                    "search_path": self.projection.service,
                    "application_name": leader[:63],
                }
                | KEEPALIVES,
            )
            stack.push_async_callback(_close, lock)
            await lock.execute(LEAD, self.projection.service, timeout=None)
            seq, tables = await self._position(lock)
            self.status.leading, self.status.position = True, seq
            self.term += 1
            if self.status.failed is None:
                self._log.info("leading", position=seq, filters=list(self.projection.filters))
            # Rows may have changed while nobody led (a replay): everybody looks at all he holds.
            self.heard(Wake(seq, ["*"]))
            await self.bus.announce(self.projection.service, seq, {"*"})
            _end_if_cancelled()
            watch = asyncio.create_task(_until_closed(lock))
            work = asyncio.create_task(self._project(seq, tables))
            try:
                await asyncio.wait({watch, work}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
                raise LostRace("the lock's connection was closed")
            finally:
                watch.cancel()
                work.cancel()
                await asyncio.gather(watch, work, return_exceptions=True)

    async def _position(self, db: asyncpg.Connection) -> tuple[int, int]:
        """The position, and which tables it belongs to."""
        state = await self.log.state()
        await db.execute(ADOPT, state.created)
        row = await db.fetchrow(READ_POSITION)
        if row is None:
            raise LogRegressed(f"{self.projection.service} has no position: replay it")
        if row["log_created"] != state.created or state.last_seq < row["seq"]:
            raise LogRegressed(
                f"{self.projection.service} is at {row['seq']} of the log created "
                f"{row['log_created']}, but the log created {state.created} ends at "
                f"{state.last_seq}"
            )
        return row["seq"], row["tableoid"]

    async def _project(self, seq: int, tables: int) -> None:
        rows = Rows(self.projection.tables)
        goal: int | None = None  # events that were in the log when this term began
        read = self.log.read(self.projection.filters, seq, self._patience)
        async with self.db.projecting.acquire() as db, contextlib.aclosing(read) as batches:
            async for batch in batches:
                if goal is None:
                    goal = batch.pending
                if batch.records:
                    seq = await self._advance(db, rows, Move(seq, 0, tables), batch)
                    self.status.failed = None
                    goal -= len(batch.records)
                self.status.pending = batch.pending
                if batch.pending == 0:
                    goal = 0  # also where events were erased before they were read
                    self.status.at_head = time.monotonic()
                    if not batch.records:  # idle: the standbys' rows are as fresh as ours
                        await self.bus.announce(self.projection.service, seq, set())
                if goal <= 0 and not self.leading.is_set():
                    self._log.info("caught up", position=seq)
                    self.status.caught_up, self.status.failed = True, None
                    self.leading.set()

    async def _advance(self, db: Any, rows: Rows, move: Move, batch: Batch) -> int:
        """Commit the batch; if that fails, event by event up to the one that does, and name it."""
        try:
            return await self._commit(db, rows, move, batch)
        except ProjectionFailed:
            for left, record in zip(range(len(batch.records))[::-1], batch.records, strict=True):
                one = Batch((record,), batch.pending + left)
                move = move._replace(seq=await self._commit(db, rows, move, one))
        return move.seq

    async def _commit(self, db: Any, rows: Rows, move: Move, batch: Batch) -> int:
        reached = batch.records[-1].seq
        events = _decoded(self.projection.service, batch.records)
        try:
            await self._apply(rows, db, events, move._replace(reached=reached))
        except BaseException:
            rows.forget(all_rows=True)
            raise
        hints = set(rows.hints)
        for callback in self.on_rows:
            callback(rows.saved)
        rows.forget(all_rows=False)
        self.status.events += len(events)
        self.status.batches += 1
        wake = Wake(reached, sorted(hints), batch.pending)
        self.heard(wake)
        await self.bus.announce(self.projection.service, reached, hints, batch.pending)
        return reached

    async def _apply(
        self, rows: Rows, db: Any, events: list[tuple[int, Event]], move: Move
    ) -> None:
        """Fold, save and move the position; LostRace if another instance moved it before.

        All in one statement, but where an event asks for one of its own.
        """
        projection = self.projection
        at = await _fold(projection, rows, db, events)
        if rows.barrier is None:
            self._tell(move, rows.changed, rows)
            if not await _save(projection, rows, db, events, move):
                raise LostRace(f"expected to be at {move.seq}")
            return
        try:
            # One round trip: the simple protocol takes several statements; these are our numbers.
            if await db.execute(ADVANCE.format(*move)) != "UPDATE 1":
                raise LostRace(f"expected to be at {move.seq}")
            await _save(projection, rows, db, events[:at])
            await apply_all(projection, rows, db, events[at:])
            await db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(*UNREACHABLE):
                await db.execute("ROLLBACK")
            raise
        self._tell(move, rows.saved, rows)

    def _tell(self, move: Move, saved: Saved, rows: Rows) -> None:
        for callback in self.on_fold:
            callback(move.reached, saved, rows)


def _settle(future: asyncio.Future[bool], passed: bool) -> None:
    if not future.done():
        future.set_result(passed)


async def apply_all(
    projection: Projection, rows: Rows, db: Any, events: list[tuple[int, Event]]
) -> None:
    """Fold ``events`` into ``rows`` and save them within the transaction open on ``db``."""
    while events:
        at = await _fold(projection, rows, db, events)
        await _save(projection, rows, db, events[:at])
        events = events[at:]


async def _fold(
    projection: Projection, rows: Rows, db: Any, events: list[tuple[int, Event]]
) -> int:
    """Fold up to the event that asks for a statement; how many that were.

    Nothing is saved meanwhile: a row that later events touch again is saved once.
    """
    folded = 0
    while folded < len(events) and rows.barrier is None:
        piece = events[folded : folded + LOAD_MAX]  # of more, the end may be loaded in vain
        await rows.load(db, (event for _, event in piece))
        try:
            folded += fold(rows, projection.apply, piece)
        except Exception as error:
            raise ProjectionFailed(
                f"{projection.service} cannot apply {_span(piece)}: {type(error).__name__}"
            ) from error
    return folded


async def _save(
    projection: Projection,
    rows: Rows,
    db: Any,
    events: list[tuple[int, Event]],
    move: Move | None = None,
) -> bool:
    """Save what ``events`` made, then run the statement the last of them asked for."""
    try:
        moved = await rows.save(db, move)
        if rows.barrier is not None:
            statement, args = rows.barrier
            await db.execute(statement, *args)
    except (*UNREACHABLE, asyncpg.TransactionRollbackError):
        raise
    except asyncpg.PostgresError as error:
        raise ProjectionFailed(
            f"{projection.service} cannot save what {_span(events)} made: "
            f"{type(error).__name__} {error.constraint_name or error.column_name or ''}".strip()
        ) from None  # its text holds the row
    if rows.barrier is not None:
        hints, saved = set(rows.hints), rows.saved
        rows.forget(all_rows=True)
        rows.hints, rows.saved = hints, saved
    return moved


def _decoded(service: str, records: Sequence[Record]) -> list[tuple[int, Event]]:
    events: list[tuple[int, Event]] = []
    for record in records:
        try:
            events.append((record.seq, decode(record.data)))
        except UndecodableEvent as error:
            raise ProjectionFailed(f"{service} cannot read event {record.seq}: {error}") from error
    return events


def _span(events: Sequence[tuple[int, Event]]) -> str:
    """Which events: with one of them also its type and id, for the person who must decide."""
    (first, event), (last, _) = events[0], events[-1]
    if first == last:
        return f"event {first} ({event.type}, {event.id})"
    return f"events {first}–{last}"


def _reason(service: str, error: Exception) -> str:
    """Why it stopped, for the person; nothing of a row."""
    if isinstance(error, (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)):
        return f"{service} has no tables: eightms replay {service}"
    if isinstance(error, asyncpg.PostgresError):
        return f"PostgreSQL refuses: {type(error).__name__}"
    return str(error)


def _end_if_cancelled() -> None:
    """Before Python 3.12 wait_for, which the client of NATS uses, loses a cancellation that comes
    together with the answer; the task still knows of it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _until_closed(connection: asyncpg.Connection) -> None:
    """Ends when the connection that holds the lock is gone, or dead: before PostgreSQL, by
    KEEPALIVES, gives the lock to somebody else."""
    closed = asyncio.Event()
    connection.add_termination_listener(lambda _: closed.set())
    while not closed.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROBE_S):
                await closed.wait()
                return
        try:
            await connection.execute(PROBE, timeout=PROBE_TIMEOUT_S)
        except UNREACHABLE:
            return


async def _close(connection: asyncpg.Connection) -> None:
    with contextlib.suppress(*UNREACHABLE):
        await connection.close(timeout=2)
