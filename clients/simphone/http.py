"""HTTP/1.1 as a phone needs it: keep-alive calls and one long answer, straight on the transport.

A general client takes ten times what a journal call needs, and thousands of phones live in one
process. What is not here the protocol does not use: redirects, cookies, compression, proxies.

`Response` reads bytes (no I/O). `Exchange` is one request with its answer, `Wire` a connection with
at most one of them under way, `Wires` opens wires and keeps those that are idle.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple, cast

from yarl import URL

CONNECT_TIMEOUT_S = 10.0
HEAD_MAX_BYTES = 32 * 1024
PIECE_MAX_BYTES = 1024 * 1024  # of a chunk that has not come to its end
HEAD_FROM = 200  # statuses below are news on the way to the answer
COMMON = {"User-Agent": "8ms-simphone/1", "Accept-Encoding": "identity"}


class Unusable(Exception):
    """No answer, not a whole one, or not HTTP: connect and ask again."""


class Origin(NamedTuple):
    """Where a connection leads."""

    host: str
    port: int
    secure: bool


class Target(NamedTuple):
    """An address as it is connected to and asked for."""

    origin: Origin
    authority: str
    path: str

    @classmethod
    def of(cls, address: str) -> "Target":
        """Read an http(s) address; Unusable when it is none."""
        try:
            url = URL(address)
        except ValueError:
            raise Unusable("no address") from None
        if url.scheme not in ("http", "https") or not url.raw_host or not url.port:
            raise Unusable("no http(s) address")
        origin = Origin(url.raw_host, url.port, url.scheme == "https")
        return cls(origin, url.host_port_subcomponent or "", url.raw_path_qs)

    def head(self, method: str, headers: Mapping[str, str]) -> bytes:
        """The head of a request, but for the length of a body and the empty line."""
        lines = [f"{method} {self.path} HTTP/1.1", f"Host: {self.authority}"]
        lines += [f"{name}: {value}" for name, value in {**COMMON, **headers}.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise Unusable("a line break in a header")
        return "\r\n".join(lines).encode()


def with_body(head: bytes, body: bytes) -> bytes:
    """A whole request that carries `body`."""
    return b"%b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


class Response:
    """One answer as it arrives: `feed` bytes, get those of the body. `status` is 0 until the head
    is there; `done` once the body is; `unbounded` where it lasts as long as the connection."""

    __slots__ = ("_chunked", "_left", "_rest", "done", "headers", "reusable", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.done = self.reusable = False
        self._chunked = False
        self._left: int | None = None  # None: until the connection ends
        self._rest = b""

    @property
    def unbounded(self) -> bool:
        return self.status >= HEAD_FROM and self._left is None and not self._chunked

    def header(self, name: bytes) -> str:
        """A header, '' where there is none; `name` in small letters."""
        return self.headers.get(name, b"").decode("latin-1")

    def feed(self, data: bytes) -> bytes:
        """The next bytes of the body, if `data` completes some. Unusable: this is not HTTP."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        while self.status < HEAD_FROM:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return self._keep(data, HEAD_MAX_BYTES)
            self._head(data[:end].split(b"\r\n"))
            data = data[end + 4 :]
        if self._chunked:
            return self._chunks(data)
        if self._left is None:
            return data
        body, rest = data[: self._left], data[self._left :]
        self._left -= len(body)
        self.done = self._left == 0
        self.reusable = self.reusable and not rest
        return body

    def _keep(self, data: bytes, most: int) -> bytes:
        if len(data) > most:
            raise Unusable("too long")
        self._rest = data
        return b""

    def _head(self, lines: list[bytes]) -> None:
        version, _, status = lines[0].partition(b" ")
        try:
            self.status = int(status[:3])
        except ValueError:
            raise Unusable("no status") from None
        if not version.startswith(b"HTTP/1.") or self.status < 100:
            raise Unusable("not HTTP/1")
        self.headers = headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        self._chunked = headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        if self.status in (204, 304):
            self._left = 0
        elif (length := headers.get(b"content-length")) is not None and not self._chunked:
            if not length.isdigit():
                raise Unusable("no length")
            self._left = int(length)
        self.done = self._left == 0 and self.status >= HEAD_FROM
        stays = headers.get(b"connection", b"").lower() != b"close" and version == b"HTTP/1.1"
        self.reusable = stays and not self.unbounded

    def _chunks(self, data: bytes) -> bytes:
        """RFC 9112, 7.1: a size in hexadecimal, so many bytes, and a last one of size 0."""
        body: list[bytes] = []
        at = 0
        while (line_end := data.find(b"\r\n", at)) >= 0:
            size = data[at:line_end].partition(b";")[0].strip()
            if not size.isalnum():
                raise Unusable("no chunk")
            try:
                begin, end = line_end + 2, line_end + 2 + int(size, 16)
            except ValueError:
                raise Unusable("no chunk") from None
            if begin == end:
                trailer = data.find(b"\r\n\r\n", line_end)
                if trailer >= 0:
                    self.done = True
                    self.reusable = self.reusable and trailer + 4 == len(data)
                    return b"".join(body)
                break
            if len(data) < end + 2:
                break
            body.append(data[begin:end])
            at = end + 2
        self._keep(data[at:], PIECE_MAX_BYTES)
        return b"".join(body)


