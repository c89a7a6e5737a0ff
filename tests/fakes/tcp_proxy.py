"""A wire that can be cut: a TCP proxy with faults on demand, and a balancer over several targets.

cut()     every connection is reset, new ones are closed at once: the cable is out
freeze()  connections stay open and carry nothing, new ones are taken and carry nothing:
          half-open, as behind a router that was replaced
slow()    everything arrives, late and in small pieces
heal()    as if nothing had been; what was frozen goes on
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Sequence

CHUNK_BYTES = 64 * 1024
SLOW_CHUNK_BYTES = 400
CONNECT_TIMEOUT_S = 2.0
Target = tuple[str, int]


class TcpProxy:
    """Listens on ``port`` of the loopback address (0: any) and forwards to the first target that
    answers, taking turns."""

    def __init__(self, targets: Sequence[Target], port: int = 0) -> None:
        self._targets = list(targets)
        self._turn = itertools.count()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._cut = False
        self._delay_s = 0.0
        self._server: asyncio.Server | None = None
        self.port = port
        self.connections = 0

    async def start(self) -> None:
        """Open the port."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        self._reset_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection; refuse new ones until ``heal``."""
        self._cut = True
        self._flowing.set()
        self._reset_all()

    def freeze(self) -> None:
        """Carry nothing, in either direction, and tell nobody."""
        self._flowing.clear()

    def slow(self, delay_s: float) -> None:
        """Wait this long before each small piece."""
        self._delay_s = delay_s

    def heal(self) -> None:
        """Carry everything again."""
        self._cut, self._delay_s = False, 0.0
        self._flowing.set()

    def _reset_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            _reset(writer)
            return
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            await self._flowing.wait()
            far_reader, far = await self._connect()
            self._writers.add(far)
            up = asyncio.create_task(self._pump(reader, far))
            down = asyncio.create_task(self._pump(far_reader, writer))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            finally:  # one direction ended: the connection is over for both
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        except (OSError, TimeoutError):
            _reset(writer)  # the target is away
        finally:
            for end in (writer, far):
                if end is not None:
                    end.close()  # what is buffered still goes out, unless it was reset
                    self._writers.discard(end)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        turn = next(self._turn)
        error: OSError | TimeoutError = OSError("no target")
        for n in range(len(self._targets)):
            host, port = self._targets[(turn + n) % len(self._targets)]
            try:
                return await asyncio.wait_for(
                    asyncio.open_connection(host, port), CONNECT_TIMEOUT_S
                )
            except (OSError, TimeoutError) as failed:
                error = failed
        raise error

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(SLOW_CHUNK_BYTES if self._delay_s else CHUNK_BYTES):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST where possible: nothing of what was still buffered arrives."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
