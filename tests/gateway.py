"""Gateways as processes on real servers, and handsets in the test's own hands.

    async with Gateways(database_url, nats_server, tmp_path) as world:
        phone = await world.pair()
        async with phone.streaming():
            command = await world.dispatch(phone, "Hello")
            frame = await phone.frame("send")

A handset here does nothing by itself: a test says each entry, so that it can say wrong ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

import aiohttp
import asyncpg
import msgspec

from cli.embedded import NatsServer, free_port
from shared import events as e
from shared import ids
from shared.bus import Bus
from shared.log import Log
from shared.vault import KeyRing
from tests.programs import Program

PATIENCE_S = 30.0  # a bound, not an expectation
SYSTEM = e.Actor("system", "test")
DEVICE = {"manufacturer": "Acme", "model": "One", "android": "14", "app_version": "1"}
SIM = {"slot": 0, "subscription_id": 1, "carrier": "Test", "number": "+14155550100"}
T = TypeVar("T")


async def until(check: Callable[[], T] | Callable[[], Awaitable[T]], what: str = "it") -> Any:
    """Poll ``check`` until it gives something true."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = check()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")
        await asyncio.sleep(0.01)


@dataclass
class Frame:
    """One server-sent event as it was read."""

    event: str
    data: Any
    id: int | None


