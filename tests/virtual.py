"""The scheduler's own actors on a clock of the test's, with the log and the rows in memory.

    world = Virtual(start=datetime(2026, 3, 2, 12, tzinfo=UTC))
    world.say(e.WorkspaceCreated(…), …)
    await world.run(until=lambda: world.of("campaign.completed"))

Everything that decides is real: the projection, the dispatcher, the feeder, policy. Unreal are the
statements, answered from the rows (``_Database``), and the phones, which send at once what they are
handed. So days pass in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec

from services.scheduler.act import Dispatcher
from services.scheduler.feed import Feeder
from services.scheduler.project import apply
from services.scheduler.project.tables import CONTACT, PHONE, TABLES, WORKSPACE
from services.scheduler.settings import SchedulerSettings
from shared import events as e
from shared import ids
from shared.bus import Wake
from shared.errors import Conflict
from shared.log import Guard
from shared.rows import Rows
from shared.sql import queries

TESTER = e.Actor("system", "test")
STEPS_MAX = 200  # of one instant: more is a loop that never rests


class Virtual:
    """One workspace, its log, its rows, and the scheduler's two actors."""

    def __init__(self, start: datetime) -> None:
        self.now = start
        self.id = ids.derive("ws", "virtual")
        self.log: list[e.Event] = []
        self.rows = Rows(TABLES)
        self.kept: dict[str, dict[Any, Any]] = {}  # tables that are only added to
        self.waiting: dict[str, Any] = {}  # messages by state, where statements look for them
        self.open: dict[str, Any] = {}
        self.last: dict[tuple[str, str], int] = {}  # (entity, key) → its newest event
        self.people: dict[str, dict[str, Any]] = {}  # what api tells of a campaign's people
        self.projector = SimpleNamespace(
            on_fold=[],
            on_rows=[],
            on_commit=[],
            status=SimpleNamespace(position=0),
            leading=asyncio.Event(),
            passed=self._passed,
        )
        self.projector.leading.set()
        context: Any = SimpleNamespace(
            settings=SchedulerSettings(database_url="", nats_url="", secret_key=""),
            log=SimpleNamespace(connected=True, submit=self._submit),
            bus=SimpleNamespace(ask=self._ask),
            db=SimpleNamespace(owner=_Database(self)),
            projector=self.projector,
            clock=SimpleNamespace(now=lambda: self.now),
        )
        self.dispatcher, self.feeder = Dispatcher(context), Feeder(context)
        self._timers: list[datetime] = []

    # -- the log ---------------------------------------------------------------------------------

    def say(self, *data: e.Data) -> None:
        """Something happens now."""
        for one in data:
            self._append(
                e.make(one, id=ids.new("evt"), workspace_id=self.id, at=self.now, actor=TESTER)
            )

    def of(self, type_: str) -> list[e.Event]:
        """What the log holds of a type."""
        return [event for event in self.log if event.type == type_]

    def _append(self, event: e.Event) -> int:
        self.log.append(event)
        seq = len(self.log)
        self.last[event.type.partition(".")[0], event.data.key] = seq
        apply(self.rows, seq, event)
        self.rows.barrier = None  # what an interrupted start left behind: there is none here
        changed: Any = self.rows._changed
        saved = {name: dict(rows) for name, rows in changed.items() if rows}
        for name, rows in saved.items():
            changed[name].clear()
            self.kept.setdefault(name, {}).update(rows)
        for (message_id,), row in saved.get("message", {}).items():
            for state, rows in (("waiting", self.waiting), ("open", self.open)):
                rows.pop(message_id, None)
                if row.state == state:
                    rows[message_id] = row
        for heard in self.projector.on_fold:
            heard(seq, saved, self.rows)
        self.projector.status.position = seq
        for heard in self.projector.on_rows:
            heard(saved)
        for heard in self.projector.on_commit:
            heard(Wake(seq, []))
        return seq

    def _submit(self, event: e.Event, guard: Guard | None = None) -> asyncio.Future[int]:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if guard is not None:
            entity, _, _, key = guard.subject.split(".")
            last = self.last.get((entity, key), 0)
            if last != guard.expected:
                future.set_exception(Conflict(guard.subject, guard.expected, last))
                return future
        future.set_result(self._append(event))
        if isinstance(event.data, e.SendDispatched):
            self._send(event.data)
        return future

    def _send(self, data: e.SendDispatched) -> None:
        self.say(
            e.SmsSent(
                message_id=data.message_id,
                contact_id=data.contact_id,
                command_id=data.command_id,
                phone_id=data.phone_id,
                attempt=data.attempt,
                journal_seq=1,
                phone_at=self.now,
            )
        )

    async def _passed(self, _: int, __: float) -> bool:
        return True

    async def _ask(self, service: str, question: str, body: Any, timeout_s: float) -> Any:
        assert (service, question) == ("api", "recipients")
        return [{"contact_id": one, **self.people[one]} for one in body["contact_ids"]]

    # -- time ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """The scheduler begins to lead."""
        await self.dispatcher.start()
        await self.feeder.start()

    async def run(self, until: Callable[[], object], days: int = 60) -> None:
        """Let time pass, from one thing that is due to the next, until there is nothing left."""
        end = self.now + timedelta(days=days)
        while not until():
            delays = await self._rest()
            assert delays, "nothing is due any more"
            self.now = max(self.now + timedelta(milliseconds=1), min(delays))
            assert self.now < end, "it does not end"

    async def _rest(self) -> list[datetime]:
        """Everything that is due now is done; when each actor wants to be looked at again."""
        for _ in range(STEPS_MAX):
            before = len(self.log)
            delays = [await self.dispatcher.step(), await self.feeder.step()]
            await asyncio.sleep(0)  # what was submitted is answered
            due = [one for one in delays if one is not None]
            if len(self.log) == before and all(one > 0 for one in due):
                return [self.now + timedelta(seconds=one) for one in due]
        raise AssertionError("it never rests")


