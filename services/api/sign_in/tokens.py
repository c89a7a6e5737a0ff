"""Reads access tokens: one issuer, one list of algorithms, every claim looked at. No I/O.

What a token says about itself decides nothing: which keys and algorithms count is configured, and
``jku``, ``jwk`` or ``x5u`` in its header are never followed. Whoever refuses says the same sentence
for every reason (routes), and logs the reason without the token.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeGuard

import jwt
import msgspec
from jwt.algorithms import Algorithm

from services.api.decide import sign_in as rules

TOKEN_MAX_CHARS = 8192
LEEWAY_S = 30  # two clocks that are both nearly right
AUDIENCE = "authenticated"
ROLE = "authenticated"
_KID = re.compile(r"[A-Za-z0-9_.=-]{1,128}", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class TokenRefused(Exception):
    """An access token that is none of ours. ``reason`` is for the log, not for the caller."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Key:
    """A key to verify with, and the one algorithm it is for."""

    algorithm: str
    key: Any


class Keys(Protocol):
    """Where keys come from: our vault, Supabase's JWKS, or a shared secret."""

    issuer: str

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key a token names; None if there is none, whatever the token says."""
        ...


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says."""

    subject: str
    session_id: str
    email: str
    signed_in_at: datetime
    expires_at: datetime
    by_mail: bool
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Header:
    """What a token's header says, which is nothing yet."""

    algorithm: str
    kid: str | None


async def read(text: str, keys: Keys, now: datetime) -> Claims:
    """The claims of a token that counts at ``now``. TokenRefused for any other."""
    header = read_header(text)
    key = await keys.find(header.kid, header.algorithm)
    if key is None:
        raise TokenRefused("unknown key")
    if key.algorithm != header.algorithm:
        raise TokenRefused("another algorithm than the key's")
    try:
        payload = jwt.PyJWS().decode(text, key.key, algorithms=[key.algorithm])
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise TokenRefused(f"signature: {type(error).__name__}") from None
    return check(_object(payload), keys.issuer, now)


def read_header(text: str) -> Header:
    """The header of something that looks like a signed token. TokenRefused."""
    parts = text.split(".")
    if len(text) > TOKEN_MAX_CHARS:
        raise TokenRefused("too long")
    if len(parts) != 3 or not all(_SEGMENT.fullmatch(part) for part in parts):
        raise TokenRefused("not a signed token")
    header = _object(_decode(parts[0]))
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm.lower() == "none":
        raise TokenRefused("no algorithm")
    if not isinstance(kind, str) or kind.upper() != "JWT":
        raise TokenRefused("another type of token")
    if "crit" in header or "b64" in header or "zip" in header:
        raise TokenRefused("an extension")
    if kid is not None and (not isinstance(kid, str) or _KID.fullmatch(kid) is None):
        raise TokenRefused("malformed kid")
    return Header(algorithm, kid)


def check(claims: Mapping[str, Any], issuer: str, now: datetime) -> Claims:
    """The claims if each of them is as it must be. TokenRefused."""
    now_s = now.timestamp()
    if _seconds(claims, "exp") <= now_s - LEEWAY_S:
        raise TokenRefused("expired")
    if _seconds(claims, "iat") > now_s + LEEWAY_S:
        raise TokenRefused("issued in the future")
    if "nbf" in claims and _seconds(claims, "nbf") > now_s + LEEWAY_S:
        raise TokenRefused("not valid yet")
    if claims.get("iss") != issuer:
        raise TokenRefused("another issuer")
    if claims.get("aud") != AUDIENCE:
        raise TokenRefused("another audience")
    if claims.get("role") != ROLE:  # anon and service_role are Supabase's API keys, not people
        raise TokenRefused("another role")
    if claims.get("is_anonymous") not in (None, False):
        raise TokenRefused("anonymous")
    address = rules.email(_text(claims, "email"))
    if address is None:
        raise TokenRefused("no e-mail address")
    methods, signed_in_s = _amr(claims)
    metadata = claims.get("user_metadata")
    return Claims(
        subject=_uuid(claims, "sub"),
        session_id=_uuid(claims, "session_id"),
        email=address,
        signed_in_at=datetime.fromtimestamp(signed_in_s, UTC),
        expires_at=datetime.fromtimestamp(_seconds(claims, "exp"), UTC),
        by_mail=rules.by_mail(methods),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _amr(claims: Mapping[str, Any]) -> tuple[set[str], float]:
    """How and when the session began: the first of the methods that were used."""
    found: list[tuple[float, str]] = []
    entries = claims.get("amr")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            method, at = entry.get("method"), entry.get("timestamp")
            if isinstance(method, str) and _is_time(at):
                found.append((float(at), method))
    if not found:
        return set(), _seconds(claims, "iat")
    return {method for _, method in found}, min(at for at, _ in found)


def _is_time(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e11


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if not _is_time(value):
        raise TokenRefused(f"no {name}")
    return value


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise TokenRefused(f"no {name}")
    return value


def _uuid(claims: Mapping[str, Any], name: str) -> str:
    text = _text(claims, name)
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise TokenRefused(f"{name} is no UUID") from None


def _decode(segment: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except (binascii.Error, ValueError):
        raise TokenRefused("not base64") from None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise TokenRefused("not JSON") from None
    if not isinstance(found, dict):
        raise TokenRefused("not an object")
    return found


def from_jwk(jwk: Mapping[str, Any]) -> Key | None:
    """A public key as a JWKS has it; None for one that is not for us: symmetric, or of a kind that
    signs no access tokens."""
    kinds = {("EC", "P-256"): "ES256", ("RSA", None): "RS256"}
    algorithm = kinds.get((str(jwk.get("kty")), jwk.get("crv")))
    if (
        algorithm is None
        or jwk.get("alg", algorithm) != algorithm
        or jwk.get("use", "sig") != "sig"
    ):
        return None
    # Only what is public: a JWK that carries its private part is read as the public key it holds.
    public = {name: jwk[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in jwk}
    try:
        return Key(algorithm, _algorithm(algorithm).from_jwk(public))
    except (jwt.PyJWTError, ValueError, KeyError, TypeError):
        return None


def _algorithm(name: str) -> Algorithm:
    return jwt.get_algorithm_by_name(name)
