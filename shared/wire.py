"""NATS' wire protocol where it must be fast: bytes into messages, messages into bytes. Pure.

The client library does this with a regular expression, a queue and a task per message, which is
most of what reading the log costs. What is cut here goes to whoever listens, in the same turn of
the event loop (shared/log.py).
"""

from __future__ import annotations

from typing import NamedTuple

_LINE_END = b"\r\n"
_STATUS_HEAD = b"NATS/1.0 "
_MSG, _HMSG = b"M"[0], b"H"[0]


class Piece(NamedTuple):
    """A message for subscription ``sid``; or, with ``sid`` 0, a control line in ``payload``."""

    sid: int
    subject: bytes
    reply: bytes
    headers: bytes
    payload: bytes


def split(buffer: bytes) -> tuple[list[Piece], bytes]:
    """The whole messages and control lines in ``buffer``, and the rest. ValueError: not NATS."""
    pieces: list[Piece] = []
    at = 0
    while (end := buffer.find(_LINE_END, at)) >= 0:
        if buffer[at] not in (_MSG, _HMSG):
            pieces.append(Piece(0, b"", b"", b"", buffer[at : end + 2]))
            at = end + 2
            continue
        # MSG <subject> <sid> [reply] <bytes>, or HMSG with the bytes of the headers before those.
        words = buffer[at:end].split()
        begin = end + 2
        stop = begin + int(words[-1])
        if len(buffer) < stop + 2:
            break
        if buffer[at] == _HMSG:
            body = begin + int(words[-2])
            reply = words[3] if len(words) == 6 else b""
        else:
            body = begin
            reply = words[3] if len(words) == 5 else b""
        pieces.append(Piece(int(words[2]), words[1], reply, buffer[begin:body], buffer[body:stop]))
        at = stop + 2
    return pieces, buffer[at:]


def plain(subject: str, reply: str, payload: bytes) -> bytes:
    """A message without headers, as it is published."""
    return f"PUB {subject} {reply} {len(payload)}\r\n".encode("ascii") + payload + _LINE_END


def frame(subject: str, reply: str, headers: str, payload: bytes) -> bytes:
    """A message as it is published. ``headers`` are whole lines, each with its end."""
    head = f"NATS/1.0\r\n{headers}\r\n"
    size = len(head)  # ASCII: ids and subjects are
    return (
        f"HPUB {subject} {reply} {size} {size + len(payload)}\r\n{head}".encode("ascii")
        + payload
        + _LINE_END
    )


def status(headers: bytes) -> tuple[int, dict[str, str]]:
    """The server's word about a request, and its headers; 0 for an ordinary message."""
    if not headers.startswith(_STATUS_HEAD):
        return 0, {}
    first, *lines = headers.decode("utf-8", "replace").split("\r\n")
    code, _, description = first.removeprefix("NATS/1.0 ").partition(" ")
    pairs = (line.partition(":") for line in lines if line)
    return int(code), {"Description": description, **{k: v.strip() for k, _, v in pairs}}
