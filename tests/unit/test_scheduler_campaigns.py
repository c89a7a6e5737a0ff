"""Campaigns in the scheduler: opening hours, whose turn it is, and what a pause does to a text."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from services.scheduler import decide, hours, shelf
from services.scheduler.hours import Opening
from services.scheduler.policy import SendWindow
from services.scheduler.project import apply
from services.scheduler.project.tables import AUDIENCE, CAMPAIGN, MESSAGE, TABLES
from services.scheduler.shelf import Person, Shelf
from shared import events as e
from shared.rows import Rows
from tests.examples import AT, WORKSPACE, example
from tests.examples import CAMPAIGN as CAMPAIGN_ID

UTC_, NEW_YORK, TOKYO = ZoneInfo("UTC"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo")
QUIET = (time(21), time(8))
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
OFFICE = SendWindow(frozenset({0, 1}), time(9), time(17), UTC_)


def clock(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def test_closed_says_which_rule_and_until_when_both_allow() -> None:
    assert hours.closed_until(NOON, (UTC_,), QUIET, OFFICE) is None
    assert hours.closed_until(clock(2, 6), (UTC_,), QUIET, None) == (
        "quiet_hours", clock(2, 8), True,
    )  # fmt: skip
    assert hours.closed_until(clock(2, 6), (UTC_,), QUIET, OFFICE) == (
        "send_window", clock(2, 9), True,
    )  # fmt: skip
    assert hours.closed_until(clock(3, 18), (UTC_,), QUIET, OFFICE) == (
        "send_window", clock(9, 9), True,
    )  # fmt: skip
    # Noon in London is seven in the morning in New York: quiet until eight.
    assert hours.closed_until(NOON, (NEW_YORK,), QUIET, OFFICE) == (
        "quiet_hours", clock(2, 13), True,
    )  # fmt: skip


def test_a_window_that_is_only_open_while_they_sleep_never_opens() -> None:
    night = SendWindow(frozenset(range(7)), time(22), time(23), UTC_)
    found = hours.closed_until(NOON, (UTC_,), QUIET, night)
    assert found is not None
    assert found[2] is False
    opening = Opening((UTC_,), QUIET, night, "x")
    assert not opening.at(NOON)
    assert opening.never


def test_what_is_open_stays_so_until_the_first_rule_closes() -> None:
    assert hours.open_until(NOON, (UTC_,), QUIET, None) == clock(2, 21)
    assert hours.open_until(NOON, (UTC_,), QUIET, OFFICE) == clock(2, 17)
    assert hours.open_until(clock(2, 14), (UTC_, NEW_YORK), QUIET, None) == clock(2, 21)
    assert hours.open_until(NOON, (UTC_,), None, None) is None
    always = SendWindow(frozenset({0, 1}), time(0), time(0), UTC_)
    until = hours.open_until(NOON, (UTC_,), None, always)
    assert until is not None
    assert until == clock(3, 0)
    assert hours.closed_until(until, (UTC_,), None, always) is None  # Tuesday is one of its days


def test_an_opening_agrees_with_the_rules_at_every_minute() -> None:
    zones = (NEW_YORK, ZoneInfo("America/Chicago"))
    opening = Opening(zones, QUIET, OFFICE, "spread")
    late = timedelta(minutes=10)  # what opens is spread over these
    for minute in range(0, 4 * 24 * 60, 7):
        at = NOON + timedelta(minutes=minute)
        closed = hours.closed_until(at, zones, QUIET, OFFICE)
        if opening.at(at):
            assert closed is None, at
        elif closed is None:
            assert hours.closed_until(at - late, zones, QUIET, OFFICE) is not None, at


def campaign(**fields: Any) -> decide.Campaign:
    values: dict[str, Any] = {"id": "cmp_1", "state": "running"}
    return decide.Campaign(**values | fields)


def test_the_group_whose_day_ends_first_goes_first() -> None:
    full = Shelf(campaign(), QUIET)
    for name, zone in (("west", "America/Los_Angeles"), ("east", "America/New_York")):
        full.put(Person(name, (ZoneInfo(zone),), None))
    evening = clock(3, 0)  # seven in the evening in New York
    assert [one.contact_id for one in full.take(None, set(), 9, evening)] == ["east", "west"]


def test_who_knows_a_phone_stands_in_its_line_unless_it_is_gone() -> None:
    full = Shelf(campaign(), None)
    full.put(Person("a", (UTC_,), "phn_1"))
    full.put(Person("b", (UTC_,), None))
    assert full.lines({"phn_1"}) == {"phn_1", None}
    assert [one.contact_id for one in full.take("phn_1", {"phn_1"}, 9, NOON)] == ["a"]
    full.put(Person("a", (UTC_,), "phn_1"), first=True)
    assert len(full.take(None, set(), 9, NOON)) == 2
    assert len(full) == 0


def test_nobody_is_taken_while_asleep() -> None:
    full = Shelf(campaign(), QUIET)
    full.put(Person("tokyo", (TOKYO,), None))
    assert full.take(None, set(), 9, NOON) == []
    opens_at = full.next_at(NOON)
    assert opens_at is not None
    assert clock(2, 23) <= opens_at <= clock(2, 23, 10)


def text(**fields: Any) -> decide.Text:
    values: dict[str, Any] = {
        "id": "msg_1", "workspace_id": "ws", "contact_id": "con_1", "to": "+1", "body": "x",
        "parts": 1, "source": "campaign", "phone_id": None, "subscription_id": None,
        "test": False, "timezone": "UTC", "expires_at": NOON + timedelta(days=9), "queue": "ws",
        "wake_at": NOON, "reason": None, "until": None, "attempt": 0, "campaign_id": "cmp_1",
    }  # fmt: skip
    return decide.Text(**values | fields)


def test_a_paused_campaigns_text_leaves_the_line_and_comes_back_when_resumed() -> None:
    account = decide.Account("ws", UTC_, QUIET)
    paused = decide.message_outcome(text(), account, NOON, campaign(state="paused"))
    assert isinstance(paused, decide.Hold)
    assert (paused.reason, paused.queue) == ("campaign_paused", "cmp_1")
    parked = text(queue="cmp_1", reason="campaign_paused", contact_phone="phn_1")
    back = decide.message_outcome(parked, account, NOON, campaign())
    assert isinstance(back, decide.Hold)
    assert (back.reason, back.queue) == ("queue", "phn_1")
    elsewhere = campaign(phone_ids=frozenset({"phn_2"}))
    back = decide.message_outcome(parked, account, NOON, elsewhere)
    assert isinstance(back, decide.Hold)
    assert back.queue == "ws"


def test_a_text_waits_for_the_window_of_its_campaign() -> None:
    account = decide.Account("ws", UTC_, QUIET)
    closed = decide.message_outcome(text(), account, clock(2, 18), campaign(window=OFFICE))
    assert isinstance(closed, decide.Hold)
    assert closed.reason == "send_window"
    assert closed.until is not None
    assert clock(3, 9) <= closed.until < clock(3, 9, 10)


def test_a_turn_becomes_a_text_a_skip_or_nothing_yet() -> None:
    account, person = decide.Account("ws", UTC_, QUIET), Person("con_1", (UTC_,), None)
    told = {"to": "+1", "timezone": None, "body": "Hi", "parts": 1}
    made = shelf.turn(campaign(test=True), account, person, told, NOON)
    assert isinstance(made, e.SendRequested)
    assert (made.campaign_id, made.test, made.source) == ("cmp_1", True, "campaign")
    assert made.message_id == shelf.message_id("cmp_1", "con_1")
    assert shelf.turn(campaign(), account, person, told, clock(2, 22)) is None
    skip = shelf.turn(campaign(), account, person, {"skipped": "erased"}, NOON)
    assert isinstance(skip, e.CampaignSkipped)
    assert skip.reason == "erased"


def test_there_is_room_in_a_line_for_as_many_as_do_not_stand_in_it() -> None:
    waiting = ["ws", "ws", "phn_1", "cmp_1"]
    assert shelf.rooms(waiting, {None, "phn_1", "phn_2"}, "ws", 5, 2) == {
        None: 3, "phn_1": 1, "phn_2": 2,
    }  # fmt: skip
    assert shelf.rooms(["ws"] * 5, {None}, "ws", 5, 2) == {}


def test_a_campaign_goes_its_way_in_the_rows() -> None:
    rows = Rows(TABLES)
    states: list[str] = []
    for n, kind in enumerate(
        (
            e.CampaignCreated, e.CampaignAudience, e.CampaignStarted, e.CampaignPaused,
            e.CampaignResumed, e.CampaignCancelled, e.CampaignCompleted,
        ),
        1,
    ):  # fmt: skip
        apply(rows, n, example(kind))
        row = rows.get(CAMPAIGN, CAMPAIGN_ID)
        assert row is not None
        assert row.seq == n
        states.append(row.state)
    assert states == ["draft", "draft", "running", "paused", "running", "cancelled", "cancelled"]
    assert [len(part.contact_ids) for part in rows.all(AUDIENCE)] == [1]


def test_a_text_of_a_campaign_with_phones_of_its_own_waits_in_anybodys_line() -> None:
    rows = Rows(TABLES)
    apply(rows, 1, example(e.CampaignCreated))
    apply(rows, 2, example(e.CampaignUpdated, phone_ids=("phn_other",)))
    apply(rows, 3, example(e.ReplyReceived))
    sent = example(e.SendRequested, campaign_id=CAMPAIGN_ID, phone_id=None, send_at=None)
    apply(rows, 4, sent)
    (row,) = rows.all(MESSAGE)
    assert (row.queue, row.campaign_id, row.wake_at) == (WORKSPACE, CAMPAIGN_ID, AT)
