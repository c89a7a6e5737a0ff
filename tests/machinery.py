"""The processes of a stack: started, wired, supervised, killed. Used through tests/stack.py.

Parts are named ``postgres``, ``nats``, ``simphone`` and ``<service>.<n>``. PostgreSQL and NATS come
up on free ports, every service has its own NATS user, ports stay the same through restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from cli.embedded import (
    NatsServer,
    PostgresServer,
    StackError,
    free_port,
    generated_passwords,
)
from shared.bus import Bus
from shared.log import Log
from shared.vault import KeyRing
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.webhook_receiver import WebhookReceiver
from tests.programs import Program

SERVICES = ("api", "gateway", "scheduler", "inbound", "webhooks")
SERVERS = ("postgres", "nats")
BALANCED = ("api", "gateway")
START_TIMEOUT_S = 60.0
UNTIL_TIMEOUT_S = 40.0  # generous: a bound, not an expectation
REQUEST_TIMEOUT_S = 20.0
READY_TIMEOUT_S = 2.0
WATCH_S = 0.05
LINE_MAX = 900
TRACEBACK_LINES = 40
T = TypeVar("T")


class Machinery:
    """Runs for as long as the ``async with`` block lasts.

    ``instances`` of each service; with two, ``api`` and ``gateway`` are reached through a balancer.
    ``wires`` names connections to put a cuttable proxy into: ``nats`` and ``postgres`` (as services
    see them), ``gateway`` (as phones see it). ``env`` goes to every service on top of its own.
    With ``simulator`` the API adds simulated phones and speaks to their handsets.
    """

    def __init__(
        self,
        directory: Path,
        *,
        instances: int = 1,
        wires: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        services: Sequence[str] = SERVICES,
        delay_ms: int = 20,
        hold_ms: int = 0,
        durable: bool = False,
        simulator: bool = False,
    ) -> None:
        self.directory, self.services = directory, tuple(services)
        self.secret_key = KeyRing.generate_key()
        self.postgres = PostgresServer(
            directory / "postgres", free_port(), secrets.token_urlsafe(12), durable=False
        )
        self.nats = NatsServer(
            directory / "nats", free_port(), generated_passwords(), durable=durable
        )
        self.receiver = WebhookReceiver()
        self.wires: dict[str, TcpProxy] = {}
        self.programs: dict[str, Program] = {}
        self.ports = {f"{s}.{n + 1}": free_port() for s in services for n in range(instances)}
        self.simphone_dir = directory / "simphone"
        self._wired = {*wires, *(BALANCED if instances > 1 else ())}
        self._env, self._delays = dict(env or {}), (str(delay_ms), str(hold_ms))
        self._simulator_port = free_port() if simulator else 0
        if simulator:
            self._env["EIGHTMS_SIMULATOR_URL"] = f"http://127.0.0.1:{self._simulator_port}"
        self._down: set[str] = set()  # servers that are to stay down
        self._exit = contextlib.AsyncExitStack()

    # -- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.directory.chmod(0o711)  # root's PostgreSQL runs under another account
            stack.push_async_callback(self.postgres.stop)
            stack.push_async_callback(self.nats.stop)
            await asyncio.gather(self.postgres.start(), self.nats.start())
            self.log = await Log.connect(self.nats.url(), "tests")
            stack.push_async_callback(self.log.close)
            self.bus = Bus(self.log)
            await self.log.ensure_stream()
            self.nats.stage_in_memory()
            await self.bus.ensure_presence()
            await self.receiver.start()
            stack.push_async_callback(self.receiver.stop)
            await self._open_wires(stack)
            self._make_programs()
            stack.callback(self._end_programs)
            self.http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
                connector=aiohttp.TCPConnector(limit=0),
            )
            stack.push_async_callback(self.http.close)
            self._run(stack, self._mind_programs())
            for name in SERVERS:
                self._run(stack, self._mind_server(name))
            for name in self.ports:
                self.programs[name].start()
            await self.all_ready()
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exit.aclose()

    @staticmethod
    def _run(stack: contextlib.AsyncExitStack, work: Any) -> None:
        """A task that ends with the stack."""
        task = asyncio.ensure_future(work)

        async def end() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        stack.push_async_callback(end)

    async def _open_wires(self, stack: contextlib.AsyncExitStack) -> None:
        behind = {"nats": [self.nats.port], "postgres": [self.postgres.port]}
        for name in self._wired:
            ports = behind.get(name) or [self.ports[part] for part in self.instances_of(name)]
            wire = TcpProxy([("127.0.0.1", port) for port in ports], free_port())
            await wire.start()
            stack.push_async_callback(wire.stop)
            self.wires[name] = wire

    def _make_programs(self) -> None:
        logs = self.directory / "logs"
        logs.mkdir(exist_ok=True)
        for name, port in self.ports.items():
            service = name.partition(".")[0]
            env = self.environment(service, port)
            command = ["-m", f"services.{service}"]
            self.programs[name] = Program(name, command, env, logs / f"{name}.log")
        delay_ms, hold_ms = self._delays
        command = ["-m", "clients.simphone", "--state-dir", str(self.simphone_dir), "--no-fsync"]
        command += ["--delay-ms", delay_ms, "--hold-ms", hold_ms]
        if self._simulator_port:
            command += ["--control-port", str(self._simulator_port)]
        self.programs["simphone"] = Program("simphone", command, {}, logs / "simphone.log")

    def _end_programs(self) -> None:
        for program in self.programs.values():
            program.wanted = False
            program.kill()

    async def _mind_programs(self) -> None:
        """As ``eightms up`` does: what dies is started again."""
        while True:
            for program in self.programs.values():
                program.mind()
            await asyncio.sleep(WATCH_S)

    async def _mind_server(self, name: str) -> None:
        server = self.server(name)
        while True:
            if name not in self._down and server.pid is None:
                with contextlib.suppress(StackError):  # killed while it started: once more
                    await server.start()
            await asyncio.sleep(WATCH_S)

    # -- where and how ---------------------------------------------------------------------------

    def instances_of(self, service: str) -> list[str]:
        """The parts that are instances of ``service``."""
        return [name for name in self.ports if name.startswith(f"{service}.")]

    def url(self, service: str) -> str:
        """Where ``service`` is reached from outside."""
        wire = self.wires.get(service)
        return f"http://127.0.0.1:{wire.port if wire else self.ports[f'{service}.1']}"

    def environment(self, service: str, port: int = 0) -> dict[str, str]:
        """The variables ``service`` runs with; ``ops`` for commands."""

        def wired(url: str, name: str, port: int) -> str:
            wire = self.wires.get(name)
            return url.replace(f":{port}", f":{wire.port}") if wire and service != "ops" else url

        return {
            "DATABASE_URL": wired(self.postgres.url(), "postgres", self.postgres.port),
            "NATS_URL": wired(self.nats.url(service), "nats", self.nats.port),
            "EIGHTMS_SECRET_KEY": self.secret_key,
            "EIGHTMS_PORT": str(port),
            "EIGHTMS_ENV": "development",
            "EIGHTMS_PUBLIC_URL": self.url("api") if "api" in self.services else "",
            "EIGHTMS_GATEWAY_URL": self.url("gateway") if "gateway" in self.services else "",
            "EIGHTMS_UNPACED_SIMULATION": "1",
            **self._env,
        }

    async def status(self, name: str) -> dict[str, Any]:
        """What /readyz of one instance says; {} if it does not answer."""
        url = f"http://127.0.0.1:{self.ports[name]}/readyz"
        timeout = aiohttp.ClientTimeout(total=READY_TIMEOUT_S)
        try:
            async with self.http.get(url, timeout=timeout) as response:
                return await response.json()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return {}

    async def leader(self, service: str) -> str | None:
        """The instance of ``service`` that says it leads, if one does."""
        for name in self.instances_of(service):
            if (await self.status(name)).get("leading"):
                return name
        return None

    async def all_ready(self) -> None:
        """Wait until every wanted instance is ready and each service has a leader."""

        async def ready() -> bool:
            wanted = [n for n in self.ports if self.programs[n].wanted]
            states = dict(zip(wanted, await asyncio.gather(*map(self.status, wanted)), strict=True))
            leading = {n.partition(".")[0] for n, s in states.items() if s.get("leading")}
            services = {n.partition(".")[0] for n in wanted}
            return leading == services and all(s.get("ready") for s in states.values())

        await self.until("every service is ready", ready, START_TIMEOUT_S)

    # -- faults ----------------------------------------------------------------------------------

    def server(self, name: str) -> NatsServer | PostgresServer:
        """One of the two servers."""
        return self.nats if name == "nats" else self.postgres

    def alive(self, name: str) -> bool:
        """Whether the part's process runs."""
        return self.server(name).pid is not None if name in SERVERS else self.programs[name].alive

    def kill(self, name: str) -> None:
        """kill -9; the supervisor brings it back."""
        if name in SERVERS:
            self.server(name).kill()
        else:
            self.programs[name].kill()

    def take_down(self, *names: str) -> None:
        """kill -9, and keep it down until ``bring_up``."""
        for name in names:
            if name in SERVERS:
                self._down.add(name)
            else:
                self.programs[name].wanted = False
            self.kill(name)

    async def stop(self, *names: str) -> None:
        """In good order, all at once; returns when they ended. AssertionError if one ends badly."""
        ends = await asyncio.gather(*map(self._stop, names), return_exceptions=True)
        bad = {name: end for name, end in zip(names, ends, strict=True) if end != 0}
        assert not bad, f"told to stop: {bad}\n{self.report()}"

    async def _stop(self, name: str) -> int:
        if name in SERVERS:
            self._down.add(name)
            await self.server(name).stop()
            return 0
        return await self.programs[name].stop()

    async def bring_up(self, *names: str) -> None:
        """Start what was taken down or stopped; returns when every service is ready."""
        for name in names:
            if name in SERVERS:
                self._down.discard(name)  # its minder starts it
            else:
                self.programs[name].start()
        await self.all_ready()

    # -- waiting and telling ---------------------------------------------------------------------

    async def until(
        self,
        what: str,
        check: Callable[[], T] | Callable[[], Awaitable[T]],
        timeout_s: float = UNTIL_TIMEOUT_S,
    ) -> Any:
        """Poll ``check`` until it gives something true; AssertionError with every log's end."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = check()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return found
            hopeless = [name for name, program in self.programs.items() if program.hopeless]
            if hopeless or time.monotonic() > deadline:
                why = f"{hopeless} keep ending" if hopeless else f"not within {timeout_s:g} s"
                raise AssertionError(f"{why}: {what}\n{self.report()}")
            await asyncio.sleep(WATCH_S)

    def report(self) -> str:
        """What each part last said: for the message of a failed assertion."""
        told: list[str] = []
        for name, program in self.programs.items():
            state = "alive" if program.alive else "down"
            told.append(f"--- {name} ({state}, started {program.starts}×)\n{program.tail()}")
        return "\n".join(told)

    def complaints(self) -> list[str]:
        """What no fault excuses: unexpected errors, and services that ended by themselves."""
        found = [death for program in self.programs.values() for death in program.deaths]
        for name, program in self.programs.items():
            lines = program.log().splitlines()
            found += [
                f"{name}: {_shown(lines, n)}" for n, line in enumerate(lines) if _is_error(line)
            ]
        return found


def _shown(lines: Sequence[str], n: int) -> str:
    """A log line with its end, where the exception stands; of a traceback the lines after it."""
    line = lines[n]
    if line.startswith("Traceback"):
        return "\n    ".join(lines[n : n + TRACEBACK_LINES])
    return line if len(line) < LINE_MAX else f"{line[: LINE_MAX // 3]} … {line[-LINE_MAX:]}"


def _is_error(line: str) -> bool:
    return '"level": "error"' in line or " ERROR " in line or line.startswith("Traceback")
