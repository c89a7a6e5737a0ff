"""PostgreSQL and NATS without Docker: both as child processes, their data in one folder.

`eightms up` and the tests run these same servers. In the data folder:

    lock                held while a process runs on this folder
    credentials.json    the passwords, made once, readable by their owner only
    ports.json          the ports, kept so that clients find a restarted server again
    postgres/ nats/     the data, and a server.log each
"""

import asyncio
import fcntl
import json
import os
import random
import secrets
import socket
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from cli.embedded_nats import NatsServer
from cli.embedded_postgresql import PostgresServer
from cli.embedded_process import DataFolderInUse, Report, ServerFailed, StackError
from cli.nats_permissions import USERS

__all__ = [
    "DataFolderInUse",
    "Embedded",
    "NatsServer",
    "PostgresServer",
    "ServerFailed",
    "StackError",
    "free_port",
    "generated_passwords",
]

ServerT = TypeVar("ServerT", PostgresServer, NatsServer)

# Below the range the kernel takes outgoing ports from (32768 on): a client that tries again and
# again to reach a server that is down would otherwise now and then be given that very port, connect
# to itself, and keep the server from coming back.
FIRST_PORT = 20_000
LAST_PORT = 32_000
PORT_TRIES = 50


class Embedded:
    """Both servers for as long as the `async with` block lasts; what they store stays.

    `ports` is "auto" for free ones that are then kept, or a number: NATS gets it, PostgreSQL the
    next. `durable=False`, for tests, leaves out what only a power cut would miss; `postgres=False`
    or `nats=False` leaves out the server that runs elsewhere. Enter it from the thread that lives
    longest: when that ends, the servers shut down. Raises StackError.
    """

    def __init__(
        self,
        data_dir: Path,
        ports: int | str = "auto",
        *,
        durable: bool = True,
        postgres: bool = True,
        nats: bool = True,
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._fixed_port = None if ports == "auto" else int(ports)
        self._durable = durable
        self._with_postgres, self._with_nats = postgres, nats
        self._stack = AsyncExitStack()
        self._postgres: PostgresServer | None = None
        self._nats: NatsServer | None = None

    @property
    def postgres(self) -> PostgresServer:
        """The running PostgreSQL."""
        return _entered(self._postgres)

    @property
    def nats(self) -> NatsServer:
        """The running NATS."""
        return _entered(self._nats)

    @property
    def database_url(self) -> str:
        """PostgreSQL over TCP, as its superuser."""
        return self.postgres.url()

    @property
    def database_socket_url(self) -> str:
        """The same over the Unix socket."""
        return self.postgres.socket_url()

    @property
    def nats_url(self) -> str:
        """NATS as ops, who may do everything."""
        return self.nats.url()

    @property
    def nats_urls(self) -> dict[str, str]:
        """NATS for every service, each as itself, and ops."""
        return self.nats.urls

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            # Root's PostgreSQL runs under another account, which has to pass through here.
            self._data_dir.mkdir(
                mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True
            )
            stack.callback(os.close, _lock(self._data_dir / "lock"))
            credentials = self._credentials()
            known = self._known_ports()
            if self._with_postgres:
                self._postgres = PostgresServer(
                    self._data_dir / "postgres",
                    known["postgres"],
                    credentials["postgres"],
                    durable=self._durable,
                )
            if self._with_nats:
                self._nats = NatsServer(
                    self._data_dir / "nats",
                    known["nats"],
                    credentials["nats"],
                    durable=self._durable,
                )
            stack.push_async_callback(self._stop)
            for server in self._servers:
                await server.end_leftovers()
            self._settle_ports()
            await _together(*(server.start() for server in self._servers))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def supervise(self, report: Report) -> None:
        """Restarts either server when it dies, on its port; returns once both were stopped.

        What happens is told to `report` in sentences. Run it as a task inside the block.
        """
        await _together(*(server.keep_running(report) for server in self._servers))

    def kill(self) -> None:
        """Ends both at once, as a crash would; the next start recovers."""
        for server in self._servers:
            server.kill()

    async def _stop(self) -> None:
        await _together(*(server.stop() for server in self._servers))

    @property
    def _servers(self) -> list[NatsServer | PostgresServer]:
        return [server for server in (self._nats, self._postgres) if server is not None]

    def _credentials(self) -> Any:
        """What credentials.json holds, made or completed where something is missing."""
        path = self._data_dir / "credentials.json"
        known = _read(path)
        if "postgres" not in known and (self._data_dir / "postgres" / "data").exists():
            raise StackError(f"{path} is gone, and with it the password of the database beside it")
        complete = {
            "postgres": known.get("postgres") or secrets.token_urlsafe(24),
            "nats": generated_passwords() | known.get("nats", {}),
        }
        if complete != known:
            _write(path, complete)
        return complete

    def _known_ports(self) -> dict[str, int]:
        if self._fixed_port is not None:
            return {"nats": self._fixed_port, "postgres": self._fixed_port + 1}
        return {"nats": 0, "postgres": 0} | _read(self._data_dir / "ports.json")

    def _settle_ports(self) -> None:
        """Keeps the ports of the last time; chooses others where they are taken."""
        for server in self._servers:
            if server.port != 0 and _is_free(server.port):
                continue
            if self._fixed_port is not None:
                raise StackError(f"port {server.port}, meant for {server.name}, is taken")
            server.port = free_port()
        if self._fixed_port is None:
            kept = {"nats": self._nats, "postgres": self._postgres}
            ports = {name: server.port for name, server in kept.items() if server is not None}
            _write(self._data_dir / "ports.json", self._known_ports() | ports)


def free_port() -> int:
    """A loopback port nobody listens on, out of the way of outgoing connections."""
    for _ in range(PORT_TRIES):
        port = random.randint(FIRST_PORT, LAST_PORT)  # noqa: S311
        if _is_free(port):
            return port
    raise StackError(f"no free port between {FIRST_PORT} and {LAST_PORT}")


def generated_passwords() -> dict[str, str]:
    """A new password for every NATS user."""
    return {user: secrets.token_urlsafe(24) for user in USERS}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: connections that are closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _lock(path: Path) -> int:
    """Holds the data folder; the lock ends with the returned descriptor, at the latest with us."""
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(held, 20).decode()
        os.close(held)
        raise DataFolderInUse(
            f"process {holder} already runs on {path.parent}: stop it, or name another folder"
        ) from None
    os.ftruncate(held, 0)
    os.write(held, str(os.getpid()).encode())
    return held


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    """All or nothing, and readable by the owner only."""
    making = path.with_name(path.name + ".new")
    making.unlink(missing_ok=True)
    making.touch(mode=0o600)
    making.write_text(json.dumps(content, indent=2))
    making.replace(path)


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """Both to their end; then the first error, so that none goes on behind our back."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if outcome is not None:
            raise outcome


def _entered(server: ServerT | None) -> ServerT:
    if server is None:
        raise StackError("the servers run inside `async with Embedded(...)` only")
    return server
