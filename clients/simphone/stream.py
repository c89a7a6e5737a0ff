"""A phone's command stream: connect, read, connect again."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from clients.simphone import protocol
from clients.simphone.phone import Phone
from clients.simphone.surroundings import Surroundings
from clients.simphone.uplink import Uplink

log = logging.getLogger("simphone")

CONNECTS_AT_ONCE = 256  # a process that starts with ten thousand phones must not overrun a backlog
CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Streams:
    """What all streams of a host share."""

    session: aiohttp.ClientSession
    uplink: Uplink
    around: Surroundings
    gate: asyncio.Semaphore
    timeout: aiohttp.ClientTimeout
    rng: random.Random
    pause: Callable[[float], Awaitable[object]]

    async def follow(self, phone: Phone) -> None:
        """Keep the phone's stream open until it is unpaired (or this task is cancelled)."""
        url = protocol.stream_address(phone.endpoint, phone.stream_url)
        headers = {
            "Authorization": f"Bearer {phone.credential}",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
        }
        phone.start_beating()
        attempt = 0
        while phone.credential is not None:
            await self.uplink.hello(phone)
            lively, retry_after_s = await self._connection(phone, url, headers)
            if phone.credential is not None:
                attempt = 0 if lively else attempt
                pause_s = protocol.backoff_s(attempt, retry_after_s, self.rng)
                attempt += 1
                await self.pause(pause_s)

    async def _connection(
        self, phone: Phone, url: str, headers: dict[str, str]
    ) -> tuple[bool, float | None]:
        """One connection from beginning to end: whether it brought a frame, and Retry-After."""
        lively = False
        if phone.last_event_id is not None:
            headers["Last-Event-ID"] = phone.last_event_id
        try:
            async with self.gate:
                response = await self.session.get(
                    url, headers=headers, timeout=self.timeout, allow_redirects=False
                )
            async with response:
                if response.status in protocol.UNPAIRED_STATUSES:
                    self.around.dismiss(phone)
                elif response.status != 200 or response.content_type != "text/event-stream":
                    if response.status < 500:
                        log.warning("phone %s: stream answered %d", phone.phone_id, response.status)
                    wait = response.headers.get("Retry-After")
                    return False, protocol.parse_retry_after(wait, datetime.now(UTC))
                else:
                    self.around.counters.connects += 1
                    phone.connected = True
                    parser = protocol.SseParser()
                    async for chunk in response.content.iter_any():
                        at = time.perf_counter()
                        for frame in parser.feed(chunk):
                            lively = True
                            phone.frame(frame, at)
                        if phone.credential is None:
                            break
        except (aiohttp.ClientError, OSError, protocol.FrameTooLong) as error:
            log.debug("phone %s: stream ended: %s", phone.phone_id, type(error).__name__)
        finally:
            phone.connected = False
        return lively, None
