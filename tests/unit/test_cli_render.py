"""What a person reads: tables, spans, masks, progress."""

import io
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.render import Progress, counted, masked, moment, span, table


def test_a_table_lines_up_and_puts_numbers_to_the_right() -> None:
    text = table([("api", 1200, None), ("scheduler", 7, True)], ("service", "events", "leads"))
    assert text.splitlines() == [
        "service    events  leads",
        "api         1,200  –",
        "scheduler       7  yes",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0123, "12 ms"), (3.4, "3 s"), (99, "99 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_spans_read_as_people_say_them(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_times_are_shown_in_utc() -> None:
    at = datetime(2026, 11, 23, 9, 5, 7, 123_456, tzinfo=timezone(timedelta(hours=1)))
    assert moment(at) == "2026-11-23 08:05:07"
    assert moment(at, milliseconds=True) == "2026-11-23 08:05:07.123"


def test_one_and_many() -> None:
    assert (counted(1, "event"), counted(12_000, "event")) == ("1 event", "12,000 events")


MESSAGE = "msg_" + "0" * 26


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("id", MESSAGE, MESSAGE),
        ("to", MESSAGE, MESSAGE),  # an id says nothing about anybody
        ("state", "delivered", "delivered"),
        ("parts", 3, "3"),
        ("opted_out", True, "true"),
        ("phone_id", None, "none"),
        ("at", datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00.000"),
        ("wake_at", "2026-01-02T03:04:05.5+00:00", "2026-01-02T03:04:05.5+00:00"),
        ("body", "hello", "‹5 characters›"),
        ("to_number", "+14155550100", "‹12 characters›"),
        ("first_name", "ann", "‹3 characters›"),
        ("email", "ann", "‹3 characters›"),
        ("anything", "Hello there", "‹11 characters›"),
        ("anything", "4155550100", "‹10 characters›"),
        ("recent", [[1.5, 2]], "[[1.5, 2]]"),
        ("custom_fields", {"pet": "cat"}, "‹1 field›"),
    ],
)
def test_values_are_shown_as_far_as_they_may_be(field: str, value: object, shown: str) -> None:
    assert masked(field, value) == shown


@given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True), st.sampled_from(["x", "to", "key"]))
def test_no_number_ever_gets_through(number: str, field: str) -> None:
    assert number not in masked(field, number)
    assert number[1:] not in masked(field, number[1:])
    assert number not in masked(field, [number, {"a": number}])


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = _Terminal()
    monkeypatch.setattr("sys.stderr", out)
    with Progress("Rebuilding", 200) as progress:
        progress.add(200)
    assert "█" in out.getvalue()
    assert "100%  200 of 200 events" in out.getvalue()


def test_progress_is_a_line_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("Rebuilding", 200) as progress:
        progress.add(150)
        progress.add(50)
    assert capsys.readouterr().err.count("\n") == 1


def test_progress_says_nothing_of_success_after_a_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(RuntimeError), Progress("Rebuilding", 200):
        raise RuntimeError
    assert capsys.readouterr().err == ""
