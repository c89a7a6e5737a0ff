"""The texts that are sent: every one to another person, each carrying its number in its body.

The number ties what a phone was told, or what the log holds, to the request that asked for it.
"""

import itertools
from collections.abc import Iterator

from tests.bench.load import post

BODY = "bench {number:08d} Your table for two is booked tonight at 19:30. See you soon!"
FIRST_AREA = 201


def recipient(number: int) -> str:
    """A number of its own for each text: 5 million different ones, none of them assigned to anybody
    we could reach, since the phones are simulated."""
    area = FIRST_AREA + number // 10_000 % 500
    return f"+1{area}555{number % 10_000:04d}"


def number_of(body: str) -> int | None:
    """The number in a body of ours."""
    head, _, rest = body.partition(" ")
    return int(rest[:8]) if head == "bench" else None


def single(key: str, first: int, idempotent: str = "") -> Iterator[bytes]:
    """Requests for POST /v1/sms/send, numbered from `first`, with an Idempotency-Key if given."""
    for number in itertools.count(first):
        extra = f"Idempotency-Key: {idempotent}-{number}\r\n" if idempotent else ""
        yield post("/v1/sms/send", b"{" + _fields(number) + b"}", key, extra)


def bulk(key: str, first: int, size: int) -> Iterator[bytes]:
    """Requests for POST /v1/sms/send/bulk with `size` texts each, numbered from `first`."""
    for begin in itertools.count(first, size):
        items = b",".join(b"{" + _fields(n) + b"}" for n in range(begin, begin + size))
        yield post("/v1/sms/send/bulk", b'{"messages":[' + items + b"]}", key)


def _fields(number: int) -> bytes:
    return f'"to":"{recipient(number)}","body":"{BODY.format(number=number)}"'.encode()
