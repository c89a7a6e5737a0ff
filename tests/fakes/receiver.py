"""A customer's webhook server: a real one, that can refuse, hang, redirect and never stop talking.

What it does is in the path, so that one server is many endpoints:

    /ok             200                    /status/500      that status
    /fail/2         500 twice per event, then 200           /fail/2/429?after=3  with Retry-After
    /hang           no answer              /slow/0.2        200 after that many seconds
    /redirect       302 to /ok             /endless         200 and a body without end
    /echo           500 and the body that came

Everything that comes is kept as a Hit. `check` verifies both signatures as a customer would: the
Standard Webhooks library, and an HMAC-SHA256 of the body with the secret as it was shown.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import standardwebhooks
from aiohttp import web


@dataclass(frozen=True)
class Hit:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The webhook-id."""
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        """The body, decoded."""
        return json.loads(self.body)

    def check(self, secret: str) -> None:
        """Verify both signatures with ``secret``; raises what the library raises."""
        standardwebhooks.Webhook(secret).verify(self.body, self.headers)
        tags = self.headers["x-8ms-signature"].split(",")
        ours = "sha256=" + hmac.new(secret.encode(), self.body, hashlib.sha256).hexdigest()
        if ours not in tags:
            raise ValueError("the body's own signature does not match")


@dataclass
class Receiver:
    """The server. ``url("/ok")`` is an endpoint; ``hits`` is what came."""

    tls: ssl.SSLContext | None = None
    hits: list[Hit] = field(default_factory=list)
    open: int = 0  # requests under way now
    most_open: int = 0
    port: int = 0
    _seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._received)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
        if self._runner is not None:
            await self._runner.cleanup()

    def release(self) -> None:
        """Answer every request that hangs, and hang no more."""
        self._stopping.set()

    def url(self, path: str) -> str:
        """Where ``path`` is."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Hit]:
        """What came to ``path``."""
        return [hit for hit in self.hits if hit.path == path]

    async def until(self, enough: Callable[[], bool]) -> None:
        """Wait for requests until ``enough()``."""
        while not enough():
            self._changed.clear()
            await self._changed.wait()

    async def until_at(self, path: str, count: int) -> list[Hit]:
        """What came to ``path``, once it is ``count``."""
        await self.until(lambda: len(self.at(path)) >= count)
        return self.at(path)

    async def _received(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.hits.append(Hit(request.path, headers, await request.read()))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        self._changed.set()
        try:
            return await self._answer(request, self.hits[-1])
        finally:
            self.open -= 1

    async def _answer(self, request: web.Request, hit: Hit) -> web.StreamResponse:
        what, *rest = request.match_info["path"].split("/")
        match what:
            case "status":
                return web.Response(status=int(rest[0]), text="answered")
            case "fail":
                self._seen[hit.path, hit.id] += 1
                if self._seen[hit.path, hit.id] > int(rest[0]):
                    return web.Response()
                status = int(rest[1]) if len(rest) > 1 else 500
                after = request.query.get("after")
                return web.Response(status=status, headers={"Retry-After": after} if after else {})
            case "hang":
                await self._stopping.wait()
                return web.Response(status=503)
            case "slow":
                await asyncio.sleep(float(rest[0]))
                return web.Response()
            case "redirect":
                raise web.HTTPFound(self.url("/ok"))
            case "endless":
                return await self._endless(request)
            case "echo":
                return web.Response(status=500, body=hit.body)
            case _:
                return web.Response(text="thanks")

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while not self._stopping.is_set():
            await response.write(b"x" * 8192)
            await asyncio.sleep(0)
        return response
