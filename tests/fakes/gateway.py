"""A gateway to test phones against: a real server with phone protocol v1, and faults on demand.

It remembers everything it was told, and writes down every breach of the protocol it sees in
`violations`, which a test should find empty.
"""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from aiohttp import web

Entry = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Fault:
    """What happens to the next call of a kind (`pair`, `stream`, `journal`)."""

    status: int | None = None  # None: hang until the phone gives up
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False  # take the call as usual, then lose the answer


@dataclass
class FakePhone:
    """A phone as the gateway knows it. `entries` are those of the current pairing, by number."""

    phone_id: str
    device: dict[str, Any]
    sims: list[dict[str, Any]]
    credential: str = ""
    log: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)  # commands not to be offered again
    entries: dict[int, Entry] = field(default_factory=dict)
    acked: int = 0
    calls: list[dict[str, Any]] = field(default_factory=list)
    heartbeats: int = 0
    connects: list[str | None] = field(default_factory=list)  # their Last-Event-ID
    queue: asyncio.Queue[bytes | None] | None = None
    request: web.Request | None = None
    next_id: int = 1

    def types(self, command_id: str | None = None) -> list[str]:
        """Types of the journal in order, of one command or of all; heartbeats left out."""
        return [
            entry["type"]
            for _, entry in sorted(self.entries.items())
            if entry["type"] != "health" and command_id in (None, entry.get("command_id"))
        ]

    def entry(self, kind: str) -> Entry:
        """The only entry of a type."""
        (entry,) = (one for one in self.entries.values() if one["type"] == kind)
        return entry


