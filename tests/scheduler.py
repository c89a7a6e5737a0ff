"""The scheduler on real servers, with its clock and its phones in the test's hands.

    async with World(database_url, nats_server) as world:   # in this process, on a clock of its own
        phone = await world.phone("one")
        message = await world.send()
        dispatch = await world.dispatched(message)
        await world.says(e.SmsSent, dispatch)
        await world.forward(minutes=4)

``processes=True`` runs it as processes on the machine's clock instead: world.start(), .kill().
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from cli.embedded import NatsServer, free_port
from services.scheduler import act, answers, feed, project
from services.scheduler.settings import SchedulerSettings
from shared import events as e
from shared import ids
from shared.bus import Bus, Wake
from shared.errors import LogUnavailable, NoAnswer, Refused
from shared.log import Log
from shared.service import Context, Service, _launch, _start
from shared.telemetry import Metrics
from shared.vault import KeyRing
from shared.worker import Actor
from tests.programs import Program
from tests.tiny import until

SERVICE = Service(
    projection=project.PROJECTION,
    settings=SchedulerSettings,
    answers=answers.answers,
)
TESTER = e.Actor("system", "test")
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, now: datetime = NOON) -> None:
        self._now = now
        self.on_forward: list[Any] = []

    def now(self) -> datetime:
        return self._now

    def forward(self, **by: float) -> None:
        """Go on by so much; whoever waits for a timer looks."""
        self._now += timedelta(**by)
        for callback in self.on_forward:
            callback()


class MachineClock:
    """What processes go by."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class Dispatcher(act.Dispatcher):
    """Says whether it is at work."""

    stepping = False

    async def step(self) -> float | None:
        self.stepping = True
        try:
            return await super().step()
        finally:
            self.stepping = False


class Feeder(feed.Feeder):
    """Says whether it is at work."""

    stepping = False

    async def step(self) -> float | None:
        self.stepping = True
        try:
            return await super().step()
        finally:
            self.stepping = False


