"""Log → rows on real servers: one transaction a batch, one leader, no event skipped, none twice."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest_asyncio

from cli.embedded import NatsServer, PostgresServer
from shared import events as e
from shared import sql
from shared.bus import Bus, Wake
from shared.log import STREAM, Log
from shared.projector import Projector, apply_all
from shared.rows import Rows
from shared.sql import Database
from tests.examples import PHONE, example
from tests.fakes import tiny_service
from tests.tiny import Tiny, event, note, until

tiny_service.register()
PROJECTION = tiny_service.service().projection
NOTES = "SELECT * FROM note ORDER BY id"
PEOPLE = "SELECT * FROM person ORDER BY id"
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_locks
 WHERE locktype = 'advisory' AND granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Place:
    """A migrated database and a log, and projectors in this process."""

    def __init__(self, url: str, nats_url: str) -> None:
        self.url, self.nats_url = url, nats_url
        self._exit = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "Place":
        admin = await asyncpg.connect(self.url)
        await sql.migrate(admin, "tiny")
        await admin.close()
        self.log = await self.connect()
        await self.log.ensure_stream()
        self.db = await Database.open(self.url, "tiny")
        self._exit.push_async_callback(self.db.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def connect(self) -> Log:
        log = await Log.connect(self.nats_url, "test")
        self._exit.push_async_callback(log.close)
        return log

    @contextlib.asynccontextmanager
    async def projecting(self, **changes: Any) -> AsyncIterator[Projector]:
        projection = dataclasses.replace(PROJECTION, **changes)
        log = await self.connect()
        projector = Projector(projection, log, self.db, Bus(log), self.url)
        task = asyncio.create_task(projector.run())
        try:
            yield projector
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def rows(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        found = [await self.db.owner.fetch(statement) for statement in (NOTES, PEOPLE)]
        return [dict(row) for row in found[0]], [dict(row) for row in found[1]]

    async def cut_leader(self) -> None:
        """End the connection that holds the lock; its process lives on."""
        admin = await asyncpg.connect(self.url)
        await admin.execute(CUT)
        await admin.close()

    async def position(self) -> int:
        return await self.db.owner.fetchval("SELECT seq FROM position")


@pytest_asyncio.fixture
async def place(database_url: str, nats_url: str) -> AsyncIterator[Place]:
    async with Place(database_url, nats_url) as made:
        yield made


async def led(projector: Projector) -> None:
    async with asyncio.timeout(60):
        await projector.leading.wait()


async def failed(projector: Projector) -> str:
    return await until("it stopped", lambda: projector.status.failed)


# -- batches and transactions ----------------------------------------------------------------------


async def test_events_become_rows_and_the_position_moves_with_them(place: Place) -> None:
    await place.log.append_many([note(n) for n in range(500)])
    async with place.projecting() as projector:
        assert await projector.passed(500, 60)
        notes, people = await place.rows()
        assert len(notes) == 500
        assert {one["tags"] == ["api"] for one in notes} == {True}
        assert sorted(one["notes"] for one in people) == [71] * 4 + [72] * 3
        assert await place.position() == 500
        seq = await place.log.append(note(500))
        assert await projector.passed(seq, 60)
        assert len((await place.rows())[0]) == 501


async def test_a_batch_is_one_transaction_position_first(place: Place) -> None:
    """Whoever sees the position sees its rows, and the other way round."""
    inconsistent: list[tuple[int, int]] = []
    over = asyncio.Event()

    async def watch() -> None:
        while not over.is_set():
            seen = await place.db.owner.fetchrow(
                "SELECT (SELECT seq FROM position) AS seq, (SELECT count(*) FROM note) AS notes"
            )
            assert seen is not None
            if seen["seq"] != seen["notes"]:
                inconsistent.append((seen["seq"], seen["notes"]))
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    async with place.projecting() as projector:
        for start in range(0, 2000, 100):
            await place.log.append_many([note(n) for n in range(start, start + 100)])
        assert await projector.passed(2000, 60)
        assert projector.status.events == 2000
        assert 1 <= projector.status.batches < 2000
    over.set()
    await watching
    assert inconsistent == []


async def test_a_restart_goes_on_behind_the_position_and_repeats_nothing(place: Place) -> None:
    for part in range(4):
        seqs = await place.log.append_many([note(part * 100 + n) for n in range(100)])
        async with place.projecting() as projector:
            assert await projector.passed(int(str(seqs[-1])), 60)
            assert projector.status.events == 100
    notes, people = await place.rows()
    assert len(notes) == 400
    assert sum(one["notes"] for one in people) == 400


async def test_a_text_with_a_zero_character_is_stored_without_it(place: Place) -> None:
    """PostgreSQL cannot store U+0000; one such text must not stop everybody's."""
    tricky = "a\x00b \\u0000 \\\x00 \\\\u0000"
    async with place.projecting() as projector:
        seq = await place.log.append(note(1, tricky))
        assert await projector.passed(seq, 60)
    assert (await place.rows())[0][0]["body"] == tricky.replace("\x00", "�")


