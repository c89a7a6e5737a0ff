"""Server-sent events as bytes, and as chunks of HTTP, for who writes to the transport itself.

aiohttp wants a coroutine for every write; a stream that says something now and then to thousands
has no time for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

UNACKED_MS = 45_000  # TCP gives up a reader that is gone after this: three pings
HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx must not collect what has to arrive now
}


def frame(event: str, data: bytes, id: str = "") -> bytes:
    """One event; ``data`` is one line. ``id`` is what a client that comes back begins after."""
    head = f"id: {id}\nevent: {event}\ndata: " if id else f"event: {event}\ndata: "
    return head.encode() + data + b"\n\n"


def chunk(data: bytes) -> bytes:
    """``data`` as one chunk of HTTP/1.1 chunked transfer coding (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def give_up_early(transport: asyncio.Transport) -> None:
    """Who lost their network says no goodbye: do not retransmit to them for 15 minutes."""
    sock: Any = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKED_MS)
