"""Credentials: API keys, and the secret tokens that phones and pairings use.

An API key is `8ms_live_` or `8ms_test_`, 32 random base62 characters (190 bits) and 6 base62
characters of CRC-32 over everything before them. The prefix lets scanners find a leaked key and
the underscores let a double click select it; the checksum lets a typo or an invented key be
refused before any table is asked, and no live key turns into a test key by editing its prefix.

What is stored is the SHA-256 of the whole text. A slow hash would only slow every request: these
are not passwords, nobody tries 2^190 of them. And nothing here compares in constant time, because
the hash is what a table is asked for, and knowing a hash in part helps nobody to make a key.
"""

import hashlib
import re
import secrets
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, cast, get_args

Mode = Literal["live", "test"]
"""What a key may reach; a test key reaches only simulated phones."""

Scope = Literal[
    "messages:read",
    "messages:write",
    "contacts:read",
    "contacts:write",
    "conversations:read",
    "conversations:write",
    "phones:read",
    "phones:write",
    "webhooks:read",
    "webhooks:write",
    "campaigns:read",
    "campaigns:write",
    "workspace:read",
    "workspace:write",
    "keys:write",
    "members:read",
    "members:write",
    "billing:write",
    "account:write",
    "privacy:write",
    "events:read",
    "*",
]
"""Everything a key can be allowed. Write does not include read; `*` includes all."""

SCOPES: Final[frozenset[Scope]] = frozenset(get_args(Scope))

OWNERS_ONLY: Final[frozenset[Scope]] = frozenset(
    {"*", "members:write", "billing:write", "account:write"}
)
"""What a person who is a member, not an owner, cannot do: the team, the bill, the account's end."""

MEMBER_SCOPES: Final[frozenset[Scope]] = SCOPES - OWNERS_ONLY
"""What a member can do, and so the most that a key made by one can do."""

RANDOM_CHARACTERS = 32
"""62^32 is 190 bits."""

CHECKSUM_CHARACTERS = 6
"""62^6 is above 2^32, so every CRC-32 fits."""

TOKEN_CHARACTERS = 43
"""62^43 is just above 2^256."""

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_API_KEY = re.compile(
    f"8ms_(live|test)_[0-9A-Za-z]{{{RANDOM_CHARACTERS + CHECKSUM_CHARACTERS}}}", re.ASCII
)
_TOKEN_PREFIX = re.compile("[a-z0-9]+(_[a-z0-9]+)*", re.ASCII)


class UnknownScope(ValueError):
    """A scope that does not exist was asked for; the caller answers 422 and names it."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"unknown scope {scope[:40]!r}")
        self.scope = scope


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key just made. `text` is shown once and kept nowhere; the other two are stored."""

    text: str = field(repr=False)
    hash: str
    last_four: str


def new_api_key(mode: Mode) -> ApiKey:
    """Make a key. Out: its text, the hash to find it by, and the last four characters to show."""
    body = f"8ms_{mode}_{_random_base62(RANDOM_CHARACTERS)}"
    text = body + _checksum(body)
    return ApiKey(text=text, hash=hash_key(text), last_four=text[-4:])


def check_format(text: str) -> Mode | None:
    """The mode of a well-formed key with the right checksum, or None: then ask no table."""
    match = _API_KEY.fullmatch(text)
    if match is None or _checksum(text[:-CHECKSUM_CHARACTERS]) != text[-CHECKSUM_CHARACTERS:]:
        return None
    return cast(Mode, match[1])


def hash_key(text: str) -> str:
    """What is stored of a key: SHA-256 of its text, 64 hex digits. Any text has one."""
    return _sha256_hex(text)


def parse_scopes(texts: Iterable[str]) -> frozenset[Scope]:
    """Turn what a request or a row says into scopes. Errors: UnknownScope."""
    scopes: set[Scope] = set()
    for text in texts:
        if text not in SCOPES:
            raise UnknownScope(text)
        scopes.add(text)
    return frozenset(scopes)


def allows(scopes: Collection[str], needed: Scope) -> bool:
    """Whether a key with `scopes` may do what needs `needed`.

    Only "*" allows "*": a key that makes keys may ask this of each scope it would give away.
    Errors: UnknownScope when `needed` is none, so that a misspelt route fails its test instead of
    refusing everybody but "*".
    """
    if needed not in SCOPES:
        raise UnknownScope(needed)
    return needed in scopes or "*" in scopes


def new_secret_token(prefix: str) -> str:
    """A credential of 256 random bits: `<prefix>_` and 43 base62 characters, safe in a URL.

    In: what it is for, lower case, with underscores ("8ms_phone", "8ms_pair").
    """
    if _TOKEN_PREFIX.fullmatch(prefix) is None:
        raise ValueError("a token's prefix is lower-case letters and digits, with underscores")
    return f"{prefix}_{_random_base62(TOKEN_CHARACTERS)}"


def hash_token(text: str) -> str:
    """What is stored of a token: SHA-256 of its text, 64 hex digits. Any text has one."""
    return _sha256_hex(text)


def _random_base62(count: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(count))


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode("ascii"))
    digits = ""
    for _ in range(CHECKSUM_CHARACTERS):
        value, digit = divmod(value, 62)
        digits = _BASE62[digit] + digits
    return digits


def _sha256_hex(text: str) -> str:
    # surrogatepass: a header with stray bytes arrives as lone surrogates; that is a wrong
    # credential to refuse, not a failure of ours.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