async def test_commits_tell_what_changed_and_what_was_saved(place: Place) -> None:
    wakes: list[Wake] = []
    saved: list[dict[str, Any]] = []
    async with place.projecting() as projector:
        projector.on_commit.append(wakes.append)
        projector.on_rows.append(
            lambda rows: saved.append({name: set(keys) for name, keys in rows.items()})
        )
        await led(projector)
        sent = note(1)
        seq = await place.log.append(sent)
        assert await projector.passed(seq, 60)
    last = next(wake for wake in wakes if wake.seq == seq)
    assert (last.hints, last.pending) == ([sent.data.contact_id], 0)
    assert saved[-1] == {"note": {(sent.data.message_id,)}, "person": {(sent.data.contact_id,)}}


async def test_passed_waits_for_the_rows_and_no_longer_than_told(place: Place) -> None:
    async with place.projecting() as projector:
        await led(projector)
        assert not await projector.passed(1, 0.05)
        waits = asyncio.create_task(projector.passed(3, 60))
        early = asyncio.create_task(projector.passed(1, 60))
        await place.log.append(note(1))
        assert await early
        assert not waits.done()
        await place.log.append_many([note(2), note(3)])
        assert await waits
        assert await projector.passed(2, 0)


async def test_a_statement_runs_between_what_is_before_and_behind_its_event(place: Place) -> None:
    """``rows.then``: everything before it is saved first, everything behind it sees its work."""
    phone = {"phone_id": PHONE}
    batch = [
        note(1, **phone),
        note(2),
        example(e.PhoneUnpaired),
        note(1, body="again", **phone),  # a repeat: the row was changed by the statement
        note(3, **phone),
        event(
            e.SendRejected(message_id=note(1).data.message_id, contact_id="c", code="", detail="")
        ),
        note(4, **phone),
        event(e.PhoneUnpaired(phone_id=PHONE)),
    ]
    await place.log.append_many(batch)
    async with place.projecting() as projector:
        assert await projector.passed(len(batch), 60)
    states = {one["id"]: (one["state"], one["seen"]) for one in (await place.rows())[0]}
    assert [states[note(n).data.message_id] for n in (1, 2, 3, 4)] == [
        ("unpaired", 2),
        ("open", 1),
        ("unpaired", 1),
        ("unpaired", 1),
    ]
    statements = [note(n, **phone) for n in range(10, 40)]
    for at in (5, 5, 20):
        statements.insert(at, event(e.PhoneUnpaired(phone_id=PHONE)))
    await place.log.append_many(statements)
    async with place.projecting() as projector:
        assert await projector.passed(len(batch) + len(statements), 60)
    notes = {one["id"]: one["state"] for one in (await place.rows())[0]}
    last = [notes[note(n).data.message_id] for n in range(10, 40)]
    assert last == ["unpaired"] * 18 + ["open"] * 12


