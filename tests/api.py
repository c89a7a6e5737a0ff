"""The API in this process on real servers, with fakes in the place of the services it asks.

    async with ApiWorld(database_url, nats_server) as world:
        answer = await world.post("/v1/sms/send", {"to": "+14155550100", "body": "Hello"})
        assert answer.status == 202

``instances=2`` runs two on the same servers; the first to come leads. ``world.other_key`` belongs
to another workspace. Fakes keep what they were asked, and answer what a test tells them to.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import asyncpg
import msgspec
from aiohttp import web

from cli.embedded import NatsServer
from services.api import serve
from services.api.project import PROJECTION
from services.api.settings import ApiSettings
from shared import auth, http, ids, sql
from shared import events as e
from shared.bus import Bus
from shared.log import Log
from shared.problems import Problem
from shared.projector import Projector
from shared.service import CONTEXT, Context
from shared.telemetry import Metrics
from shared.vault import KeyRing
from shared.worker import Worker

PATIENCE_S = 20.0  # a bound, not an expectation
PUBLIC_URL = "http://api.test"
SYSTEM = e.Actor("system", "test")
T = TypeVar("T")


@dataclass
class FakeClock:
    """The machine's clock, or as far ahead as a test says."""

    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        """The time requests are told."""
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True)
class Answer:
    """What the API said."""

    status: int
    body: Any
    headers: Mapping[str, str]
    text: str

    @property
    def code(self) -> str:
        """The problem's code."""
        return self.body["code"]

    @property
    def pointers(self) -> set[str]:
        """Where a problem says something is wrong."""
        return {entry.get("pointer", "") for entry in self.body.get("errors", ())}


@dataclass
class Instance:
    """One API of several."""

    context: Context
    runner: web.AppRunner
    tasks: list[asyncio.Task[None]]
    url: str = ""


@dataclass
class Workspace:
    """A workspace, a key that may do everything, and one of its phones."""

    id: str
    key: str
    phone_id: str
    key_id: str