class _Database:
    """Answers the scheduler's statements from the rows."""

    def __init__(self, world: Virtual) -> None:
        self._world = world
        sql: Any = queries("services.scheduler")
        self._names = {text: name for name, text in vars(sql).items()}

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[_Database]:
        yield self

    async def fetch(self, statement: str, *args: Any) -> list[dict[str, Any]]:
        return [_record(row) for row in getattr(self, "_" + self._names[statement])(*args)]

    async def fetchrow(self, statement: str, *args: Any) -> dict[str, Any] | None:
        rows = await self.fetch(statement, *args)
        return rows[0] if rows else None

    async def fetchval(self, statement: str, *args: Any) -> Any:
        return getattr(self, "_" + self._names[statement])(*args)

    def _kept(self, name: str) -> list[Any]:
        return [row for row in self._world.kept.get(name, {}).values() if row is not None]

    def _messages(self, campaign_id: str) -> list[Any]:
        return [row for row in self._kept("message") if row.campaign_id == campaign_id]

    def _with_contact(self, row: Any) -> dict[str, Any]:
        contact = self._world.rows.get(CONTACT, row.contact_id)
        return msgspec.structs.asdict(row) | {
            "opted_out": contact.opted_out if contact else None,
            "contact_seq": contact.seq if contact else None,
            "contact_phone": contact.phone_id if contact else None,
            "contact_tz": contact.timezone if contact else None,
        }

    def _all_workspaces(self) -> list[Any]:
        return self._world.rows.all(WORKSPACE)

    def _all_phones(self) -> list[Any]:
        return self._world.rows.all(PHONE)

    def _desk_workspace(self, _: str) -> list[Any]:
        return self._all_workspaces()

    def _desk_phones(self, _: str) -> list[Any]:
        return self._all_phones()

    def _active_queues(self) -> Iterable[Any]:
        queues = {row.queue for row in self._world.waiting.values()}
        return [{"queue": queue, "workspace_id": self._world.id} for queue in sorted(queues)]

    def _candidates(
        self, heads: list[str], _: list[bool], most: list[int], now: datetime
    ) -> Iterable[Any]:
        for queue, head in zip(heads, most, strict=True):
            due = [r for r in self._world.waiting.values() if r.queue == queue and r.wake_at <= now]
            in_line = lambda r: (r.lane, r.wake_at, r.requested_seq)  # noqa: E731
            for row in heapq.nsmallest(head, due, key=in_line):
                yield self._with_contact(row)

    def _unexplained(self, queues: list[str], most: int) -> Iterable[Any]:
        for queue in queues:
            there = [r for r in self._world.waiting.values() if r.queue == queue and not r.reason]
            for row in there[:most]:
                yield self._with_contact(row)

    def _next_wake(self, queues: list[str], now: datetime) -> Iterable[Any]:
        for queue in queues:
            there = [r for r in self._world.waiting.values() if r.queue == queue]
            times = [r.wake_at for r in there if r.wake_at > now]
            yield {"queue": queue, "wake_at": min(times, default=None)}

    def _expiring(self, now: datetime, _: datetime, most: int) -> Iterable[Any]:
        over = [r for r in self._world.waiting.values() if r.expires_at <= now]
        return [self._with_contact(row) for row in over[:most]]

    def _next_expiry(self, now: datetime, *_: Any) -> datetime | None:
        times = [r.expires_at for r in self._world.waiting.values() if r.expires_at > now]
        return min(times, default=None)

    def _open_messages(self, most: int) -> Iterable[Any]:
        return [self._with_contact(row) for row in list(self._world.open.values())[:most]]

    def _stranded(self, *_: Any) -> Iterable[Any]:
        return []

    def _live_campaigns(self) -> Iterable[Any]:
        return [row for row in self._kept("campaign") if row.state in ("running", "paused")]

    def _one_campaign(self, campaign_id: str) -> Iterable[Any]:
        return [row for row in self._kept("campaign") if row.id == campaign_id]

    def _campaign_people(self, audience_id: str, campaign_id: str) -> Iterable[Any]:
        done = {row.contact_id for row in self._messages(campaign_id)}
        done |= {contact_id for _, contact_id in self._world.kept.get("skip", {})}
        parts = [row for row in self._kept("audience") if row.audience_id == audience_id]
        parts.sort(key=lambda row: row.part)
        people = [one for row in parts for one in row.contact_ids]
        return [{"id": one} for one in people if one not in done]

    def _campaign_texts(self, campaign_id: str) -> Iterable[Any]:
        return [row for row in self._messages(campaign_id) if row.state != "final"]

    def _campaign_skips(self, campaign_id: str) -> int:
        return sum(1 for one, _ in self._world.kept.get("skip", {}) if one == campaign_id)

    def _known_phones(self, contact_ids: list[str]) -> Iterable[Any]:
        for contact_id in contact_ids:
            contact = self._world.rows.get(CONTACT, contact_id)
            if contact is not None and contact.phone_id is not None:
                yield {"id": contact_id, "phone_id": contact.phone_id}


def _record(row: Any) -> dict[str, Any]:
    return row if isinstance(row, dict) else msgspec.structs.asdict(row)