async def test_a_rebuild_from_nothing_gives_the_same_tables(place: Place) -> None:
    events = [note(n, "reject me" if n % 9 == 0 else "Hi", phone_id=PHONE) for n in range(300)]
    events[100:100] = [example(e.PhoneUnpaired)]
    events[200:200] = [
        event(
            e.SendRejected(message_id=events[n].data.message_id, contact_id="c", code="", detail="")
        )
        for n in range(50)
    ]
    events.append(
        event(e.ContactSaved(contact_id=note(3).data.contact_id, number="+1", first_name="Ada"))
    )
    await place.log.append_many(events)
    async with place.projecting() as projector:
        assert await projector.passed(len(events), 60)
    before = await place.rows()
    admin = await asyncpg.connect(place.url)
    await admin.execute("DROP SCHEMA tiny CASCADE")
    await sql.migrate(admin, "tiny")
    await admin.close()
    await place.db.close()
    place.db = await Database.open(place.url, "tiny")
    async with place.projecting() as projector:
        assert await projector.passed(len(events), 60)
    assert await place.rows() == before
    await place.db.close()
    place.db = await Database.open(place.url, "tiny")


async def test_batches_of_every_size_fold_to_the_same_rows(place: Place) -> None:
    """One event at a time, or all at once: what a batch boundary cuts through must not matter."""
    events = [note(n % 40, phone_id=PHONE if n % 3 else None) for n in range(120)]
    events[60:60] = [example(e.PhoneUnpaired)]
    numbered = list(enumerate(events, 1))
    outcomes: list[Any] = []
    for size in (1, 7, 121):
        rows = Rows(PROJECTION.tables)
        async with place.db.owner.acquire() as db:
            transaction = db.transaction()
            await transaction.start()
            for start in range(0, len(numbered), size):
                await apply_all(PROJECTION, rows, db, numbered[start : start + size])
                rows.forget(all_rows=size == 7)
            outcomes.append([dict(row) for row in await db.fetch(NOTES)])
            await transaction.rollback()
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert len(outcomes[0]) == 40


# -- what stops a projection -----------------------------------------------------------------------


async def test_an_event_that_cannot_be_applied_stops_it_by_name_and_skips_nothing(
    place: Place,
) -> None:
    events = [note(n) for n in range(50)]
    events[30] = note(30, "poison")
    await place.log.append_many(events)
    async with place.projecting() as projector:
        reason = await failed(projector)
        assert "tiny cannot apply event 31" in reason
        assert events[30].id in reason
        assert "send.requested" in reason
        assert not projector.leading.is_set()
        assert await place.position() == 30
        assert len((await place.rows())[0]) == 30


async def test_a_row_the_schema_forbids_stops_it_by_name(place: Place) -> None:
    await place.log.append_many([note(1), note(2, "violate"), note(3)])
    async with place.projecting() as projector:
        reason = await failed(projector)
        assert "event 2" in reason
        assert "note_state" in reason
        assert "violate" not in reason
        assert await place.position() == 1


async def test_bytes_that_are_no_event_stop_it_by_name(place: Place) -> None:
    await place.log.append(note(1))
    subject = note(2).subject
    await place.log.js.publish(subject, b'{"id":"evt_1","type":"send.invented"}')
    async with place.projecting() as projector:
        assert "cannot read event 2" in await failed(projector)
        assert await place.position() == 1


async def test_an_event_of_a_newer_version_stops_it(place: Place) -> None:
    raw = e.encode(note(1)).replace(b'"v":1', b'"v":2', 1)
    await place.log.js.publish(note(1).subject, raw)
    async with place.projecting() as projector:
        assert "cannot read event 1" in await failed(projector)


async def test_a_log_that_is_another_one_stops_it(place: Place) -> None:
    await place.log.append_many([note(n) for n in range(10)])
    async with place.projecting() as projector:
        assert await projector.passed(10, 60)
    await place.log.api(f"STREAM.DELETE.{STREAM}")
    await place.log.ensure_stream()
    await place.log.append_many([note(n) for n in range(20, 50)])
    async with place.projecting() as projector:
        assert "created" in await failed(projector)
        assert len((await place.rows())[0]) == 10


