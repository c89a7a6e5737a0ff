"""A service's tables are thrown away, or replaced while it works: they come back the same, and
nothing is done a second time — no command, no webhook, no confirmation."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from shared.rows import Table
from tests.faults.evidence import Wish
from tests.faults.storm import Storm, seeded
from tests.stack import SERVICES, Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PHONES = 10
RATE = 20.0
LOAD_S = 4.0


async def lived(stack: Stack) -> Storm:
    """A stack with some history: sends, replies, STOPs, webhooks; all of it settled."""
    rng, seed = seeded()
    storm = Storm(stack, rng, seed, rate=RATE)
    await storm.prepare(PHONES)
    async with storm.under_load():
        await asyncio.sleep(LOAD_S)
    await storm.settle()
    return storm


async def one_more(storm: Storm, n: int) -> None:
    """A text all the way to its webhook: whatever else was to be done has been done by then."""
    to, body = f"+1408555{1000 + n}", f"one more {n}"
    message = await storm.stack.send(to, body)
    storm.load.wishes[message["id"]] = Wish(to, body)
    await storm.settle()


def done(storm: Storm) -> Counter[str]:
    """How often the outside was touched, and each kind of event said."""
    stack = storm.stack
    counts = Counter({f"log {kind}": n for kind, n in stack.count.items()})
    counts["radio"] = len(stack.phones_db("SELECT 1 FROM radio"))
    counts["webhooks"] = len(stack.receiver.hits)
    return counts


async def contents(database: asyncpg.Connection, service: str) -> dict[str, list[Any]]:
    """Every projected table, its rows in order."""
    found: dict[str, list[Any]] = {}
    for table in _tables(service):
        columns = ", ".join(f"to_jsonb({column})::text" for column in table.columns)
        rows = await database.fetch(f"SELECT {columns} FROM {service}.{table.name} ORDER BY 1, 2")
        found[table.name] = sorted(tuple(row) for row in rows)
    return found


async def reached(database: asyncpg.Connection, service: str, position: int) -> bool:
    return await database.fetchval(f"SELECT seq FROM {service}.position") >= position


def _tables(service: str) -> tuple[Table[Any], ...]:
    import importlib

    return tuple(importlib.import_module(f"services.{service}.project").PROJECTION.tables)


async def test_dropped_tables_come_back_the_same_and_nothing_is_repeated(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        storm = await lived(stack)
        database = await asyncpg.connect(stack.postgres.url())
        try:
            for n, service in enumerate(SERVICES):
                before, counts = await contents(database, service), done(storm)
                position = await database.fetchval(f"SELECT seq FROM {service}.position")
                await stack.stop(*stack.instances_of(service))
                await database.execute(f"DROP SCHEMA {service} CASCADE")
                await stack.bring_up(*stack.instances_of(service))
                await stack.until(
                    f"{service} has read the log again",
                    lambda s=service, p=position: reached(database, s, p),
                )
                assert await contents(database, service) == before, service
                await one_more(storm, n)
                extra = done(storm)
                extra.subtract(counts)
                assert _of_one_text(extra), (service, {k: v for k, v in extra.items() if v})
        finally:
            await database.close()
        await storm.count()
        await stack.verify()


def _of_one_text(extra: Counter[str]) -> bool:
    """What one text makes: one call of a radio, two webhooks, and each of its events once."""
    touched = extra["radio"] == 1 and extra["webhooks"] == 2
    told = {kind: n for kind, n in extra.items() if kind.startswith("log ") and n}
    expected = {
        f"log {kind}": 1
        for kind in ("send.requested", "send.dispatched", "sms.accepted", "sms.submitted",
                     "sms.sent", "sms.delivered")
    }  # fmt: skip
    attempts = told.pop("log webhook.attempted", 0)
    return touched and attempts == 2 and told == expected


async def test_a_replay_while_everything_runs_changes_nothing(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        storm = await lived(stack)
        async with storm.under_load():
            for service in SERVICES:
                code, out, errors = await stack.command("replay", service)
                assert code == 0, (service, out, errors, stack.report())
        await storm.settle()
        await storm.count()
        await stack.verify()
