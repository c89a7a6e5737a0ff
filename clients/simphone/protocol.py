"""Phone protocol v1 as pure functions and plain data: links, frames, entries, pauses. No I/O."""

import random
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs, urljoin, urlsplit

import msgspec

from clients.simphone.errors import BadPairingUri

APP_VERSION = "simphone/1"
READ_TIMEOUT_S = 45.0  # three missed pings (protocol: a ping every 15 s)
HEARTBEAT_MAX_S = 60.0  # protocol: a heartbeat at least every 60 s, whatever the config says
HEARTBEAT_MIN_S = 0.1  # a configuration slip must not turn ten thousand phones into a flood
BACKOFF_FIRST_S = 0.2
BACKOFF_CAP_S = 30.0
RETRY_AFTER_CAP_S = 600.0  # a gateway may ask for a long pause, not for one without end
MAX_ENTRIES = 500  # protocol: 500 entries a call
MAX_CALL_BYTES = 512 * 1024  # half of the gateway's body limit of 1 MiB
MAX_FRAME_BYTES = 1024 * 1024  # a stream that never ends a frame must not eat the memory
UNPAIRED_STATUSES = frozenset({401, 410})  # the credential is worth nothing any more

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Text = Annotated[str, msgspec.Meta(min_length=1)]

encode = msgspec.json.encode
Kind = TypeVar("Kind")


class Malformed(ValueError):
    """Bytes that are not the JSON they should be; the text quotes nothing of them."""


def decode(raw: bytes, kind: type[Kind]) -> Kind:
    """Read JSON of the given shape, or Malformed."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(f"no {kind.__name__}: {type(error).__name__}") from None


class SendCommand(msgspec.Struct, frozen=True):
    """Data of a `send` frame."""

    command_id: Text
    message_id: str
    to: Text
    body: str
    subscription_id: int | None = None
    expires_at: Instant | None = None


class CancelCommand(msgspec.Struct, frozen=True):
    """Data of a `cancel` frame."""

    command_id: Text


class PhoneConfig(msgspec.Struct, frozen=True):
    """What the gateway configures; keys this phone does not know are ignored."""

    heartbeat_s: float = HEARTBEAT_MAX_S

    def beat_s(self) -> float:
        """Seconds between heartbeats, inside what the protocol allows."""
        return min(max(self.heartbeat_s, HEARTBEAT_MIN_S), HEARTBEAT_MAX_S)


class Paired(msgspec.Struct, frozen=True):
    """The gateway's answer to a pairing."""

    phone_id: Text
    credential: Text
    stream_url: str = "/phone/v1/stream"
    config: PhoneConfig = PhoneConfig()


class Rejected(msgspec.Struct, frozen=True):
    """An entry the gateway set aside; `seq` is None where it could not read one."""

    seq: int | None = None
    code: str = "rejected"


class Ack(msgspec.Struct, frozen=True):
    """The gateway's answer to a journal call."""

    acked_seq: int
    rejected: list[Rejected] = []


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457, as far as a phone looks at it."""

    code: str = ""
    detail: str = ""


class Sim(msgspec.Struct, frozen=True, omit_defaults=True):
    """A SIM in a simulated phone, in the shape the protocol gives it."""

    slot: Annotated[int, msgspec.Meta(ge=0)]
    subscription_id: int
    carrier: str
    number: str | None = None
    iccid_hash: str | None = None


@dataclass(frozen=True, slots=True)
class PairingLink:
    """What `eightms://pair?…` says."""

    endpoint: str
    token: str
    label: str


def parse_pairing_link(uri: str) -> PairingLink:
    """Read a pairing link; BadPairingUri says what is wrong, never what the token is."""
    parts = urlsplit(uri.strip())
    if parts.scheme != "eightms" or parts.netloc != "pair":
        raise BadPairingUri("A pairing link starts with eightms://pair? and this one does not.")
    query = parse_qs(parts.query)
    endpoint = query.get("e", [""])[0].rstrip("/")
    token = query.get("t", [""])[0]
    target = urlsplit(endpoint)
    if target.scheme not in ("http", "https") or not target.hostname:
        raise BadPairingUri("The pairing link names no http(s) gateway (its part e=).")
    if not token:
        raise BadPairingUri("The pairing link carries no registration token (its part t=).")
    return PairingLink(endpoint, token, query.get("l", [""])[0])


def stream_address(endpoint: str, stream_url: str) -> str:
    """The stream's absolute address; the gateway may name a path or a whole address."""
    return urljoin(endpoint + "/", stream_url)


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event: `id` is None where the server gave none, `data` is raw JSON."""

    event: str
    data: bytes
    id: str | None


class FrameTooLong(ValueError):
    """The stream does not end its frame: hang up and connect again."""


class SseParser:
    """Bytes in, whole frames out; knows what the protocol needs of server-sent events."""

    __slots__ = ("_data", "_event", "_id", "_rest", "_size")

    def __init__(self) -> None:
        self._rest = b""
        self._reset()

    def _reset(self) -> None:
        self._event = "message"
        self._data: list[bytes] = []
        self._id: str | None = None
        self._size = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames `chunk` completes, in order. FrameTooLong when one passes MAX_FRAME_BYTES."""
        frames: list[Frame] = []
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        for ended in lines:
            line = ended.removesuffix(b"\r")
            if line:
                self._size += len(line)
                self._field(line)
            else:
                if self._data:
                    frames.append(Frame(self._event, b"\n".join(self._data), self._id))
                self._reset()
        if self._size + len(self._rest) > MAX_FRAME_BYTES:
            raise FrameTooLong
        return frames

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
            case b"event":
                self._event = value.decode("utf-8", "replace")
            case b"id" if b"\0" not in value and b"\r" not in value:  # it goes into a header
                self._id = value.decode("utf-8", "replace")
            case _:
                pass  # a comment (empty name), retry, or something newer than this phone


def backoff_s(attempt: int, retry_after_s: float | None, rng: random.Random) -> float:
    """Pause before try number `attempt` (0 is the first repeat): exponential with full jitter.

    A Retry-After is a floor; the jitter comes on top, so that ten thousand phones told the same
    number do not come back in the same instant.
    """
    ceiling = min(BACKOFF_CAP_S, BACKOFF_FIRST_S * 2 ** min(attempt, 16))
    return (retry_after_s or 0.0) + rng.uniform(0.0, ceiling)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait from a Retry-After header, as a number or an HTTP date; None if unusable."""
    if not value:
        return None
    if value.strip().isdigit():
        return min(float(value), RETRY_AFTER_CAP_S)
    try:
        wait_s = (parsedate_to_datetime(value) - now).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(wait_s, 0.0), RETRY_AFTER_CAP_S)


def encode_entry(seq: int, now: datetime, kind: str, fields: dict[str, Any]) -> bytes:
    """One journal entry as it travels; a time in UTC becomes RFC 3339 with a Z."""
    return encode({"seq": seq, "at": now, "type": kind, **fields})


def encode_call(inventory: dict[str, Any] | None, entries: list[bytes]) -> bytes:
    """The body of a journal call, from entries that are already encoded."""
    head = b'{"inventory":' + encode(inventory) + b"," if inventory is not None else b"{"
    return head + b'"entries":[' + b",".join(entries) + b"]}"
