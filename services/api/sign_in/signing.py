"""The keys our access tokens are signed with: ES256, in the vault, published as a JWKS.

The first instance that needs one makes it. A newer key is published before it signs
(``signs_from``), and an older one stays published until what it signed has expired, so a rotation
(`eightms keys rotate-sign-in`) signs nobody out.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.api.decide.sign_in import ACCESS_LIVES
from services.api.sign_in.tokens import Key, from_jwk
from shared.clock import Clock
from shared.sql import Database
from shared.vault import KeyRing

ALGORITHM = "ES256"
PUBLISHED_FIRST = timedelta(minutes=15)  # longer than anybody keeps our JWKS (MAX_AGE_S)
MAX_AGE_S = 600
RELOAD_S = 60.0  # a key that was taken away counts for at most this long
AGAIN_S = 5.0  # between two looks for a key we do not know
RETIRES_AFTER = ACCESS_LIVES + timedelta(minutes=5)
MAKING_LOCK = 0x8E51  # one instance makes the first key; any constant of ours will do


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as its row has it. ``sealed`` is PKCS #8."""

    kid: str
    sealed: bytes
    public: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Held:
    kid: str
    private: ec.EllipticCurvePrivateKey
    public: dict[str, str]
    verify: Key
    signs_from: datetime


def new_key(ring: KeyRing) -> NewKey:
    """A key nobody had before."""
    kid = str(uuid.uuid4())
    private = ec.generate_private_key(ec.SECP256R1())
    der = private.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public: dict[str, str] = jwt.get_algorithm_by_name(ALGORITHM).to_jwk(
        private.public_key(), as_dict=True
    )
    kept = {name: public[name] for name in ("kty", "crv", "x", "y")}
    about = {"kid": kid, "alg": ALGORITHM, "use": "sig", "key_ops": ["verify"]}
    return NewKey(kid, ring.seal(der, context(kid)), {**kept, **about})


def context(kid: str) -> str:
    """What the private key is sealed for."""
    return f"api.signing_key:{kid}"


class SigningKeys:
    """The keys of this process, read again now and then."""

    def __init__(self, db: Database, sql: Any, ring: KeyRing, clock: Clock, issuer: str) -> None:
        self.issuer = issuer
        self._db, self._sql, self._ring, self._clock = db, sql, ring, clock
        self._held: list[_Held] = []  # newest first
        self._read = float("-inf")

    async def sign(self, claims: dict[str, Any]) -> str:
        """A token with these claims."""
        key = await self._current()
        return jwt.encode(claims, key.private, ALGORITHM, headers={"kid": key.kid})

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key called ``kid``, while it counts."""
        await self._fresh()
        found = self._named(kid)
        if found is None and time.monotonic() - self._read > AGAIN_S:
            await self.load()
            found = self._named(kid)
        return found.verify if found else None

    async def document(self) -> dict[str, Any]:
        """The JWKS: every key that signs, will sign, or has signed what still counts."""
        await self._current()
        return {"keys": [key.public for key in self._held]}

    def _named(self, kid: str | None) -> _Held | None:
        return next((key for key in self._held if key.kid == kid), None)

    async def _current(self) -> _Held:
        await self._fresh()
        if not self._held:
            await self._make_first()
            await self.load()
        now = self._clock.now()
        ready = [key for key in self._held if key.signs_from <= now]
        return ready[0] if ready else self._held[-1]

    async def _fresh(self) -> None:
        if time.monotonic() - self._read > RELOAD_S:
            await self.load()

    async def load(self) -> None:
        """Read the keys again."""
        rows = await self._db.owner.fetch(self._sql.signing_keys)
        self._read = time.monotonic()
        known = {key.kid: key for key in self._held}
        now = self._clock.now()
        held: list[_Held] = []
        retired = False  # a newer key signs since long enough: what this one signed has expired
        for row in rows:
            if not retired:
                held.append(known.get(row["kid"]) or self._open(row))
            retired = retired or row["signs_from"] <= now - RETIRES_AFTER
        self._held = held

    def _open(self, row: Any) -> _Held:
        der = self._ring.open(row["sealed"], context(row["kid"]))
        private = serialization.load_der_private_key(der, None)
        verify = from_jwk(row["public_key"])
        if not isinstance(private, ec.EllipticCurvePrivateKey) or verify is None:
            raise ValueError("a signing key of another kind")
        return _Held(row["kid"], private, row["public_key"], verify, row["signs_from"])

    async def _make_first(self) -> None:
        made, now = new_key(self._ring), self._clock.now()
        async with self._db.owner.acquire() as db, db.transaction():
            await db.execute("SELECT pg_advisory_xact_lock($1)", MAKING_LOCK)
            await db.execute(
                self._sql.save_first_signing_key, made.kid, made.sealed, made.public, now
            )
