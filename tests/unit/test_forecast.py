"""The forecast by itself: phones, days, who goes first, and what never ends."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.scheduler import decide, forecast
from services.scheduler.hours import Opening
from services.scheduler.policy import SendWindow

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def desk(*phones: decide.Handset) -> decide.Desk:
    account = decide.Account("ws", ZoneInfo("UTC"), (time(21), time(8)))
    return decide.Desk(account, {phone.id: phone for phone in phones})


def handset(name: str, **fields: Any) -> decide.Handset:
    values: dict[str, Any] = {
        "id": name, "account": "ws", "label": name, "state": "online", "state_at": NOON,
        "simulated": False, "age_from": NOON - timedelta(days=99), "min_gap_s": 3600,
        "jitter_s": 0, "daily_cap": 200, "warmup": True, "last_dispatch_at": None,
        "last_command_id": None, "recent": [], "day": "", "sent_today": 0, "in_flight": 0,
    }  # fmt: skip
    return decide.Handset(**values | fields)


def look(
    at: decide.Desk, groups: list[tuple[str, str | None, int]], **more: Any
) -> forecast.Forecast:
    campaign = more.pop("campaign", None) or decide.Campaign("cmp", "running")
    quiet = at.account.quiet
    told = [
        (Opening((ZoneInfo(zone),), quiet, campaign.window, "cmp"), phone, 1, count)
        for zone, phone, count in groups
    ]
    clockwork = forecast.Clockwork(
        at, campaign, told, queued=more.pop("queued", {}), start_at=NOON, **more
    )
    *pauses, found = clockwork.run()
    assert all(one is None for one in pauses)
    assert found is not None
    return found


def by_day(found: forecast.Forecast) -> dict[tuple[str, str], int]:
    return {(day.isoformat(), phone): n for (day, phone), n in found.by_day.items()}


def test_a_day_ends_when_people_go_to_sleep() -> None:
    found = look(desk(handset("a")), [("UTC", None, 12)])
    assert by_day(found) == {("2026-03-02", "a"): 9, ("2026-03-03", "a"): 3}


def test_a_cap_ends_a_day_and_what_was_sent_today_counts() -> None:
    phone = handset("a", daily_cap=5, sent_today=3, day="2026-03-02")
    found = look(desk(phone), [("UTC", None, 8)])
    assert by_day(found) == {
        ("2026-03-02", "a"): 2,
        ("2026-03-03", "a"): 5,
        ("2026-03-04", "a"): 1,
    }


def test_who_knows_a_phone_waits_for_it_and_the_others_take_any() -> None:
    found = look(desk(handset("a"), handset("b")), [("UTC", "a", 3), ("UTC", None, 3)])
    assert by_day(found) == {("2026-03-02", "a"): 4, ("2026-03-02", "b"): 2}


def test_who_knows_a_phone_that_is_away_takes_another() -> None:
    at = desk(handset("a"), handset("away", state="offline"))
    assert by_day(look(at, [("UTC", "away", 2)])) == {("2026-03-02", "a"): 2}


def test_what_is_queued_goes_first() -> None:
    queued = {"ws": [NOON] * 4, "a": [NOON] * 2}
    found = look(desk(handset("a")), [("UTC", None, 4)], queued=queued)
    assert by_day(found) == {("2026-03-02", "a"): 3, ("2026-03-03", "a"): 1}


def test_another_campaign_takes_every_other_turn() -> None:
    opening = Opening((ZoneInfo("UTC"),), None, None, "x")
    rival = forecast.Rival(opening, 100, frozenset(), NOON)
    found = look(desk(handset("a")), [("UTC", None, 4)], rivals=[rival])
    assert found.finish_at == NOON + timedelta(hours=2 * 4 - 1)


@pytest.mark.parametrize(
    ("phones", "reason"),
    [((), "no_phone"), ((handset("a", state="offline"),), "phone_offline")],
)
def test_without_a_phone_there_is_no_end(phones: tuple[decide.Handset, ...], reason: str) -> None:
    found = look(desk(*phones), [("UTC", None, 5)])
    assert (found.finish_at, found.waiting, found.by_day) == (None, reason, {})


def test_a_phone_with_no_cap_left_for_ever_never_ends() -> None:
    found = look(desk(handset("a", daily_cap=0)), [("UTC", None, 5)])
    assert (found.finish_at, found.waiting) == (None, "daily_cap")


def test_whom_the_window_never_reaches_is_skipped() -> None:
    night = SendWindow(frozenset(range(7)), time(22), time(23), ZoneInfo("UTC"))
    found = look(
        desk(handset("a")),
        [("UTC", None, 5), ("Asia/Tokyo", None, 1)],
        campaign=decide.Campaign("cmp", "running", night),
    )
    assert found.skipped == {"never_in_window": 6}
    assert found.messages == 0
