"""Ten thousand phones on one gateway process: what a stream costs, and a reconnect storm.

The phones here are sockets and little else, so that the machine is the gateway's: each pairs, then
tells its inventory and opens its stream on one connection, as a phone does after it lost its own.
The storm is the gateway killed: every phone comes back at once.
"""

import asyncio
import json
import multiprocessing
import random
import resource
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import uvloop

from tests.bench.account import open_account, pairing_links
from tests.bench.readings import Finding
from tests.bench.stack import Stack, shares

PHONES = 10_000
STREAM_MAX_KB = 40
STORM_MAX_S = 30.0
SPARE_FILES = 2_000  # beside one socket for each phone
SETTLE_S = 5.0
PAIRINGS_AT_ONCE = 64
COMING_BACK_S = 1.0  # phones try again within this, each at a moment of its own
GIVE_UP_S = 120.0


async def measure(directory: Path, phones: int) -> Finding:
    """Memory per stream, and how long until all have their streams again."""
    finding = Finding("streams")
    phones = _room_for(phones, finding)
    async with Stack(directory, ("gateway",)) as stack:
        account = await open_account(stack.log)
        bare = _rss(stack)
        begin = time.perf_counter()
        links = await pairing_links(stack.bus, account, phones)
        handsets = _Sockets(stack.ports["gateway"])
        try:
            await handsets.ask("pair", links)
            finding.add("pairing", f"{phones / (time.perf_counter() - begin):,.0f} phones/s")
            took_s = await handsets.ask("connect")
            finding.add(f"{phones:,} streams opened", f"{took_s:.1f} s")
            await asyncio.sleep(SETTLE_S)
            each = (_rss(stack) - bare) / phones / 1024
            finding.add(
                f"memory of a stream, {phones:,} open (RSS)",
                f"{each:.1f} KB over a bare process of {bare / 1e6:.0f} MB",
                f"{PHONES:,} streams, ≤ 40 KB each",
                each <= STREAM_MAX_KB if phones >= PHONES else None,
            )
            before, idle_begin = stack.cpu_s(), time.perf_counter()
            await asyncio.sleep(SETTLE_S)
            idle_s = time.perf_counter() - idle_begin
            finding.remarks.append(
                f"{phones:,} streams open and idle: {shares(before, stack.cpu_s(), idle_s)}"
            )
            storm = asyncio.create_task(handsets.ask("storm"))
            await asyncio.sleep(0.1)
            await stack.restart("gateway")
            took_s = await storm
            finding.add(
                "reconnect storm after the gateway was killed",
                f"{phones:,} inventories told and streams open again in {took_s:.1f} s",
                "all served in 30 s",
                took_s <= STORM_MAX_S if phones >= PHONES else None,
            )
        finally:
            await handsets.stop()
    return finding


