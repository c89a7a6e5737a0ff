"""A customer's webhook receiver: a real server that remembers all it was sent, and can refuse.

Every delivery is checked on arrival as a customer would check it: the Standard Webhooks signature,
and the plain HMAC of the body.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError


@dataclass(frozen=True, slots=True)
class Hit:
    """One delivery as it arrived; ``fault`` says what a check found, None: nothing."""

    path: str
    webhook_id: str
    body: dict[str, Any]
    answered: int
    fault: str | None

    @property
    def type(self) -> str:
        """The event's type, as the body names it."""
        return self.body["type"]


class WebhookReceiver:
    """Serves any path on the loopback address; ``secrets`` maps a path to its endpoint's secret."""

    def __init__(self) -> None:
        self.hits: list[Hit] = []
        self.secrets: dict[str, str] = {}
        self.answers: dict[str, list[int]] = {}  # path → statuses of the next deliveries
        self.delay_s: dict[str, float] = {}
        self.port = 0

    async def start(self) -> None:
        """Open a port."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close it."""
        await self._runner.cleanup()

    def url(self, path: str = "/hook") -> str:
        """The address of one endpoint."""
        return f"http://127.0.0.1:{self.port}{path}"

    def good(self, path: str | None = None) -> list[Hit]:
        """What was taken with 2xx (of one path)."""
        return [h for h in self.hits if h.answered < 300 and path in (None, h.path)]

    async def _receive(self, request: web.Request) -> web.Response:
        raw = await request.read()
        path = request.path
        await asyncio.sleep(self.delay_s.get(path, 0))
        planned = self.answers.get(path)
        status = planned.pop(0) if planned else 200
        self.hits.append(
            Hit(
                path,
                request.headers.get("webhook-id", ""),
                json.loads(raw),
                status,
                _fault(raw, dict(request.headers), self.secrets.get(path)),
            )
        )
        return web.Response(status=status)


def _fault(raw: bytes, headers: dict[str, str], secret: str | None) -> str | None:
    """What is wrong with a delivery, None if nothing is."""
    if secret is None:
        return "sent to an endpoint nobody made"
    plain = "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    named = {name.lower(): value for name, value in headers.items()}
    if plain not in named.get("x-8ms-signature", "").split(","):
        return "X-8ms-Signature does not verify"
    try:
        Webhook(secret).verify(raw, named)
    except WebhookVerificationError as error:
        return f"webhook-signature does not verify: {error}"
    return None
