"""What goes down a phone's stream, as bytes (the phone protocol, Commands down). Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from shared import sse

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
    return sse.frame(event, _encode(data), "" if frame_id is None else str(frame_id))


PING = _frame("ping", {})
REVOKED = _frame("revoked", {})
