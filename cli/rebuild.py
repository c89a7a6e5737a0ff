"""A service's tables made again from the log, in a schema of their own beside the live ones.

Replay swaps them in, verify compares them. The same `apply` and the same statements run as in the
service; only batches are larger, and reading the next one overlaps with storing this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncGenerator
from typing import Any

from cli.errors import CommandError
from cli.render import Progress
from cli.stack import connect_database
from shared import sql
from shared.errors import ProjectionFailed
from shared.events import Event, UndecodableEvent, decode
from shared.log import Log
from shared.projector import Projection, apply_all
from shared.rows import Rows

BATCH = 8_000
"""Events folded and stored together: a row that many of them touch is written once."""

BATCHES_AHEAD = 2
"""Read and decoded while one is being stored; more would only hold memory."""

KEPT_ROWS_MAX = 200_000
"""Rows of a table in memory, some 150 MB: until it has more, nothing is read back."""

GC_YOUNG = 200_000
"""A rebuild makes millions of objects that die young, and hardly a cycle: look for those rarely."""

ONE_AT_A_TIME = "SELECT pg_try_advisory_lock(hashtext('eightms aside'), hashtext($1))"

Batch = tuple[int, int, list[tuple[int, Event]]]
"""How many records there were, the last one's sequence, and the events."""


class Aside:
    """The tables of one service under another schema's name. Make it with `aside`."""

    def __init__(
        self, projection: Projection, schema: str, log: Log, database: sql.Database
    ) -> None:
        self.projection, self.schema = projection, schema
        self.seq = 0  # everything up to here is in
        self._log, self._database = log, database
        self._rows = Rows(projection.tables, empty=True, kept_max=KEPT_ROWS_MAX)

    @property
    def database(self) -> sql.Database:
        """Pools whose search path is this schema."""
        return self._database

    async def pending(self, after: int) -> int:
        """How many events of this projection the log holds after sequence ``after``."""
        async with contextlib.aclosing(self._log.read(self.projection.filters, after)) as batches:
            async for batch in batches:
                return batch.pending
        return 0

    async def project(self, until: int, progress: Progress | None = None) -> None:
        """Bring the tables up to exactly sequence ``until``: every event up to it and none after.

        CommandError names the event that cannot be read or applied.
        """
        if until <= self.seq:
            return
        queue: asyncio.Queue[Batch | None] = asyncio.Queue(BATCHES_AHEAD)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(until, queue))
                group.create_task(self._store(queue, progress))
        except ExceptionGroup as failed:
            first = failed.exceptions[0]
            if isinstance(first, (ProjectionFailed, UndecodableEvent)):
                raise CommandError(
                    f"{first}.",
                    "This version's projection does not fit the log: nothing was changed.",
                ) from None
            raise first from None
        self.seq = until
        async with self._database.owner.acquire() as db:
            await db.execute("UPDATE position SET seq = $1", until)

    async def _read(self, until: int, queue: asyncio.Queue[Batch | None]) -> None:
        events: list[tuple[int, Event]] = []
        async with contextlib.aclosing(
            self._log.read(self.projection.filters, self.seq)
        ) as batches:
            async for batch in batches:
                events += [
                    (r.seq, _decoded(r.seq, r.data)) for r in batch.records if r.seq <= until
                ]
                over = not batch.pending or bool(batch.records and batch.records[-1].seq >= until)
                if events and (over or len(events) >= BATCH):
                    await queue.put((len(events), events[-1][0], events))
                    events = []
                if over:
                    break
        await queue.put(None)

    async def _store(self, queue: asyncio.Queue[Batch | None], progress: Progress | None) -> None:
        async with self._database.owner.acquire() as db:
            while (batch := await queue.get()) is not None:
                count, reached, events = batch
                async with db.transaction():
                    await db.execute("SET LOCAL synchronous_commit = off")
                    await db.execute("UPDATE position SET seq = $1", reached)
                    await apply_all(self.projection, self._rows, db, events)
                self._rows.forget(all_rows=False)
                self.seq = reached
                if progress is not None:
                    progress.add(count)


def _decoded(seq: int, raw: bytes) -> Event:
    try:
        return decode(raw)
    except UndecodableEvent as error:
        raise UndecodableEvent(f"event {seq} cannot be read by this version: {error}") from None


@contextlib.asynccontextmanager
async def aside(
    projection: Projection, schema: str, log: Log, url: str
) -> AsyncGenerator[Aside, None]:
    """Empty tables of ``projection`` in ``schema``; what an earlier try left there is dropped.

    Whoever enters decides what becomes of the schema; after a failure it is dropped. One at a time
    for each service: CommandError.
    """
    gc.set_threshold(GC_YOUNG, 20, 100)
    admin = await connect_database(url)
    try:
        if not await admin.fetchval(ONE_AT_A_TIME, projection.service):
            raise CommandError(
                f"Another replay or verify of {projection.service} is under way.",
                "Try again when it is done.",
            )
        await drop(admin, schema)
        await sql.migrate(admin, projection.service, schema=schema)
        database = await sql.Database.open(url, projection.service, schema=schema)
        try:
            created = (await log.state()).created
            async with database.owner.acquire() as db:
                await db.execute("UPDATE position SET log_created = $1", created)
            yield Aside(projection, schema, log, database)
        finally:
            await database.close()
    except BaseException:
        with contextlib.suppress(*sql.UNREACHABLE):
            await drop(admin, schema)
        raise
    finally:
        await admin.close()


async def drop(db: Any, schema: str) -> None:
    """Delete a schema with its tables, if it is there."""
    await db.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


async def live_position(db: Any, service: str) -> int | None:
    """How far the live tables are; None where there are none."""
    if await db.fetchval("SELECT to_regclass($1)", f"{service}.position") is None:
        return None
    return await db.fetchval(f"SELECT seq FROM {service}.position")  # noqa: S608 - a known name
