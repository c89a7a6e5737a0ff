"""Processes of 8ms under the tests' control: started, killed, paused, stopped in good order."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.embedded_process import die_with_parent

ROOT = Path(__file__).parent.parent
POLL_S = 0.02
STOP_TIMEOUT_S = 30.0  # longer than a service may take to drain
TAIL_LINES = 12
DEATHS_MAX = 3  # a program that ends by itself so often is broken, not unlucky


class Program:
    """``python -m module …`` with its output in a file. It dies with the tests."""

    def __init__(
        self, name: str, arguments: Sequence[str], env: Mapping[str, str], log_path: Path
    ) -> None:
        self.name, self.log_path = name, log_path
        self._arguments = list(arguments)
        self._env = dict(env)
        self._child: subprocess.Popen[bytes] | None = None
        self._killed = False
        self.wanted = False
        self.starts = 0
        self.deaths: list[str] = []  # how it ended without being asked to

    @property
    def alive(self) -> bool:
        """Whether the process runs (paused is running)."""
        return self._child is not None and self._child.poll() is None

    @property
    def hopeless(self) -> bool:
        """Whether it keeps ending by itself: nobody starts it again, nobody need wait for it."""
        return len(self.deaths) >= DEATHS_MAX

    def start(self) -> None:
        """Start the process; nothing to do if it runs."""
        self.wanted = True
        if self.alive:
            return
        self._killed = False
        self.starts += 1
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                [*die_with_parent(signal.SIGKILL), sys.executable, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={"PATH": os.environ.get("PATH", os.defpath), **self._env},
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone. A supervisor may start it again."""
        self._killed = True
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def pause(self) -> None:
        """Stop its clock (SIGSTOP), as a machine that hangs."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    async def stop(self) -> int:
        """SIGTERM and wait; its exit code. TimeoutError if it does not end."""
        self.wanted = False
        self._killed = True
        child = self._child
        if child is None:
            return 0
        self._signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_TIMEOUT_S):
            while child.poll() is None:
                await asyncio.sleep(POLL_S)
        return child.returncode

    def mind(self) -> None:
        """What a supervisor does: start it again where it ended and is wanted."""
        if not self.wanted or self.alive or self.hopeless:
            return
        if not self._killed and self._child is not None:
            self.deaths.append(f"{self.name} ended by itself, code {self._child.returncode}")
        self.start()

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)

    def log(self) -> str:
        """Everything it wrote."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The end of what it wrote."""
        return "\n".join(f"    {line[:400]}" for line in self.log().splitlines()[-lines:])
