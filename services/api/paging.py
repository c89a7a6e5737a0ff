"""Lists in pages: newest first, by (time, id), with a cursor that only fits the list it came from.

A cursor is opaque: where the page ended, and a keyed hash of that together with the operation, the
workspace and the filters. So it cannot be made up, carried to another list, or used with other
filters than it was given for. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec

from shared.problems import Problem

MAC_BYTES = 9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: its last row's time and id."""

    at: datetime
    id: str


# Before everything there is: a list's first page is the page after this.
START = Position(datetime(9999, 1, 1, tzinfo=UTC), "~")


class _Ended(msgspec.Struct, array_like=True):
    at_us: int
    id: str


_decode = msgspec.json.Decoder(_Ended).decode


@dataclass(frozen=True, slots=True)
class Cursors:
    """Makes and reads cursors of one list: ``scope`` names the list, its workspace and filters."""

    key: bytes
    scope: str

    def write(self, position: Position) -> str:
        """The cursor behind ``position``."""
        payload = msgspec.json.encode(_Ended((position.at - _EPOCH) // _MICROSECOND, position.id))
        return base64.urlsafe_b64encode(self._mac(payload) + payload).decode().rstrip("=")

    def read(self, cursor: str | None) -> Position:
        """Where to go on: the start without a cursor, a Problem with one of another list."""
        if cursor is None:
            return START
        try:
            raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            raise _refused() from None
        mac, payload = raw[:MAC_BYTES], raw[MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(payload)):
            raise _refused()
        ended = _decode(payload)  # ours, unchanged
        return Position(_EPOCH + timedelta(microseconds=ended.at_us), ended.id)

    def _mac(self, payload: bytes) -> bytes:
        digest = hashlib.blake2b(key=self.key[:64], digest_size=MAC_BYTES)
        digest.update(self.scope.encode("utf-8", "surrogatepass") + b"\0" + payload)
        return digest.digest()


def scope(operation: str, workspace_id: str, filters: Mapping[str, Any]) -> str:
    """What a cursor belongs to."""
    kept = {name: str(value) for name, value in sorted(filters.items()) if value is not None}
    return msgspec.json.encode([operation, workspace_id, kept]).decode()


def next_link(url: str, filters: Mapping[str, Any], cursor: str) -> str:
    """The Link header (RFC 8288) to the next page."""
    query = {n: _text(v) for n, v in filters.items() if v is not None} | {"cursor": cursor}
    return f'<{url}?{urlencode(query)}>; rel="next"'


def cut(rows: Sequence[Any], limit: int) -> tuple[Sequence[Any], bool]:
    """The page out of up to ``limit`` + 1 rows, and whether there is more."""
    return rows[:limit], len(rows) > limit


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refused() -> Problem:
    detail = "The cursor does not belong to this list with these filters. Begin without one."
    error = {"pointer": "#/cursor", "parameter": "cursor", "code": "invalid_cursor"}
    return Problem(422, "invalid_cursor", detail, errors=[error | {"detail": detail}])