class ApiWorld:
    """Runs for as long as the ``async with`` block lasts."""

    def __init__(
        self,
        database_url: str,
        nats_server: NatsServer,
        *,
        instances: int = 1,
        simulator_url: str = "",
        **settings: Any,
    ) -> None:
        self.database_url, self.nats = database_url, nats_server
        self.simulator_url, self.settings = simulator_url, settings
        self.count = instances
        self.clock = FakeClock()
        self.keys = KeyRing.parse(KeyRing.generate_key())
        self.instances: list[Instance] = []
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.says: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.http = await self._stack.enter_async_context(aiohttp.ClientSession())
        self.log = await Log.connect(self.nats.url(), "test")
        self._stack.push_async_callback(self.log.close)
        self.bus = Bus(self.log)
        await self.log.ensure_stream()
        await self.bus.ensure_presence()
        self.home = await self.new_workspace("Home")
        self.other = await self.new_workspace("Other")
        await self._answer()
        for _ in range(self.count):
            self.instances.append(await self._start())
            await self.until(self._listening, "the instance hears of commits")
        return self

    async def _listening(self) -> bool:
        """A standby knows nothing before the first commit after it came: give it one."""
        last = self.instances[-1].context.projector
        seq = await self.log.append(
            e.make(
                e.WorkspaceCreated(workspace_id=(ws := ids.new("ws")), name="Tick", timezone="UTC"),
                id=ids.new("evt"),
                workspace_id=ws,
                at=self.clock.now(),
                actor=SYSTEM,
            )
        )
        return await last.passed(seq, 0.2)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for instance in self.instances:
            for task in instance.tasks:
                task.cancel()
            await asyncio.gather(*instance.tasks, return_exceptions=True)
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                await serve.stop(instance.context)
            await instance.runner.cleanup()
            await instance.context.log.close()
            await instance.context.db.close()
        await self._stack.aclose()

    async def _start(self) -> Instance:
        admin = await asyncpg.connect(self.database_url)
        try:
            await sql.migrate(admin, "api")
        finally:
            await admin.close()
        db = await sql.Database.open(self.database_url, "api")
        log = await Log.connect(self.nats.urls["api"], "api")
        bus = Bus(log)
        projector = Projector(PROJECTION, log, db, bus, self.database_url)
        settings = ApiSettings(
            database_url=self.database_url,
            nats_url="",
            secret_key="",
            public_url=PUBLIC_URL,
            simulator_url=self.simulator_url,
            **self.settings,
        )
        metrics = Metrics("api")
        context = Context(settings, log, bus, db, projector, self.keys, metrics, self.clock)
        app = http.make_app(http.Frame(metrics, PUBLIC_URL, lambda: {"ready": True}))
        app[CONTEXT] = context
        serve.routes(app, context)
        await serve.start(context)
        workers = [
            Worker(type(actor).__name__, projector, actor) for actor in serve.actors(context)
        ]
        tasks = [asyncio.create_task(projector.run())]
        tasks += [asyncio.create_task(worker.run()) for worker in workers]
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return Instance(context, runner, tasks, url)

    # -- the log ---------------------------------------------------------------------------------

    async def new_workspace(self, name: str, **profile: Any) -> Workspace:
        """A workspace with a key for everything and a simulated phone."""
        workspace_id, phone_id = ids.new("ws"), ids.new("phn")
        given = {"name": name, "timezone": "America/New_York", **profile}
        await self.append(e.WorkspaceCreated(workspace_id=workspace_id, **given), workspace_id)
        key, key_id = await self.new_key(workspace_id)
        await self.append(paired(phone_id, simulated=True), workspace_id)
        return Workspace(workspace_id, key, phone_id, key_id)

    async def new_key(
        self,
        workspace_id: str,
        *scopes: str,
        mode: auth.Mode = "live",
        expires_at: datetime | None = None,
    ) -> tuple[str, str]:
        """(key, its id)."""
        key, key_id = auth.new_api_key(mode), ids.new("key")
        await self.append(
            e.ApiKeyCreated(
                key_id=key_id,
                name="Test",
                mode=mode,
                hash=key.hash,
                last_four=key.last_four,
                scopes=scopes or ("*",),
                expires_at=expires_at,
            ),
            workspace_id,
        )
        return key.text, key_id

    async def append(self, data: e.Data, workspace_id: str | None = None, **more: Any) -> int:
        """An event from elsewhere, projected by every instance when this returns."""
        event = e.make(
            data,
            id=more.get("id") or ids.new("evt"),
            workspace_id=workspace_id or self.home.id,
            at=more.get("at") or self.clock.now(),
            actor=more.get("actor") or SYSTEM,
        )
        seq = await self.log.append(event)
        await self.passed(seq)
        return seq

    async def passed(self, seq: int = 0) -> None:
        """Wait until every instance's rows hold everything up to ``seq`` (0: all there is)."""
        until_seq = seq or (await self.log.state()).last_seq
        for instance in self.instances:
            assert await instance.context.projector.passed(until_seq, PATIENCE_S)

    async def events(self, *types: str) -> list[e.Event]:
        """What the log holds of these types (all), oldest first."""
        records = await self.log.history([f"{type_}.>" for type_ in types] or [">"])
        return [e.decode(record.data) for record in records]

    async def rows(self, query: str, *args: Any) -> list[Any]:
        """Straight from the database."""
        async with self.instances[0].context.db.owner.acquire() as db:
            return await db.fetch(query, *args)

    # -- the fakes -------------------------------------------------------------------------------

    async def _answer(self) -> None:
        for service, question in FAKES:
            name = f"{service}.{question}"
            self.says[name] = FAKES[service, question](self)

            async def handle(body: dict[str, Any], name: str = name, service: str = service) -> Any:
                self.asked.append((service, name.partition(".")[2], body))
                said = self.says[name](body)
                return await said if isinstance(said, Awaitable) else said

            await self.bus.answer(service, question, handle)

    def silence(self, name: str) -> None:
        """``service.question`` is not answered any more."""

        async def never(_: dict[str, Any]) -> None:
            await asyncio.sleep(PATIENCE_S)

        self.says[name] = never

    # -- requests --------------------------------------------------------------------------------

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        instance: int = 0,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A request with the home workspace's key; ``key=""`` for none."""
        sent = dict(headers or {})
        if key != "":
            sent.setdefault("Authorization", f"Bearer {key or self.home.key}")
        data = raw if raw is not None else None if body is None else msgspec.json.encode(body)
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        url = self.instances[instance].url + path
        async with self.http.request(
            method,
            url,
            data=io.BytesIO(data) if data else data,
            headers=sent,
            allow_redirects=False,
        ) as response:
            text = await response.text()
            is_json = "json" in response.content_type and text
            return Answer(
                response.status,
                msgspec.json.decode(text) if is_json else text,
                response.headers,
                text,
            )

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.call("POST", path, body, **options)

    async def patch(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.call("PATCH", path, body, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.call("DELETE", path, **options)

    async def send(self, to: str = "+14155550100", body: str = "Hello", **fields: Any) -> Any:
        """A text that must be accepted; the message."""
        answer = await self.post("/v1/sms/send", {"to": to, "body": body, **fields})
        assert answer.status == 202, answer.text
        return answer.body["message"]

    async def until(self, check: Callable[[], Awaitable[T]], what: str = "it") -> T:
        """Poll until ``check`` gives something true."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = await check()
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
            await asyncio.sleep(0.01)


def paired(phone_id: str, *, simulated: bool = False, label: str = "Front desk") -> e.PhonePaired:
    """A phone as gateway puts it on record."""
    return e.PhonePaired(
        phone_id=phone_id,
        generation=1,
        device_hash="ab" * 32,
        label=label,
        manufacturer="Acme",
        model="One",
        android="14",
        app_version="1.0",
        sims=(e.Sim(subscription_id=1, carrier="Test", number="+14155550199"),),
        simulated=simulated,
    )


# -- what the fakes say unless told otherwise ------------------------------------------------


def _loosenings(_: ApiWorld) -> Callable[[dict[str, Any]], Any]:
    def answer(body: dict[str, Any]) -> Any:
        kind = "phone" if "phone" in body else "workspace"
        old, new = body[kind]["current"], body[kind]["wanted"]
        looser = [
            name
            for name in new
            if (name == "min_gap_s" and new[name] < old[name])
            or (name == "daily_cap" and new[name] > old[name])
            or (name == "warmup" and old[name] and not new[name])
            or (name == "quiet_hours" and new[name] is None and old[name])
        ]
        return {"warnings": [f"{name} is looser" for name in looser]}

    return answer


def _phones(_: ApiWorld) -> Callable[[dict[str, Any]], Any]:
    pace = {"effective_daily_cap": 50, "sent_today": 3, "next_slot_at": None, "age_days": 1}
    return lambda body: {"phones": dict.fromkeys(body.get("phone_ids") or (), pace)}


def _preview(world: ApiWorld) -> Callable[[dict[str, Any]], Any]:
    return lambda _: {
        "phone_id": world.home.phone_id,
        "earliest_at": datetime(2027, 1, 1, 13, tzinfo=UTC),
        "waiting": {"reason": "quiet_hours", "until": None, "detail": "It is quiet hours."},
        "rejected": None,
    }


def _open_pairing(world: ApiWorld) -> Callable[[dict[str, Any]], Any]:
    def answer(body: dict[str, Any]) -> Any:
        return {
            "id": ids.new("pair"),
            "uri": f"eightms://pair?e=x&t=reg_secret&l={body['label']}",
            "expires_at": world.clock.now() + timedelta(minutes=10),
        }

    return answer


def _pairing(world: ApiWorld) -> Callable[[dict[str, Any]], Any]:
    return lambda body: {
        "id": body["id"],
        "state": "open",
        "phone_id": None,
        "expires_at": world.clock.now(),
    }


def _save_endpoint(world: ApiWorld) -> Callable[[dict[str, Any]], Any]:
    async def answer(body: dict[str, Any]) -> Any:
        endpoint_id = body.get("endpoint_id") or ids.new("whk")
        known = await world.rows("SELECT * FROM endpoint WHERE id = $1", endpoint_id)
        names = ("url", "types", "enabled", "ordered", "description")
        given = {name: body[name] for name in names if body.get(name) is not None}
        merged = {**({name: known[0][name] for name in names} if known else {}), **given}
        data = e.WebhookEndpointSaved(
            endpoint_id=endpoint_id, **{**merged, "types": tuple(merged["types"])}
        )
        await world.append(data, body["workspace_id"])
        now = world.clock.now()
        shown = {
            **merged,
            "id": endpoint_id,
            "state": "enabled" if data.enabled else "disabled",
            "disabled_reason": None if data.enabled else "user",
            "created_at": known[0]["created_at"] if known else now,
            "updated_at": now,
        }
        return {"endpoint": shown} | ({} if known else {"secret": "whsec_c2VjcmV0"})

    return answer


def _remove_endpoint(world: ApiWorld) -> Callable[[dict[str, Any]], Any]:
    async def answer(body: dict[str, Any]) -> Any:
        gone = e.WebhookEndpointRemoved(endpoint_id=body["endpoint_id"])
        await world.append(gone, body["workspace_id"])
        return {"id": body["endpoint_id"], "removed": True}

    return answer


def _always(value: Any) -> Callable[[ApiWorld], Callable[[dict[str, Any]], Any]]:
    return lambda _: lambda _: value


FAKES: Mapping[tuple[str, str], Callable[[ApiWorld], Callable[[dict[str, Any]], Any]]] = {
    ("scheduler", "explain"): _always({"waiting": None}),
    ("scheduler", "preview"): _preview,
    ("scheduler", "phones"): _phones,
    ("scheduler", "limits"): _always(
        {
            "min_gap_s": 240.0,
            "daily_cap": 200,
            "warmup": [{"days": 7, "cap": 50}],
            "parts_per_minute": 24,
            "attempts": 3,
            "message_ttl_s": 259200,
        }
    ),
    ("scheduler", "loosenings"): _loosenings,
    ("scheduler", "forecast"): _always(
        {
            "finish_at": None,
            "by_day": [],
            "skipped": {},
            "segments": 0,
            "messages": 0,
            "waiting": "no_phone",
        }
    ),
    ("gateway", "open_pairing"): _open_pairing,
    ("gateway", "pairing"): _pairing,
    ("webhooks", "save_endpoint"): _save_endpoint,
    ("webhooks", "remove_endpoint"): _remove_endpoint,
    ("webhooks", "rotate_secret"): _always({"secret": "whsec_bmV3"}),
    ("webhooks", "test"): _always({"event_id": "evt_1", "delivery_id": "dlv_1"}),
    ("webhooks", "resend"): _always({"delivery_id": "dlv_1"}),
    ("webhooks", "replay"): _always({"deliveries": 2}),
}


@dataclass
class FakeSimulator:
    """A host of simulated phones: pairing one puts it into the log, as gateway would."""

    world: ApiWorld | None = None
    received: list[dict[str, Any]] = field(default_factory=list)
    texts: Sequence[dict[str, Any]] = ()
    refuses: str | None = None

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Its address, for as long as the block lasts."""
        app = web.Application()
        app.router.add_post("/phones", self._pair)
        app.router.add_post("/phones/{phone_id}/receive", self._receive)
        app.router.add_get("/phones/{phone_id}/texts", self._texts)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _pair(self, request: web.Request) -> web.Response:
        assert self.world is not None
        body = await request.json()
        phone_id = ids.new("phn")
        label = body["uris"][0].rpartition("l=")[2]
        await self.world.append(paired(phone_id, simulated=True, label=label))
        answer = {"phones": [{"phone_id": phone_id, "label": label}], "errors": []}
        return web.json_response(answer, status=201)

    async def _receive(self, request: web.Request) -> web.Response:
        self.received.append(await request.json())
        return web.json_response({"provider_id": "7"}, status=201)

    async def _texts(self, request: web.Request) -> web.Response:
        if self.refuses is not None:
            raise Problem(404, self.refuses, "")
        return web.json_response({"texts": list(self.texts)})