class Exchange:
    """A request and what becomes of it. What it does with the answer, a subclass says."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.response = Response()

    def piece(self, data: bytes) -> None:
        """More of the answer: its head is in `response`, `data` is what came of its body."""

    def over(self, error: Exception | None) -> None:
        """The end: None after a whole answer, Unusable after less, or what `piece` raised."""


class Answer(NamedTuple):
    """A whole answer; `retry_after` is '' where it has none."""

    status: int
    retry_after: str
    body: bytes


class Call(Exchange):
    """An exchange whose answer is wanted as a whole: `then` gets it once, or None for none."""

    def __init__(self, request: bytes, then: Callable[["Answer | None"], None]) -> None:
        super().__init__(request)
        self._then = then
        self._body = b""

    def piece(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > PIECE_MAX_BYTES:
            raise Unusable("too long")

    def over(self, error: Exception | None) -> None:
        response = self.response
        whole = Answer(response.status, response.header(b"retry-after"), self._body)
        self._then(whole if error is None else None)


class Wire(asyncio.Protocol):
    """A connection, for one exchange at a time; cut when it is silent for too long in one."""

    def __init__(self, wires: "Wires", origin: Origin) -> None:
        self._wires, self.origin = wires, origin
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._heard_s = self._silence_s = 0.0
        self._watched = False

    def ask(self, exchange: Exchange, silence_s: float) -> None:
        """Begin an exchange; `silence_s` without a byte of the answer ends it."""
        loop = self._wires.loop
        self._exchange = exchange
        self._heard_s, self._silence_s = loop.time(), silence_s
        if self._transport is None:
            loop.call_soon(self._over, Unusable("the connection is gone"))
            return
        self._transport.write(exchange.request)
        if not self._watched:
            self._watched = True
            loop.call_later(silence_s, self._watch)

    def hang_up(self) -> None:
        """Cut the connection, and with it what is under way."""
        if self._transport is not None:
            self._transport.abort()

    def _watch(self) -> None:
        """One timer for all exchanges of a wire: each would cost more than it takes to answer."""
        self._watched = False
        if self._exchange is None or self._transport is None:
            return
        left_s = self._heard_s + self._silence_s - self._wires.loop.time()
        if left_s <= 0:
            self.hang_up()
        else:
            self._watched = True
            self._wires.loop.call_later(left_s, self._watch)

    def _over(self, error: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.over(error)

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # nothing was asked
            self.hang_up()
            return
        self._heard_s = self._wires.loop.time()
        response = exchange.response
        try:
            body = response.feed(data)
            if response.status >= HEAD_FROM:
                exchange.piece(body)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            self.hang_up()
            self._over(error)
            return
        if response.done:
            if response.reusable:
                self._wires.keep(self)
            else:
                self.hang_up()
            self._over(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._wires.lost(self)
        exchange = self._exchange
        whole = exc is None and exchange is not None and exchange.response.unbounded
        self._over(None if whole else Unusable("the connection was lost"))


class Wires:
    """The connections of a process. One that is idle serves whoever goes the same way next: which
    phone speaks, its credential says."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._idle: dict[Origin, list[Wire]] = {}
        self._all: set[Wire] = set()
        self._opening: set[asyncio.Task[None]] = set()

    async def open(self, origin: Origin) -> Wire:
        """A new connection; Unusable when there is none within CONNECT_TIMEOUT_S."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, wire = await self.loop.create_connection(
                    lambda: Wire(self, origin),
                    origin.host,
                    origin.port,
                    ssl=self._trust if origin.secure else None,
                )
        except (OSError, TimeoutError) as error:
            raise Unusable(type(error).__name__) from None
        self._all.add(wire)
        return wire

    def call(self, origin: Origin, call: Call, silence_s: float) -> None:
        """Make a call on an idle connection, or on a new one."""
        idle = self._idle.get(origin)
        if idle:
            idle.pop().ask(call, silence_s)
            return
        task = self.loop.create_task(self._call_anew(origin, call, silence_s))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _call_anew(self, origin: Origin, call: Call, silence_s: float) -> None:
        try:
            wire = await self.open(origin)
        except Unusable as error:
            call.over(error)
        else:
            wire.ask(call, silence_s)

    async def answer(self, origin: Origin, request: bytes, silence_s: float) -> Answer | None:
        """The answer to a call, or None where there is none."""
        future: asyncio.Future[Answer | None] = self.loop.create_future()

        def answered(answer: Answer | None) -> None:
            if not future.done():
                future.set_result(answer)

        self.call(origin, Call(request, answered), silence_s)
        return await future

    def keep(self, wire: Wire) -> None:
        """The wire is idle."""
        self._idle.setdefault(wire.origin, []).append(wire)

    def lost(self, wire: Wire) -> None:
        """The wire is down."""
        self._all.discard(wire)
        idle = self._idle.get(wire.origin, [])
        if wire in idle:
            idle.remove(wire)

    async def close(self) -> None:
        """Cut every connection."""
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for wire in list(self._all):
            wire.hang_up()
        while self._all:
            await asyncio.sleep(0)

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context()
