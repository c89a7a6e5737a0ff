"""The whole stack for a benchmark: embedded servers, and the services as processes of their own."""

import asyncio
import os
import signal
import subprocess
import sys
from base64 import b64encode
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import psutil

from cli.embedded import Embedded, free_port
from cli.embedded_process import die_with_parent
from shared.bus import Bus
from shared.log import Log
from tests.bench.machine import ROOT

SERVICES = ("api", "gateway", "scheduler", "inbound", "webhooks")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class Stack:
    """PostgreSQL, NATS (both durable) and the services, for as long as the block lasts.

    `log` and `bus` are connected as ops. A service that cannot be started fails the block with the
    end of its log.
    """

    def __init__(self, directory: Path, services: tuple[str, ...] = SERVICES) -> None:
        self.directory, self._services = directory, services
        self.ports: dict[str, int] = {}
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = AsyncExitStack()
        self._key = b64encode(os.urandom(32)).decode()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.servers = await stack.enter_async_context(Embedded(self.directory / "servers"))
            self.log = await Log.connect(self.servers.nats_url, "bench")
            stack.push_async_callback(self.log.close)
            await self.log.ensure_stream()
            self.servers.nats.stage_in_memory()
            self.bus = Bus(self.log)
            await self.bus.ensure_presence()
            stack.push_async_callback(self._stop_services)
            self.ports = {name: free_port() for name in self._services}
            for name in self._services:
                self._spawn(name)
            await asyncio.gather(*(self.ready(name) for name in self._services))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def url(self, service: str) -> str:
        """Where a service listens."""
        return f"http://127.0.0.1:{self.ports[service]}"

    def environment(self, service: str) -> dict[str, str]:
        """What a service of this stack reads."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "DATABASE_URL": self.servers.database_socket_url,
            "NATS_URL": self.servers.nats_urls[service],
            "EIGHTMS_SECRET_KEY": self._key,
            "EIGHTMS_PORT": str(self.ports[service]),
            "EIGHTMS_PUBLIC_URL": self.url("api") if "api" in self.ports else "http://127.0.0.1",
            "EIGHTMS_GATEWAY_URL": self.url("gateway") if "gateway" in self.ports else "",
            "EIGHTMS_ENV": "development",
            "EIGHTMS_RATE_KEY": "0",  # one key asks for everything here
            "EIGHTMS_RATE_WORKSPACE": "0",
            "EIGHTMS_UNPACED_SIMULATION": "1",
        }

    async def restart(self, service: str) -> None:
        """Kill a service as a crash would, and wait until its successor is ready."""
        self.children[service].kill()
        self.children[service].wait()
        self._spawn(service)
        await self.ready(service)

    async def stop(self, service: str) -> None:
        """SIGTERM, and wait for the end."""
        await asyncio.to_thread(_end, self.children.pop(service))

    async def ready(self, service: str) -> None:
        """Wait until the service leads and has caught up."""
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        async with aiohttp.ClientSession() as session:
            while asyncio.get_running_loop().time() < deadline:
                if self.children[service].poll() is not None:
                    raise RuntimeError(f"{service} ended while starting:\n{self._tail(service)}")
                try:
                    async with session.get(self.url(service) + "/readyz") as response:
                        state = await response.json()
                        if state.get("why") == "leading" and state.get("lag") == 0:
                            return
                except (aiohttp.ClientError, OSError):
                    pass
                await asyncio.sleep(0.05)
        raise RuntimeError(f"{service} is not ready:\n{self._tail(service)}")

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Every process of the stack under the name it is reported by."""
        out = {name: [psutil.Process(child.pid)] for name, child in self.children.items()}
        for name, pid in (
            ("NATS", self.servers.nats.pid),
            ("PostgreSQL", self.servers.postgres.pid),
        ):
            if pid is not None:
                parent = psutil.Process(pid)
                out[name] = [parent, *parent.children(recursive=True)]
        return out

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds each part of the stack has used so far."""
        return {name: sum(map(_cpu_s, those)) for name, those in self.processes().items()}

    def _spawn(self, service: str) -> None:
        log_path = self.directory / f"{service}.log"
        with log_path.open("ab") as log:
            self.children[service] = subprocess.Popen(
                [*die_with_parent(signal.SIGTERM), sys.executable, "-m", f"services.{service}"],
                cwd=ROOT,
                env=self.environment(service),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _tail(self, service: str) -> str:
        lines = (self.directory / f"{service}.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-15:])

    async def _stop_services(self) -> None:
        children = list(self.children.values())
        self.children.clear()
        for child in children:
            child.send_signal(signal.SIGTERM)
        await asyncio.gather(*(asyncio.to_thread(_end, child) for child in children))


def shares(before: dict[str, float], after: dict[str, float], wall_s: float) -> str:
    """Shares of a core between two readings of `cpu_s`, largest first."""
    used = {name: 100 * (after[name] - before.get(name, 0.0)) / wall_s for name in after}
    ranked = sorted(used.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {share:.0f} %" for name, share in ranked)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system
