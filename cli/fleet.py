"""All children of `eightms up`: the services and the host of simulated phones."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from cli.children import Child
from cli.embedded_process import Report
from cli.errors import CommandError
from cli.phone import SIMPHONE_DIR
from cli.plan import LOOPBACK, SIMULATOR, Plan, simulator_environment
from clients.simphone import control
from clients.simphone.errors import SimphoneError

POLL_S = 0.05
TELL_AFTER_S = 8.0  # a start that takes longer says what it waits for, and again after as long
ASK_TIMEOUT_S = 2.0
KEY_TRIES = 200  # ten seconds
DEATHS_MAX = 3  # a child that ends so often before it was ever ready will not come up


class Fleet:
    """Made with the environment of every service; started and stopped as one."""

    def __init__(
        self, plan: Plan, environments: Mapping[str, dict[str, str]], report: Report
    ) -> None:
        self._plan, self._report = plan, report
        logs = plan.data / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        self.services = {
            name: Child(
                name,
                [sys.executable, "-P", "-m", f"services.{name}"],
                environment,
                logs / f"{name}.log",
                report,
            )
            for name, environment in environments.items()
        }
        self.simulator: Child | None = None
        if SIMULATOR in plan.ports:
            command = [sys.executable, "-P", "-m", "clients.simphone"]
            command += ["--state-dir", str(plan.data / SIMPHONE_DIR)]
            command += ["--control-port", str(plan.ports[SIMULATOR])]
            environment = simulator_environment(plan.given)
            self.simulator = Child(
                SIMULATOR, command, environment, logs / f"{SIMULATOR}.log", report
            )

    @property
    def children(self) -> list[Child]:
        """Every child, the simulated phones last."""
        return [*self.services.values(), *([self.simulator] if self.simulator else [])]

    def start(self) -> None:
        """Start all of them, side by side."""
        for child in self.children:
            child.start()

    async def ready(self) -> None:
        """Returns once all are. CommandError: one ends again and again instead."""
        began = told_at = time.monotonic()
        missing = {child.name: "it is starting" for child in self.children}
        timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                for child in self.children:
                    if child.name in missing:
                        why = await self._why_not(session, child)
                        if why is None:
                            del missing[child.name]
                        else:
                            missing[child.name] = why
                if not missing:
                    for child in self.children:
                        child.deaths, child.settling = 0, False
                    return
                if time.monotonic() - told_at >= TELL_AFTER_S:
                    told_at = time.monotonic()
                    waits = "; ".join(f"{name}: {why}" for name, why in missing.items())
                    self._report(f"waiting since {told_at - began:.0f} s for {waits}")
                await asyncio.sleep(POLL_S)

    async def _why_not(self, session: aiohttp.ClientSession, child: Child) -> str | None:
        if child.deaths >= DEATHS_MAX:
            raise CommandError(
                f"{child.name} does not start. What it said last:\n{child.last_words}",
                f"All of it is in {child.log_path}.",
            )
        if child is self.simulator:
            return await self._simulator_why_not()
        url = f"http://{LOOPBACK}:{self._plan.ports[child.name]}/readyz"
        try:
            async with session.get(url) as response:
                state: dict[str, Any] = await response.json()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return "it is starting"
        return None if state.get("ready") else str(state.get("why"))

    async def _simulator_why_not(self) -> str | None:
        try:
            await control.phones(self._plan.simulator_url)
        except (SimphoneError, aiohttp.ClientError, OSError, TimeoutError):
            return "it is starting"
        return None

    async def takes_key(self, api_key: str) -> None:
        """Returns once the API has read the key from the log, which may be a moment after ready."""
        if "api" not in self.services:
            return
        url = f"http://{LOOPBACK}:{self._plan.ports['api']}/v1/workspace"
        timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {api_key}"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            for _ in range(KEY_TRIES):
                try:
                    async with session.get(url) as response:
                        if response.status not in (401, 503):
                            return
                except (aiohttp.ClientError, OSError, TimeoutError):
                    pass
                await asyncio.sleep(POLL_S)
        self._report("The API does not take the key yet; it reads the log.")

    async def restart_services(self, secret_key: str) -> None:
        """Stop every service and start it with another key; returns when all are ready again."""
        await self.stop_services()
        for child in self.children:
            child.settling = True
        for child in self.services.values():
            child.environment["EIGHTMS_SECRET_KEY"] = secret_key
            child.start()
        await self.ready()

    async def stop_services(self) -> None:
        """Drain the services."""
        await asyncio.gather(*(child.stop() for child in self.services.values()))

    async def stop_simulator(self) -> None:
        """Switch the simulated phones off."""
        if self.simulator is not None:
            await self.simulator.stop()

    def kill(self) -> None:
        """End all at once."""
        for child in self.children:
            child.kill()
