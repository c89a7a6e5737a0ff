"""Supabase, where it signs people in: its public keys, or the secret it shares with us.

One mode by configuration, never both: with SUPABASE_JWT_SECRET only HS256 counts and no key is
fetched; without it only the asymmetric keys of Supabase's JWKS count.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import msgspec
import structlog

from services.api.sign_in.tokens import Key, from_jwk

JWKS_PATH = "/.well-known/jwks.json"
FETCH_TIMEOUT_S = 5.0
JWKS_MAX_BYTES = 64 * 1024
FRESH_S = 600.0  # as long as Supabase lets a cache keep it
AGAIN_S = 30.0  # between two fetches for a key we do not know, and after one that failed
STALE_MAX_S = 6 * 3600.0  # what we had counts on while Supabase cannot be reached, not for ever


class SharedSecret:
    """HS256 with the project's JWT secret (older Supabase projects)."""

    def __init__(self, supabase_url: str, secret: str) -> None:
        self.issuer = f"{supabase_url}/auth/v1"
        self._key = Key("HS256", secret.encode())

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The secret, for HS256 alone."""
        return self._key if algorithm == "HS256" else None

    async def close(self) -> None:
        """Nothing is open."""


class Jwks:
    """Supabase's JWKS, kept as long as it may be."""

    def __init__(self, supabase_url: str) -> None:
        self.issuer = f"{supabase_url}/auth/v1"
        self._http = httpx.AsyncClient(timeout=FETCH_TIMEOUT_S, follow_redirects=False)
        self._keys: dict[str, Key] = {}
        self._fetched = self._tried = float("-inf")
        self._fetching = asyncio.Lock()

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key called ``kid``; fetched at most once in a while, whatever tokens ask for."""
        if kid is None:
            return None
        age_s = time.monotonic() - self._fetched
        known = kid in self._keys
        if not known or (age_s > FRESH_S and not self._fetching.locked()):
            await self._fetch(kid)
        if time.monotonic() - self._fetched > STALE_MAX_S:
            return None
        return self._keys.get(kid)

    async def _fetch(self, kid: str) -> None:
        async with self._fetching:
            now = time.monotonic()
            if now - self._tried < AGAIN_S or (now - self._fetched < FRESH_S and kid in self._keys):
                return
            self._tried = now
            try:
                document = await self._document()
            except (httpx.HTTPError, ValueError) as error:
                structlog.get_logger().warning("no keys of Supabase", error=type(error).__name__)
                return
            entries: Any = document.get("keys") if isinstance(document, dict) else None
            keys: dict[str, Key] = {}
            for jwk in entries if isinstance(entries, list) else ():
                key = from_jwk(jwk) if isinstance(jwk, dict) else None
                if key is not None and isinstance(jwk.get("kid"), str):
                    keys[jwk["kid"]] = key
            self._keys, self._fetched = keys, time.monotonic()

    async def _document(self) -> Any:
        async with self._http.stream("GET", self.issuer + JWKS_PATH) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError("not 200")
            body = b""
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > JWKS_MAX_BYTES:
                    raise ValueError("too long")
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError:
            raise ValueError("not JSON") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