async def test_a_log_that_ends_before_the_position_stops_it(place: Place) -> None:
    await place.log.append_many([note(n) for n in range(10)])
    async with place.projecting() as projector:
        assert await projector.passed(10, 60)
    await place.db.owner.execute("UPDATE position SET seq = 11")
    async with place.projecting() as projector:
        assert "ends at 10" in await failed(projector)


async def test_erased_events_stop_nothing(place: Place) -> None:
    await place.log.append_many([note(n) for n in range(10)])
    for seq in (3, 9, 10):
        await place.log.api(f"STREAM.MSG.DELETE.{STREAM}", {"seq": seq})
    async with place.projecting() as projector:
        await led(projector)
        assert len((await place.rows())[0]) == 7
        seq = await place.log.append(note(11))
        assert seq == 11
        assert await projector.passed(11, 60)


async def test_it_goes_on_by_itself_once_the_cause_is_mended(place: Place) -> None:
    def mended(rows: Rows, seq: int, one: e.Event) -> None:
        if not broken:
            PROJECTION.apply(rows, seq, one)
        elif isinstance(one.data, e.SendRequested):
            raise ValueError("not yet")

    broken = ["yes"]
    await place.log.append(note(1))
    async with place.projecting(apply=mended) as projector:
        await failed(projector)
        broken.clear()
        assert await projector.passed(1, 60)
        await led(projector)
        assert projector.status.failed is None


# -- one leader ------------------------------------------------------------------------------------


async def test_of_two_one_leads_and_both_know_the_rows(place: Place) -> None:
    async with place.projecting() as first:
        await led(first)
        async with place.projecting() as second:
            seqs = await place.log.append_many([note(n) for n in range(200)])
            assert await first.passed(int(str(seqs[-1])), 60)
            assert await second.passed(int(str(seqs[-1])), 60)
            assert (first.status.leading, second.status.leading) == (True, False)
            assert (first.status.events, second.status.events) == (200, 0)


async def test_who_lost_the_lock_stands_by_and_a_zombie_writes_nothing(place: Place) -> None:
    """The leader's lock connection is cut while it goes on projecting: it loses, cleanly."""
    await place.log.append_many([note(n) for n in range(300)])
    async with place.projecting() as zombie:
        await led(zombie)
        async with place.projecting() as heir:
            over = asyncio.Event()

            async def write() -> None:
                n = 300
                while not over.is_set():
                    await place.log.append_many([note(n + k) for k in range(20)])
                    n += 20
                    await asyncio.sleep(0.01)

            writing = asyncio.create_task(write())
            for _ in range(6):
                before = (zombie.term, heir.term)
                await place.cut_leader()

                def changed(before: tuple[int, int] = before) -> bool:
                    return (zombie.term, heir.term) != before

                await until("somebody leads again", changed)
            over.set()
            await writing
            last = (await place.log.state()).last_seq
            assert await heir.passed(last, 60)
            assert await zombie.passed(last, 60)
            assert zombie.status.failed is heir.status.failed is None
            assert zombie.status.leading != heir.status.leading
    notes, people = await place.rows()
    assert len(notes) == sum(one["notes"] for one in people) == last
    assert {one["seen"] for one in notes} == {1}


async def test_a_position_moved_by_another_ends_the_term_and_changes_nothing(place: Place) -> None:
    await place.log.append_many([note(n) for n in range(5)])
    async with place.projecting() as projector:
        await led(projector)
        term = projector.term
        await place.db.owner.execute("UPDATE position SET seq = 7")
        await place.log.append_many([note(n) for n in range(5, 10)])  # 6 to 10
        await until("another term begins", lambda: projector.term > term)
        assert await projector.passed(10, 60)
    notes = [one["seq"] for one in (await place.rows())[0]]
    assert sorted(notes) == [1, 2, 3, 4, 5, 8, 9, 10]


