"""The processes `eightms up` runs: started, heard, started again when they die, stopped in order.

What a child says goes to its log file; the terminal gets only what somebody should know. Each child
has its own session, so that Ctrl-C reaches the parent alone, and the kernel kills it if the parent
is killed: everything that matters is in the log and in PostgreSQL, so nothing is lost by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.embedded_process import (
    LOG_MAX_BYTES,
    RESTART_MAX_S,
    RESTART_MIN_S,
    STABLE_S,
    Report,
    die_with_parent,
)

STOP_TIMEOUT_S = 20.0  # a service drains within ten seconds
QUIET_S = 30.0  # the same sentence is told again only after this
CHUNK_BYTES = 65_536
LAST_WORDS = 4  # lines told when a child ends by itself
LOUD = frozenset({"error", "critical"})
UNSAID = frozenset({"level", "timestamp", "service", "event", "exception", "worker", "library"})


class Child:
    """``command`` with ``environment``, kept running from ``start`` to ``stop``."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log_path: Path,
        report: Report,
    ) -> None:
        self.name, self.log_path = name, log_path
        self.environment = dict(environment)
        self.deaths = 0  # since it was last ready or stable
        self.settling = True  # others are still starting: only errors are worth telling
        self._command = [*die_with_parent(signal.SIGKILL), *command]
        self._report = report
        self._process: asyncio.subprocess.Process | None = None
        self._wanted = False
        self._task: asyncio.Task[None] | None = None
        self._said: dict[str, float] = {}
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)

    @property
    def pid(self) -> int | None:
        """The running process's id, or None."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def last_words(self) -> str:
        """What it said last, for somebody who wonders why it does not come up."""
        return "\n".join(f"    {line}" for line in self._last_words)

    def start(self) -> None:
        """Start it, and again whenever it ends, until ``stop``."""
        self._wanted = True
        self._task = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """Ask it to drain, insist if it does not, wait until it is gone."""
        self._wanted = False
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                self._report(f"{self.name} did not stop within {STOP_TIMEOUT_S:.0f} s: killed")
                self.kill()
        if self._task is not None:
            await self._task
            self._task = None

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._wanted = False
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _keep_running(self) -> None:
        delay_s = RESTART_MIN_S
        while self._wanted:
            began = time.monotonic()
            code = await self._run_once()
            if not self._wanted:
                return
            if time.monotonic() - began > STABLE_S:
                delay_s, self.deaths = RESTART_MIN_S, 0
            self.deaths += 1
            self._report(
                f"{self.name} ended ({_how(code)}), starting it again in {delay_s:g} s;"
                f" its log: {self.log_path}"
            )
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RESTART_MAX_S)

    async def _run_once(self) -> int:
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self.environment,
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - it was asked for
        if not self._wanted:  # told to stop while it was being made
            self.kill()
        await self._listen(process.stdout)
        return await process.wait()

    async def _listen(self, output: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await output.read(CHUNK_BYTES):
            self._keep(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._hear(line.decode("utf-8", "replace"))
            rest = rest[-CHUNK_BYTES:]

    def _keep(self, chunk: bytes) -> None:
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_MAX_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with self.log_path.open("ab") as log:
            log.write(chunk)

    def _hear(self, line: str) -> None:
        told = notable(line, warnings=not self.settling)
        if told is None:
            if line.strip() and not line.startswith("{"):
                self._last_words.append(line)
            return
        self._last_words.append(told)
        now = time.monotonic()
        if self._wanted and now - self._said.get(told, -QUIET_S) >= QUIET_S:
            self._said[told] = now
            self._report(f"{self.name}: {told}")


def notable(line: str, *, warnings: bool) -> str | None:
    """What a line of a service's log says to the person at the terminal; None: nothing."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    if said.get("level") not in LOUD and not (warnings and said.get("level") == "warning"):
        return None
    details = [f"{key}={value}" for key, value in said.items() if key not in UNSAID]
    return " ".join([str(said.get("event")), *details])


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
