"""Why a message waits, in whole sentences a customer understands."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from services.scheduler.words import waiting

AT = datetime(2026, 7, 4, 15, 30, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")
REASONS = (
    "no_phone",
    "phone_offline",
    "failover_wait",
    "min_gap",
    "daily_cap",
    "quiet_hours",
    "send_window",
    "scheduled",
    "retry",
    "queue",
    "quarantined",
)


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("until", [None, AT])
@pytest.mark.parametrize("phone", [None, "Front desk"])
@pytest.mark.parametrize("position", [None, 0, 1, 5])
def test_it_is_always_one_or_two_whole_sentences(
    reason: str, until: datetime | None, phone: str | None, position: int | None
) -> None:
    text = waiting(reason, until, NEW_YORK, phone=phone, position=position)
    sentences = re.split(r"(?<=[.:]) ", text)
    assert 1 <= len(sentences) <= 5
    assert text.endswith(".")
    assert "  " not in text
    assert " ." not in text
    assert "None" not in text
    assert text[0].isupper() or text[0] in "“0123456789"
    assert (phone is None) or reason in text or "“Front desk”" in text or reason not in (
        "phone_offline", "failover_wait", "min_gap", "daily_cap", "queue"
    )  # fmt: skip


def test_times_are_on_the_workspaces_clock() -> None:
    assert waiting("scheduled", AT, NEW_YORK) == (
        "It is scheduled to go out at 11:30 on 04 July 2026 (America/New_York)."
    )


def test_the_phone_is_called_by_its_name_and_its_limits_are_told() -> None:
    gap = waiting("min_gap", AT, NEW_YORK, phone="Front desk", min_gap_s=240)
    assert gap.startswith("“Front desk” keeps a gap of 240 seconds between texts")
    cap = waiting("daily_cap", AT, NEW_YORK, phone="Front desk", cap=50)
    assert cap.startswith("“Front desk” has used its limit of 50 texts for today. It goes out at")


def test_who_waits_for_any_phone_is_told_so() -> None:
    assert waiting("phone_offline", None, NEW_YORK) == (
        "Every phone is offline. The message goes out as soon as one is back."
    )
    assert waiting("queue", None, NEW_YORK, position=2) == (
        "2 messages are ahead of it in the line for any phone."
    )


def test_the_place_in_line_is_counted_in_words() -> None:
    assert waiting("queue", None, NEW_YORK, phone="A") == "It is next on “A”."
    assert waiting("queue", None, NEW_YORK, phone="A", position=1) == (
        "1 message is ahead of it on “A”."
    )
    assert waiting("queue", AT, NEW_YORK, phone="A", position=3).endswith(
        "Expected at 11:30 on 04 July 2026 (America/New_York)."
    )
