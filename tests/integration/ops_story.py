"""A plausible history to fill a log with, and a service process to project it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from cli.__main__ import main
from cli.embedded import free_port
from cli.embedded_process import die_with_parent
from shared import events as e
from shared import ids
from shared.log import Log
from shared.vault import KeyRing

WORKSPACE = ids.derive("ws", "bakery")
KEY_TEXT = KeyRing.generate_key()
BEGAN = datetime(2026, 11, 1, 12, tzinfo=UTC)
PATIENCE_S = 30.0
ROOT = Path(__file__).parents[2]
PHONES = [ids.derive("phn", str(n)) for n in range(5)]
SYSTEM = e.Actor("system", "scheduler")


def number(n: int) -> str:
    """One of fifty people's."""
    return f"+1415555{n % 50:04d}"


def contact_id(n: int) -> str:
    """The contact with that number."""
    return ids.contact_id(b"k" * 32, WORKSPACE, number(n), 0)


def message_id(n: int) -> str:
    """The n-th message."""
    return ids.derive("msg", str(n))


def make(data: e.Data, key: str, n: int, actor: e.Actor = SYSTEM) -> e.Event:
    """An event that the same arguments always make again."""
    at = BEGAN + timedelta(seconds=n)
    return e.make(
        data, id=ids.derive("evt", key, str(n)), workspace_id=WORKSPACE, at=at, actor=actor
    )


def beginning() -> Iterator[e.Event]:
    """A workspace and its phones."""
    yield make(
        e.WorkspaceCreated(workspace_id=WORKSPACE, name="Bakery", timezone="UTC"), "created", 0
    )
    for n, phone_id in enumerate(PHONES):
        paired = e.PhonePaired(
            phone_id=phone_id,
            generation=1,
            device_hash=str(n),
            label=f"Phone {n}",
            manufacturer="Acme",
            model="One",
            android="14",
            app_version="1",
            sims=(e.Sim(subscription_id=1),),
        )
        yield make(paired, "paired", n, e.Actor("phone", phone_id))


def message(n: int, *, expires_days: int = 3) -> Iterator[e.Event]:
    """What happens to the n-th message: six events."""
    of: dict[str, Any] = {"message_id": message_id(n), "contact_id": contact_id(n)}
    phone_id = PHONES[n % len(PHONES)]
    command_id = ids.command_id(message_id(n), 1)
    text: dict[str, Any] = {
        "to": number(n),
        "body": f"Your bread number {n} is ready",
        "parts": 1,
        "source": "api",
        "expires_at": BEGAN + timedelta(days=expires_days),
    }
    yield make(e.SendRequested(**of, **text), "requested", n, e.Actor("api_key", "key_1"))
    went = e.SendDispatched(**of, **text, command_id=command_id, phone_id=phone_id, attempt=1)
    yield make(went, "dispatched", n)
    fact = of | {
        "command_id": command_id,
        "phone_id": phone_id,
        "attempt": 1,
        "journal_seq": n,
        "phone_at": BEGAN,
    }
    phone = e.Actor("phone", phone_id)
    for kind in (e.SmsAccepted, e.SmsSubmitted, e.SmsSent, e.SmsDelivered):
        yield make(kind(**fact), kind.TYPE, n, phone)


async def tell(log: Log, first: int, last: int) -> int:
    """Append messages ``first`` to ``last``; the sequence of the last event a scheduler reads."""
    events = [event for n in range(first, last) for event in message(n)]
    return await append(log, events) - 1  # the last of each is a delivery, which it does not read


async def append(log: Log, events: list[e.Event]) -> int:
    """Append in order; the sequence of the last."""
    stored = await log.append_many(events)
    assert isinstance(stored[-1], int)
    return stored[-1]


def environment(database_url: str, nats_url: str, **more: str) -> dict[str, str]:
    """What a process of 8ms needs, and nothing of this process's own."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database_url,
        "NATS_URL": nats_url,
        "EIGHTMS_SECRET_KEY": KEY_TEXT,
        **more,
    }


def eightms(*argv: str) -> list[str]:
    """The command line of `eightms`; it ends with the tests."""
    return [*die_with_parent(signal.SIGKILL), sys.executable, "-m", "cli", *argv]


@asynccontextmanager
async def service(
    name: str, database_url: str, nats_url: str, **more: str
) -> AsyncGenerator[ServiceProcess, None]:
    """`python -m services.<name>`, ready."""
    port = free_port()
    process = subprocess.Popen(  # noqa: ASYNC220 - it starts in a millisecond
        [*die_with_parent(signal.SIGKILL), sys.executable, "-m", f"services.{name}"],
        env=environment(database_url, nats_url, EIGHTMS_PORT=str(port), **more),
    )
    try:
        one = ServiceProcess(process, port)
        await one.until_ready()
        yield one
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE_S)


class ServiceProcess:
    """A running service."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    async def until_ready(self, ready: bool = True) -> None:
        """Returns when readyz says so; TimeoutError after PATIENCE_S."""
        async with asyncio.timeout(PATIENCE_S):
            while await asyncio.to_thread(self.is_ready) is not ready:
                assert self.process.poll() is None, "the service ended"
                await asyncio.sleep(0.05)

    def get(self, path: str, key: str) -> int:
        """The status of a request with an API key."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        request = Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        with urlopen(request, timeout=10) as answer:
            return answer.status

    def is_ready(self) -> bool:
        """What readyz says now."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return answer.status == 200
        except (URLError, OSError):
            return False


class Command:
    """Runs `eightms` against a NATS, as a process of its own would."""

    def __init__(
        self, url: str, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[bytes]
    ) -> None:
        self._url, self._patch, self._captured = url, patch, captured

    async def __call__(self, nats_url: str, *argv: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self._patch.setenv("DATABASE_URL", self._url)
        self._patch.setenv("NATS_URL", nats_url)
        self._patch.setenv("EIGHTMS_SECRET_KEY", KEY_TEXT)
        self._captured.readouterr()
        code = await asyncio.to_thread(main, argv)
        out, err = self._captured.readouterr()
        return code, out.decode(), err.decode()
