"""The dispatcher's memory: what is decided, what is committed, and what it does not know yet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from services.scheduler.act import Dispatcher
from services.scheduler.flights import Flight, Flights
from services.scheduler.project import tables
from services.scheduler.settings import SchedulerSettings
from shared import events, ids
from shared.errors import LogUnavailable
from shared.projector import Saved
from shared.rows import Rows
from shared.sql import queries

SQL = queries("services.scheduler")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WS, PHONE = ids.derive("ws", "acme"), ids.derive("phn", "one")


class Clock:
    def now(self) -> datetime:
        return NOW


class Log:
    """Takes appends; the test says what becomes of them."""

    connected = True

    def __init__(self) -> None:
        self.taken: list[tuple[events.Event, asyncio.Future[int]]] = []

    def submit(self, event: events.Event, _: Any) -> asyncio.Future[int]:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.taken.append((event, done))
        return done


class Database:
    """Answers each statement with rows the test put there; ``during`` runs while it is asked."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.during: dict[str, Callable[[], None]] = {}
        self.owner = self

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Database]:
        yield self

    async def fetch(self, statement: str, *_: Any) -> list[dict[str, Any]]:
        found = list(self.rows.get(statement, []))
        happens = self.during.pop(statement, None)
        if happens is not None:
            happens()
        return found

    async def fetchval(self, *_: Any) -> None:
        return None


class Projector:
    def __init__(self) -> None:
        self.on_fold: list[Callable[[int, Saved, Rows], None]] = []
        self.on_commit: list[Callable[[Any], None]] = []
        self.status = SimpleNamespace(position=0)
        self.leading = asyncio.Event()

    async def passed(self, seq: int, timeout_s: float) -> bool:
        return self.status.position >= seq

    def committed(self, seq: int, **saved: Any) -> None:
        """A batch up to ``seq`` is committed: rows first, then the position, as the real one."""
        changed = {name: {(row.id,): row for row in rows} for name, rows in saved.items()}
        for folded in self.on_fold:
            folded(seq, changed, Rows(tables.TABLES))
        self.status.position = seq
        for wake in self.on_commit:
            wake(SimpleNamespace(seq=seq))


class World:
    """A dispatcher with everything around it in the test's hands."""

    def __init__(self, window: int = 1) -> None:
        self.log, self.db, self.projector = Log(), Database(), Projector()
        settings = SchedulerSettings(
            database_url="", nats_url="", secret_key="", window=window, unpaced_simulation=True
        )
        context: Any = SimpleNamespace(
            log=self.log, db=self.db, projector=self.projector, settings=settings, clock=Clock()
        )
        self.db.rows[SQL.all_workspaces] = [fields(workspace())]
        self.db.rows[SQL.all_phones] = [fields(phone())]
        self.dispatcher = Dispatcher(context)

    async def settle(self) -> None:
        """Steps until there is nothing to do at once; answered appends are heard of."""
        for _ in range(10):
            await asyncio.sleep(0)
            if (await self.dispatcher.step() or 1) > 0:
                return

    @property
    def dispatched(self) -> list[str]:
        return [event.data.message_id for event, _ in self.log.taken]


def workspace() -> tables.Workspace:
    return tables.Workspace(WS, WS, "UTC", None, None, None, 1800, False)


def phone(state: str = "online", in_flight: int = 0) -> tables.Phone:
    return tables.Phone(
        id=PHONE,
        workspace_id=WS,
        label="One",
        state=state,
        state_at=NOW,
        simulated=True,
        age_from=NOW,
        iccids=[],
        min_gap_s=0,
        jitter_s=0,
        daily_cap=1000,
        warmup=False,
        last_dispatch_at=None,
        last_command_id=None,
        recent=[],
        day="",
        sent_today=0,
        in_flight=in_flight,
    )


def message(name: str, state: str = "waiting", queue: str = PHONE) -> tables.Message:
    return tables.Message(
        id=ids.derive("msg", name),
        workspace_id=WS,
        contact_id=ids.derive("con", name),
        to_number="+14155550100",
        body="Hello",
        parts=1,
        source="api",
        lane=2,
        phone_id=None,
        subscription_id=None,
        test=False,
        timezone=None,
        requested_seq=1,
        expires_at=NOW + timedelta(hours=1),
        state=state,
        queue=queue,
        wake_at=NOW,
        reason=None,
        until=None,
        attempt=0,
        command_id=None,
        dispatched_to=None,
        dispatched_at=None,
        accepted=False,
        cancel=None,
        outcome=None,
    )


