"""Simulated phones in a process of their own, asked over a pipe.

The phones are clients/simphone: the same journal, the same protocol. Their clock and ours are one,
CLOCK_MONOTONIC, so the time a frame was read compares with the time it was asked for.
"""

import asyncio
import multiprocessing
import time
from array import array
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvloop

from clients.simphone import Carrier, SimHost
from tests.bench.texts import number_of

REPLY_TIMEOUT_S = 300.0


class Handsets:
    """The process, for as long as the block lasts. Every method waits for its answer."""

    def __init__(self, state_dir: Path, *, receipts: bool = True) -> None:
        self._state_dir, self._receipts = state_dir, receipts

    async def __aenter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_main, args=(theirs, str(self._state_dir), self._receipts), daemon=True
        )
        self._process.start()
        theirs.close()
        await self._ask("ready")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._ask("stop")
        except (EOFError, OSError, TimeoutError):
            self._process.kill()
        await asyncio.to_thread(self._process.join, 20)
        self._pipe.close()

    async def pair(self, links: Sequence[str]) -> list[str]:
        """The ids of the phones that took the links."""
        return await self._ask("pair", list(links))

    async def frames(self) -> dict[int, float]:
        """When the `send` frame of each text was read, by the text's number; then forgets them."""
        numbers, times = await self._ask("frames")
        return dict(zip(numbers, times, strict=True))

    async def counters(self) -> dict[str, int]:
        """What the phones did so far."""
        return await self._ask("counters")

    async def cpu_s(self) -> float:
        """Processor seconds the process has used."""
        return await self._ask("cpu")

    async def _ask(self, question: str, argument: Any = None) -> Any:
        def exchange() -> Any:
            self._pipe.send((question, argument))
            if not self._pipe.poll(REPLY_TIMEOUT_S):
                raise TimeoutError(f"the phones did not answer {question}")
            return self._pipe.recv()

        answer = await asyncio.to_thread(exchange)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _main(pipe: Connection, state_dir: str, receipts: bool) -> None:
    uvloop.run(_serve(pipe, state_dir, receipts))


async def _serve(pipe: Connection, state_dir: str, receipts: bool) -> None:
    numbers, times = array("q"), array("d")

    def on_frame(_: str, event: str, data: Any, at: float) -> None:
        if event == "send" and (number := number_of(data["body"])) is not None:
            numbers.append(number)
            times.append(at)

    carrier = Carrier(delay_ms=0, receipts=receipts)
    # The phones' own syncs would be one machine's disk doing the work of hundreds of handsets'.
    host = SimHost(state_dir, carrier=carrier, on_frame=on_frame, fsync=False, control=False)
    await host.start()
    while True:
        question, argument = await asyncio.to_thread(pipe.recv)
        answer: Any = True
        try:
            match question:
                case "pair":
                    answer = await _pair(host, argument)
                case "frames":
                    answer = numbers[:], times[:]
                    del numbers[:], times[:]
                case "counters":
                    counters = host.counters
                    answer = {name: getattr(counters, name) for name in counters.__slots__}
                case "cpu":
                    answer = time.process_time()
                case "stop":
                    await host.stop()
                case _:
                    pass
        except Exception as error:  # noqa: BLE001 - the asking process raises it
            answer = error
        pipe.send(answer)
        if question == "stop":
            return


async def _pair(host: SimHost, links: list[str]) -> list[str]:
    out: list[str] = []
    for result in await host.pair_all(links):
        if isinstance(result, Exception):
            raise result
        out.append(result.phone_id)
    return out
