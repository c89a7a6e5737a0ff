"""Signatures on a webhook: one secret, two ways for the receiver to check it.

    webhook-signature   Standard Webhooks 1.0.0, symmetric: `v1,` and base64 of HMAC-SHA256 over
                        "id.timestamp.body", keyed with the bytes the secret encodes
    X-8ms-Signature     `sha256=` and hex of HMAC-SHA256 over the body alone, keyed with the secret
                        exactly as shown (the convention of Stripe and GitHub)

The keys differ, so neither tag can be passed off as the other, whatever the body says. Every
attempt is signed afresh, because libraries refuse a timestamp more than five minutes away. While a
replaced secret is in its grace period, both are used and a receiver may check with either.
"""

import base64
import hmac
import os
import re
from collections.abc import Sequence

PREFIX = "whsec_"

SECRET_BYTES = 33
"""24 to 64 by the standard; divisible by three, so that no "=" is there to trip over."""

MAX_SECRETS = 11
"""The current one and ten in grace, as Svix allows; it bounds the headers to about 1.5 kB."""

_MIN_SECRET_BYTES = 24
_MAX_SECRET_BYTES = 64
_EVENT_ID = re.compile("[A-Za-z0-9_-]{1,128}", re.ASCII)


class BadSecret(ValueError):
    """A signing secret is not `whsec_` and standard base64 of 24 to 64 bytes. Holds no secret."""


def new_secret() -> str:
    """A secret for one endpoint: `whsec_` and 44 characters of standard base64 without padding."""
    return PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode("ascii")


def headers(secrets: Sequence[str], event_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The four headers that let a receiver check one attempt.

    In: the endpoint's secrets, the current one first, then those in grace; the event's id, the same
    on every attempt; the time of this attempt in seconds since 1970; the exact bytes sent, which
    are UTF-8 JSON (the Python library decodes them before it verifies).
    Errors: BadSecret; ValueError for no or too many secrets, or an id that could shift the signed
    content (a dot) or the header (a line break).
    """
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise ValueError(f"an attempt is signed with 1 to {MAX_SECRETS} secrets")
    if _EVENT_ID.fullmatch(event_id) is None:
        raise ValueError("an event id is 1 to 128 of A-Z a-z 0-9 _ -")
    if timestamp_s < 0:
        raise ValueError("the time of an attempt is in seconds since 1970")
    signed = f"{event_id}.{timestamp_s}.".encode("ascii") + body
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(_standard(secret, signed) for secret in secrets),
        "X-8ms-Signature": ",".join(_plain(secret, body) for secret in secrets),
    }


def _standard(secret: str, signed: bytes) -> str:
    tag = hmac.digest(_decoded(secret), signed, "sha256")
    return "v1," + base64.b64encode(tag).decode("ascii")


def _plain(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.digest(secret.encode("ascii"), body, "sha256").hex()


def _decoded(secret: str) -> bytes:
    if not secret.startswith(PREFIX):
        raise BadSecret(f"a signing secret starts with {PREFIX}")
    text = secret.removeprefix(PREFIX)
    try:
        # validate: a lenient decoder would drop URL-safe characters and sign with another key.
        # replace: a UnicodeEncodeError would carry the secret in its `object`.
        padded = (text + "=" * (-len(text) % 4)).encode("ascii", "replace")
        key = base64.b64decode(padded, validate=True)
    except ValueError:
        raise BadSecret("a signing secret is standard base64") from None
    if not _MIN_SECRET_BYTES <= len(key) <= _MAX_SECRET_BYTES:
        raise BadSecret(f"a signing secret is {_MIN_SECRET_BYTES} to {_MAX_SECRET_BYTES} bytes")
    return key
