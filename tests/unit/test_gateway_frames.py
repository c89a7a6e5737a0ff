"""Server-sent events as a phone reads them."""

from datetime import UTC, datetime

import msgspec

from services.gateway import frames
from shared import sse


def test_a_command_is_one_event_with_its_number() -> None:
    raw = frames.send(
        42,
        command_id="cmd_1",
        message_id="msg_1",
        to="+14155551234",
        body="One\nTwo\r\n\n: data: id: 7",
        subscription_id=1,
        expires_at=datetime(2026, 11, 23, 10, tzinfo=UTC),
    )
    head, event, data, *rest = raw.decode().split("\n")
    assert (head, event, rest) == ("id: 42", "event: send", ["", ""])
    assert msgspec.json.decode(data.removeprefix("data: ")) == {
        "command_id": "cmd_1",
        "message_id": "msg_1",
        "to": "+14155551234",
        "body": "One\nTwo\r\n\n: data: id: 7",
        "subscription_id": 1,
        "expires_at": "2026-11-23T10:00:00Z",
    }


def test_a_frame_that_stands_in_for_another_has_no_number() -> None:
    assert frames.cancel(None, "cmd_1") == b'event: cancel\ndata: {"command_id":"cmd_1"}\n\n'
    assert frames.cancel(7, "cmd_1").startswith(b"id: 7\n")


def test_the_other_frames_carry_what_the_protocol_says() -> None:
    assert frames.PING == b"event: ping\ndata: {}\n\n"
    assert frames.REVOKED == b"event: revoked\ndata: {}\n\n"
    assert frames.config(60.0) == b'event: config\ndata: {"heartbeat_s":60}\n\n'
    assert frames.config(0.5) == b'event: config\ndata: {"heartbeat_s":0.5}\n\n'


def test_a_chunk_says_its_length() -> None:
    assert sse.chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
