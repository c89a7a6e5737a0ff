"""Supabase as far as 8ms sees it: a JWKS at its address, and the access tokens it gives out.

    async with FakeSupabase() as supabase:
        token = supabase.token("ada@example.com")

It signs with ES256 as new projects do; ``rotate`` makes another key, ``down`` lets requests fail.
"""

from __future__ import annotations

import time
import uuid
from types import TracebackType
from typing import Any, Self

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec


class FakeSupabase:
    """Runs for as long as the ``async with`` block lasts."""

    def __init__(self) -> None:
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.kid = self.rotate()
        self.fetches = 0
        self.down = False
        self.url = ""

    def rotate(self) -> str:
        """Another key, which signs from now on; its id."""
        self.kid = str(uuid.uuid4())
        self.keys[self.kid] = ec.generate_private_key(ec.SECP256R1())
        return self.kid

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/auth/v1/.well-known/jwks.json", self._jwks)
        self._runner = web.AppRunner(app, access_log=None)
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

    async def _jwks(self, _: web.Request) -> web.Response:
        self.fetches += 1
        if self.down:
            raise web.HTTPBadGateway
        algorithm = jwt.get_algorithm_by_name("ES256")
        return web.json_response(
            {
                "keys": [
                    algorithm.to_jwk(key.public_key(), as_dict=True)
                    | {"kid": kid, "alg": "ES256", "use": "sig", "key_ops": ["verify"]}
                    for kid, key in self.keys.items()
                ]
            }
        )

    def claims(self, email: str, subject: str | None = None, **more: Any) -> dict[str, Any]:
        """What a token of a person who just signed in by a link says."""
        now = int(time.time())
        return {
            "iss": f"{self.url}/auth/v1",
            "sub": subject or str(uuid.uuid5(uuid.NAMESPACE_URL, email)),
            "aud": "authenticated",
            "exp": now + 3600,
            "iat": now,
            "email": email,
            "phone": "",
            "app_metadata": {"provider": "email", "providers": ["email"]},
            "user_metadata": {"email_verified": True},
            "role": "authenticated",
            "aal": "aal1",
            "amr": [{"method": "otp", "timestamp": now}],
            "session_id": str(uuid.uuid4()),
            "is_anonymous": False,
        } | more

    def token(self, email: str, **more: Any) -> str:
        """An access token."""
        kid = {"kid": self.kid}
        return jwt.encode(self.claims(email, **more), self.keys[self.kid], "ES256", headers=kid)