def _room_for(phones: int, finding: Finding) -> int:
    """Raise the limit of open files; fewer phones where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = phones + SPARE_FILES
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), max(hard, wanted)))
    except (ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if hard < wanted:
            phones = hard - SPARE_FILES
            finding.remarks.append(f"only {hard} open files are allowed here")
    return phones


def _rss(stack: Stack) -> int:
    return psutil.Process(stack.children["gateway"].pid).memory_info().rss


# -- the phones, in a process of their own ---------------------------------------------------------


class _Sockets:
    def __init__(self, port: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(theirs, port), daemon=True)
        self._process.start()
        theirs.close()

    async def ask(self, question: str, argument: Any = None) -> Any:
        """The answer; RuntimeError if the phones failed."""

        def exchange() -> Any:
            self._pipe.send((question, argument))
            return self._pipe.recv()

        answer = await asyncio.to_thread(exchange)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def stop(self) -> None:
        self._process.terminate()
        await asyncio.to_thread(self._process.join, 10)
        self._pipe.close()


def _main(pipe: Connection, port: int) -> None:
    uvloop.run(_serve(pipe, port))


async def _serve(pipe: Connection, port: int) -> None:
    handsets: list[_Handset] = []
    while True:
        question, argument = await asyncio.to_thread(pipe.recv)
        try:
            if question == "pair":
                handsets = await _pair(port, argument)
                answer: Any = len(handsets)
            else:
                answer = await _all_streaming(handsets, dropped=question == "storm")
        except Exception as error:  # noqa: BLE001 - the asking process raises it
            answer = error if isinstance(error, RuntimeError) else RuntimeError(repr(error))
        pipe.send(answer)


async def _pair(port: int, links: Sequence[str]) -> list["_Handset"]:
    gate = asyncio.Semaphore(PAIRINGS_AT_ONCE)

    async def one(number: int, link: str) -> _Handset:
        token = parse_qs(urlsplit(link).query)["t"][0]
        device = {
            "device_id": f"bench-{number}",
            "manufacturer": "8ms",
            "model": "Socket",
            "android": "14",
            "app_version": "bench/1",
            "simulated": True,
        }
        sims = [{"slot": 0, "subscription_id": 1, "carrier": "Bench"}]
        body = json.dumps({"token": token, "device": device, "sims": sims}).encode()
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_head("POST /phone/v1/pair", "", body) + body)
            status, answer = await _answer(reader)
            writer.close()
        if status != 201:
            raise RuntimeError(f"pairing was answered {status}: {answer[:300]!r}")
        return _Handset(port, json.loads(answer)["credential"])

    return await asyncio.gather(*(one(n, link) for n, link in enumerate(links)))


async def _all_streaming(handsets: Sequence["_Handset"], *, dropped: bool) -> float:
    """Seconds until every phone has its stream; with `dropped`, after each has lost the one it has.

    Counted from the first loss, so that the gateway's own restart is in it.
    """
    if dropped:
        waits = [asyncio.create_task(h.lost.wait()) for h in handsets]
        await asyncio.wait(waits, timeout=GIVE_UP_S, return_when=asyncio.FIRST_COMPLETED)
        begin = time.perf_counter()
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    else:
        begin = time.perf_counter()
    async with asyncio.timeout(GIVE_UP_S):
        await asyncio.gather(*(h.come_back() for h in handsets))
    return time.perf_counter() - begin


class _Handset(asyncio.Protocol):
    """One phone: an inventory, then a stream, over one connection; until it has the stream."""

    def __init__(self, port: int, credential: str) -> None:
        self._port = port
        inventory = b'{"inventory":{"open_commands":[],"journal_head":0},"entries":[]}'
        self._hello = _head("POST /phone/v1/journal", credential, inventory) + inventory
        self._stream = _head("GET /phone/v1/stream", credential, b"")
        self._step: asyncio.Future[bool] | None = None
        self.lost = asyncio.Event()
        self.lost.set()

    async def come_back(self) -> None:
        """Have a stream, whatever it takes."""
        loop = asyncio.get_running_loop()
        await self.lost.wait()
        while True:
            await asyncio.sleep(random.uniform(0, COMING_BACK_S))
            try:
                transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", self._port)
            except OSError:
                continue
            if await self._ask(transport, self._hello) and await self._ask(transport, self._stream):
                self.lost.clear()
                return
            transport.close()

    async def _ask(self, transport: asyncio.WriteTransport, request: bytes) -> bool:
        self._step = asyncio.get_running_loop().create_future()
        transport.write(request)
        return await self._step

    def data_received(self, data: bytes) -> None:
        if self._step is not None and not self._step.done() and data.startswith(b"HTTP/1.1 "):
            self._step.set_result(data[9:12] == b"200")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        if self._step is not None and not self._step.done():
            self._step.set_result(False)


def _head(target: str, credential: str, body: bytes) -> bytes:
    authorization = f"Authorization: Bearer {credential}\r\n" if credential else ""
    return (
        f"{target} HTTP/1.1\r\nHost: gateway\r\n{authorization}Accept: text/event-stream\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return int(head[9:12]), await reader.readexactly(length)
