"""Access tokens: whatever is not exactly one of ours is refused, by every kind of key."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.api.sign_in import tokens
from services.api.sign_in.tokens import Key, TokenRefused

ISSUER = "https://project.supabase.co/auth/v1"
SECRET = "a shared secret of more than thirty-two characters"
EC_KEY, OTHER_EC = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
RSA_KEY = rsa.generate_private_key(65537, 2048)
NOW = datetime.now(UTC)


class Keys:
    """Keys by id, as a JWKS has them."""

    issuer = ISSUER

    def __init__(self, keys: dict[str | None, Key]) -> None:
        self._keys = keys

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        return self._keys.get(kid)


ASYMMETRIC = Keys(
    {"ec": Key("ES256", EC_KEY.public_key()), "rsa": Key("RS256", RSA_KEY.public_key())}
)
SHARED = Keys({None: Key("HS256", SECRET.encode()), "ec": Key("HS256", SECRET.encode())})


def claims(**changes: Any) -> dict[str, Any]:
    now = int(NOW.timestamp())
    said = {
        "iss": ISSUER,
        "sub": str(uuid.uuid4()),
        "aud": "authenticated",
        "exp": now + 3600,
        "iat": now,
        "email": "Ada@Example.com",
        "role": "authenticated",
        "amr": [{"method": "otp", "timestamp": now - 60}],
        "session_id": str(uuid.uuid4()),
        "is_anonymous": False,
        "user_metadata": {"name": "Ada"},
    } | changes
    return {name: value for name, value in said.items() if value is not ...}


def signed(said: dict[str, Any] | None = None, **header: Any) -> str:
    return jwt.encode(said or claims(), EC_KEY, "ES256", headers={"kid": "ec", **header})


def encoded(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def public_pem() -> bytes:
    return EC_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def hs_with_public_key() -> str:
    """Algorithm confusion: HMAC with what everybody knows."""
    import hashlib
    import hmac

    text = f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': 'ec'})}.{encoded(claims())}"
    return f"{text}.{encoded(hmac.digest(public_pem(), text.encode(), hashlib.sha256))}"


async def test_a_good_token_is_read_whatever_key_signed_it() -> None:
    rs = jwt.encode(claims(), RSA_KEY, "RS256", headers={"kid": "rsa"})
    hs = jwt.encode(claims(), SECRET, "HS256")
    for text, keys in ((signed(), ASYMMETRIC), (rs, ASYMMETRIC), (hs, SHARED)):
        found = await tokens.read(text, keys, NOW)
        assert found.email == "ada@example.com"
        assert found.by_mail
        assert found.metadata == {"name": "Ada"}
        assert NOW - found.signed_in_at >= timedelta(seconds=60)


HEADER = {"alg": "ES256", "typ": "JWT", "kid": "ec"}
ATTACKS: dict[str, Callable[[], str]] = {
    "alg none, unsigned": lambda: f"{encoded({'alg': 'none'})}.{encoded(claims())}.",
    "alg none, signed": lambda: _with_header({"alg": "none"}),
    "alg None": lambda: _with_header({"alg": "None"}),
    "no alg": lambda: _with_header({"alg": ...}),
    "alg is a list": lambda: _with_header({"alg": ["ES256"]}),
    "HS256 with the public key": hs_with_public_key,
    "HS256 with the shared secret of another mode": lambda: jwt.encode(
        claims(), SECRET, "HS256", headers={"kid": "ec"}
    ),
    "ES384 for an ES256 key": lambda: _with_header({"alg": "ES384"}),
    "RS256 for an ES256 key": lambda: jwt.encode(
        claims(), RSA_KEY, "RS256", headers={"kid": "ec"}
    ),
    "another key with the known kid": lambda: jwt.encode(
        claims(), OTHER_EC, "ES256", headers={"kid": "ec"}
    ),
    "unknown kid": lambda: signed(kid="nobody"),
    "no kid": lambda: jwt.encode(claims(), EC_KEY, "ES256"),
    "kid is a path": lambda: signed(kid="../../etc/passwd"),
    "kid is SQL": lambda: signed(kid="x' OR '1'='1"),
    "kid is a number": lambda: _with_header({"kid": 7}),
    "kid is huge": lambda: signed(kid="x" * 4000),
    "its own key in jwk": lambda: jwt.encode(
        claims(),
        OTHER_EC,
        "ES256",
        headers={
            "kid": "mine",
            "jwk": jwt.get_algorithm_by_name("ES256").to_jwk(OTHER_EC.public_key(), as_dict=True),
        },
    ),
    "its own keys at jku": lambda: jwt.encode(
        claims(), OTHER_EC, "ES256", headers={"kid": "mine", "jku": "http://127.0.0.1:1/jwks"}
    ),
    "wrong typ": lambda: signed(typ="dpop+jwt"),
    "typ is a number": lambda: _with_header({"typ": 1}),
    "crit": lambda: signed(crit=["exp"], exp=1),
    "b64 false": lambda: _with_header({"b64": False, "crit": ["b64"]}),
    "compressed": lambda: signed(zip="DEF"),
    "huge": lambda: signed(claims(user_metadata={"x": "y" * 9000})),
    "two parts": lambda: signed().rpartition(".")[0],
    "four parts": lambda: signed() + ".x",
    "encrypted form": lambda: "a.b.c.d.e",
    "changed claims": lambda: _changed(),  # noqa: PLW0108 - defined below
    "signature cut": lambda: signed()[:-4],
    "signature of zeros": lambda: f"{signed().rpartition('.')[0]}.{encoded(bytes(64))}",
    "header is no JSON": lambda: f"{encoded(b'{')}.{encoded(claims())}.{encoded(b'x')}",
    "header is a list": lambda: f"{encoded([])}.{encoded(claims())}.{encoded(b'x')}",
    "not base64": lambda: "ä.ö.ü",
    "padding": lambda: signed() + "==",
    "empty": lambda: "..",
    "wrong iss": lambda: signed(claims(iss="https://other.supabase.co/auth/v1")),
    "iss with a slash": lambda: signed(claims(iss=ISSUER + "/")),
    "no iss": lambda: signed(claims(iss=...)),
    "wrong aud": lambda: signed(claims(aud="anon")),
    "aud is a list": lambda: signed(claims(aud=["authenticated", "other"])),
    "no aud": lambda: signed(claims(aud=...)),
    "expired": lambda: signed(claims(exp=int(NOW.timestamp()) - 31)),
    "exp is text": lambda: signed(claims(exp="never")),
    "exp is infinite": lambda: signed(claims(exp=1e300)),
    "exp is true": lambda: signed(claims(exp=True)),
    "no exp": lambda: signed(claims(exp=...)),
    "not yet valid": lambda: signed(claims(nbf=int(NOW.timestamp()) + 300)),
    "issued in the future": lambda: signed(claims(iat=int(NOW.timestamp()) + 300)),
    "no iat": lambda: signed(claims(iat=...)),
    "service_role": lambda: signed(claims(role="service_role")),
    "anon": lambda: signed(claims(role="anon")),
    "supabase_admin": lambda: signed(claims(role="supabase_admin")),
    "no role": lambda: signed(claims(role=...)),
    "anonymous": lambda: signed(claims(is_anonymous=True)),
    "anonymous, as text": lambda: signed(claims(is_anonymous="true")),
    "no sub": lambda: signed(claims(sub=...)),
    "sub is no UUID": lambda: signed(claims(sub="1")),
    "no session": lambda: signed(claims(session_id=...)),
    "no e-mail": lambda: signed(claims(email="")),
    "e-mail is a list": lambda: signed(claims(email=["a@b.c"])),
}  # fmt: skip


def _with_header(changes: dict[str, Any]) -> str:
    """A token with a header as no library would make it, truly signed over it."""
    header = {name: value for name, value in (HEADER | changes).items() if value is not ...}
    text = f"{encoded(header)}.{encoded(claims())}"
    algorithm = jwt.get_algorithm_by_name("ES256")
    return f"{text}.{encoded(algorithm.sign(text.encode(), EC_KEY))}"


def _changed() -> str:
    head, _, signature = signed().split(".")
    return f"{head}.{encoded(claims(email='mallory@example.com'))}.{signature}"


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
async def test_what_is_no_token_of_ours_is_refused(attack: Callable[[], str]) -> None:
    with pytest.raises(TokenRefused):
        await tokens.read(attack(), ASYMMETRIC, NOW)


@pytest.mark.parametrize(
    "text",
    [
        signed(),  # a real one, of the other mode
        hs_with_public_key(),
        jwt.encode(claims(), SECRET + "x", "HS256"),
        jwt.encode(claims(), SECRET + " padded to 64 bytes, as HS512 wants it", "HS512"),
        jwt.encode(claims(role="service_role"), SECRET, "HS256"),
        jwt.encode(claims(role="anon", sub=..., session_id=..., iss="supabase"), SECRET, "HS256"),
        f"{encoded({'alg': 'none'})}.{encoded(claims())}.",
    ],
    ids=["ES256", "public key", "wrong secret", "HS512", "service_role", "anon", "none"],
)
async def test_with_a_shared_secret_only_its_own_tokens_count(text: str) -> None:
    with pytest.raises(TokenRefused):
        await tokens.read(text, SHARED, NOW)


async def test_a_token_is_good_until_its_end_and_a_clocks_difference() -> None:
    text = signed(claims(exp=int(NOW.timestamp()) + 10))
    await tokens.read(text, ASYMMETRIC, NOW + timedelta(seconds=30))
    with pytest.raises(TokenRefused, match="expired"):
        await tokens.read(text, ASYMMETRIC, NOW + timedelta(seconds=41))


@pytest.mark.parametrize(
    ("amr", "by_mail"),
    [
        ([{"method": "otp", "timestamp": 1}], True),
        ([{"method": "magiclink", "timestamp": 1}], True),
        ([{"method": "password", "timestamp": 1}], False),  # may be anybody's address
        ([{"method": "oauth", "timestamp": 1}], False),
        ([{"method": "totp", "timestamp": 5}, {"method": "otp", "timestamp": 3}], True),
        ("otp", False),
        (["otp"], False),
        (..., False),
    ],
)
async def test_only_who_was_mailed_has_shown_to_have_the_address(amr: Any, by_mail: bool) -> None:
    found = await tokens.read(signed(claims(amr=amr)), ASYMMETRIC, NOW)
    assert found.by_mail is by_mail


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {},
    ],
)
def test_a_jwk_of_another_kind_is_no_key(jwk: dict[str, Any]) -> None:
    assert tokens.from_jwk(jwk) is None


def test_a_jwk_for_something_else_is_no_key() -> None:
    public = jwt.get_algorithm_by_name("ES256").to_jwk(EC_KEY.public_key(), as_dict=True)
    assert tokens.from_jwk(public) is not None
    assert tokens.from_jwk(public | {"use": "enc"}) is None
    assert tokens.from_jwk(public | {"alg": "HS256"}) is None
