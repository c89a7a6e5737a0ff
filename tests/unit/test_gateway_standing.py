"""Online, late, offline: given the last sign of life and the time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.standing import Limits, Sign, State, heard, standing, step

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
LIMITS = Limits(late_s=120, offline_s=300, stream_gone_s=60)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("silent_s", "state", "look_in_s"),
    [
        (0, "online", 120),
        (119, "online", 1),
        (120, "late", 180),
        (299, "late", 1),
        (300, "offline", None),
        (9999, "offline", None),
    ],
)
def test_silence_on_a_live_stream(silent_s: float, state: State, look_in_s: float | None) -> None:
    found = standing(Sign(at=ago(silent_s), streaming=True), NOW, LIMITS)
    assert found.state == state
    assert found.look_at == (None if look_in_s is None else NOW + timedelta(seconds=look_in_s))


@pytest.mark.parametrize(
    ("gone_s", "state"), [(0, "online"), (59, "online"), (60, "offline"), (600, "offline")]
)
def test_a_phone_without_a_stream_is_offline_after_a_minute(gone_s: float, state: State) -> None:
    assert standing(Sign(at=NOW, gone_at=ago(gone_s)), NOW, LIMITS).state == state


def test_a_phone_never_heard_of_is_offline() -> None:
    assert standing(Sign(), NOW, LIMITS) == ("offline", None)


def test_a_phone_that_calls_but_gets_no_stream_through_does_not_flap() -> None:
    sign = heard(Sign(), NOW, LIMITS)
    states: list[State] = []
    for minute in range(1, 30):
        at = NOW + timedelta(minutes=minute)
        sign = heard(sign, at, LIMITS)
        states.append(standing(sign, at, LIMITS).state)
    assert set(states) == {"offline"}


def test_a_phone_that_comes_back_is_online_with_its_first_call() -> None:
    sign = heard(Sign(at=ago(3600), gone_at=ago(3600)), NOW, LIMITS)
    assert standing(sign, NOW, LIMITS).state == "online"
    assert heard(Sign(at=ago(3600), streaming=True), NOW, LIMITS).gone_at is None


@pytest.mark.parametrize(
    ("known", "found", "in_grace", "recorded"),
    [
        ("online", "online", False, None),
        ("offline", "online", True, "online"),
        ("late", "online", True, "online"),
        ("online", "late", False, "late"),
        ("online", "late", True, None),
        ("online", "offline", True, None),
        ("online", "offline", False, "offline"),
        ("late", "offline", False, "offline"),
        ("offline", "late", False, None),
    ],
)
def test_what_is_recorded(
    known: State, found: State, in_grace: bool, recorded: State | None
) -> None:
    assert step(known, found, in_grace=in_grace) == recorded


@given(st.integers(0, 1000), st.booleans(), st.integers(0, 1000))
def test_looking_when_told_finds_the_next_state(
    silent_s: int, streaming: bool, gone_s: int
) -> None:
    sign = Sign(at=ago(silent_s), streaming=streaming, gone_at=ago(gone_s))
    found = standing(sign, NOW, LIMITS)
    if found.look_at is None:
        assert found.state == "offline"
    else:
        assert found.look_at > NOW
        before = found.look_at - timedelta(milliseconds=1)
        assert standing(sign, before, LIMITS).state == found.state
        assert standing(sign, found.look_at, LIMITS).state != found.state
