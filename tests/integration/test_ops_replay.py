"""`eightms replay` and `verify`, on real servers: what they rebuild and find, and who notices."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from cli import replay
from cli.__main__ import main
from cli.rebuild import aside
from cli.verify import verify
from services.scheduler.project import PROJECTION
from shared import events as e
from shared import sql
from shared.bus import Bus
from shared.log import Log
from shared.projector import Projector
from tests.integration import ops_story as story

ROW_COUNT = "SELECT count(*) FROM message"


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[Log]:
    """A log with a stream, as ops."""
    log = await Log.connect(nats_url, "test")
    await log.ensure_stream()
    yield log
    await log.close()


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@asynccontextmanager
async def live(log: Log, url: str) -> AsyncIterator[Projector]:
    """The scheduler's projection, live in this process."""
    admin = await asyncpg.connect(url)
    await sql.migrate(admin, "scheduler")
    await admin.close()
    database = await sql.Database.open(url, "scheduler")
    projector = Projector(PROJECTION, log, database, Bus(log), url)
    running = asyncio.create_task(projector.run())
    try:
        yield projector
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await database.close()


async def run(monkeypatch: pytest.MonkeyPatch, url: str, nats_url: str, *argv: str) -> int:
    """The command, in a thread of its own as it would be in a process of its own."""
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("NATS_URL", nats_url)
    return await asyncio.to_thread(main, argv)


async def dump(db: asyncpg.Connection, schema: str) -> dict[str, list[str]]:
    """Every projected row, as text."""
    return {
        table.name: [
            str(tuple(row))
            for row in await db.fetch(
                f"SELECT {', '.join(table.columns)} FROM {schema}.{table.name} ORDER BY 1"
            )
        ]
        for table in PROJECTION.tables
    }


