"""Secrets at rest: AES-256-GCM under keys that have ids, so that a key can be replaced.

`EIGHTMS_SECRET_KEY` holds the keys, newest first: `k2f9c01aa:<base64>,k81d0b3e4:<base64>`. The
first one seals; every one opens. The last one is the oldest and stays for good, because the ids of
contacts and messages are derived from it (`KeyRing.identity_key`): without it the same number
would become another person. To rotate: put a new key in front, restart, `reseal` what
`needs_rotation`, then take out the keys in between.

A sealed value describes itself, so that it can be stored in one bytea column:

    version (1 byte) | length of key id (1) | key id | nonce (12) | ciphertext and tag (16)

The version, the key id and the caller's context are authenticated with it. The context says where
the value belongs ("webhooks.secret:whk_…"): one copied to another row does not open there.

    VaultError
    ├── BadKeyText   EIGHTMS_SECRET_KEY cannot be read: stop, a person corrects it
    ├── UnknownKey   sealed under a key that is not in the ring: put that key back
    └── Tampered     changed, cut short, or opened for another context: do not use the row

No error text and no repr holds key material or plaintext.
"""

import base64
import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
"""AES-256."""

MAX_KEYS = 16
"""In one ring: more are never needed at once, and the variable stays readable."""

_VERSION = 1
_NONCE_BYTES = 12
_TAG_BYTES = 16
_KEY_ID = re.compile("[A-Za-z0-9._-]{1,32}", re.ASCII)
_URL_SAFE_TO_STANDARD = str.maketrans("-_", "+/")


class VaultError(Exception):
    """Something about a key or a sealed value is wrong; the subclass says what to do."""


class BadKeyText(VaultError):
    """EIGHTMS_SECRET_KEY is not a list of keys."""


class UnknownKey(VaultError):
    """The value was sealed under a key that the ring does not hold."""


class Tampered(VaultError):
    """The value is not what was sealed for this context."""


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    material: bytes = field(repr=False)
    cipher: AESGCM = field(repr=False)


