"""Posts to customers' servers: one attempt, its own connection, nothing followed, little read.

Every attempt judges the URL again, resolves the name again, checks every address of it and dials
one of those (address.py). No connection is kept: one that was dialled yesterday would go where the
name pointed yesterday. No redirect, no proxy, no cookie, no decompression.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from services.webhooks.address import AddressError, GuardedResolver, check_url
from services.webhooks.decide import Result

USER_AGENT = "8ms-Webhooks/1"
CONNECT_TIMEOUT_S = 5.0
RESPONSE_MAX_BYTES = 64 * 1024
RESPONSE_TIMEOUT_S = 2.0  # for a body after the status, which has decided already
# Lookups that hang must not hold up other endpoints', as they would in a loop's few threads.
RESOLVER_THREADS = 64

FAILURES: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "timeout"),
    (aiohttp.ClientSSLError, "tls"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    (aiohttp.ClientConnectorError, "connect"),
    (aiohttp.ServerDisconnectedError, "disconnected"),
    (aiohttp.ClientOSError, "disconnected"),
    (aiohttp.ClientPayloadError, "invalid_response"),
    (aiohttp.ClientResponseError, "invalid_response"),
    (aiohttp.ClientError, "no_answer"),
    (OSError, "connect"),
)
"""What aiohttp raises, the special before the general, and the error class of an attempt."""


class ThreadedResolver(AbstractResolver):
    """The system's resolver, in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, "webhook-resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Every address of ``host``. Errors: the lookup's OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, socket.getaddrinfo, host, port, family, socket.SOCK_STREAM
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Let go of the threads; a lookup that hangs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Sender:
    """Makes attempts. ``resolver`` is asked for addresses, and is guarded here."""

    def __init__(
        self, *, development: bool, timeout_s: float, resolver: AbstractResolver | None = None
    ) -> None:
        self._development = development
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=CONNECT_TIMEOUT_S)
        guarded = GuardedResolver(development=development, resolver=resolver or ThreadedResolver())
        self._resolver = guarded
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=guarded, use_dns_cache=False, force_close=True, limit=0
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT, "Content-Type": "application/json; charset=utf-8"},
            skip_auto_headers=["Accept-Encoding"],
            auto_decompress=False,
            trust_env=False,
            raise_for_status=False,
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Result:
        """One attempt. Raises nothing that a server, a network or a URL can cause."""
        started = time.perf_counter()

        def took_ms() -> int:
            return round((time.perf_counter() - started) * 1000)

        try:
            target = check_url(url, development=self._development)
            async with self._session.post(
                target.url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=self._timeout,
            ) as response:
                answered_ms = took_ms()
                beginning = await _beginning(response)
                return Result(
                    answered_ms,
                    status=response.status,
                    retry_after=response.headers.get("Retry-After"),
                    response=beginning,
                )
        except AddressError as error:
            return Result(took_ms(), error=error.code)
        except (aiohttp.ClientError, OSError) as error:
            return Result(took_ms(), error=_error_class(error))

    async def close(self) -> None:
        """Close what is open, and the resolver."""
        await self._session.close()
        await self._resolver.close()


def _error_class(error: BaseException) -> str:
    return next(name for kind, name in FAILURES if isinstance(error, kind))


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The body as far as it comes in time and fits. The status stands, whatever the body does."""
    read = bytearray()
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(RESPONSE_TIMEOUT_S):
            while len(read) < RESPONSE_MAX_BYTES:
                chunk = await response.content.read(RESPONSE_MAX_BYTES - len(read))
                if not chunk:
                    break
                read += chunk
    return bytes(read)
