"""Resend as it is on the wire: what POST /emails takes, refuses and remembers.

    async with FakeResend() as resend:
        resend.script = [429, 500]        # the next answers; then it takes mail again
        resend.delivered                  # mails that went out, each once

It refuses what Resend refuses, with its names and statuses: a request without User-Agent, a wrong
key, a missing or unknown field, a sender that is no address, and an idempotency key that comes
again with another payload.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

API_KEY = "re_test_0123456789abcdef"
FIELDS = frozenset(
    {"from", "to", "subject", "html", "text", "cc", "bcc", "reply_to", "headers", "attachments",
     "tags", "scheduled_at", "topic_id"}
)  # fmt: skip
ADDRESS = re.compile(r"(?:[^<>]+<)?[^\s@<>]+@[^\s@<>]+>?")
NAMES = {
    429: "rate_limit_exceeded", 500: "application_error", 503: "service_unavailable",
    403: "validation_error", 422: "invalid_parameter",
}  # fmt: skip


@dataclass
class Request:
    """One POST /emails."""

    key: str
    body: dict[str, Any]


@dataclass
class FakeResend:
    """Runs for as long as the ``async with`` block lasts."""

    script: list[int | str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    delivered: list[dict[str, Any]] = field(default_factory=list)
    retry_after: str | None = None
    hangs: bool = False

    async def __aenter__(self) -> Self:
        self._answers: dict[str, tuple[dict[str, Any], str]] = {}
        app = web.Application()
        app.router.add_post("/emails", self._emails)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()

    async def _emails(self, request: web.Request) -> web.StreamResponse:
        if self.hangs:
            await asyncio.sleep(60)
        if not request.headers.get("User-Agent"):
            return _error(403, "validation_error", "User-Agent is missing")
        authorization = request.headers.get("Authorization", "")
        if not authorization.startswith("Bearer "):
            return _error(401, "missing_api_key", "Missing API key in the authorization header.")
        if authorization != f"Bearer {API_KEY}":
            return _error(403, "invalid_api_key", "API key is invalid")
        if request.content_type != "application/json":
            return _error(422, "missing_required_field", "Content-Type must be application/json")
        body = json.loads(await request.read())
        key = request.headers.get("Idempotency-Key", "")
        self.requests.append(Request(key, body))
        if self.script:
            return self._scripted(self.script.pop(0))
        wrong = _wrong(body)
        if wrong is not None:
            return _error(422, *wrong)
        if not 1 <= len(key) <= 256:
            return _error(400, "invalid_idempotency_key", "The key must be 1-256 characters")
        if key in self._answers:
            known, answer = self._answers[key]
            if known != body:
                return _error(409, "invalid_idempotent_request", "Same key, different payload")
            return web.json_response({"id": answer})
        self._answers[key] = (body, str(uuid.uuid4()))
        self.delivered.append(body)
        return web.json_response({"id": self._answers[key][1]})

    def _scripted(self, step: int | str) -> web.StreamResponse:
        match step:
            case int():
                answer = _error(step, NAMES[step], "as the test wants it")
                if self.retry_after is not None:
                    answer.headers["retry-after"] = self.retry_after
                return answer
            case "html":  # a gateway in between
                return web.Response(status=502, text="<html>Bad gateway</html>")
            case "daily_quota_exceeded":
                return _error(429, step, "as the test wants it")
            case _:
                return _error(409, step, "as the test wants it")


def _wrong(body: dict[str, Any]) -> tuple[str, str] | None:
    for name in ("from", "to", "subject"):
        if not body.get(name):
            return "missing_required_field", f"Missing `{name}` field."
    if not (body.get("html") or body.get("text")):
        return "missing_required_field", "Missing `html` or `text` field."
    if set(body) - FIELDS:
        return "invalid_parameter", "Unknown field."
    to = body["to"] if isinstance(body["to"], list) else [body["to"]]
    if not all(ADDRESS.fullmatch(one) for one in (body["from"], *to)) or len(to) > 50:
        return "validation_error", "Invalid address."
    return None


def _error(status: int, name: str, message: str) -> web.Response:
    return web.json_response(
        {"statusCode": status, "name": name, "message": message}, status=status
    )
