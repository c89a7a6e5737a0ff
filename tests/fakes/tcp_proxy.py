"""A wire that can be cut: a TCP proxy with faults on demand, and a balancer over several targets.

cut()     every connection is reset, new ones are closed at once: the cable is out
freeze()  connections stay open and carry nothing, new ones are taken and carry nothing
strand()  what is open now carries nothing any more, for ever; new connections work: half-open,
          as behind a router that was replaced. The target is reset after a while, as TCP's
          keepalives would do; the near side is told nothing
slow()    everything arrives, late and in small pieces
heal()    as if nothing had been; what was frozen goes on, what was stranded does not
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
KEEPALIVE_S = 2.0  # until a stranded target is reset
Target = tuple[str, int]


class _Link:
    """One connection through the proxy. A dead one swallows what comes and tells nobody."""

    def __init__(self, near: asyncio.StreamWriter) -> None:
        self.near = near
        self.far: asyncio.StreamWriter | None = None
        self.dead = False

    def reset(self) -> None:
        """Close both sides with RST: nothing of what was still buffered arrives."""
        _reset(self.near)
        if self.far is not None:
            _reset(self.far)

    def close(self) -> None:
        """Close both sides; what is buffered still goes out, unless it was reset."""
        self.near.close()
        if self.far is not None:
            self.far.close()


class TcpProxy:
    """Listens on ``port`` of the loopback address (0: any) and forwards to the first target that
    answers, taking turns."""

    def __init__(self, targets: Sequence[Target], port: int = 0) -> None:
        self._targets = list(targets)
        self._turn = itertools.count()
        self._links: set[_Link] = set()
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
        for link in self._links:
            link.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection; refuse new ones until ``heal``."""
        self._cut = True
        self._flowing.set()
        for link in self._links:
            link.reset()

    def freeze(self) -> None:
        """Carry nothing, in either direction, and tell nobody."""
        self._flowing.clear()

    def strand(self) -> None:
        """Never carry anything again on what is open now, and do not tell the near side."""
        for link in self._links:
            link.dead = True
            if link.far is not None:
                asyncio.get_running_loop().call_later(KEEPALIVE_S, _reset, link.far)

    def slow(self, delay_s: float) -> None:
        """Wait this long before each small piece."""
        self._delay_s = delay_s

    def heal(self) -> None:
        """Carry everything again."""
        self._cut, self._delay_s = False, 0.0
        self._flowing.set()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            _reset(writer)
            return
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, _Link(writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, near: asyncio.StreamReader, link: _Link) -> None:
        self._links.add(link)
        try:
            await self._flowing.wait()
            far, link.far = await self._connect()
            up = asyncio.create_task(self._pump(near, link.far, link))
            down = asyncio.create_task(self._pump(far, link.near, link))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                if link.dead and not up.done():  # the target is gone; the near side must find out
                    await up
            finally:  # one direction ended: the connection is over for both
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        except (OSError, TimeoutError):
            link.reset()  # the target is away
        finally:
            link.close()
            self._links.discard(link)

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

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link
    ) -> None:
        while data := await reader.read(SLOW_CHUNK_BYTES if self._delay_s else CHUNK_BYTES):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._flowing.wait()
            if not link.dead:
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST where possible."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
