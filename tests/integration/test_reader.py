"""Reading on a real server: in order, nothing twice, nothing missing, whatever happens to NATS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from shared import events as e
from shared import reader
from shared.bus import Bus
from shared.errors import LogUnavailable
from shared.log import STREAM, Log
from shared.reader import Batch, Record
from tests.examples import example
from tests.tiny import event, note, until


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[Log]:
    made = await Log.connect(nats_url, "test")
    await made.ensure_stream()
    yield made
    await made.close()


class Reading:
    """A reader at work: what it was handed, in the order it was."""

    def __init__(self, log: Log, filters: list[str], after: int = 0, pause_s: float = 0) -> None:
        self.batches: list[Batch] = []
        self.records: list[Record] = []
        self._task = asyncio.create_task(self._read(log, filters, after, pause_s))

    async def _read(self, log: Log, filters: list[str], after: int, pause_s: float) -> None:
        async with contextlib.aclosing(log.read(filters, after)) as batches:
            async for batch in batches:
                self.batches.append(batch)
                self.records += batch.records
                if pause_s:
                    await asyncio.sleep(pause_s)

    @property
    def seqs(self) -> list[int]:
        return [record.seq for record in self.records]

    async def until(self, count: int) -> None:
        await until(f"{count} records, has {len(self.records)}", lambda: len(self.records) >= count)

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def consumers(log: Log) -> list[str]:
    return (await log.api(f"CONSUMER.NAMES.{STREAM}"))["consumers"] or []


async def deleted(log: Log) -> int:
    """Take every reader's consumer away; how many there were."""
    count = 0
    with contextlib.suppress(LogUnavailable):
        for name in await consumers(log):
            await log.api(f"CONSUMER.DELETE.{STREAM}.{name}")
            count += 1
    return count