async def test_a_replay_makes_the_same_tables_again(
    log: Log,
    db: asyncpg.Connection,
    database_url: str,
    nats_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await story.append(log, list(story.beginning()))
    end = await story.tell(log, 0, 300)
    async with live(log, database_url) as projector:
        assert await projector.passed(end, story.PATIENCE_S)
    before = await dump(db, "scheduler")
    tables_before = await db.fetchval("SELECT 'scheduler.message'::regclass::oid")

    assert await run(monkeypatch, database_url, nats_url, "replay", "scheduler") == 0

    assert await dump(db, "scheduler") == before
    assert await db.fetchval("SELECT 'scheduler.message'::regclass::oid") != tables_before
    assert len(before["message"]) == 300
    schemas = [r[0] for r in await db.fetch("SELECT nspname FROM pg_namespace")]
    assert not [name for name in schemas if "__" in name]


async def test_readers_find_every_row_at_every_moment_of_a_swap(
    log: Log, database_url: str, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await story.append(log, list(story.beginning()))
    end = await story.tell(log, 0, 500)
    stop = asyncio.Event()
    seen: list[int] = []

    async def read_for_ever(projector: Projector) -> None:
        while not stop.is_set():
            async with projector.db.tenant(story.WORKSPACE) as db:
                seen.append(await db.fetchval(ROW_COUNT))
                await db.fetch("SELECT * FROM message WHERE id = $1", story.message_id(1))
                seen.append(await db.fetchval(ROW_COUNT))

    async def write_for_ever() -> None:
        n = 500
        while not stop.is_set():
            await story.tell(log, n, n + 5)
            n += 5
            await asyncio.sleep(0.01)

    async with live(log, database_url) as projector:
        assert await projector.passed(end, story.PATIENCE_S)
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(read_for_ever(projector))
            group.create_task(write_for_ever())
            for _ in range(4):
                assert await run(monkeypatch, database_url, nats_url, "replay", "scheduler") == 0
                await asyncio.wait_for(projector.leading.wait(), story.PATIENCE_S)
            stop.set()
        end = await story.tell(log, 9_000, 9_001)
        assert await projector.passed(end, story.PATIENCE_S)
        async with projector.db.tenant(story.WORKSPACE) as db:  # statements prepared long ago
            assert await db.fetchval(
                "SELECT count(*) FROM message WHERE id = $1", story.message_id(9_000)
            )
    assert min(seen) >= 500
    assert len(seen) > 200
    assert (await verify(database_url, log, PROJECTION)).found == []


async def test_what_waits_for_its_own_write_is_answered_through_a_swap(
    log: Log, database_url: str, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await story.append(log, list(story.beginning()))
    end = await story.tell(log, 0, 200)
    async with live(log, database_url) as projector:
        assert await projector.passed(end, story.PATIENCE_S)
        swapping = asyncio.create_task(
            run(monkeypatch, database_url, nats_url, "replay", "scheduler")
        )
        n = 200
        while not swapping.done():
            assert await projector.passed(await story.tell(log, n, n + 1), story.PATIENCE_S)
            n += 1
        assert await swapping == 0
        assert n > 201


async def test_verify_finds_what_was_changed_by_hand_and_masks_it(
    log: Log, db: asyncpg.Connection, database_url: str, nats_url: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    await story.append(log, list(story.beginning()))
    end = await story.tell(log, 0, 50)
    async with live(log, database_url) as projector:
        assert await projector.passed(end, story.PATIENCE_S)
    await db.execute(
        "UPDATE scheduler.message SET state = 'waiting', to_number = '+15550001111' WHERE id = $1",
        story.message_id(7),
    )
    await db.execute("DELETE FROM scheduler.message WHERE id = $1", story.message_id(8))
    await db.execute("UPDATE scheduler.phone SET id = 'phn_X' WHERE id = $1", story.PHONES[0])

    assert await run(monkeypatch, database_url, nats_url, "verify", "scheduler", "--json") == 1

    out = capsys.readouterr().out.splitlines()[-1]
    found = {(d["table"], d["key"]): d for d in json.loads(out)["differences"]}
    changed = found["message", story.message_id(7)]["columns"]
    assert changed["state"] == {"live": "waiting", "log": "final"}
    assert set(changed) == {"state", "to_number"}
    assert found["message", story.message_id(8)]["only"] == "log"
    assert found["phone", story.PHONES[0]]["only"] == "log"
    assert len(found) == 4
    assert "5550001111" not in out
    assert "bread" not in out


async def test_a_replay_mends_rows_and_the_leader_forgets_the_old_ones(
    log: Log, db: asyncpg.Connection, database_url: str
) -> None:
    """A leader keeps rows in memory: it must not write the bad one back with the next event."""
    await story.append(log, list(story.beginning()))
    end = await story.tell(log, 0, 20)
    saved = e.ContactSaved(contact_id=story.contact_id(3), number=story.number(3))
    async with live(log, database_url) as projector:
        assert await projector.passed(end, story.PATIENCE_S)
    await db.execute("UPDATE scheduler.contact SET opted_out = true")
    async with live(log, database_url) as projector:
        end = await story.append(log, [story.make(saved, "saved", 1)])
        assert await projector.passed(end, story.PATIENCE_S)  # read the bad row, and keeps it

        async with aside(PROJECTION, "scheduler__next", log, database_url) as new:
            await new.project(end)
            await replay.swap(db, new, log)

        end = await story.append(log, [story.make(saved, "saved", 2)])
        assert await projector.passed(end, story.PATIENCE_S)
    assert await db.fetchval("SELECT count(*) FROM scheduler.contact WHERE opted_out") == 0
    assert (await verify(database_url, log, PROJECTION)).found == []


async def test_verify_agrees_while_events_flow(log: Log, database_url: str) -> None:
    await story.append(log, list(story.beginning()))
    await story.tell(log, 0, 200)
    stop = asyncio.Event()

    async def write_for_ever() -> None:
        n = 200
        while not stop.is_set():
            await story.tell(log, n, n + 3)
            n += 3

    async with live(log, database_url) as projector:
        await projector.leading.wait()
        writing = asyncio.create_task(write_for_ever())
        verdicts = [await verify(database_url, log, PROJECTION) for _ in range(3)]
        stop.set()
        await writing
    assert [v.found for v in verdicts] == [[], [], []]
    assert verdicts[0].position < verdicts[-1].position


async def test_a_service_whose_tables_were_dropped_recovers_with_a_replay(
    log: Log, db: asyncpg.Connection, database_url: str, nats_url: str,
    nats_urls: dict[str, str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    await story.append(log, list(story.beginning()))
    await story.tell(log, 0, 100)
    async with story.service("scheduler", database_url, nats_urls["scheduler"]) as scheduler:
        await db.execute("DROP SCHEMA scheduler CASCADE")
        await story.tell(log, 100, 101)
        await scheduler.until_ready(False)

        assert await run(monkeypatch, database_url, nats_url, "replay", "scheduler") == 0

        await scheduler.until_ready()
        await story.tell(log, 101, 102)
        async with asyncio.timeout(story.PATIENCE_S):
            while await db.fetchval("SELECT count(*) FROM scheduler.message") != 102:
                await asyncio.sleep(0.02)
    assert (await verify(database_url, log, PROJECTION)).found == []


async def test_until_leaves_the_past_beside_the_present_read_only(
    log: Log, db: asyncpg.Connection, database_url: str, nats_url: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    await story.append(log, list(story.beginning()))
    middle = await story.tell(log, 0, 40)
    await story.tell(log, 40, 60)

    until = ("--until", str(middle))
    assert await run(monkeypatch, database_url, nats_url, "replay", "scheduler", *until) == 0

    schema = f"scheduler__at_{middle}"
    assert await db.fetchval(f"SELECT count(*) FROM {schema}.message") == 40
    assert schema in capsys.readouterr().err
    await db.execute("SET ROLE eightms_scheduler")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.execute(f"DELETE FROM {schema}.message")


async def test_an_event_that_cannot_be_applied_leaves_the_live_tables_as_they_are(
    log: Log, db: asyncpg.Connection, database_url: str, nats_url: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    await story.append(log, list(story.beginning()))
    end = await story.tell(log, 0, 10)
    async with live(log, database_url) as projector:
        assert await projector.passed(end, story.PATIENCE_S)
    before = await dump(db, "scheduler")
    bad = e.WorkspaceUpdated(workspace_id=story.WORKSPACE, name="x", timezone="UTC", failover_s=-1)
    await story.append(log, [story.make(bad, "bad", 1)])

    assert await run(monkeypatch, database_url, nats_url, "replay", "scheduler") == 1

    assert "scheduler cannot save" in capsys.readouterr().err
    assert await dump(db, "scheduler") == before


async def test_two_rebuilds_of_one_service_do_not_meet(
    log: Log, database_url: str, nats_url: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    await story.append(log, list(story.beginning()))
    async with aside(PROJECTION, "scheduler__next", log, database_url):
        assert await run(monkeypatch, database_url, nats_url, "replay", "scheduler") == 1
    assert "under way" in capsys.readouterr().err


def test_an_unknown_service_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["replay", "schedular", "--data", str(tmp_path)]) == 2
    assert "Services: " in capsys.readouterr().err