async def test_actors_hear_when_a_term_ends(place: Place) -> None:
    resigned: list[int] = []
    async with place.projecting() as projector:
        projector.on_resign.append(lambda: resigned.append(projector.term))
        await led(projector)
        await place.cut_leader()
        await until("it resigned", lambda: resigned)
        await until("it leads again", lambda: projector.term == 2 and projector.leading.is_set())


async def test_when_the_leading_process_is_killed_the_other_takes_over(
    tmp_path: Path, place: Place
) -> None:
    async with (
        Tiny(tmp_path, place.url, place.nats_url, "one") as one,
        Tiny(tmp_path, place.url, place.nats_url, "two") as two,
    ):
        await one.until_ready()
        await two.until_ready()
        n = 0
        for _ in range(4):
            leads = await until("one leads", lambda: _leading(one, two))
            stands_by = two if leads is one else one
            await place.log.append_many([note(n + k) for k in range(100)])
            leads.program.kill()
            await place.log.append_many([note(n + 100 + k) for k in range(100)])
            n += 200
            await stands_by.until_leading()
            await stands_by.until_notes(n)
            leads.program.start()
            await leads.until_ready()
            await leads.until_notes(n)
        assert await one.program.stop() == await two.program.stop() == 0
    _, people = await place.rows()
    assert sum(person["notes"] for person in people) == n


async def _leading(*tiny: Tiny) -> Tiny | None:
    for one in tiny:
        if (await one.ready()).get("leading"):
            return one
    return None


async def test_an_actor_acts_only_on_the_leader_and_a_crash_repeats_nothing(
    tmp_path: Path, place: Place
) -> None:
    async with (
        Tiny(tmp_path, place.url, place.nats_url, "one") as one,
        Tiny(tmp_path, place.url, place.nats_url, "two") as two,
    ):
        await one.until_ready()
        await two.until_ready()
        total = 600
        for start in range(0, total, 100):
            many = [note(n, "reject me") for n in range(start, start + 100)]
            await place.log.append_many(many)
            leads = await until("one leads", lambda: _leading(one, two))
            leads.program.kill()
            leads.program.start()

        async def rejected() -> bool:
            return len(await place.log.history(["send.rejected.>"])) >= total

        await until("all are rejected", rejected)
        events = [e.decode(r.data) for r in await place.log.history(["send.rejected.>"])]
        assert len({one.data.message_id for one in events}) == len(events) == total

        async def projected() -> bool:
            return {one["seen"] for one in (await place.rows())[0]} == {2}

        await until("all outcomes are projected", projected)


# -- servers that go away --------------------------------------------------------------------------


async def test_it_recovers_from_a_killed_postgresql(
    postgres_server: PostgresServer, nats_url: str
) -> None:
    async with Place(postgres_server.url(), nats_url) as place, place.projecting() as projector:
        await led(projector)
        n = 0
        for _ in range(3):
            await place.log.append_many([note(n + k) for k in range(50)])
            postgres_server.kill()
            await place.log.append_many([note(n + 50 + k) for k in range(50)])
            n += 100
            assert not await projector.passed(n, 0.2)
            await postgres_server.start()
            assert await projector.passed(n, 60)
        assert projector.status.failed is None
        notes, people = await place.rows()
        assert len(notes) == sum(one["notes"] for one in people) == n


async def test_it_recovers_from_a_killed_nats(
    postgres_server: PostgresServer, nats_server: NatsServer
) -> None:
    url = postgres_server.url()
    async with Place(url, nats_server.url()) as place, place.projecting() as projector:
        n = 0
        for _ in range(3):
            await place.log.append_many([note(n + k) for k in range(50)])
            n += 50
            nats_server.kill()
            await nats_server.start()
            await until("the test is connected", lambda: place.log.connected)
            assert await projector.passed(n, 60)
        notes, _ = await place.rows()
        assert len(notes) == n
