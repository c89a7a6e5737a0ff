"""One server as a child process: started, watched, stopped and found again after a crash.

What PostgreSQL and NATS have in common when `eightms up` and the tests run them. A child gets its
own session, so Ctrl-C in a terminal reaches only the parent, which stops things in the right order;
should the parent be killed, the kernel tells the child to shut down.
"""

import asyncio
import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import psutil

POLL_S = 0.01
WATCH_S = 0.05
START_TIMEOUT_S = 120  # recovery after a crash reads the whole write-ahead log
STOP_TIMEOUT_S = 20
QUIT_TIMEOUT_S = 5
LOG_MAX_BYTES = 10_000_000  # looked at on every start; one older file is kept
LOG_TAIL_LINES = 8
RESTART_MIN_S = 0.1
RESTART_MAX_S = 10.0
STABLE_S = 10  # a server that lived this long is restarted without delay

Report = Callable[[str], None]


class StackError(Exception):
    """The embedded stack cannot do what was asked; the text says why, and what a person can do.

    StackError
    ├── ServerFailed      a server ended while starting, or did not get ready in time
    └── DataFolderInUse   another process runs on this data folder
    """


class ServerFailed(StackError):
    """A server ended while starting, or did not get ready in time: see its log."""


class DataFolderInUse(StackError):
    """Another process holds this data folder."""


class Server(ABC):
    """A server process on `port` of the loopback address, with its files under `directory`."""

    name: str
    stop_signal: signal.Signals

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory.absolute()
        self.port = port
        self._child: subprocess.Popen[bytes] | None = None
        self._wanted = False

    @property
    def log_path(self) -> Path:
        """Where the server writes its log."""
        return self.directory / "server.log"

    @property
    def pid(self) -> int | None:
        """The running server's process id, or None."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    @abstractmethod
    def _prepare(self) -> None:
        """Writes what the server needs before it starts."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The command line, program first."""

    @abstractmethod
    def _is_ours(self, command: Sequence[str]) -> bool:
        """Whether a process with this command line is this very server or a part of it."""

    @abstractmethod
    async def _is_ready(self) -> bool:
        """Whether the started server answers."""

    def _prefix(self) -> Sequence[str]:
        return die_with_parent(self.stop_signal)

    async def start(self) -> None:
        """Starts the server and returns when it answers; nothing to do if it runs. ServerFailed."""
        self._wanted = True
        if self.pid is None:
            await self._launch()

    async def _launch(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        await self.end_leftovers()
        await asyncio.to_thread(self._prepare)
        self._child = self._spawn()
        try:
            await asyncio.wait_for(self._until_ready(), START_TIMEOUT_S)
        except TimeoutError:
            self.kill()
            raise ServerFailed(
                f"{self.name} did not answer within {START_TIMEOUT_S} s; log: {self.log_path}"
            ) from None

    async def end_leftovers(self) -> None:
        """Ends what an earlier run that was killed has left on these files. ServerFailed."""
        await end_processes(self._is_ours, self.stop_signal)

    def _spawn(self) -> subprocess.Popen[bytes]:
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_MAX_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        command = [*self._prefix(), *self._command()]
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=quiet_environment(),
                start_new_session=True,
            )

    async def _until_ready(self) -> None:
        while not await self._is_ready():
            if self.pid is None:
                raise ServerFailed(f"{self.name} ended while starting:\n{self._log_tail()}")
            await asyncio.sleep(POLL_S)

    def _log_tail(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(f"    {line}" for line in lines)

    async def stop(self) -> None:
        """Asks the server to shut down in good order, and insists if it does not. Never fails."""
        self._wanted = False
        child = self._child
        if child is None:
            return
        for sent, patience_s in (
            (self.stop_signal, STOP_TIMEOUT_S),
            (signal.SIGQUIT, QUIT_TIMEOUT_S),
        ):
            if child.poll() is None:
                child.send_signal(sent)
                await self._ended_within(child, patience_s)
        self.kill()

    @staticmethod
    async def _ended_within(child: subprocess.Popen[bytes], patience_s: float) -> None:
        for _ in range(int(patience_s / POLL_S)):
            if child.poll() is not None:
                return
            await asyncio.sleep(POLL_S)

    def kill(self) -> None:
        """SIGKILL, as a crash would; returns when the process is gone."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    async def keep_running(self, report: Report) -> None:
        """Restarts the server whenever it ends, on the same port; returns after `stop`.

        What happened goes to `report` as a sentence. A server that keeps ending is tried again
        after RESTART_MIN_S, then twice that, up to RESTART_MAX_S.
        """
        delay_s = RESTART_MIN_S
        while True:
            lived_s = await self._until_ended()
            if not self._wanted:
                return
            report(f"{self.name} ended ({self._how_it_ended()}); starting it again")
            delay_s = RESTART_MIN_S if lived_s > STABLE_S else delay_s
            while self.pid is None and self._wanted:
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RESTART_MAX_S)
                try:
                    await self._launch()
                except StackError as error:
                    report(f"{error}\nNext try in {delay_s:g} s")
                else:
                    report(f"{self.name} is back on port {self.port}")

    async def _until_ended(self) -> float:
        started = asyncio.get_running_loop().time()
        while self.pid is not None:
            await asyncio.sleep(WATCH_S)
        return asyncio.get_running_loop().time() - started

    def _how_it_ended(self) -> str:
        code = self._child.returncode if self._child is not None else 0
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def quiet_environment() -> dict[str, str]:
    """What a server sees of our environment: none of the secrets, one language for its log."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def die_with_parent(stop_signal: signal.Signals) -> list[str]:
    """A command prefix that has the kernel send `stop_signal` to the child when its parent dies.

    Linux only; elsewhere a child left over by a killed parent is found and ended by the next start.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    return [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG"), "--"]


async def end_processes(ours: Callable[[Sequence[str]], bool], stop_signal: signal.Signals) -> None:
    """Ends what an earlier run that was killed has left behind, told by its command line.

    The command line is what every user may see of every process; a recorded process id may by now
    be somebody else's. Writers must be gone before a server starts on the same files.
    """
    for sent, patience_s in (
        (stop_signal, STOP_TIMEOUT_S),
        (signal.SIGQUIT, QUIT_TIMEOUT_S),
        (signal.SIGKILL, QUIT_TIMEOUT_S),
    ):
        found = await asyncio.to_thread(lambda: list(_processes(ours)))
        if not found:
            return
        for process in found:
            _send(process, sent)
        await asyncio.to_thread(psutil.wait_procs, found, patience_s)
    raise ServerFailed("a server left over from an earlier run cannot be ended")


def _processes(ours: Callable[[Sequence[str]], bool]) -> Iterable[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if ours(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except psutil.Error:
            continue


def _send(process: psutil.Process, sent: signal.Signals) -> None:
    try:
        process.send_signal(sent)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        raise ServerFailed(
            f"process {process.pid} is still running on these files and belongs to another user"
        ) from None
