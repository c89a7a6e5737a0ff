"""Appending on a real server: order, ids, guards, lost acknowledgements, lost connections."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from shared import events as e
from shared import ids
from shared import log as log_module
from shared.errors import Conflict, LogUnavailable
from shared.log import STREAM, Guard, Log
from tests.examples import example
from tests.tiny import WORKSPACE, event, note, until


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[Log]:
    made = await Log.connect(nats_url, "test")
    await made.ensure_stream()
    yield made
    await made.close()


def opted_out(contact_id: str, id: str | None = None) -> e.Event:
    data = e.ContactOptedOut(contact_id=contact_id, number="+14155550123", source="keyword")
    return event(data, id)


def guard(contact_id: str, expected: int) -> Guard:
    return Guard(f"contact.*.{WORKSPACE}.{contact_id}", expected)


async def stored(log: Log) -> list[tuple[int, e.Event]]:
    return [(r.seq, e.decode(r.data)) for r in await log.history([">"])]


# -- order and ids -----------------------------------------------------------------------------


async def test_events_are_stored_in_the_order_they_were_handed_in(log: Log) -> None:
    singles = [note(n) for n in range(5)]
    many = [note(n) for n in range(5, 2600)]  # several atomic batches
    seqs: list[Any] = [await log.append(one) for one in singles]
    seqs += await log.append_many(many)
    assert seqs == list(range(1, 2601))
    assert [one.id for _, one in await stored(log)] == [one.id for one in (*singles, *many)]


async def test_concurrent_appends_all_get_their_own_sequence(log: Log) -> None:
    events = [note(n) for n in range(3000)]
    seqs = await asyncio.gather(*(log.append(one) for one in events))
    assert sorted(seqs) == list(range(1, 3001))
    there = dict(await stored(log))
    assert all(there[seq].id == one.id for seq, one in zip(seqs, events, strict=True))


async def test_the_same_id_again_is_the_same_event(log: Log) -> None:
    first = note(1)
    assert await log.append(first) == 1
    assert await log.append(first) == 1
    rest = [note(n) for n in range(2, 60)]
    seqs = await log.append_many([*rest, first, rest[3]])  # repeats among many new ones
    assert seqs[-2:] == [1, seqs[3]]
    assert len(await stored(log)) == 59


async def test_a_whole_batch_again_is_the_same_batch(log: Log) -> None:
    events = [note(n) for n in range(200)]
    first = await log.append_many(events)
    assert await log.append_many(events) == first
    assert len(await stored(log)) == 200


async def test_a_stored_event_comes_back_as_it_was(log: Log) -> None:
    sent = [example(kind) for kind in e.ALL]
    await log.append_many(sent)
    assert [one for _, one in await stored(log)] == sent
    subjects = [record.subject for record in await log.history([">"])]
    assert subjects == [one.subject for one in sent]


# -- guards ------------------------------------------------------------------------------------


async def test_a_guard_lets_pass_what_was_decided_on_the_newest_event(log: Log) -> None:
    contact = ids.new("con")
    seq = await log.append(opted_out(contact))
    assert await log.append(note(1), guard(contact, seq)) == seq + 1
    assert await log.append(note(2), guard(ids.new("con"), 0)) == seq + 2


async def test_a_guard_refuses_what_was_decided_too_early_and_says_where_it_stands(
    log: Log,
) -> None:
    contact = ids.new("con")
    seq = await log.append(opted_out(contact))
    with pytest.raises(Conflict) as refused:
        await log.append(note(1), guard(contact, 0))
    assert refused.value.last_seq == seq
    with pytest.raises(Conflict) as refused:
        await log.append(note(2), guard(ids.new("con"), 7))
    assert refused.value.last_seq == 0
    assert len(await stored(log)) == 1


async def test_in_a_batch_only_the_guarded_ones_fail(log: Log) -> None:
    out, others = ids.new("con"), [ids.new("con") for _ in range(40)]
    seq = await log.append(opted_out(out))
    events = [note(n) for n in range(60)]
    guards = [guard(out, 0) if n % 10 == 5 else None for n in range(60)]
    guards[:5] = [guard(one, 0) for one in others[:5]]
    results = await log.append_many(events, guards)
    refused = [r for r in results if isinstance(r, Conflict)]
    assert [n for n, r in enumerate(results) if isinstance(r, Conflict)] == list(range(5, 60, 10))
    assert {r.last_seq for r in refused} == {seq}
    there = [one.id for _, one in await stored(log)][1:]
    assert there == [one.id for n, one in enumerate(events) if n % 10 != 5]


async def test_a_guard_sees_what_is_before_it_in_its_own_batch(log: Log) -> None:
    contact = ids.new("con")
    events = [note(n) for n in range(20)]
    events[7] = opted_out(contact)
    guards: list[Guard | None] = [None] * 20
    guards[3] = guards[12] = guard(contact, 0)
    results = await log.append_many(events, guards)
    assert [n for n, r in enumerate(results) if isinstance(r, Conflict)] == [12]


async def test_of_many_decisions_on_one_fact_at_once_one_is_stored(log: Log) -> None:
    contacts = [ids.new("con") for _ in range(10)]
    wanted = [opted_out(contact) for contact in contacts * 30]
    results = await log.append_many(wanted, [guard(one.data.contact_id, 0) for one in wanted])
    assert [isinstance(r, Conflict) for r in results] == [False] * 10 + [True] * 290
    assert len(await stored(log)) == 10


async def test_of_two_decisions_on_one_fact_one_is_refused(log: Log, nats_url: str) -> None:
    other = await Log.connect(nats_url, "other")
    won = Counter[str]()
    for n in range(50):
        contact = ids.new("con")
        results = await asyncio.gather(
            log.append(opted_out(contact), guard(contact, 0)),
            other.append(opted_out(contact), guard(contact, 0)),
            return_exceptions=True,
        )
        won[",".join(sorted(type(r).__name__ for r in results))] += 1
        assert len(await log.history([f"contact.*.{WORKSPACE}.{contact}"])) == 1, n
    assert won == {"Conflict,int": 50}
    await other.close()


async def test_a_guarded_event_that_was_stored_is_recognized_when_repeated(log: Log) -> None:
    """What a retry after a lost acknowledgement meets: its own event stands under its guard."""
    contact = ids.new("con")
    saved = opted_out(contact)
    seq = await log.append(saved, guard(contact, 0))
    assert await log.append(saved, guard(contact, 0)) == seq
    again = await log.append_many([saved, note(1)] * 10, [guard(contact, 0), None] * 10)
    assert again[::2] == [seq] * 10
    assert len(await stored(log)) == 2


# -- losing the server ---------------------------------------------------------------------------


async def test_nothing_acknowledged_is_lost_and_nothing_is_stored_twice_when_nats_is_killed(
    nats_server: NatsServer,
) -> None:
    log = await Log.connect(nats_server.url(), "test")
    await log.ensure_stream()
    acknowledged: dict[str, int] = {}
    tried: set[str] = set()
    over = asyncio.Event()

    async def writer(n: int) -> None:
        while not over.is_set():
            burst = [note(n) for _ in range(1 if n % 2 else 40)]
            tried.update(one.id for one in burst)
            results = await asyncio.gather(*map(log.append, burst), return_exceptions=True)
            for one, result in zip(burst, results, strict=True):
                if isinstance(result, int):
                    acknowledged[one.id] = result
                else:
                    assert isinstance(result, LogUnavailable), result
            if not log.connected:
                await asyncio.sleep(0.02)

    writers = [asyncio.create_task(writer(n)) for n in range(6)]
    for _ in range(4):
        before = len(acknowledged)
        await until("appends go through", lambda before=before: len(acknowledged) > before + 300)
        nats_server.kill()
        await nats_server.start()
    before = len(acknowledged)
    await until("appends go through", lambda: len(acknowledged) > before + 300)
    over.set()
    await asyncio.gather(*writers)
    there = await stored(log)
    counts = Counter(one.id for _, one in there)
    assert set(acknowledged) <= set(counts) <= tried
    assert counts.most_common(1)[0][1] == 1
    assert {one.id: seq for seq, one in there if one.id in acknowledged} == acknowledged
    await log.close()


async def test_an_append_under_way_when_the_connection_breaks_is_retried(
    nats_server: NatsServer,
) -> None:
    log = await Log.connect(nats_server.url(), "test")
    await log.ensure_stream()
    await log.append(note(0))
    events = [note(n) for n in range(1, 30)]
    futures = [log.submit(one) for one in events]
    nats_server.kill()
    await nats_server.start()
    results = await asyncio.gather(*futures, return_exceptions=True)
    there = {one.id: seq for seq, one in await stored(log)}
    for one, result in zip(events, results, strict=True):
        if isinstance(result, int):
            assert there[one.id] == result
    assert sum(isinstance(result, int) for result in results) == len(results)
    await log.close()


async def test_without_a_connection_an_append_fails_at_once_and_is_never_stored(
    nats_server: NatsServer,
) -> None:
    log = await Log.connect(nats_server.url(), "test")
    await log.ensure_stream()
    await log.append(note(0))
    nats_server.kill()
    await until("the loss is noticed", lambda: not log.connected)
    future = log.submit(note(1))
    assert future.done()
    with pytest.raises(LogUnavailable):
        await future
    with pytest.raises(LogUnavailable):
        await log.append_many([note(n) for n in range(2, 100)])
    await nats_server.start()
    await until("it is connected", lambda: log.connected)
    await log.append(note(100))
    assert len(await stored(log)) == 2
    await log.close()


async def test_appends_that_nobody_acknowledges_end_in_time(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "APPEND_TIMEOUT_S", 0.5)
    log = await Log.connect(nats_server.url(), "test")
    with pytest.raises(LogUnavailable):  # there is no stream
        await log.append(note(0))
    results = await asyncio.gather(
        *(log.append(note(n)) for n in range(30)), return_exceptions=True
    )
    assert {type(result) for result in results} == {LogUnavailable}
    await log.ensure_stream()
    assert await log.append(note(1)) == 1
    await log.close()


async def test_a_cancelled_caller_leaves_the_log_working(log: Log) -> None:
    task = asyncio.create_task(log.append(note(1)))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    futures = [log.submit(note(n)) for n in range(2, 40)]
    futures[5].cancel()
    rest = [future for n, future in enumerate(futures) if n != 5]
    seqs = await asyncio.gather(*rest)
    assert seqs == sorted(seqs)


async def test_an_event_nobody_may_write_fails_and_is_told(
    nats_urls: dict[str, str], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "APPEND_TIMEOUT_S", 1.0)
    gateway = await Log.connect(nats_urls["gateway"], "gateway")
    with pytest.raises(LogUnavailable):
        await gateway.append(note(1))
    assert await log.history([">"]) == []
    await gateway.close()


# -- the stream itself -----------------------------------------------------------------------------


async def test_the_stream_is_made_once_and_kept(log: Log) -> None:
    await log.append(note(1))
    before = await log.state()
    await log.ensure_stream()
    assert await log.state() == before
    assert (before.last_seq, before.messages) == (1, 1)


async def test_the_stream_forbids_what_would_empty_it(log: Log) -> None:
    await log.append_many([note(n) for n in range(20)])
    with pytest.raises(log_module.nats.errors.Error):
        await log.js.publish(note(1).subject, b"{}", headers={"Nats-Rollup": "all"})
    assert (await log.state()).messages == 20
    config = (await log.api(f"STREAM.INFO.{STREAM}"))["config"]
    assert config["discard"] == "new"
    assert config.get("max_age", 0) == 0
    assert not config.get("allow_msg_ttl")
    assert not config.get("allow_msg_schedules")


async def test_a_refused_request_says_what_the_server_said(log: Log) -> None:
    with pytest.raises(LogUnavailable, match="not found"):
        await log.api("STREAM.INFO.NOTHING")
