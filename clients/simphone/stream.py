"""A phone's command stream: connect, read, connect again."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from clients.simphone import protocol
from clients.simphone.http import Exchange, Response, Target, Unusable, Wire, Wires
from clients.simphone.phone import Phone
from clients.simphone.surroundings import Surroundings
from clients.simphone.uplink import Uplink

log = logging.getLogger("simphone")

CONNECTS_AT_ONCE = 256  # a process that starts with ten thousand phones must not overrun a backlog


class _Reading(Exchange):
    """A stream as it is read: `begun` when its head has come, `ended` when it is over."""

    def __init__(self, request: bytes, phone: Phone, around: Surroundings) -> None:
        super().__init__(request)
        self._phone, self._around = phone, around
        self._parser = protocol.SseParser()
        self.begun: asyncio.Future[None] = around.loop.create_future()
        self.ended: asyncio.Future[None] = around.loop.create_future()
        self.flows = False  # it is the stream, not a refusal
        self.lively = False  # it brought a frame

    def piece(self, data: bytes) -> None:
        if not self.begun.done():
            kind = self.response.header(b"content-type").partition(";")[0].strip()
            self.flows = self.response.status == 200 and kind == "text/event-stream"
            self.begun.set_result(None)
            if self.flows:
                self._around.counters.connects += 1
                self._phone.connected = True
        if self.flows:
            at = time.perf_counter()
            for frame in self._parser.feed(data):
                self.lively = True
                self._phone.frame(frame, at)

    def over(self, error: Exception | None) -> None:
        for waited_for in (self.begun, self.ended):
            if not waited_for.done():
                if error is None or isinstance(error, Unusable | protocol.FrameTooLong):
                    waited_for.set_result(None)
                else:
                    waited_for.set_exception(error)


@dataclass(frozen=True, slots=True)
class Streams:
    """What all streams of a host share."""

    wires: Wires
    uplink: Uplink
    around: Surroundings
    gate: asyncio.Semaphore
    read_timeout_s: float
    rng: random.Random
    pause: Callable[[float], Awaitable[object]]

    async def follow(self, phone: Phone) -> None:
        """Keep the phone's stream open until it is unpaired (or this task is cancelled)."""
        target = Target.of(protocol.stream_address(phone.endpoint, phone.stream_url))
        phone.start_beating()
        attempt = 0
        while phone.credential is not None:
            await self.uplink.hello(phone)
            lively, retry_after_s = await self._connection(phone, target)
            if phone.credential is not None:
                attempt = 0 if lively else attempt
                pause_s = protocol.backoff_s(attempt, retry_after_s, self.rng)
                attempt += 1
                await self.pause(pause_s)

    async def _connection(self, phone: Phone, target: Target) -> tuple[bool, float | None]:
        """One connection from beginning to end: whether it brought a frame, and Retry-After."""
        headers = {
            "Authorization": f"Bearer {phone.credential}",
            "Accept": "text/event-stream",
            "Cache-Control": "no-cache",
        }
        if phone.last_event_id is not None:
            headers["Last-Event-ID"] = phone.last_event_id
        reading = _Reading(target.head("GET", headers) + b"\r\n\r\n", phone, self.around)
        wire: Wire | None = None
        try:
            async with self.gate:
                wire = await self.wires.open(target.origin)
                wire.ask(reading, self.read_timeout_s)
                await reading.begun
            if reading.flows:
                await reading.ended
                return reading.lively, None
            return False, self._refused(phone, reading.response)
        except Unusable as error:
            log.debug("phone %s: no stream: %s", phone.phone_id, error)
            return False, None
        finally:
            phone.connected = False
            if wire is not None:
                wire.hang_up()

    def _refused(self, phone: Phone, response: Response) -> float | None:
        """What follows from an answer that is no stream (status 0: there was none)."""
        if response.status in protocol.UNPAIRED_STATUSES:
            self.around.dismiss(phone)
        elif 0 < response.status < 500:
            log.warning("phone %s: stream answered %d", phone.phone_id, response.status)
        wait = response.header(b"retry-after")
        return protocol.parse_retry_after(wait, datetime.now(UTC))
