"""Places in the log as people name them."""

from datetime import UTC, datetime, timedelta

import pytest

from cli.errors import UsageError
from cli.moments import parse

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("42", 42),
        ("10m", NOW - timedelta(minutes=10)),
        ("2h", NOW - timedelta(hours=2)),
        ("3 d", NOW - timedelta(days=3)),
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T08:00Z", datetime(2026, 11, 23, 8, tzinfo=UTC)),
        ("2026-11-23T08:00+01:00", datetime(2026, 11, 23, 7, tzinfo=UTC)),
    ],
)
def test_sequences_times_and_spans(text: str, place: object) -> None:
    assert parse(text, NOW) == place


@pytest.mark.parametrize("text", ["yesterday", "-5", "2h ago", "2026-13-01", ""])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a place in the log"):
        parse(text, NOW)
