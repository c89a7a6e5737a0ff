"""Server-sent events as bytes (the phone protocol, Commands down). Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx must not collect what has to arrive now
}
_encode = msgspec.json.Encoder().encode


def send(
    frame_id: int,
    *,
    command_id: str,
    message_id: str,
    to: str,
    body: str,
    subscription_id: int | None,
    expires_at: datetime,
) -> bytes:
    """A command to send a text."""
    data = {
        "command_id": command_id,
        "message_id": message_id,
        "to": to,
        "body": body,
        "subscription_id": subscription_id,
        "expires_at": expires_at,
    }
    return _frame("send", data, frame_id)


def cancel(frame_id: int | None, command_id: str) -> bytes:
    """A command taken back. Without a number where it stands in for a command that expired."""
    return _frame("cancel", {"command_id": command_id}, frame_id)


def config(heartbeat_s: float) -> bytes:
    """How the phone shall behave."""
    whole = int(heartbeat_s)
    return _frame("config", {"heartbeat_s": whole if whole == heartbeat_s else heartbeat_s})


def _frame(event: str, data: Any, frame_id: int | None = None) -> bytes:
    head = b"" if frame_id is None else b"id: %d\n" % frame_id
    return head + b"event: " + event.encode() + b"\ndata: " + _encode(data) + b"\n\n"


PING = _frame("ping", {})
REVOKED = _frame("revoked", {})


def chunk(data: bytes) -> bytes:
    """``data`` as one chunk of HTTP/1.1 chunked transfer coding (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
