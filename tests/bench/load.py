"""The load: HTTP/1.1 over keep-alive sockets, hand-written bytes, one process of its own.

A plain loop over select(), because two cores are all there is and an event loop with coroutines
costs the generator more than the request; select() also waits to the microsecond, where epoll's
milliseconds would show in an 8 ms budget.

`paced` is an open loop: requests are due at fixed times whatever the answers do, and a request's
time counts from when it was due. `flat_out` is a closed loop: each connection asks again as soon as
it is answered.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import re
import select
import socket
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

ANSWER_TIMEOUT_S = 30.0  # no answer for so long: the measure fails loudly
_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: *(\d+)")
_READ_BYTES = 1 << 18


@dataclass(slots=True)
class Outcome:
    """What the load saw. Times are perf_counter seconds, one for each request, in their order."""

    due: array[float] = field(default_factory=lambda: array("d"))
    noticed: array[float] = field(default_factory=lambda: array("d"))  # that it was due
    answered: array[float] = field(default_factory=lambda: array("d"))
    statuses: dict[int, int] = field(default_factory=dict[int, int])
    first_refusal: bytes = b""
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def waits(self, begin: float = 0.0, end: float = float("inf")) -> list[float]:
        """Seconds from due to answered, of the requests answered between the two times."""
        pairs = zip(self.due, self.answered, strict=True)
        return [answer - due for due, answer in pairs if answer and begin <= answer < end]

    def lateness(self) -> list[float]:
        """Seconds the generator itself was behind its plan."""
        return [at - due for due, at in zip(self.due, self.noticed, strict=True)]

    def count(self, begin: float, end: float) -> int:
        """How many were answered between two times."""
        return sum(1 for answer in self.answered if begin <= answer < end)

    def insist(self) -> None:
        """RuntimeError with the server's words if anything but the expected status came."""
        if self.first_refusal:
            raise RuntimeError(f"answers {self.statuses}: {self.first_refusal.decode()}")

    def core_share(self) -> float:
        """The generator's own share of a core, in percent."""
        return 100 * self.cpu_s / self.wall_s if self.wall_s else 0.0


class _Connection:
    __slots__ = ("buffer", "number", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.number = -1  # of the request under way

    def fileno(self) -> int:
        return self.socket.fileno()

    def read(self) -> tuple[int, bytes] | None:
        """Status and body once the answer is whole; ConnectionError when the server hung up."""
        chunk = self.socket.recv(_READ_BYTES)
        if not chunk:
            raise ConnectionError("the server closed a connection under load")
        self.buffer += chunk
        head_end = self.buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        length = _LENGTH.search(self.buffer, 0, head_end)
        end = head_end + 4 + (int(length[1]) if length else 0)
        if len(self.buffer) < end:
            return None
        answer = int(self.buffer[9:12]), self.buffer[head_end + 4 : end]
        self.buffer = self.buffer[end:]
        return answer


class _Driver:
    """Connections, what waits for one, and what became of it."""

    def __init__(self, port: int, connections: int, expected_status: int) -> None:
        self.idle = deque(_Connection(port) for _ in range(connections))
        self.busy: list[_Connection] = []
        self.outcome = Outcome()
        self._expected = expected_status
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def send(self, due: float, noticed: float, request: bytes) -> None:
        """Send on an idle connection."""
        connection = self.idle.popleft()
        out = self.outcome
        connection.number = len(out.due)
        out.due.append(due)
        out.noticed.append(noticed)
        out.answered.append(0.0)
        self.busy.append(connection)
        connection.socket.sendall(request)

    def receive(self, timeout_s: float) -> None:
        """Take what answers come within `timeout_s`."""
        if not self.busy:
            time.sleep(timeout_s)
            return
        readable, _, _ = select.select(self.busy, (), (), timeout_s)
        for connection in readable:
            answer = connection.read()
            if answer is None:
                continue
            status, body = answer
            out = self.outcome
            out.answered[connection.number] = time.perf_counter()
            out.statuses[status] = out.statuses.get(status, 0) + 1
            if status != self._expected and not out.first_refusal:
                out.first_refusal = body[:500]
            self.busy.remove(connection)
            self.idle.append(connection)

    def finish(self) -> Outcome:
        """Wait for what is under way, close, hand over."""
        deadline = time.perf_counter() + ANSWER_TIMEOUT_S
        while self.busy:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{len(self.busy)} requests were never answered")
            self.receive(0.1)
        for connection in self.idle:
            connection.socket.close()
        self.outcome.wall_s = time.perf_counter() - self._wall
        self.outcome.cpu_s = time.process_time() - self._cpu
        return self.outcome


Source = tuple[Any, ...]
"""What makes the requests, in the process that sends them: a function and its arguments."""


async def in_its_own_process(
    run: Callable[..., Outcome], port: int, source: Source, **plan: Any
) -> Outcome:
    """`paced` or `flat_out` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        job = partial(_run, run, port, source, plan)
        return await asyncio.get_running_loop().run_in_executor(pool, job)


def _run(run: Callable[..., Outcome], port: int, source: Source, plan: dict[str, Any]) -> Outcome:
    make, *arguments = source
    gc.disable()  # a pause of ours would count as the server's
    return run(port, make(*arguments), **plan)


def paced(
    port: int,
    requests: Iterator[bytes],
    *,
    per_s: float,
    seconds: float,
    connections: int,
    expected_status: int,
) -> Outcome:
    """Send at fixed times; what finds no idle connection waits, and its waiting counts."""
    driver = _Driver(port, connections, expected_status)
    begin = time.perf_counter() + 0.05
    total, number = int(per_s * seconds), 0
    waiting: deque[tuple[float, float]] = deque()
    while number < total or waiting:
        now = time.perf_counter()
        while number < total and (due := begin + number / per_s) <= now:
            waiting.append((due, now))
            number += 1
        while waiting and driver.idle:
            driver.send(*waiting.popleft(), next(requests))
        if number < total:
            driver.receive(max(0.0, begin + number / per_s - time.perf_counter()))
        else:
            driver.receive(0.1)
    return driver.finish()


def flat_out(
    port: int,
    requests: Iterator[bytes],
    *,
    seconds: float,
    connections: int,
    expected_status: int,
) -> Outcome:
    """Every connection asks again as soon as it was answered."""
    driver = _Driver(port, connections, expected_status)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        while driver.idle:
            now = time.perf_counter()
            driver.send(now, now, next(requests))
        driver.receive(0.1)
    return driver.finish()


def post(path: str, body: bytes, key: str = "", extra: str = "") -> bytes:
    """A whole POST request."""
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}{extra}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