class FakeGateway:
    """Start it, take `uri()` for each phone, `send`, and look at `phones`."""

    def __init__(self, *, ping_s: float = 15.0, heartbeat_s: float = 60.0) -> None:
        self.ping_s, self.heartbeat_s = ping_s, heartbeat_s
        self.phones: dict[str, FakePhone] = {}
        self.violations: list[str] = []
        self.faults: dict[str, deque[Fault]] = {}
        self.ack_at_most: int | None = None  # entries stored per call
        self.stores_heartbeats = True  # else its answer to one acknowledges only what was before
        self.reject: Callable[[Entry], str | None] = lambda _: None
        self._tokens: set[str] = set()
        self._by_credential: dict[str, FakePhone] = {}
        self._by_device: dict[str, FakePhone] = {}
        self._released = asyncio.Event()

    async def start(self) -> None:
        app = web.Application(client_max_size=1024 * 1024)
        app.router.add_post("/phone/v1/pair", self._faulty("pair", self._pair))
        app.router.add_get("/phone/v1/stream", self._faulty("stream", self._stream))
        app.router.add_post("/phone/v1/journal", self._faulty("journal", self._journal))
        # A handler whose phone is gone must notice it at once, not at the next ping.
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=4096).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        self._released.set()
        for phone in self.phones.values():
            if phone.queue is not None:
                phone.queue.put_nowait(None)
        await self._runner.cleanup()

    # What a test does

    def uri(self, label: str = "") -> str:
        """A fresh pairing link."""
        token = secrets.token_urlsafe(32)
        self._tokens.add(token)
        return f"eightms://pair?e={quote(self.url, safe='')}&t={token}&l={quote(label)}"

    def fault(self, kind: str, fault: Fault, times: int = 1) -> None:
        self.faults.setdefault(kind, deque()).extend([fault] * times)

    def send(self, phone_id: str, body: str = "hello", **fields: Any) -> str:
        """Offer a command; its id."""
        number = secrets.token_hex(8).upper()
        data = {
            "command_id": f"cmd_{number}",
            "message_id": f"msg_{number}",
            "to": "+14155550100",
            "body": body,
            "subscription_id": 1,
            "expires_at": "2100-01-01T00:00:00Z",
            **fields,
        }
        self.frame(phone_id, "send", data)
        return data["command_id"]

    def frame(self, phone_id: str, event: str, data: dict[str, Any]) -> None:
        """Log a frame, then offer it."""
        phone = self.phones[phone_id]
        phone.log.append((phone.next_id, event, data))
        phone.next_id += 1
        if phone.queue is not None:
            phone.queue.put_nowait(_encode(phone.log[-1]))

    def repeat(self, phone_id: str) -> None:
        """Offer the newest frame once more on the live stream."""
        self.raw(phone_id, _encode(self.phones[phone_id].log[-1]))

    def raw(self, phone_id: str, data: bytes) -> None:
        """Write bytes into the live stream."""
        queue = self.phones[phone_id].queue
        assert queue is not None
        queue.put_nowait(data)

    def cut(self, phone_id: str) -> None:
        """Break the live stream's connection in the middle."""
        request = self.phones[phone_id].request
        assert request is not None
        assert request.transport is not None
        request.transport.abort()

    def forget(self, phone_id: str) -> None:
        """Unpair without a word: the credential is unknown from now on."""
        self._by_credential.pop(self.phones[phone_id].credential, None)

    # What a gateway does

    def _faulty(self, kind: str, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            waiting = self.faults.get(kind)
            if not waiting:
                return await handler(request)
            fault = waiting.popleft()
            if fault.after:
                await handler(request)
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            if fault.status is None:
                await self._released.wait()
                return web.Response(status=500)
            return _problem(fault.status, "injected", fault.headers)

        return handle

    async def _pair(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body["token"] not in self._tokens:
            return _problem(410, "pairing_expired")
        self._tokens.remove(body["token"])
        device = body["device"]
        phone = self._by_device.get(device["device_id"])
        if phone is not None:
            self._by_credential.pop(phone.credential, None)
            phone.entries, phone.acked, phone.sims = {}, 0, body["sims"]
        else:
            phone = FakePhone(f"phn_{secrets.token_hex(8).upper()}", device, body["sims"])
            self.phones[phone.phone_id] = self._by_device[device["device_id"]] = phone
        phone.credential = secrets.token_urlsafe(32)
        self._by_credential[phone.credential] = phone
        answer = {
            "phone_id": phone.phone_id,
            "credential": phone.credential,
            "stream_url": self.url + "/phone/v1/stream",
            "config": {"heartbeat_s": self.heartbeat_s, "some_future_key": True},
        }
        return web.json_response(answer, status=201)

    def _phone(self, request: web.Request) -> FakePhone | None:
        return self._by_credential.get(
            request.headers.get("Authorization", "").removeprefix("Bearer ")
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        phone = self._phone(request)
        if phone is None:
            return _problem(401, "unauthorized")
        if phone.queue is not None:
            phone.queue.put_nowait(None)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        phone.queue, phone.request = queue, request
        last_id = request.headers.get("Last-Event-ID")
        phone.connects.append(last_id)
        for frame in phone.log:
            unanswered = frame[1] == "send" and frame[2]["command_id"] not in phone.closed
            if unanswered or (frame[1] != "send" and frame[0] > int(last_id or 0)):
                queue.put_nowait(_encode(frame))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            while (data := await self._next(queue)) is not None:
                await response.write(data)
        except ConnectionResetError:
            pass  # the phone hung up
        finally:
            if phone.queue is queue:
                phone.queue = phone.request = None
        return response

    async def _next(self, queue: asyncio.Queue[bytes | None]) -> bytes | None:
        try:
            async with asyncio.timeout(self.ping_s):
                return await queue.get()
        except TimeoutError:
            return b"event: ping\ndata: {}\n\n"

    async def _journal(self, request: web.Request) -> web.StreamResponse:
        phone = self._phone(request)
        if phone is None:
            return _problem(401, "unauthorized")
        body = await request.json()
        phone.calls.append(body)
        entries: list[Entry] = body["entries"]
        self._judge(phone, entries)
        rejected = []
        for entry in entries[: self.ack_at_most]:
            if entry["seq"] == phone.acked + 1:
                phone.acked += 1
                code = self.reject(entry)
                if code is not None:
                    rejected.append({"seq": entry["seq"], "code": code, "detail": "no"})
                else:
                    self._store(phone, entry)
        beat = [entry["type"] for entry in entries] == ["health"]
        acked = phone.acked if self.stores_heartbeats or not beat else entries[0]["seq"] - 1
        answer = {"acked_seq": acked, "rejected": rejected}
        return web.json_response({**answer, "server_time": "2030-01-01T00:00:00Z"})

    def _store(self, phone: FakePhone, entry: Entry) -> None:
        phone.entries[entry["seq"]] = entry
        phone.heartbeats += entry["type"] == "health"
        if "command_id" in entry:
            phone.closed.add(entry["command_id"])

    def _judge(self, phone: FakePhone, entries: list[Entry]) -> None:
        numbers = [entry["seq"] for entry in entries]
        if len(entries) > 500:
            self.violations.append(f"{len(entries)} entries in a call")
        if numbers and numbers[0] > phone.acked + 1:
            self.violations.append(f"journal begins at {numbers[0]}, acked is {phone.acked}")
        if numbers != list(range(numbers[0], numbers[0] + len(numbers)) if numbers else []):
            self.violations.append("journal numbers are not contiguous")
        if len(entries) > 1 and any(entry["type"] == "health" for entry in entries):
            self.violations.append("a heartbeat with other entries")
        for entry in entries:
            known = phone.entries.get(entry["seq"])
            if known is not None and known != entry and known["type"] != "health":
                self.violations.append(f"entry {entry['seq']} was something else before")
            if entry["type"] == "submitted" and known is None:
                before = phone.types(entry["command_id"])
                if "submitted" in before or "cancelled" in before:
                    self.violations.append(f"submitted after {before}")


def _encode(frame: tuple[int, str, dict[str, Any]]) -> bytes:
    number, event, data = frame
    return f"id: {number}\nevent: {event}\ndata: {json.dumps(data)}\n\n".encode()


def _problem(status: int, code: str, headers: dict[str, str] | None = None) -> web.Response:
    problem = {"type": "about:blank", "status": status, "code": code, "detail": "as the test asked"}
    return web.json_response(
        problem, status=status, headers=headers, content_type="application/problem+json"
    )
