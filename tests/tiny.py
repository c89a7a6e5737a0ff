"""The tiny service as a process, and what tests of the frame do with it (tests/fakes/tiny)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp

from cli.embedded import free_port
from shared import events as e
from shared import ids
from shared.vault import KeyRing
from tests.examples import example
from tests.programs import Program

PATIENCE_S = 60.0  # a bound, not an expectation
WORKSPACE = ids.derive("ws", "tiny")


async def until(what: str, check: Callable[[], Any] | Callable[[], Awaitable[Any]]) -> Any:
    """Poll ``check`` until it gives something true; what it gave."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = check()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        await asyncio.sleep(0.01)


def note(n: int = 0, body: str = "Hello", **changes: Any) -> e.Event:
    """A wish to send, the n-th: what the tiny service makes a note of."""
    data = example(e.SendRequested).data
    fields: dict[str, Any] = {
        "message_id": ids.derive("msg", "tiny", str(n)),
        "contact_id": ids.derive("con", "tiny", str(n % 7)),
        "body": body,
        "phone_id": None,
        **changes,
    }
    return event(e.SendRequested(**{f: getattr(data, f) for f in data.__struct_fields__} | fields))


def event(data: e.Data, id: str | None = None) -> e.Event:
    """An event around ``data``, now."""
    return e.make(
        data,
        id=id or ids.new("evt"),
        workspace_id=WORKSPACE,
        at=datetime.now(UTC),
        actor=e.Actor("system", "test"),
    )


class Tiny:
    """One instance. Use ``async with``: it is killed at the end, or stopped before."""

    def __init__(
        self, directory: Path, database_url: str, nats_url: str, name: str = "tiny", **env: str
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            "DATABASE_URL": database_url,
            "NATS_URL": nats_url,
            "EIGHTMS_SECRET_KEY": KeyRing.generate_key(),
            "EIGHTMS_PORT": str(self.port),
            **env,
        }
        log_path = directory / f"{name}.log"
        self.program = Program(name, ["-m", "tests.fakes.tiny"], environment, log_path)
        self.http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        self.program.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.program.kill()
        await self.http.close()

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON; (0, {}) when nobody answers."""
        try:
            async with self.http.get(self.url + path) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, {}

    async def ready(self) -> dict[str, Any]:
        """What /readyz says; {} when nobody answers."""
        return (await self.get("/readyz"))[1]

    async def until_ready(self) -> dict[str, Any]:
        """Wait until it serves; what /readyz says then."""

        async def is_ready() -> dict[str, Any] | None:
            state = await self.ready()
            return state if state.get("ready") else None

        return await until(f"{self.program.name} is ready\n{self.program.tail()}", is_ready)

    async def until_leading(self) -> None:
        """Wait until it leads."""

        async def leads() -> bool:
            return bool((await self.ready()).get("leading"))

        await until(f"{self.program.name} leads\n{self.program.tail()}", leads)

    async def notes(self) -> int:
        """How many notes the workspace has, as a request sees it; -1 when nobody answers."""
        status, answer = await self.get(f"/notes?workspace={WORKSPACE}")
        return answer["notes"] if status == 200 else -1

    async def until_notes(self, count: int) -> None:
        """Wait until it has exactly that many."""

        async def there() -> bool:
            return await self.notes() == count

        await until(f"{count} notes\n{self.program.tail()}", there)