class KeyRing:
    """The keys of one installation. Immutable; safe to share between tasks and threads.

    Nonces are random, which is sound for 2^32 values under one key (NIST SP 800-38D, 8.3).
    """

    __slots__ = ("_by_id", "_current", "_identity_key", "_keys")

    def __init__(self, keys: tuple[tuple[str, bytes], ...]) -> None:
        """Take (id, 32 bytes) pairs, newest first. Errors: BadKeyText."""
        if not 1 <= len(keys) <= MAX_KEYS:
            raise BadKeyText(f"EIGHTMS_SECRET_KEY must hold 1 to {MAX_KEYS} keys, not {len(keys)}")
        by_id: dict[str, _Key] = {}
        ring: list[_Key] = []
        for place, (key_id, material) in enumerate(keys, start=1):
            if len(material) != KEY_BYTES:
                raise BadKeyText(f"key {place} is {len(material)} bytes long, not {KEY_BYTES}")
            if _KEY_ID.fullmatch(key_id) is None:
                raise BadKeyText(f"key {place} has an id that is not 1 to 32 of A-Z a-z 0-9 . _ -")
            key = _Key(key_id, material, AESGCM(material))
            # Known under its own fingerprint too: naming a key later must not lose what it sealed.
            for name in {key_id, _fingerprint(material)}:
                if name in by_id:
                    raise BadKeyText(f"key {place} has the id of another key, or is the same key")
                by_id[name] = key
            ring.append(key)
        self._keys = tuple(ring)
        self._by_id = by_id
        self._current = ring[0]
        self._identity_key = _hkdf(ring[-1].material, b"8ms identity")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read EIGHTMS_SECRET_KEY: `[key id:]base64 of 32 bytes`, comma separated, newest first.

        Standard and URL-safe base64, padded or not. A key without an id gets one computed from it.
        Errors: BadKeyText, which names the place in the list and never what stood there.
        """
        keys: list[tuple[str, bytes]] = []
        for place, entry in enumerate(text.split(","), start=1):
            key_id, colon, encoded = entry.strip().rpartition(":")
            material = _decode_key(encoded, place)
            keys.append((key_id if colon else _fingerprint(material), material))
        return cls(tuple(keys))

    @staticmethod
    def generate_key() -> str:
        """A new key as `parse` reads it: `k<8 hex digits>:<base64>`."""
        material = os.urandom(KEY_BYTES)
        return f"{_fingerprint(material)}:{base64.b64encode(material).decode('ascii')}"

    @property
    def identity_key(self) -> bytes:
        """32 bytes for `ids.derive_keyed`: HKDF-SHA256 of the oldest key. A secret."""
        return self._identity_key

    @property
    def identity_check(self) -> str:
        """16 hex digits that change when the oldest key does.

        Not secret: store it once and compare at every start, because with a lost oldest key every
        known number would get a new id in silence.
        """
        return _hkdf(self._identity_key, b"8ms identity check")[:8].hex()

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids in the ring, newest first: what a start-up line may print."""
        return tuple(key.id for key in self._keys)

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Encrypt under the newest key, for one place; `context` names the place and is not stored.

        Out: 30 bytes and the key id more than the plaintext, different each time. Errors:
        ValueError for an empty context, since a value that belongs nowhere opens everywhere.
        """
        key = self._current
        header = bytes((_VERSION, len(key.id))) + key.id.encode("ascii")
        nonce = os.urandom(_NONCE_BYTES)
        return header + nonce + key.cipher.encrypt(nonce, plaintext, _aad(header, context))

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt what `seal` made for the same context. Errors: UnknownKey, Tampered."""
        key, header, nonce, ciphertext = self._split(sealed)
        try:
            return key.cipher.decrypt(nonce, ciphertext, _aad(header, context))
        except InvalidTag:
            raise Tampered("a sealed value was changed, or belongs to another place") from None

    def needs_rotation(self, sealed: bytes) -> bool:
        """Whether another key than the newest sealed this. Errors: UnknownKey, Tampered."""
        return self._split(sealed)[0] is not self._current

    def reseal(self, sealed: bytes, context: str) -> bytes:
        """The same secret under the newest key. Errors: UnknownKey, Tampered."""
        return self.seal(self.open(sealed, context), context)

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self.key_ids)})"

    def _split(self, sealed: bytes) -> tuple[_Key, bytes, bytes, bytes]:
        if len(sealed) < 2 or sealed[0] != _VERSION:
            raise Tampered("not a sealed value of a version this release knows")
        id_end = 2 + sealed[1]
        nonce_end = id_end + _NONCE_BYTES
        key_id = sealed[2:id_end].decode("ascii", "replace")
        if len(sealed) < nonce_end + _TAG_BYTES or _KEY_ID.fullmatch(key_id) is None:
            raise Tampered("a sealed value was cut short or changed")
        key = self._by_id.get(key_id)
        if key is None:
            raise UnknownKey(f"sealed under key {key_id!r}, which EIGHTMS_SECRET_KEY does not hold")
        return key, sealed[:id_end], sealed[id_end:nonce_end], sealed[nonce_end:]


def _aad(header: bytes, context: str) -> bytes:
    if not context:
        raise ValueError("a sealed value needs a context")
    # The header says its own length, so no other split of the same bytes is possible.
    return header + context.encode("utf-8", "surrogatepass")


def _decode_key(encoded: str, place: int) -> bytes:
    standard = encoded.translate(_URL_SAFE_TO_STANDARD).rstrip("=")
    try:
        # Encoded here and leniently: a UnicodeEncodeError would carry the key in its `object`.
        padded = (standard + "=" * (-len(standard) % 4)).encode("ascii", "replace")
        return base64.b64decode(padded, validate=True)
    except ValueError:
        raise BadKeyText(f"key {place} is not base64") from None


def _fingerprint(material: bytes) -> str:
    return "k" + hashlib.sha256(b"8ms key id\0" + material).hexdigest()[:8]


def _hkdf(material: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(material)
