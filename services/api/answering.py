"""What every answer gets, whatever it is: the headers of the rate limit, and a line in the log."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from services.api.access import BAD, AccessLog, Entry
from services.api.callers import Caller
from services.api.limits import RateLimits
from services.api.operation import Operation
from shared import ids
from shared.http import REQUEST_ID

if TYPE_CHECKING:
    from services.api.api import Api

FORWARDED = "X-Forwarded-For"


@dataclass(slots=True)
class Called:
    """Whose request it is, as soon as that is known; ``limits`` is the RateLimit header."""

    operation: Operation
    caller: Caller
    limits: str = ""


CALLED = web.RequestKey("CALLED", Called)


class _Refused(msgspec.Struct):
    code: str = ""


_decode_refused = msgspec.json.Decoder(_Refused).decode


class Answering:
    """Counts and logs the requests of this process."""

    def __init__(self, api: Api) -> None:
        settings = api.context.settings
        self._api, self._hops = api, settings.proxy_hops
        self.rates = RateLimits(settings.rate_key, settings.rate_workspace)
        kept = timedelta(days=settings.requests_kept_days)
        self.access = AccessLog(api.db, api.sql, api.context.metrics, kept)

    def address(self, request: web.Request) -> str:
        """Where a request comes from: what the last proxy of ours says, if there is one."""
        if self._hops:
            hops = request.headers.get(FORWARDED, "").split(",")
            if len(hops) >= self._hops:
                return hops[-self._hops].strip()
        return request.remote or ""

    def count(self, request: web.Request, operation: Operation, caller: Caller) -> None:
        """A request of ``caller``; a 429 Problem when it is one too many."""
        called = request[CALLED] = Called(operation, caller)
        called.limits = self.rates.take(caller, time.monotonic())

    def count_stranger(self, request: web.Request) -> None:
        """A request that nobody is behind; a 429 Problem when it is one too many."""
        self.rates.take_stranger(self.address(request), time.monotonic())

    async def prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """The headers of the rate limit, just before they go out."""
        headers = response.headers
        called = request.get(CALLED)
        if called is not None:
            if self.rates.policy:
                headers["RateLimit-Policy"] = self.rates.policy
            if called.limits:
                headers["RateLimit"] = called.limits
        elif request.path.startswith("/v1/"):
            headers["RateLimit-Policy"] = self.rates.strangers_policy
            if "RateLimit" not in headers:
                address = self.address(request)
                headers["RateLimit"] = self.rates.stranger(address, time.monotonic())

    def answered(self, request: web.Request, response: web.StreamResponse, seconds: float) -> None:
        """A request is answered: note it, if it is of those that are."""
        called = request.get(CALLED)
        if called is None or not self.access.wants(
            called.caller.workspace_id, response.status, time.monotonic()
        ):
            return
        operation, path = called.operation, request.match_info
        known = all(ids.is_id(prefix, path[name]) for name, prefix in operation.ids.items())
        self.access.note(
            Entry(
                id=request[REQUEST_ID],
                workspace_id=called.caller.workspace_id,
                created_at=self._api.clock.now(),
                method=request.method,
                # What is no id may be anything, a number too.
                path=operation.path.format(**path) if known else operation.path,
                operation=operation.name,
                status=response.status,
                code=_code(response),
                duration_ms=round(seconds * 1000),
                actor_kind=called.caller.actor.kind,
                actor_id=called.caller.actor.id,
                address=self.address(request),
                replayed="Idempotent-Replayed" in response.headers,
            )
        )


def _code(response: web.StreamResponse) -> str | None:
    body = response.body if isinstance(response, web.Response) else None
    if response.status < BAD or not isinstance(body, bytes):
        return None
    try:
        return _decode_refused(body).code or None
    except msgspec.DecodeError:
        return None