def fields(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}


def candidate(row: tables.Message) -> dict[str, Any]:
    contact = {"opted_out": False, "contact_seq": 0, "contact_phone": PHONE, "contact_tz": None}
    return {**fields(row), **contact}


async def test_a_dispatch_whose_row_comes_with_its_result_frees_the_phone() -> None:
    """After a silence of NATS a dispatch and what the phone said of it come in one batch."""
    world = World(window=1)
    await world.dispatcher.start()
    first, second = message("first"), message("second")
    world.db.rows[SQL.candidates] = [candidate(first)]
    world.projector.committed(1, message=[first])
    await world.settle()
    world.log.taken[0][1].set_result(10)
    await asyncio.sleep(0)
    world.db.rows[SQL.candidates] = [candidate(second)]
    submitted = message("first", state="submitted")
    world.projector.committed(12, message=[submitted, second], phone=[phone(in_flight=0)])
    await world.settle()
    assert world.dispatched == [first.id, second.id]


async def test_a_phone_that_comes_online_while_the_term_begins_is_online() -> None:
    world = World()
    world.db.rows[SQL.all_phones] = [fields(phone("offline"))]
    text = message("first")
    world.db.rows[SQL.candidates] = [candidate(text)]
    world.db.during[SQL.active_queues] = lambda: world.projector.committed(
        5, phone=[phone("online")], message=[text]
    )
    await world.dispatcher.start()
    await world.settle()
    assert world.dispatched == [text.id]


async def test_a_queue_is_looked_at_again_when_the_database_failed() -> None:
    world = World()
    await world.dispatcher.start()
    text = message("first")
    world.db.rows[SQL.candidates] = [candidate(text)]

    def fails() -> None:
        raise ConnectionResetError

    world.db.during[SQL.candidates] = fails
    world.projector.committed(1, message=[text])
    with pytest.raises(ConnectionResetError):
        await world.dispatcher.step()
    await world.settle()
    assert world.dispatched == [text.id]


async def test_rows_read_before_a_decision_landed_are_not_decided_on() -> None:
    """The text is read as waiting; its dispatch lands before the reading is done."""
    world = World(window=4)
    await world.dispatcher.start()
    text = message("first")
    world.db.rows[SQL.candidates] = [candidate(text)]
    world.projector.committed(1, message=[text])
    await world.settle()
    world.log.taken[0][1].set_result(10)
    await asyncio.sleep(0)

    def lands() -> None:
        del world.db.rows[SQL.candidates]
        dispatched = message("first", state="dispatched")
        world.projector.committed(10, message=[dispatched], phone=[phone(in_flight=1)])

    world.db.during[SQL.candidates] = lands
    world.projector.committed(9, phone=[phone()])
    await world.settle()
    assert world.dispatched == [text.id]


async def test_a_phone_that_is_offline_when_the_term_begins_fails_over_in_time() -> None:
    world = World()
    account = workspace()
    account.failover_s = 60
    world.db.rows[SQL.all_workspaces] = [fields(account)]
    world.db.rows[SQL.all_phones] = [fields(phone("offline"))]
    await world.dispatcher.start()
    await world.dispatcher.step()
    assert await world.dispatcher.step() == pytest.approx(60)


async def test_a_slot_that_the_log_refused_is_free_again() -> None:
    world = World(window=1)
    await world.dispatcher.start()
    first, second = message("first"), message("second")
    world.db.rows[SQL.candidates] = [candidate(first)]
    world.projector.committed(1, message=[first])
    await world.settle()
    world.log.taken[0][1].set_exception(LogUnavailable("away"))
    world.db.rows[SQL.candidates] = [candidate(second)]
    await asyncio.sleep(0)
    await world.settle()
    assert world.dispatched == [first.id, second.id]


async def test_everything_that_waited_for_a_flight_is_looked_at() -> None:
    flights = Flights()
    flight = Flight("msg_1", NOW, contact_id="con_1", phone_id=PHONE, command_id="cmd_1")
    flights.begin(flight)
    flight.seq = 7
    assert flights.landed(6) == []
    assert flights.landed(7) == [flight]
    assert flights.end(flight)
    assert not flights.end(flight)
    assert list(flights.to_phone(PHONE)) == []
    assert flight.over