async def test_twenty_thousand_events_come_in_order_through_every_disturbance(
    nats_server: NatsServer,
) -> None:
    log = await Log.connect(nats_server.url(), "reader")
    await log.ensure_stream()
    reading = Reading(log, ["send.>"], pause_s=0.002)
    total, written = 20_000, 0
    ops = await Log.connect(nats_server.url(), "ops")
    disturbances = 0

    async def append(count: int) -> None:
        left = [note(written + n) for n in range(count)]
        while left:
            results = await asyncio.gather(*map(ops.append, left), return_exceptions=True)
            left = [one for one, r in zip(left, results, strict=True) if not isinstance(r, int)]
            await asyncio.sleep(0.05 if left else 0)

    for n in range(20):
        task = asyncio.create_task(append(total // 20))
        if n % 6 == 5:
            nats_server.kill()
            await nats_server.start()
        elif n % 2:
            await until("it reads", lambda: deleted(ops))
        disturbances += n % 2
        await task
        written += total // 20
    await reading.until(total)
    await reading.stop()
    assert reading.seqs == list(range(1, total + 1))
    assert disturbances == 10
    await ops.close()
    await log.close()


async def test_only_what_the_filters_name_comes_and_from_where_it_was_asked(log: Log) -> None:
    for n in range(10):
        await log.append(note(n))
        await log.append(example(e.ContactOptedOut) if n == 0 else event(example(e.SmsSent).data))
    reading = Reading(log, ["send.requested.>", "contact.>"], after=2)
    await reading.until(9)
    assert reading.seqs == list(range(3, 21, 2))
    assert {record.subject.split(".")[0] for record in reading.records} == {"send"}
    await reading.stop()
    everything = Reading(log, ["send.requested.>", "contact.>"])
    await everything.until(11)
    assert everything.seqs == [1, 2, 3, 5, 7, 9, 11, 13, 15, 17, 19]
    await everything.stop()


async def test_a_reader_far_behind_picks_its_own_out_of_everything(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "SIFT_ABOVE", 100)
    monkeypatch.setattr(reader, "NEAR_END", 50)
    monkeypatch.setattr(reader, "READ_BATCH_MAX", 100)
    log = await Log.connect(nats_server.url(), "reader")
    await log.ensure_stream()
    kinds = (e.SendRequested, e.SmsSent, e.ContactSaved, e.PhoneOnline)
    await log.append_many([event(example(kinds[n % 4]).data) for n in range(4000)])
    filters = ["send.>", "contact.saved.>", "reply.received.>"]
    wanted = [seq for seq in range(1, 4001) if seq % 2]
    reading = Reading(log, filters, pause_s=0.005)
    await reading.until(300)
    await deleted(log)
    await reading.until(600)
    nats_server.kill()
    await nats_server.start()
    await reading.until(len(wanted))
    assert reading.seqs == wanted
    await until("it is at the end", lambda: reading.batches[-1].pending == 0)
    assert reading.batches[0].pending == 2000
    assert all(b.pending or b.records or b is reading.batches[-1] for b in reading.batches)
    await until("the test is connected", lambda: log.connected)
    await log.append(example(e.SendHeld))
    await reading.until(len(wanted) + 1)
    await reading.stop()
    await until("no consumer is left", lambda: _gone(log))
    await log.close()


async def test_the_first_batch_is_empty_and_says_what_is_to_come(log: Log) -> None:
    await log.append_many([note(n) for n in range(50)])
    reading = Reading(log, ["send.>"], after=10)
    await reading.until(40)
    assert (list(reading.batches[0].records), reading.batches[0].pending) == ([], 40)
    assert reading.batches[-1].pending == 0
    for one, following in zip(reading.batches, reading.batches[1:], strict=False):
        assert one.pending - len(following.records) == following.pending
    await reading.stop()


async def test_new_events_come_without_being_asked_for(log: Log) -> None:
    reading = Reading(log, [">"])
    for n in range(20):
        await log.append(note(n))
        await reading.until(n + 1)
    await reading.stop()


async def test_a_reader_at_rest_keeps_saying_that_it_is_at_the_end(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "HEARTBEAT_S", 1)
    await log.append_many([note(n) for n in range(10)])
    reading = Reading(log, ["send.>"])
    await reading.until(10)
    seen = len(reading.batches)
    await until("it says so again", lambda: len(reading.batches) >= seen + 3)
    assert all(not b.records and not b.pending for b in reading.batches[seen:])
    await log.append(note(11))
    await reading.until(11)
    await reading.stop()


async def test_events_erased_before_they_were_read_do_not_count_as_pending(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "HEARTBEAT_S", 1)
    await log.append_many([note(n) for n in range(30)])
    for seq in (1, 2, 15, 29, 30):
        await log.api(f"STREAM.MSG.DELETE.{STREAM}", {"seq": seq})
    reading = Reading(log, ["send.>"])
    await reading.until(25)
    await until("it is at the end", lambda: reading.batches[-1].pending == 0)
    assert reading.seqs == [n for n in range(3, 29) if n != 15]
    await reading.stop()


async def test_a_reader_that_was_busy_too_long_goes_on_where_it_was(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server forgets a consumer nobody asks anything: here after one second."""
    monkeypatch.setattr(reader, "INACTIVE_S", 1)
    monkeypatch.setattr(reader, "PULL_MAX", 8)
    monkeypatch.setattr(reader, "READ_BATCH_MAX", 8)
    await log.append_many([note(n) for n in range(40)])
    async with contextlib.aclosing(log.read(["send.>"], 0)) as batches:
        got: list[int] = []
        async for batch in batches:
            got += [record.seq for record in batch.records]
            if batch.records and len(got) <= 16:
                await until("the consumer is gone", lambda: _gone(log))
            if len(got) >= 40:
                break
    assert got == list(range(1, 41))


async def _gone(log: Log) -> bool:
    return not await consumers(log)


async def test_a_reader_that_ends_leaves_no_consumer_behind(log: Log) -> None:
    readings = [Reading(log, ["send.>"]) for _ in range(5)]
    await until("they read", lambda: all(one.batches for one in readings))
    assert len(await consumers(log)) == 5
    for one in readings:
        await one.stop()
    assert await consumers(log) == []


async def test_a_reader_that_ended_while_nats_was_away_does_not_come_back(
    nats_server: NatsServer,
) -> None:
    log = await Log.connect(nats_server.url(), "reader")
    await log.ensure_stream()
    reading = Reading(log, ["send.>"])
    await until("it reads", lambda: reading.batches)
    nats_server.kill()
    await until("the loss is noticed", lambda: not log.connected)
    await reading.stop()
    await nats_server.start()
    await until("it is connected", lambda: log.connected)
    assert await consumers(log) == []
    assert log.on_reconnect == []
    subscriptions: Any = log.nc._subs
    assert len(subscriptions) <= 2  # acknowledgements and the answers to requests
    await log.close()


async def test_a_reader_waits_for_a_stream_that_is_not_there_yet(nats_url: str) -> None:
    log = await Log.connect(nats_url, "reader")
    reading = Reading(log, ["send.>"])
    await asyncio.sleep(0.3)
    assert reading.batches == []
    await log.ensure_stream()
    await log.append(note(1))
    await reading.until(1)
    await reading.stop()
    await log.close()


async def test_history_ends_where_it_is_told_to(log: Log) -> None:
    assert await log.history(["send.>"]) == []
    await log.append_many([note(n) for n in range(5000)])
    assert [r.seq for r in await log.history(["send.>"])] == list(range(1, 5001))
    assert [r.seq for r in await log.history(["send.>"], until=4321)] == list(range(1, 4322))
    assert [r.seq for r in await log.history(["send.>"], until=1)] == [1]
    assert await log.history(["sms.>"]) == []
    record = (await log.history(["send.>"], until=1))[0]
    assert e.decode(record.data).data.message_id == note(0).data.message_id


async def test_presence_begins_with_the_newest_of_every_phone(log: Log) -> None:
    bus = Bus(log)
    await bus.ensure_presence()
    for n in range(3):
        for phone in ("phn_1", "phn_2"):
            await bus.put_presence(phone, {"n": n})

    async def last() -> bool:
        return await bus.presence("phn_2") == {"n": 2}

    await until("it is stored", last)
    seen: list[tuple[str, Any]] = []

    async def watch() -> None:
        async for phone, state in bus.watch_presence():
            seen.append((phone, state))

    watching = asyncio.create_task(watch())
    await until("both are seen", lambda: len(seen) == 2)
    await bus.put_presence("phn_1", {"n": 9})
    await until("the change is seen", lambda: len(seen) == 3)
    assert seen == [("phn_1", {"n": 2}), ("phn_2", {"n": 2}), ("phn_1", {"n": 9})]
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
