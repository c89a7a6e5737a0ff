"""The simulated phone's reading of the protocol: links, frames, pauses, calls."""

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.simphone import BadPairingUri
from clients.simphone.protocol import (
    BACKOFF_CAP_S,
    MAX_FRAME_BYTES,
    RETRY_AFTER_CAP_S,
    Ack,
    Frame,
    FrameTooLong,
    Malformed,
    PhoneConfig,
    SendCommand,
    SseParser,
    backoff_s,
    decode,
    encode_call,
    encode_entry,
    parse_pairing_link,
    parse_retry_after,
    stream_address,
)

NOW = datetime(2030, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def test_a_link_is_taken_apart():
    link = parse_pairing_link(
        "eightms://pair?e=https%3A%2F%2Fsms.example.com%2F&t=s3cret&l=Front%20desk"
    )
    assert (link.endpoint, link.token, link.label) == (
        "https://sms.example.com",
        "s3cret",
        "Front desk",
    )


@pytest.mark.parametrize(
    "uri",
    [
        "https://example.com/pair?e=https%3A%2F%2Fa.example&t=s3cret",
        "eightms://other?e=https%3A%2F%2Fa.example&t=s3cret",
        "eightms://pair?t=s3cret",
        "eightms://pair?e=ftp%3A%2F%2Fa.example&t=s3cret",
        "eightms://pair?e=https%3A%2F%2Fa.example",
        "",
    ],
)
def test_what_is_no_pairing_link_is_refused_without_repeating_its_token(uri: str):
    with pytest.raises(BadPairingUri) as refused:
        parse_pairing_link(uri)
    assert "s3cret" not in str(refused.value)


def test_the_stream_address_may_be_a_path_or_whole():
    assert stream_address("https://a.example", "/phone/v1/stream") == (
        "https://a.example/phone/v1/stream"
    )
    assert stream_address("https://a.example", "https://b.example/s") == "https://b.example/s"


STREAM = (
    b": a comment\n"
    b'id: 42\nevent: send\ndata: {"a":"\xc3\xa9"}\n\n'
    b"event: ping\r\ndata: {}\r\n\r\n"
    b"event: nothing\n\n"
    b"retry: 10\ndata:one\ndata: two\n\n"
    b"id: 43\nevent: config\ndata: {}\n\n"
)
FRAMES = [
    Frame("send", '{"a":"é"}'.encode(), "42"),
    Frame("ping", b"{}", None),
    Frame("message", b"one\ntwo", None),
    Frame("config", b"{}", "43"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_frames_come_out_the_same_however_the_network_cuts_them(cuts: list[int]):
    edges = [0, *sorted(cuts), len(STREAM)]
    parser = SseParser()
    frames: list[Frame] = []
    for start, end in pairwise(edges):
        frames += parser.feed(STREAM[start:end])
    assert frames == FRAMES


def test_an_unfinished_frame_is_not_delivered():
    parser = SseParser()
    assert parser.feed(b"event: send\ndata: {}\n") == []


def test_a_frame_without_end_is_given_up():
    parser = SseParser()
    with pytest.raises(FrameTooLong):
        for _ in range(MAX_FRAME_BYTES // 1000 + 2):
            parser.feed(b"data: " + b"x" * 1000 + b"\n")


def test_an_id_that_would_break_a_header_is_ignored():
    assert SseParser().feed(b"id: 1\r2\ndata: x\n\n") == [Frame("message", b"x", None)]


def test_pauses_grow_and_are_jittered_and_capped():
    rng = random.Random(8)
    for attempt in range(40):
        ceiling = min(BACKOFF_CAP_S, 0.2 * 2**attempt)
        pauses = [backoff_s(attempt, None, rng) for _ in range(200)]
        assert all(0 <= pause <= ceiling for pause in pauses)
        assert max(pauses) > 0.8 * ceiling
        assert min(pauses) < 0.2 * ceiling


def test_retry_after_is_a_floor_with_jitter_on_top():
    rng = random.Random(8)
    pauses = [backoff_s(0, 7.0, rng) for _ in range(50)]
    assert all(7.0 <= pause <= 7.2 for pause in pauses)
    assert len(set(pauses)) > 40


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("7", 7.0),
        ("999999", RETRY_AFTER_CAP_S),
        ("Wed, 02 Jan 2030 03:04:15 GMT", 9.322),
        ("Wed, 02 Jan 2030 03:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(value: str | None, expected: float | None):
    got = parse_retry_after(value, NOW)
    assert got == (pytest.approx(expected) if expected is not None else None)


def test_a_command_without_a_zone_in_its_time_is_malformed():
    data = b'{"command_id":"c","message_id":"m","to":"+1","body":"b","expires_at":"2030-01-01"}'
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(data, type=SendCommand)


def test_a_heartbeat_interval_stays_within_the_protocol():
    assert PhoneConfig(heartbeat_s=3600).beat_s() == 60
    assert PhoneConfig(heartbeat_s=20).beat_s() == 20
    assert PhoneConfig(heartbeat_s=-1).beat_s() > 0


def test_an_answer_is_read_whatever_it_rejects():
    ack = decode(
        b'{"acked_seq":7,"rejected":[{"seq":null,"code":"unreadable","detail":"x"},{"seq":6}],'
        b'"server_time":"2030-01-01T00:00:00Z"}',
        Ack,
    )
    assert (ack.acked_seq, [one.seq for one in ack.rejected]) == (7, [None, 6])


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b'{"acked_seq":"7"}', b'{"a":"\xff"}'])
def test_what_is_no_answer_is_malformed_and_not_quoted(raw: bytes):
    with pytest.raises(Malformed) as malformed:
        decode(raw, Ack)
    assert str(malformed.value).startswith("no Ack: ")


def test_a_call_is_valid_json_with_and_without_inventory():
    at = NOW.astimezone(UTC) + timedelta(hours=1)
    entries = [encode_entry(n, at, "accepted", {"command_id": "cmd_1"}) for n in (7, 8)]
    call = msgspec.json.decode(encode_call({"journal_head": 8}, entries))
    assert call["inventory"] == {"journal_head": 8}
    assert call["entries"][0] == {
        "seq": 7,
        "at": "2030-01-02T04:04:05.678000Z",
        "type": "accepted",
        "command_id": "cmd_1",
    }
    assert msgspec.json.decode(encode_call(None, [])) == {"entries": []}
