"""Journal calls as bytes: what is wrong is set aside alone, what is right counts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway import entries
from services.gateway.entries import read_call
from shared.problems import Problem

AT = "2026-11-23T10:00:00Z"
CMD = "cmd_01J00000000000000000000000"


def raw(*items: Any, **more: Any) -> bytes:
    return json.dumps({"entries": list(items), **more}).encode()


def entry(seq: Any = 1, kind: str = "accepted", **fields: Any) -> dict[str, Any]:
    return {"seq": seq, "at": AT, "type": kind, "command_id": CMD, **fields}


def received(**fields: Any) -> dict[str, Any]:
    whole = {
        "seq": 1, "at": AT, "type": "received", "from": "+14155550100", "body": "Hi",
        "subscription_id": 1, "received_at": AT, "provider_id": "7", "parts": 1,
    }  # fmt: skip
    return {**whole, **fields}


def entries_in(body: bytes) -> int:
    """How many entries a call has, or the status it is refused with."""
    try:
        call = read_call(body)
    except Problem as refused:
        return refused.status
    return len(call.entries) + len(call.rejected)


def test_every_type_of_entry_is_read() -> None:
    call = read_call(
        raw(
            entry(1),
            entry(2, "submitted", attempt=1, parts=2),
            entry(3, "sent", parts=[{"n": 1, "result_code": -1}]),
            entry(4, "delivered", parts=[{"n": 1, "tp_status": 0}]),
            entry(5, "failed", result_code=1, error_code=38, part=1),
            entry(6, "cancelled"),
            entry(7, "unknown"),
            received(seq=8),
            {"seq": 9, "at": AT, "type": "health", "battery": 80, "charging": False},
        )
    )
    assert [type(one).__name__ for one in call.entries] == [
        "Accepted", "Submitted", "Sent", "Delivered", "Failed", "Cancelled", "Unknown",
        "Received", "Health",
    ]  # fmt: skip
    assert call.rejected == []


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (entry(2, "teleported"), "unknown_type"),
        ({"seq": 2, "at": AT, "command_id": CMD}, "unknown_type"),
        ({"seq": 2, "at": AT, "type": "accepted"}, "missing_field"),
        ({"seq": 2, "type": "accepted", "command_id": CMD}, "missing_field"),
        (entry(2, command_id=7), "invalid_entry"),
        (entry(2, command_id="x" * 65), "invalid_entry"),
        (entry(2, at="yesterday"), "invalid_entry"),
        (entry(2, at="2026-11-23T10:00:00"), "invalid_entry"),
        (entry(2, at="0001-01-01T00:00:00+14:00"), "invalid_entry"),
        (entry(2, "submitted", parts=0), "invalid_entry"),
        (entry(2, "submitted", parts=256), "invalid_entry"),
        (entry(2, "submitted", parts="1"), "invalid_entry"),
        (entry(2, "submitted"), "missing_field"),
        (entry(2, "sent", parts=[]), "invalid_entry"),
        (entry(2, "sent", parts=[{"n": 1}]), "missing_field"),
        (entry(2, "sent", parts=[{"n": 1, "result_code": 2**31}]), "invalid_entry"),
        (entry(2, "delivered", parts=[{"n": 1, "tp_status": -1}]), "invalid_entry"),
        (entry(2, "failed", result_code=None), "invalid_entry"),
        (received(seq=2, **{"from": ""}), "invalid_entry"),
        (received(seq=2, body=None), "invalid_entry"),
        (received(seq=2, body="x" * 40_001), "invalid_entry"),
        (received(seq=2, subscription_id=2**40), "invalid_entry"),
        (received(seq=2, provider_id=-1), "invalid_entry"),
        (received(seq=2, received_at="9999-12-31T23:00:00-02:00"), "invalid_entry"),
        ({"seq": 2, "at": AT, "type": "health", "battery": 101}, "invalid_entry"),
    ],
)
def test_a_wrong_entry_is_set_aside_and_its_neighbours_count(wrong: Any, code: str) -> None:
    call = read_call(raw(entry(1), wrong, entry(3)))
    assert [one.seq for one in call.entries] == [1, 3]
    assert [(one.seq, one.code) for one in call.rejected] == [(2, code)]
    assert call.rejected[0].detail.endswith(".")


@pytest.mark.parametrize("seq", [None, "1", 0, -1, 1.5, True, 2**53, 10**400])
def test_an_entry_without_a_usable_number_is_set_aside_without_one(seq: Any) -> None:
    call = read_call(raw(entry(1), entry(seq)))
    assert [one.seq for one in call.entries] == [1]
    assert [one.seq for one in call.rejected] == [0]


@pytest.mark.parametrize("wrong", [[], "accepted", None, 7])
def test_what_is_no_object_is_set_aside(wrong: Any) -> None:
    assert [one.seq for one in read_call(raw(wrong)).rejected] == [0]


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"\xff\xfe", 400, None),
        (b'{"x":' + b"[" * 100_000, 400, None),
        (b"[]", 422, "#"),
        (b'{"entries": 7}', 422, "#/entries"),
        (b'{"entries": {"seq": 1}}', 422, "#/entries"),
        (raw(inventory=7), 422, "#/inventory"),
        (raw(inventory={"battery": "full"}), 422, "#/inventory/battery"),
        (raw(inventory={"sims": [{"slot": 0}]}), 422, "#/inventory/sims/0"),
        (raw(inventory={"open_commands": [7]}), 422, "#/inventory/open_commands/0"),
    ],
)
def test_a_call_that_is_none_is_refused_with_a_pointer(
    body: bytes, status: int, pointer: str | None
) -> None:
    with pytest.raises(Problem) as refused:
        read_call(body)
    assert refused.value.status == status
    assert [one["pointer"] for one in refused.value.errors] == ([pointer] if pointer else [])


def test_more_than_500_entries_are_refused() -> None:
    assert len(read_call(raw(*[entry(n) for n in range(1, 501)])).entries) == 500
    with pytest.raises(Problem) as refused:
        read_call(raw(*[entry(n) for n in range(1, 502)]))
    assert refused.value.code == "too_many_entries"


def test_a_deep_entry_is_set_aside() -> None:
    deep = b'{"entries":[{"seq":1,"at":"' + AT.encode() + b'","type":"health","x":' + b"[" * 5000
    deep += b"]" * 5000 + b"}]}"
    assert entries_in(deep) in (1, 400)


def test_half_an_emoji_does_not_lose_a_text() -> None:
    body = raw(received(body="ok")).replace(b'"ok"', rb'"\ud83d\ude00 \ud83d"')
    (one,) = read_call(body).entries
    assert isinstance(one, entries.Received)
    assert one.body == "😀 \ufffd"


def test_bytes_that_are_no_text_do_not_lose_a_text() -> None:
    (one,) = read_call(raw(received(body="ok")).replace(b"ok", b"caf\xe9")).entries
    assert isinstance(one, entries.Received)
    assert one.body == "caf\ufffd"


def test_numbers_of_providers_may_be_numbers() -> None:
    (one,) = read_call(raw(received(provider_id=77))).entries
    assert isinstance(one, entries.Received)
    assert one.provider_id == 77


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(
    st.lists(
        JSON | st.builds(entry, JSON | st.integers(1, 9)) | st.builds(entry, kind=st.text()),
        max_size=5,
    ),
    JSON,
)
def test_whatever_is_sent_is_read_or_refused(items: list[Any], inventory: Any) -> None:
    body = json.dumps({"entries": items, "inventory": inventory}).encode()
    assert entries_in(body) in (len(items), 400, 422)


@given(st.binary(max_size=60))
def test_whatever_bytes_come_are_read_or_refused(body: bytes) -> None:
    assert entries_in(body) in (0, 400, 422)
