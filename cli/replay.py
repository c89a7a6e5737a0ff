"""`eightms replay SERVICE`: new tables from the log, swapped in for the live ones.

The service goes on meanwhile. At the end the position of the live tables is locked, so that its
projector waits; the rest of the log is projected; then both schemas change their names in one
transaction, and the projector finds its position gone and begins again on the new tables
(shared/projector.py: LostRace). Readers resolve names at every statement, so they see the old
tables or the new ones, and never none.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from datetime import datetime
from urllib.parse import unquote, urlsplit

import asyncpg

from cli import moments, stack
from cli.embedded_postgresql import wheel_program
from cli.errors import UsageError
from cli.leaders import END_TERM
from cli.rebuild import Aside, aside, drop
from cli.render import Progress, counted, moment, say, span
from shared.log import Log
from shared.projector import Projection
from shared.sql import MIGRATION_LOCK

CLOSE_ENOUGH = 2_000
"""So few events are projected while the live projector waits: a tenth of a second."""

CATCH_UPS_MAX = 20
"""Rounds of catching up before the swap waits no longer for a quiet moment."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("service", nargs="*", metavar="SERVICE", help="such as scheduler, or api")
    parser.add_argument("--all", action="store_true", help="every service, one after the other")
    parser.add_argument(
        "--until",
        metavar="TIME|SEQ",
        help="stop there and leave read-only tables beside the live ones, to look at the past",
    )
    stack.data_argument(parser)
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Rebuild, then swap or leave aside."""
    services = chosen(args)
    projections = [stack.projection_of(name) for name in services]
    async with stack.opened(args.data) as found, found.log() as log:
        for projection in projections:
            if args.until is not None:
                await _look_back(found, log, projection, args.until)
            else:
                await _rebuild(found.database_url, log, projection)
    return 0


def chosen(args: argparse.Namespace) -> list[str]:
    """The services named, or all of them. UsageError: neither, or both."""
    if bool(args.service) == args.all:
        raise UsageError("Name a service, or say --all.", f"Services: {', '.join(_known())}.")
    return args.service or _known()


def _known() -> list[str]:
    return stack.installed_services()


async def _rebuild(url: str, log: Log, projection: Projection) -> None:
    service = projection.service
    async with aside(projection, f"{service}__next", log, url) as new:
        end = (await log.state()).last_seq
        with Progress(f"Rebuilding {service}", await new.pending(0)) as progress:
            await new.project(end, progress)
            for _ in range(CATCH_UPS_MAX):
                end = (await log.state()).last_seq
                if end - new.seq <= CLOSE_ENOUGH:
                    break
                await new.project(end, progress)
        seconds = progress.seconds
        db = await stack.connect_database(url)
        try:
            waited_s = await swap(db, new, log)
        finally:
            await db.close()
    say(
        f"{service} now runs on tables made of {counted(progress.done, 'event')} in"
        f" {span(seconds)}, at position {new.seq:,}. Its projector waited {span(waited_s)}."
    )


async def swap(db: asyncpg.Connection, new: Aside, log: Log) -> float:
    """Put the tables of ``new`` in the place of the live ones; seconds the projector waited."""
    service, old = new.projection.service, f"{new.projection.service}__old"
    await drop(db, old)  # left by a replay that was killed after its swap
    await db.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)  # no service makes tables now
    began = time.monotonic()
    try:
        async with db.transaction():
            there = await db.fetchval("SELECT to_regnamespace($1) IS NOT NULL", service)
            if await db.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{service}.position"):
                await db.execute(f"SELECT seq FROM {service}.position FOR UPDATE")  # noqa: S608
            began = time.monotonic()
            await new.project((await log.state()).last_seq)
            if there:
                await db.execute(f"ALTER SCHEMA {service} RENAME TO {old}")
                if await db.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{old}.position"):
                    await db.execute(f"DELETE FROM {old}.position")  # noqa: S608
            await db.execute(f"ALTER SCHEMA {new.schema} RENAME TO {service}")
    finally:
        await db.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)
    waited_s = time.monotonic() - began
    # The leader holds rows of the old tables in memory. An idle one would go on with them until the
    # next event: without its lock it begins anew now.
    await db.execute(END_TERM, service)
    await drop(db, old)
    return waited_s


async def _look_back(found: stack.Stack, log: Log, projection: Projection, until: str) -> None:
    service = projection.service
    seq, at = await moments.until(log, until)
    schema = f"{service}__at_{seq}"
    async with aside(projection, schema, log, found.database_url) as past:
        total = await past.pending(0) - await past.pending(seq)
        with Progress(f"Rebuilding {service} as of {seq:,}", total) as progress:
            await past.project(seq, progress)
        async with past.database.owner.acquire() as db:
            await db.execute(
                f"REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA {schema}"
                f" FROM eightms_{service}"
            )
    _tell_how(found, service, schema, seq, at)


def _tell_how(found: stack.Stack, service: str, schema: str, seq: int, at: datetime | None) -> None:
    when = f" ({moment(at)} UTC)" if at else ""
    psql = _psql(found)
    say(f"{service} as it was after event {seq:,}{when} is in the schema {schema}, read-only.")
    say(f"Look at it:  {psql} -c 'SET search_path TO {schema}' -c '\\dt'")
    say(f"Delete it:   {psql} -c 'DROP SCHEMA {schema} CASCADE'")


def _psql(found: stack.Stack) -> str:
    """A command that a person may type, without the password in it."""
    if os.environ.get("DATABASE_URL"):
        return 'psql "$DATABASE_URL"'
    parts = urlsplit(found.database_url)
    path = found.data / "pg_service.conf"
    lines = ("[eightms]", f"host={parts.hostname}", f"port={parts.port}", f"user={parts.username}")
    more = (f"password={unquote(parts.password or '')}", f"dbname={parts.path[1:]}", "")
    stack.write_private(path, "\n".join((*lines, *more)))
    return f"PGSERVICEFILE={path} {shutil.which('psql') or wheel_program('psql')} service=eightms"
