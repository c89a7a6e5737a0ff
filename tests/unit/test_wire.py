"""NATS' wire protocol: bytes are cut into the same messages wherever the network cut them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import wire
from shared.wire import Piece

MESSAGE = b"MSG _INBOX.a 7 5\r\nhello\r\n"
REPLIED = b"MSG send.requested.ws.con 12 $JS.ACK.x 2\r\n\r\n\r\n"  # a payload of one line end
WITH_HEADERS = b"HMSG a.b 3 24 27\r\nNATS/1.0\r\nKey: value\r\n\r\nabc\r\n"
HEADERS_AND_REPLY = b"HMSG a.b 3 r.1 12 12\r\nNATS/1.0\r\n\r\n\r\n"
PING = b"PING\r\n"
PIECES = {
    MESSAGE: Piece(7, b"_INBOX.a", b"", b"", b"hello"),
    REPLIED: Piece(12, b"send.requested.ws.con", b"$JS.ACK.x", b"", b"\r\n"),
    WITH_HEADERS: Piece(3, b"a.b", b"", b"NATS/1.0\r\nKey: value\r\n\r\n", b"abc"),
    HEADERS_AND_REPLY: Piece(3, b"a.b", b"r.1", b"NATS/1.0\r\n\r\n", b""),
    PING: Piece(0, b"", b"", b"", PING),
}


@given(st.lists(st.sampled_from(list(PIECES))), st.data())
def test_messages_are_whole_wherever_the_network_cuts_them(
    lines: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(lines)
    got: list[Piece] = []
    rest = b""
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        pieces, rest = wire.split(rest + stream[:size])
        got += pieces
        stream = stream[size:]
    assert got == [PIECES[line] for line in lines]
    assert rest == b""


def test_a_message_that_is_not_whole_yet_waits() -> None:
    pieces, rest = wire.split(PING + MESSAGE[:-1])
    assert pieces == [PIECES[PING]]
    assert rest == MESSAGE[:-1]


def test_what_is_not_nats_is_refused() -> None:
    with pytest.raises(ValueError):
        wire.split(b"MSG a 1 many\r\n")


def test_a_published_message_counts_its_headers_and_its_bytes() -> None:
    made = wire.frame("a.b", "_INBOX.1", "Nats-Msg-Id: evt_1\r\n", "ä".encode())
    assert made == (
        b"HPUB a.b _INBOX.1 32 34\r\nNATS/1.0\r\nNats-Msg-Id: evt_1\r\n\r\n\xc3\xa4\r\n"
    )


def test_a_message_without_headers_needs_none() -> None:
    assert wire.plain("wake.api", "", b"{}") == b"PUB wake.api  2\r\n{}\r\n"


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        (b"", (0, {})),
        (b"NATS/1.0\r\nNats-Msg-Id: evt_1\r\n\r\n", (0, {})),
        (b"NATS/1.0 503\r\n\r\n", (503, {"Description": ""})),
        (b"NATS/1.0 408 Request Timeout\r\n\r\n", (408, {"Description": "Request Timeout"})),
        (
            b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\nNats-Last-Stream: 9\r\n\r\n",
            (
                100,
                {
                    "Description": "Idle Heartbeat",
                    "Nats-Last-Consumer": "7",
                    "Nats-Last-Stream": "9",
                },
            ),
        ),
    ],
)
def test_the_servers_word_is_told_from_an_event(
    headers: bytes, told: tuple[int, dict[str, str]]
) -> None:
    assert wire.status(headers) == told
