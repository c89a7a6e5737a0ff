"""How a command finds the 8ms it works on, and connects to it.

In this order: DATABASE_URL and NATS_URL; the stack that `eightms up` runs on the data folder (it
writes stack.json there); the embedded servers of that folder, started for this command alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import importlib
import importlib.util
import json
import os
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from cli.embedded import Embedded
from cli.errors import CommandError, UsageError
from cli.nats_permissions import SERVICES
from cli.render import say
from shared.bus import Bus
from shared.log import Log
from shared.projector import Projection
from shared.vault import KeyRing

DATA = ".data"
STACK_FILE = "stack.json"
KEY_FILE = "secret_key"
WORKSPACE_FILE = "workspace.json"
LOCK_FILE = "up.lock"
CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Stack:
    """Where everything of one 8ms is. ``running`` says whether `eightms up` runs it now."""

    data: Path
    database_url: str = field(repr=False)
    nats_url: str = field(repr=False)
    running: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def ring(self) -> KeyRing:
        """The keys: EIGHTMS_SECRET_KEY, else the ones in the data folder."""
        return KeyRing.parse(key_text(self.data))

    async def database(self) -> asyncpg.Connection:
        """A connection to PostgreSQL as the configured user."""
        return await connect_database(self.database_url)

    @contextlib.asynccontextmanager
    async def log(self) -> AsyncGenerator[Log, None]:
        """The event log as ops."""
        log = await connect_log(self.nats_url)
        try:
            yield log
        finally:
            await log.close()

    @contextlib.asynccontextmanager
    async def bus(self) -> AsyncGenerator[Bus, None]:
        """What asks the running services."""
        async with self.log() as log:
            yield Bus(log)


def data_argument(parser: argparse.ArgumentParser) -> None:
    """`--data DIR`, which every command has."""
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(DATA),
        metavar="DIR",
        help="the folder of `eightms up` (default %(default)s)",
    )


@contextlib.asynccontextmanager
async def opened(data: Path, *, make: bool = False) -> AsyncGenerator[Stack, None]:
    """The 8ms this command works on, for as long as the block lasts; CommandError without one.

    ``make`` starts one in an empty folder too, if the secret key is there.
    """
    database_url, nats_url = os.environ.get("DATABASE_URL"), os.environ.get("NATS_URL")
    if database_url and nats_url:
        yield Stack(data, database_url, nats_url, is_running(data), _facts(data))
        return
    if is_running(data):
        facts = _facts(data)
        if "database_url" not in facts:
            raise CommandError(
                f"`eightms up` is still starting on {data}.", "Try again in a moment."
            )
        yield Stack(
            data, database_url or facts["database_url"], nats_url or facts["nats_url"], True, facts
        )
        return
    if make:
        key_text(data)
    elif not (data / "credentials.json").exists():
        raise CommandError(
            f"There is no 8ms here: DATABASE_URL and NATS_URL are not set, and {data} holds none.",
            "Start one with `eightms up`, or name its folder with --data DIR.",
        )
    say(f"8ms is not running on {data}: its PostgreSQL and NATS are started for this command.")
    async with Embedded(data, postgres=not database_url, nats=not nats_url) as servers:
        yield Stack(
            data,
            database_url or servers.database_url,
            nats_url or servers.nats_url,
            False,
            _facts(data),
        )


def is_running(data: Path) -> bool:
    """Whether a process holds the folder as `eightms up` does."""
    try:
        held = os.open(data / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(held)
    return False


def _facts(data: Path) -> dict[str, Any]:
    return read_private(data / STACK_FILE)


def read_private(path: Path) -> dict[str, Any]:
    """What `write_private` wrote; empty if there is nothing."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}


def write_private(path: Path, content: Mapping[str, Any] | str) -> None:
    """All or nothing, and readable by the owner only."""
    making = path.with_name(path.name + ".new")
    making.unlink(missing_ok=True)
    making.touch(mode=0o600)
    making.write_text(
        content if isinstance(content, str) else json.dumps(dict(content), indent=2) + "\n"
    )
    making.replace(path)


def key_text(data: Path) -> str:
    """EIGHTMS_SECRET_KEY as the environment or the data folder has it; CommandError without."""
    text = os.environ.get("EIGHTMS_SECRET_KEY")
    if text:
        return text
    path = data / KEY_FILE
    if not path.exists():
        raise CommandError(
            f"There is no secret key: EIGHTMS_SECRET_KEY is not set and {path} does not exist.",
            "Set the variable as the services have it.",
        )
    return path.read_text().strip()


async def connect_database(url: str) -> asyncpg.Connection:
    """PostgreSQL, or a CommandError that says where it was looked for and what happened."""
    where = address(url)
    try:
        return await asyncpg.connect(
            url, timeout=CONNECT_TIMEOUT_S, server_settings={"application_name": "eightms"}
        )
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise CommandError(
            f"PostgreSQL at {where} refuses the user or the password.", "Correct DATABASE_URL."
        ) from error
    except asyncpg.InvalidCatalogNameError as error:
        raise CommandError(
            f"PostgreSQL at {where} has no such database.", "Create it, or correct DATABASE_URL."
        ) from error
    except (OSError, TimeoutError, asyncpg.PostgresConnectionError) as error:
        raise CommandError(
            f"PostgreSQL at {where} does not answer ({type(error).__name__}).",
            "Is it running, and is DATABASE_URL right?",
        ) from error
    except ValueError as error:
        raise UsageError("DATABASE_URL is not as postgresql://user:password@host/name.") from error


async def connect_log(url: str) -> Log:
    """NATS as ops, or a CommandError that says where it was looked for and what happened."""
    where = address(url)
    try:
        return await asyncio.wait_for(Log.connect(url, "eightms"), CONNECT_TIMEOUT_S)
    except TimeoutError as error:
        raise CommandError(
            f"NATS at {where} does not answer.", "Is it running, and is NATS_URL right?"
        ) from error
    except Exception as error:  # nats-py has a dozen kinds for a refused connection
        raise CommandError(
            f"NATS at {where} refuses the connection ({type(error).__name__}).",
            "Correct the user and the password in NATS_URL; commands connect as ops.",
        ) from error


def address(url: str) -> str:
    """Host and port of a URL: what may be shown of it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "its socket", parts.port
    except ValueError:
        return "an address that cannot be read"
    return f"{host}:{port}" if port else host


def installed_services() -> list[str]:
    """The services whose package is there, in the order of their ports."""
    return [name for name in SERVICES if _is_there(name)]


def _is_there(service: str) -> bool:
    package = f"services.{service}"
    return bool(importlib.util.find_spec(package)) and bool(
        importlib.util.find_spec(f"{package}.__main__")
    )


def projection_of(service: str) -> Projection:
    """What ``service`` makes of the log. UsageError: there is no such service."""
    known = installed_services()
    if service not in known:
        raise UsageError(f"There is no service {service!r}.", f"Services: {', '.join(known)}.")
    return importlib.import_module(f"services.{service}.project").PROJECTION