class World:
    """One workspace, its phones, and a scheduler."""

    def __init__(
        self,
        database_url: str,
        nats_server: NatsServer,
        directory: Path | None = None,
        **settings: Any,
    ) -> None:
        self.id = ids.new("ws")
        self.database_url, self.nats = database_url, nats_server
        self.directory = directory
        self.clock: Any = Clock() if directory is None else MachineClock()
        self.programs: list[Program] = []
        self.context: Context | None = None
        self.dispatcher: act.Dispatcher | None = None
        self.feeder: feed.Feeder | None = None
        # What api tells of a campaign's people: contact → {to, timezone, body, parts} or {skipped}
        self.people: dict[str, dict[str, Any]] = {}
        self._settings = settings
        self._sent: set[str] = set()
        self._key = KeyRing.generate_key()
        self._tasks: list[asyncio.Task[None]] = []
        self._exit = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.log = await Log.connect(self.nats.url(), "test")
        self._exit.push_async_callback(self.log.close)
        await self.log.ensure_stream()
        self.bus = Bus(self.log)
        await self.bus.answer("api", "recipients", self._recipients)
        await self.profile(quiet_hours=None)
        if self.directory is None:
            await self.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.end()
        for program in self.programs:
            program.kill()
        await self._exit.aclose()

    # -- the scheduler ---------------------------------------------------------------------------

    async def begin(self) -> None:
        """Start it in this process."""
        settings = SchedulerSettings(
            database_url=self.database_url,
            nats_url=self.nats.urls["scheduler"],
            secret_key=self._key,
            **self._settings,
        )
        keys = KeyRing.parse(self._key)
        self.context = await _start(SERVICE, settings, keys, Metrics("scheduler"))
        self.context.clock = self.clock
        context = self.context
        self.clock.on_forward = [
            lambda: context.projector.heard(Wake(context.projector.status.position, []))
        ]
        self._tasks = await _launch(dataclasses.replace(SERVICE, actors=self._actors), context)
        async with asyncio.timeout(60):
            await context.projector.leading.wait()

    def _actors(self, context: Context) -> list[Actor]:
        self.dispatcher, self.feeder = Dispatcher(context), Feeder(context)
        return [self.dispatcher, self.feeder]

    async def _recipients(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"contact_id": one, **self.people[one]} for one in body["contact_ids"]]

    async def end(self) -> None:
        """End it without ceremony, as a crash would: what it remembers is gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self.context is not None:
            await self.context.log.close()
            await self.context.db.close()
            self.context = None

    def start(self, name: str = "scheduler", **env: str) -> Program:
        """Start it as a process."""
        assert self.directory is not None
        environment = {
            "DATABASE_URL": self.database_url,
            "NATS_URL": self.nats.urls["scheduler"],
            "EIGHTMS_SECRET_KEY": self._key,
            "EIGHTMS_PORT": str(free_port()),
            **env,
        }
        path = self.directory / f"{name}.log"
        program = Program(name, ["-m", "services.scheduler"], environment, path)
        program.start()
        self.programs.append(program)
        return program

    async def settled(self) -> None:
        """Wait until it has projected everything and has nothing left to decide at once."""
        assert self.context is not None
        assert self.dispatcher is not None

        projector = self.context.projector

        async def rests() -> bool:
            last = (await self.log.state()).last_seq
            assert await projector.passed(last, 60)
            now_s = self.clock.now().timestamp()
            it: Any = self.dispatcher
            busy = it.stepping or it._queues or it._flying or it._open
            due = min(it._queues.next_at, it._expiry_at) <= now_s
            feeder: Any = self.feeder
            runs = feeder._runs.values()
            feeding = (
                feeder.stepping
                or feeder._wanted
                or feeder._unanswered
                or any(run.dirty for run in runs)
            )
            due = due or any(r.next_at and r.next_at.timestamp() <= now_s for r in runs)
            if busy or due or feeding:
                return False
            return (await self.log.state()).last_seq == last

        await until("it rests", rests)

    async def forward(self, **by: float) -> None:
        """Let time pass, once everything that is due now is done."""
        await self.settled()
        self.clock.forward(**by)

    # -- events ----------------------------------------------------------------------------------

    def event(self, data: e.Data) -> e.Event:
        return e.make(
            data, id=ids.new("evt"), workspace_id=self.id, at=self.clock.now(), actor=TESTER
        )

    async def say(self, *data: e.Data) -> int:
        """Append; the last sequence."""
        results = await self.log.append_many([self.event(one) for one in data])
        last = results[-1]
        assert isinstance(last, int)
        return last

    async def profile(self, **fields: Any) -> None:
        """The workspace's profile, as it is from now on."""
        defaults: dict[str, Any] = {"name": "Acme", "timezone": "UTC"}
        await self.say(e.WorkspaceUpdated(workspace_id=self.id, **defaults | fields))

    async def phone(self, name: str, *, online: bool = True, **fields: Any) -> str:
        """A paired phone without any limit unless ``fields`` sets one; its id."""
        phone_id = ids.derive("phn", self.id, name)
        limits = {"min_gap_s": 0, "daily_cap": 10_000, "warmup": False}
        simulated = fields.pop("simulated", False)
        await self.say(
            e.PhonePaired(
                phone_id=phone_id,
                generation=1,
                device_hash=name,
                label=name.title(),
                manufacturer="Acme",
                model="One",
                android="15",
                app_version="1",
                sims=(e.Sim(subscription_id=1, iccid_hash=name),),
                simulated=simulated,
            ),
            e.PhoneConfigured(phone_id=phone_id, label=name.title(), **limits | fields),
            *([e.PhoneOnline(phone_id=phone_id)] if online else []),
        )
        return phone_id

    def wish(self, name: str = "", **fields: Any) -> e.SendRequested:
        """Somebody's wish; the same name is the same message and the same contact."""
        key = name or ids.new("x")
        values: dict[str, Any] = {
            "message_id": ids.derive("msg", self.id, key),
            "contact_id": ids.derive("con", self.id, key),
            "to": "+14155550123",
            "body": f"Hello {name}",
            "parts": 1,
            "source": "api",
            "expires_at": self.clock.now() + timedelta(hours=72),
        }
        return e.SendRequested(**values | fields)

    async def send(self, name: str = "", **fields: Any) -> e.SendRequested:
        """Ask for a text."""
        wish = self.wish(name, **fields)
        await self.say(wish)
        return wish

    async def campaign(self, name: str, people: int, **fields: Any) -> str:
        """A campaign to so many people is started; its id."""
        campaign_id, audience_id = ids.derive("cmp", self.id, name), ids.derive("aud", name)
        contact_ids = tuple(ids.derive("con", self.id, name, str(n)) for n in range(people))
        for n, one in enumerate(contact_ids):
            told = {"to": f"+1415555{n:04d}", "timezone": None, "body": f"{name} {n}", "parts": 1}
            self.people.setdefault(one, told)
        test = fields.pop("test", False)
        state: dict[str, Any] = {"name": name, "template": name} | fields
        await self.say(
            e.CampaignCreated(campaign_id=campaign_id, contact_filter=e.ContactFilter(), **state),
            *(
                e.CampaignAudience(
                    campaign_id=campaign_id,
                    audience_id=audience_id,
                    part=part,
                    contact_ids=contact_ids[first : first + 1000],
                )
                for part, first in enumerate(range(0, people, 1000))
            ),
            e.CampaignStarted(
                campaign_id=campaign_id, audience_id=audience_id, recipients=people, test=test
            ),
        )
        return campaign_id

    async def opt_out(self, wish: e.SendRequested) -> None:
        """The recipient says STOP."""
        await self.say(
            e.ContactOptedOut(contact_id=wish.contact_id, number=wish.to, source="keyword")
        )

    async def says(self, kind: type[e.SmsFact], dispatch: e.Event, **fields: Any) -> None:
        """What a phone says about a command."""
        data = dispatch.data
        await self.say(
            kind(
                message_id=data.message_id,
                contact_id=data.contact_id,
                command_id=data.command_id,
                phone_id=data.phone_id,
                attempt=data.attempt,
                journal_seq=1,
                phone_at=self.clock.now(),
                **fields,
            )
        )

    async def sent(self) -> list[e.Event]:
        """Every phone says of every command that it is sent; all dispatches so far."""
        events = await self.events("send.dispatched")
        for event in events:
            if event.id not in self._sent:
                self._sent.add(event.id)
                await self.says(e.SmsSent, event)
        return events

    async def knows(self, wish: e.SendRequested, phone_id: str) -> None:
        """The contact last spoke with this phone."""
        await self.say(
            e.ReplyReceived(
                message_id=ids.new("msg"),
                contact_id=wish.contact_id,
                conversation_id=ids.conversation_id(wish.contact_id),
                phone_id=phone_id,
                sender=wish.to,
                sender_kind="number",
                body="Hi",
                parts=1,
                received_at=self.clock.now(),
            )
        )

    async def fails(self, dispatch: e.Event, error_class: str) -> None:
        """A phone could not send it."""
        fields = {"error_class": error_class, "code": "x", "detail": "x"}
        await self.says(e.SmsFailed, dispatch, **fields)

    # -- looking ---------------------------------------------------------------------------------

    async def events(self, *types: str, of: e.SendRequested | None = None) -> list[e.Event]:
        """What the log holds (of these types, about this message), in order."""
        records = await self.log.history([f"{one}.>" for one in types] or [">"])
        found = [e.decode(record.data) for record in records]
        if of is None:
            return found
        return [one for one in found if getattr(one.data, "message_id", "") == of.message_id]

    async def until(
        self, type_: str, of: e.SendRequested | None = None, count: int = 1
    ) -> list[e.Event]:
        """The events of a type once there are so many."""

        async def enough() -> list[e.Event] | None:
            with contextlib.suppress(LogUnavailable):
                found = await self.events(type_, of=of)
                return found if len(found) >= count else None
            return None

        return await until(f"{count} {type_}", enough)

    async def dispatched(self, of: e.SendRequested, attempt: int = 1) -> e.Event:
        """The n-th dispatch of a message."""
        return (await self.until("send.dispatched", of, attempt))[attempt - 1]

    async def held(self, of: e.SendRequested, reason: str) -> e.Event:
        """The newest wait of a message put on record for this reason."""

        async def there() -> e.Event | None:
            found = await self.events("send.held", of=of)
            return found[-1] if found and found[-1].data.reason == reason else None

        return await until(f"held: {reason}", there)

    async def explain(self, of: e.SendRequested) -> dict[str, Any] | None:
        """Why it waits."""
        return (await self.ask("explain", message_id=of.message_id))["waiting"]

    async def ask(self, question: str, **body: Any) -> Any:
        """What the scheduler answers, once it does."""

        async def answer() -> Any:
            with contextlib.suppress(NoAnswer):
                return [await self.bus.ask("scheduler", question, {"workspace_id": self.id} | body)]
            return None

        return (await until(f"{question} is answered", answer))[0]

    async def waits_for(self, of: e.SendRequested, reason: str) -> dict[str, Any]:
        """The explanation, once it is this one."""

        async def there() -> dict[str, Any] | None:
            with contextlib.suppress(Refused):  # not projected yet
                waiting = await self.explain(of)
                return waiting if waiting is not None and waiting["reason"] == reason else None
            return None

        return await until(f"it waits: {reason}", there)

    async def row(self, of: e.SendRequested) -> Any:
        """The message's row."""
        return (await self.query("SELECT * FROM message WHERE id = $1", of.message_id))[0]

    async def query(self, statement: str, *args: Any) -> list[Any]:
        """Rows of the scheduler's tables."""
        connection = await asyncpg.connect(
            self.database_url, server_settings={"search_path": "scheduler"}
        )
        try:
            return await connection.fetch(statement, *args)
        finally:
            await connection.close()