@dataclass
class Handset:
    """A paired phone, and what came down its stream."""

    world: Gateways
    url: str
    device_id: str
    phone_id: str = ""
    credential: str = ""
    seq: int = 0
    frames: list[Frame] = field(default_factory=list)
    streams: int = 0
    closed: int = 0

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.credential}"}

    def entry(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next entry of the journal."""
        self.seq += 1
        at = datetime.now(UTC).isoformat()
        return {"seq": self.seq, "at": at, "type": kind, **fields}

    async def post(self, body: Any, url: str | None = None) -> tuple[int, Any]:
        """A journal call with any body; its status and answer."""
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {**self.auth, "Content-Type": "application/json"}
        async with self.world.http.post(
            f"{url or self.url}/phone/v1/journal", data=io.BytesIO(raw), headers=headers
        ) as response:
            return response.status, await response.json(content_type=None)

    async def tell(self, *entries: dict[str, Any], inventory: Any = None) -> Any:
        """A journal call that must be answered 200; its answer."""
        body: dict[str, Any] = {"entries": list(entries)}
        if inventory is not None:
            body["inventory"] = inventory
        status, answer = await self.post(body)
        assert status == 200, (status, answer)
        return answer

    @contextlib.asynccontextmanager
    async def streaming(
        self, url: str | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The phone's stream, read into ``frames`` for as long as the block lasts."""
        async with self.world.http.get(
            f"{url or self.url}/phone/v1/stream",
            headers={**self.auth, "Accept": "text/event-stream", **(headers or {})},
            timeout=aiohttp.ClientTimeout(total=None),
        ) as response:
            assert response.status == 200, (response.status, await response.text())
            self.streams += 1
            reader = asyncio.create_task(self._read(response))
            try:
                yield response
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        fields: dict[str, str] = {}
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async for raw in response.content:
                line = raw.decode().rstrip("\n")
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                    continue
                number = int(fields["id"]) if "id" in fields else None
                data = msgspec.json.decode(fields["data"])
                self.frames.append(Frame(fields["event"], data, number))
                fields = {}
        self.closed += 1

    def of(self, kind: str) -> list[Frame]:
        """The frames of a kind so far."""
        return [frame for frame in self.frames if frame.event == kind]

    async def frame(self, kind: str, count: int = 1) -> Frame:
        """The ``count``-th frame of a kind, when it is there."""
        await until(lambda: len(self.of(kind)) >= count, f"frame {kind} number {count}")
        return self.of(kind)[count - 1]


class Gateways:
    """Servers that are there, gateways that can be started, killed and stopped."""

    def __init__(
        self,
        database_url: str,
        nats: NatsServer,
        directory: Path,
        *,
        instances: int = 1,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.nats, self.database_url = nats, database_url
        self.workspace_id = ids.new("ws")
        self.secret_key = KeyRing.generate_key()
        self.urls: list[str] = []
        self.programs: list[Program] = []
        self._stack = contextlib.AsyncExitStack()
        for n in range(instances):
            port = free_port()
            self.urls.append(f"http://127.0.0.1:{port}")
            variables = {
                "DATABASE_URL": database_url,
                "NATS_URL": nats.url("gateway"),
                "EIGHTMS_SECRET_KEY": self.secret_key,
                "EIGHTMS_PORT": str(port),
                "EIGHTMS_GATEWAY_URL": self.urls[0],
                **(env or {}),
            }
            name, command = f"gateway.{n}", ["-m", "services.gateway"]
            self.programs.append(Program(name, command, variables, directory / f"{name}.log"))

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self.http = await stack.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
            )
            self.log = await Log.connect(self.nats.url(), "test")
            stack.push_async_callback(self.log.close)
            self.bus = Bus(self.log)
            await self.log.ensure_stream()
            await self.bus.ensure_presence()
            self._database: Any = await asyncpg.create_pool(
                self.database_url,
                min_size=0,
                server_settings={"search_path": "gateway,gateway_vault"},
            )
            stack.callback(self._database.terminate)
            stack.callback(self._kill_all)
            await self.append(
                e.WorkspaceCreated(workspace_id=self.workspace_id, name="Acme", timezone="UTC")
            )
            for n, program in enumerate(self.programs):
                program.start()
                await self.ready(n)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            for program in self.programs:
                print(program.name, program.tail(), sep="\n")
        await self._stack.aclose()

    def _kill_all(self) -> None:
        for program in self.programs:
            program.kill()

    async def status(self, n: int = 0) -> dict[str, Any]:
        """What /readyz says; {} while nobody answers."""
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with self.http.get(f"{self.urls[n]}/readyz") as response:
                return await response.json()
        return {}

    async def ready(self, n: int = 0) -> None:
        """Wait until instance ``n`` answers phones: its rows are fresh."""

        async def fresh() -> bool:
            if not (await self.status(n)).get("ready"):
                return False
            metrics = await self.metric("rows_age_seconds", n)
            return metrics < PATIENCE_S

        try:
            await until(fresh, f"gateway.{n} ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.programs[n].tail()}") from None

    async def metric(self, name: str, n: int = 0) -> float:
        """One gauge of an instance."""
        async with self.http.get(f"{self.urls[n]}/metrics") as response:
            for line in (await response.text()).splitlines():
                if line.startswith(f"eightms_{name}{{"):
                    return float(line.rpartition(" ")[2])
        raise KeyError(name)

    # -- what the rest of 8ms does ---------------------------------------------------------------

    async def append(self, data: e.Data, event_id: str | None = None) -> int:
        """An event of another service."""
        return await self.log.append(
            e.make(
                data,
                id=event_id or ids.new("evt"),
                workspace_id=self.workspace_id,
                at=datetime.now(UTC),
                actor=SYSTEM,
            )
        )

    async def dispatch(
        self,
        phone: Handset,
        body: str = "Hello",
        *,
        attempt: int = 1,
        settle: bool = True,
        **fields: Any,
    ) -> e.SendDispatched:
        """The scheduler gives a command to a phone; with ``settle`` it is in the rows then."""
        message_id = fields.pop("message_id", None) or ids.new("msg")
        data = e.SendDispatched(
            message_id=message_id,
            contact_id=ids.new("con"),
            command_id=ids.command_id(message_id, attempt),
            phone_id=phone.phone_id,
            attempt=attempt,
            to="+14155551234",
            body=body,
            parts=fields.pop("parts", 1),
            source="api",
            expires_at=fields.pop("expires_at", datetime.now(UTC) + timedelta(hours=1)),
            subscription_id=1,
        )
        await self.append(data)
        if settle:
            query = "SELECT 1 FROM command WHERE id = $1"
            await until(lambda: self.rows(query, data.command_id), "the command's row")
        return data

    async def cancel(self, command: e.SendDispatched, *, by_command: bool = True) -> int:
        """The scheduler (or, not by command, api) wants a command back."""
        return await self.append(
            e.SendCancelRequested(
                message_id=command.message_id,
                contact_id=command.contact_id,
                reason="failover" if by_command else "user",
                command_id=command.command_id if by_command else None,
            )
        )

    async def events(self, *types: str) -> list[e.Event]:
        """What the log holds of these types, in order."""
        records = await self.log.history([f"{t}.>" for t in types or ("sms", "phone")])
        return [e.decode(record.data) for record in records]

    async def types(self, *types: str) -> list[str]:
        """Their types alone."""
        return [event.type for event in await self.events(*types)]

    async def rows(self, query: str, *args: Any) -> list[Any]:
        """What the database holds."""
        return await self._database.fetch(query, *args)

    # -- phones ----------------------------------------------------------------------------------

    async def link(
        self, label: str = "Front desk", phones_max: int | None = None
    ) -> dict[str, Any]:
        """A new pairing, as api asks for one."""
        body = {
            "workspace_id": self.workspace_id,
            "label": label,
            "actor": {"kind": "user", "id": "usr_1"},
            "phones_max": phones_max,
        }
        return await self.bus.ask("gateway", "open_pairing", body)

    async def post_pair(self, body: Any, url: str | None = None) -> tuple[int, Any]:
        """POST /phone/v1/pair; its status and answer."""
        async with self.http.post(f"{url or self.urls[0]}/phone/v1/pair", json=body) as response:
            return response.status, await response.json(content_type=None)

    async def pair(
        self, device_id: str = "device-1", *, uri: str | None = None, n: int = 0
    ) -> Handset:
        """A phone paired with a new link (or this one), served by instance ``n``."""
        link: str = uri or (await self.link())["uri"]
        status, answer = await self.post_pair(pair_body(link, device_id), self.urls[n])
        assert status == 201, (status, answer)
        phone = Handset(self, self.urls[n], device_id)
        phone.phone_id, phone.credential = answer["phone_id"], answer["credential"]
        return phone


def token_of(uri: str) -> str:
    """The registration token in a pairing link."""
    return parse_qs(urlsplit(uri).query)["t"][0]


def pair_body(uri: str, device_id: str = "device-1", **device: Any) -> dict[str, Any]:
    """A valid body for POST /phone/v1/pair."""
    return {
        "token": token_of(uri),
        "device": {"device_id": device_id, **DEVICE, **device},
        "sims": [SIM],
    }
