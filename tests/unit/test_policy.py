"""The sending policy: vectors worked out by hand, properties against slow, obvious references."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import phonenumbers.tzdata
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.scheduler.policy import (
    DAILY_CAP,
    MIN_GAP_S,
    PARTS_PER_MINUTE,
    PRIORITY,
    QUIET_END,
    QUIET_SEARCH,
    QUIET_START,
    RELEASE_SPREAD_S,
    Lane,
    Limits,
    QuietHours,
    SendWindow,
    cap_until,
    effective_daily_cap,
    gap_until,
    jitter_s,
    loosenings,
    parts_until,
    phone_age_days,
    quiet_until,
    release_at,
    release_spread_s,
    retry_delay_s,
    window_until,
    zones_for,
)

NEW_YORK = ZoneInfo("America/New_York")
BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
KATHMANDU = ZoneInfo("Asia/Kathmandu")
SANTIAGO = ZoneInfo("America/Santiago")
NEWFOUNDLAND = ZoneInfo("America/St_Johns")
BOISE, LOS_ANGELES = ZoneInfo("America/Boise"), ZoneInfo("America/Los_Angeles")
NUMBER_ZONES: dict[str, tuple[str, ...]] = phonenumbers.tzdata.TIMEZONE_DATA
TOLL_FREE = tuple(ZoneInfo(name) for name in NUMBER_ZONES["1"])
MINUTE = timedelta(minutes=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def quiet(now: datetime, zones: Sequence[ZoneInfo], clock: tuple[time, time]) -> datetime | None:
    return quiet_until(now, zones, *clock)


DEFAULT = (QUIET_START, QUIET_END)
# Zones of every kind: northern, southern, changing by half an hour or at midnight, beyond the date
# line, without any change; and instants around their clock changes of 2026.
ZONES = st.sampled_from(
    [NEW_YORK, BERLIN, LORD_HOWE, KATHMANDU, SANTIAGO, BOISE]
    + [ZoneInfo(n) for n in ("Asia/Beirut", "America/Nuuk", "Pacific/Kiritimati", "America/Adak")]
)
CLOCK_CHANGES = [
    at("2026-03-08T07:00"),
    at("2026-03-29T01:00"),
    at("2026-04-04T15:00"),
    at("2026-09-06T04:00"),
    at("2026-10-03T15:30"),
    at("2026-10-25T01:00"),
    at("2026-11-01T06:00"),
]


def minutes_from(change: datetime, minutes: int) -> datetime:
    return change + minutes * MINUTE


INSTANTS = st.builds(
    minutes_from,
    st.sampled_from([*CLOCK_CHANGES, at("2026-01-15T00:00")]),
    st.integers(-2000, 2000),
)
CLOCKS = st.builds(time, st.integers(0, 23), st.sampled_from([0, 0, 15, 30, 59])) | st.sampled_from(
    [QUIET_START, QUIET_END, time(0), time(1, 45), time(2, 10)]
)


# Daily cap and warm-up


def test_a_young_phone_sends_less() -> None:
    ages = [0, 1, 7, 8, 14, 15, 21, 22, 400]
    at_200 = [50, 50, 50, 100, 100, 150, 150, 200, 200]
    assert [effective_daily_cap(age, DAILY_CAP) for age in ages] == at_200
    assert [effective_daily_cap(age, 500) for age in ages] == [*at_200[:-2], 500, 500]
    assert [effective_daily_cap(age, 99) for age in ages] == [50, 50, 50, 99, 99, 99, 99, 99, 99]
    assert [effective_daily_cap(age, 0) for age in ages] == [0] * 9
    assert [effective_daily_cap(age, -5) for age in ages] == [0] * 9


def test_a_phone_without_warm_up_sends_its_configured_cap_from_the_first_day() -> None:
    assert effective_daily_cap(1, 300, warmup=False) == 300


@pytest.mark.parametrize(
    ("paired", "now", "tz", "age_days"),
    [
        ("2026-03-01T12:00", "2026-03-01T12:00", NEW_YORK, 1),
        (
            "2026-03-02T04:59",
            "2026-03-02T05:00",
            NEW_YORK,
            2,
        ),  # 23:59 on the 1st → 00:00 on the 2nd
        ("2026-03-02T04:59", "2026-03-02T05:00", BERLIN, 1),
        ("2026-03-07T17:00", "2026-03-09T03:59", NEW_YORK, 2),  # 23:59 on the 8th, a 23-hour day
        ("2026-03-01T18:14", "2026-03-01T18:15", KATHMANDU, 2),  # midnight at UTC+05:45
        ("2026-03-05T12:00", "2026-03-01T12:00", NEW_YORK, 1),  # a clock that stepped back
    ],
)
def test_age_counts_local_dates(paired: str, now: str, tz: ZoneInfo, age_days: int) -> None:
    assert phone_age_days(at(paired), at(now), tz) == age_days


@pytest.mark.parametrize(
    ("now", "tz", "until"),
    [
        ("2026-01-15T17:00", NEW_YORK, "2026-01-16T05:00"),
        ("2026-03-08T05:00", NEW_YORK, "2026-03-09T04:00"),  # 23 hours
        ("2026-11-01T04:00", NEW_YORK, "2026-11-02T05:00"),  # 25 hours
        ("2026-01-15T18:15", KATHMANDU, "2026-01-16T18:15"),
        (
            "2026-09-05T16:00",
            SANTIAGO,
            "2026-09-06T04:00",
        ),  # 00:00 is skipped: the day starts at 01:00
        (
            "2026-04-05T03:30",
            SANTIAGO,
            "2026-04-05T04:00",
        ),  # 23:30 comes twice: the second is still today
        ("2026-04-05T02:30", SANTIAGO, "2026-04-05T04:00"),
        # Newfoundland once went back from 00:01 to 23:01 of the day before.
        ("2010-11-07T02:29", NEWFOUNDLAND, "2010-11-07T02:30"),
        ("2010-11-07T02:30:30", NEWFOUNDLAND, "2010-11-08T03:30"),
    ],
)
def test_a_used_up_cap_waits_for_the_next_local_date(now: str, tz: ZoneInfo, until: str) -> None:
    assert cap_until(50, 50, at(now), tz) == at(until)


def test_a_cap_with_room_does_not_wait() -> None:
    assert cap_until(49, 50, at("2026-01-15T17:00"), NEW_YORK) is None


@settings(deadline=None)
@given(now=INSTANTS, tz=ZONES)
def test_the_cap_ends_at_the_first_minute_of_another_date(now: datetime, tz: ZoneInfo) -> None:
    expected = now
    while expected.astimezone(tz).date() <= now.astimezone(tz).date():
        expected += MINUTE
    assert cap_until(1, 1, now, tz) == expected


# Gap and rate


def test_the_gap_runs_from_dispatch_to_dispatch() -> None:
    last, now = at("2026-01-15T12:00"), at("2026-01-15T12:03:59.5")
    assert gap_until(last, MIN_GAP_S, now) == at("2026-01-15T12:04")
    assert gap_until(last, MIN_GAP_S, at("2026-01-15T12:04")) is None
    assert gap_until(None, MIN_GAP_S, now) is None


def test_the_gap_does_not_shrink_when_clocks_change() -> None:
    last = datetime(2026, 3, 8, 1, 58, tzinfo=NEW_YORK)
    assert gap_until(last, MIN_GAP_S, at("2026-03-08T06:59")) == at("2026-03-08T07:02")


@settings(deadline=None)
@given(key=st.text(max_size=40), most=st.floats(0, 1e6))
def test_jitter_only_lengthens_and_repeats_itself(key: str, most: float) -> None:
    assert 0 <= jitter_s(key, most) <= most
    assert jitter_s(key, most) == jitter_s(key, most)
    assert jitter_s(key, -most) == 0


def test_the_rate_frees_up_as_dispatches_grow_a_minute_old() -> None:
    noon = at("2026-01-15T12:00")
    recent = [(noon, 10), (noon + timedelta(seconds=20), 10)]
    now = noon + timedelta(seconds=30)
    assert parts_until(recent, 4, now) is None
    assert parts_until(recent, 5, now) == noon + MINUTE
    assert parts_until(recent[::-1], 10, now, 12) == noon + MINUTE + timedelta(seconds=20)
    assert parts_until(recent, 5, noon + MINUTE) is None
    assert parts_until([], 10, now) is None


def test_no_setting_lifts_the_rate_above_androids_limit() -> None:
    noon = at("2026-01-15T12:00")
    assert parts_until([(noon, 20)], 5, noon, limit_per_minute=1000) == noon + MINUTE


@pytest.mark.parametrize(("parts", "limit"), [(0, 24), (25, 24), (25, 1000), (4, 3)])
def test_a_text_that_can_never_fit_is_an_error(parts: int, limit: int) -> None:
    with pytest.raises(ValueError, match="parts"):
        parts_until([], parts, at("2026-01-15T12:00"), limit)


@settings(deadline=None)
@given(
    wishes=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), max_size=40),
    limit=st.integers(10, PARTS_PER_MINUTE),
)
def test_no_minute_ever_holds_more_than_the_limit(
    wishes: list[tuple[int, int]], limit: int
) -> None:
    now, sent = at("2026-01-15T12:00"), list[tuple[datetime, int]]()
    for pause_s, parts in wishes:
        now += timedelta(seconds=pause_s)
        until = parts_until(sent, parts, now, limit)
        if until is not None:
            assert until > now
            assert parts_until(sent, parts, until - timedelta(microseconds=1), limit) == until
            now = until
        sent.append((now, parts))
    for start, _ in sent:
        assert sum(parts for when, parts in sent if start <= when < start + MINUTE) <= limit


def test_only_what_surely_stayed_is_sent_again() -> None:
    assert [retry_delay_s(attempt, "transient") for attempt in (1, 2, 3, 4)] == [
        60,
        600,
        None,
        None,
    ]
    assert [retry_delay_s(attempt, "throttled") for attempt in (1, 2, 3)] == [300, 1800, None]
    for error_class in ("permanent", "ambiguous", "", "a class of a later version"):
        assert retry_delay_s(1, error_class) is None


def test_attempts_count_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        retry_delay_s(0, "transient")


def test_a_person_goes_before_a_program_and_a_confirmation_before_all() -> None:
    sources = sorted(["campaign", "api", "crm", "confirmation"], key=PRIORITY.__getitem__)
    assert sources == ["confirmation", "crm", "api", "campaign"]
    assert PRIORITY["inbox"] == PRIORITY["crm"] == Lane.PERSON == 1


# Quiet hours

NIGHT_TO_0230 = (time(21), time(2, 30))
NIGHT_TO_0130 = (time(21), time(1, 30))


@pytest.mark.parametrize(
    ("zone", "clock", "now", "until"),
    [
        (NEW_YORK, DEFAULT, "2026-01-15T12:59:59.999999", "2026-01-15T13:00"),
        (NEW_YORK, DEFAULT, "2026-01-15T13:00", None),
        (NEW_YORK, DEFAULT, "2026-01-16T01:59:59", None),
        (NEW_YORK, DEFAULT, "2026-01-16T02:00", "2026-01-16T13:00"),  # [start: 21:00 is quiet
        (NEW_YORK, DEFAULT, "2026-01-16T05:00", "2026-01-16T13:00"),  # midnight is in between
        (NEW_YORK, (time(12), time(14)), "2026-01-15T17:30", "2026-01-15T19:00"),
        (NEW_YORK, (time(12), time(14)), "2026-01-15T19:00", None),
        (NEW_YORK, (time(8), time(8)), "2026-01-15T13:00", None),  # start == end: none
        (KATHMANDU, DEFAULT, "2026-01-15T15:14", None),
        (KATHMANDU, DEFAULT, "2026-01-15T15:15", "2026-01-16T02:15"),
        # Spring forward: the night is an hour shorter (Lord Howe: half an hour).
        (NEW_YORK, DEFAULT, "2026-03-08T03:00", "2026-03-08T12:00"),
        (BERLIN, DEFAULT, "2026-03-28T21:00", "2026-03-29T06:00"),
        (LORD_HOWE, DEFAULT, "2026-10-03T12:00", "2026-10-03T21:00"),
        # Fall back: an hour longer.
        (NEW_YORK, DEFAULT, "2026-11-01T02:00", "2026-11-01T13:00"),
        (BERLIN, DEFAULT, "2026-10-24T20:00", "2026-10-25T07:00"),
        (LORD_HOWE, DEFAULT, "2026-04-04T11:00", "2026-04-04T21:30"),
        # A skipped end or start is the first real instant after it.
        (NEW_YORK, NIGHT_TO_0230, "2026-03-08T03:00", "2026-03-08T07:00"),
        (NEW_YORK, NIGHT_TO_0230, "2026-03-08T06:59:59.25", "2026-03-08T07:00"),
        (BERLIN, NIGHT_TO_0230, "2026-03-29T00:59", "2026-03-29T01:00"),
        (LORD_HOWE, (time(21), time(2, 15)), "2026-10-03T15:00", "2026-10-03T15:30"),
        (NEW_YORK, (time(2, 30), time(8)), "2026-03-08T06:59:59", None),
        (NEW_YORK, (time(2, 30), time(8)), "2026-03-08T07:00", "2026-03-08T12:00"),
        (NEW_YORK, (time(2, 10), time(2, 50)), "2026-03-08T07:00", None),  # never was
        # A repeated time is quiet both times.
        (NEW_YORK, NIGHT_TO_0130, "2026-11-01T04:00", "2026-11-01T05:30"),
        (NEW_YORK, NIGHT_TO_0130, "2026-11-01T05:45", None),
        (NEW_YORK, NIGHT_TO_0130, "2026-11-01T06:00", "2026-11-01T06:30"),
        (NEW_YORK, (time(1), time(2)), "2026-11-01T05:00", "2026-11-01T07:00"),
        (BERLIN, NIGHT_TO_0230, "2026-10-25T00:10", "2026-10-25T00:30"),
        (BERLIN, NIGHT_TO_0230, "2026-10-25T01:10", "2026-10-25T01:30"),
        (LORD_HOWE, (time(1, 30), time(1, 45)), "2026-04-04T14:30", "2026-04-04T14:45"),
        (LORD_HOWE, (time(1, 30), time(1, 45)), "2026-04-04T15:00", "2026-04-04T15:15"),
    ],
)
def test_quiet_hours_follow_the_recipients_clock(
    zone: ZoneInfo, clock: tuple[time, time], now: str, until: str | None
) -> None:
    assert quiet(at(now), [zone], clock) == (until and at(until))


def test_the_answer_is_utc_whatever_timezone_asks() -> None:
    now = datetime(2026, 1, 15, 22, 30, tzinfo=NEW_YORK)
    until = quiet(now, [NEW_YORK], DEFAULT)
    assert until is not None
    assert (until, until.tzinfo) == (at("2026-01-16T13:00"), UTC)


@pytest.mark.parametrize(
    ("zones", "now", "until"),
    [
        ((BOISE, LOS_ANGELES), "2026-01-15T15:30", "2026-01-15T16:00"),  # 08:30 and 07:30
        ((LOS_ANGELES, BOISE), "2026-01-15T15:30", "2026-01-15T16:00"),
        ((BOISE, LOS_ANGELES), "2026-01-16T04:00", "2026-01-16T16:00"),  # 21:00 and 20:00
        ((BOISE, LOS_ANGELES), "2026-01-16T03:59", None),
        # Toll-free: from 08:00 in Guam to 21:00 in Newfoundland.
        (TOLL_FREE, "2026-01-15T17:00", "2026-01-15T22:00"),
        (TOLL_FREE, "2026-01-16T00:29", None),
        (TOLL_FREE, "2026-01-16T00:30", "2026-01-16T22:00"),
        (TOLL_FREE, "2026-07-15T23:29", None),
        (TOLL_FREE, "2026-07-15T23:30", "2026-07-16T22:00"),
        # Berlin's clocks change at 01:00 UTC, New York's are already summer's.
        ((NEW_YORK, BERLIN), "2026-03-28T20:00", "2026-03-29T12:00"),
        ((NEW_YORK, BERLIN), "2026-10-31T20:00", "2026-11-01T13:00"),
    ],
)
def test_an_ambiguous_number_waits_until_all_its_timezones_allow(
    zones: tuple[ZoneInfo, ...], now: str, until: str | None
) -> None:
    assert quiet(at(now), zones, DEFAULT) == (until and at(until))


@pytest.mark.parametrize("now", ["2026-01-15T05:00", "2026-03-20T12:00", "2026-07-15T12:00"])
def test_every_number_on_earth_has_a_time_that_suits_all_its_timezones(now: str) -> None:
    for names in set(NUMBER_ZONES.values()):
        zones = [ZoneInfo(name) for name in names]
        sends_at = quiet(at(now), zones, DEFAULT) or at(now)
        clocks = [sends_at.astimezone(zone).time() for zone in zones]
        assert all(QUIET_END <= clock < QUIET_START for clock in clocks), names


def test_where_some_timezone_is_always_quiet_the_fewest_are() -> None:
    east, west = ZoneInfo("Etc/GMT-6"), ZoneInfo("Etc/GMT+6")  # twelve hours apart
    clock = (time(20), time(8, 30))  # open 02:30-14:00 and 14:30-02:00 UTC
    assert quiet(at("2026-01-15T02:10"), [east, west], clock) == at("2026-01-15T02:30")
    assert quiet(at("2026-01-15T14:10"), [east, west], clock) == at("2026-01-15T14:30")
    assert quiet(at("2026-01-15T12:00"), [east, west], clock) is None
    assert quiet(at("2026-01-15T12:00"), [east, west, west], clock) == at("2026-01-15T14:30")


def test_a_tightened_toll_free_night_leaves_two_islands_asleep() -> None:
    until = at("2026-07-15T20:00")
    assert quiet(at("2026-07-15T05:00"), TOLL_FREE, (time(20), time(9))) == until
    asleep = [z.key for z in TOLL_FREE if until.astimezone(z).time() < time(9)]
    assert asleep == ["Pacific/Guam", "Pacific/Saipan"]
    assert quiet(until, TOLL_FREE, (time(20), time(9))) is None


def slow_quiet_until(now: datetime, zones: Sequence[ZoneInfo], start: time, end: time) -> datetime:
    """Minute by minute: the first with the fewest quiet zones; none is the fewest there can be."""
    length = (end.hour * 60 + end.minute - start.hour * 60 - start.minute) % 1440
    best, fewest = now, len(zones) + 1
    instant = now
    while instant <= now + QUIET_SEARCH and fewest:
        clocks = [instant.astimezone(zone) for zone in zones]
        since_start = [c.hour * 60 + c.minute - start.hour * 60 - start.minute for c in clocks]
        quiet_zones = sum(minutes % 1440 < length for minutes in since_start)
        if quiet_zones < fewest:
            best, fewest = instant, quiet_zones
        instant += MINUTE
    return best


@settings(max_examples=300, deadline=None)
@given(now=INSTANTS, zones=st.lists(ZONES, min_size=1, max_size=4), start=CLOCKS, end=CLOCKS)
def test_no_minute_before_is_better_and_none_later_is_needed(
    now: datetime, zones: list[ZoneInfo], start: time, end: time
) -> None:
    until = quiet_until(now, zones, start, end)
    assert until != now
    assert (until or now) == slow_quiet_until(now, zones, start, end)


@settings(deadline=None)
@given(now=INSTANTS, us=st.integers(0, 60_000_000), zone=ZONES, start=CLOCKS, end=CLOCKS)
def test_quiet_hours_end_on_the_microsecond(
    now: datetime, us: int, zone: ZoneInfo, start: time, end: time
) -> None:
    until = quiet_until(now + timedelta(microseconds=us), [zone], start, end)
    assume(until is not None)
    assert until is not None
    assert quiet_until(until, [zone], start, end) is None
    assert quiet_until(until - timedelta(microseconds=1), [zone], start, end) == until


def test_a_naive_instant_or_no_timezone_is_an_error() -> None:
    noon = at("2026-01-15T12:00")
    with pytest.raises(ValueError, match="timezone"):
        quiet(noon.replace(tzinfo=None), [NEW_YORK], DEFAULT)
    with pytest.raises(ValueError, match="timezone"):
        quiet(noon, [], DEFAULT)
    with pytest.raises(ValueError, match="timezone"):
        gap_until(noon, 1, noon.replace(tzinfo=None))


def test_the_contacts_timezone_goes_before_the_numbers_and_the_workspaces() -> None:
    number = (BOISE, LOS_ANGELES, BOISE)
    assert zones_for("Asia/Kathmandu", number, BERLIN) == (KATHMANDU,)
    assert zones_for(None, number, BERLIN) == (BOISE, LOS_ANGELES)
    assert zones_for(None, (), BERLIN) == (BERLIN,)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "America", "../etc/passwd", "/etc", "a\0b"])
def test_an_unknown_contact_timezone_is_passed_over(name: str) -> None:
    assert zones_for(name, (BOISE,), BERLIN) == (BOISE,)


# Releases


def test_releases_spread_evenly_and_the_same_everywhere() -> None:
    offsets_s = [release_spread_s(f"msg_{n}") for n in range(6000)]
    per_minute = [sum(m * 60 <= s < m * 60 + 60 for s in offsets_s) for m in range(10)]
    assert sum(per_minute) == 6000
    assert min(per_minute) > 500
    assert max(per_minute) < 700
    # Pinned: a message keeps its place over restarts, machines and versions.
    assert release_spread_s("msg_01JD0000000000000000000000") == pytest.approx(558.5521885895)
    assert release_spread_s("msg_1", 60) == pytest.approx(release_spread_s("msg_1") / 10)
    assert jitter_s("msg_1", RELEASE_SPREAD_S) != release_spread_s("msg_1")


def test_a_release_shrinks_only_as_far_as_it_must() -> None:
    opens_at, late = at("2026-01-15T13:00"), "msg_01JD0000000000000000000000"  # by 558.55 s

    def open_for(seconds: int) -> timedelta:
        closes_at = opens_at + timedelta(seconds=seconds)
        release = release_at(opens_at, late, lambda t: None if t < closes_at else t + MINUTE)
        return release - opens_at

    assert open_for(559) == timedelta(seconds=558.5521885895)
    assert open_for(558) == open_for(280) == timedelta(seconds=558.5521885895 / 2)
    assert open_for(279) == timedelta(seconds=558.5521885895 / 4)
    assert open_for(1) == timedelta(0)


@settings(deadline=None)
@given(message_id=st.text(max_size=30), open_s=st.integers(1, 1200))
def test_a_release_stays_within_a_short_opening(message_id: str, open_s: int) -> None:
    opens_at = at("2026-01-15T13:00")
    tomorrow, closes_at = opens_at + timedelta(days=1), opens_at + timedelta(seconds=open_s)
    release = release_at(opens_at, message_id, lambda t: None if t < closes_at else tomorrow)
    assert opens_at <= release < closes_at
    if release_spread_s(message_id) < open_s and release != opens_at:
        assert release == opens_at + timedelta(seconds=release_spread_s(message_id))


# Send windows

WEEKDAYS = frozenset(range(5))
OFFICE = SendWindow(WEEKDAYS, time(9), time(17), NEW_YORK)
FRIDAY_NIGHT = SendWindow(frozenset({4}), time(22), time(2), BERLIN)
SATURDAY_GAP = SendWindow(frozenset({6}), time(2, 30), time(3, 30), NEW_YORK)


@pytest.mark.parametrize(
    ("window", "now", "until"),
    [
        (OFFICE, "2026-01-16T13:59", "2026-01-16T14:00"),  # Friday 08:59
        (OFFICE, "2026-01-16T14:00", None),
        (OFFICE, "2026-01-16T21:59:59", None),
        (OFFICE, "2026-01-16T22:00", "2026-01-19T14:00"),  # end) on Friday → Monday
        (OFFICE, "2026-03-06T22:00", "2026-03-09T13:00"),  # over a clock change
        (OFFICE, "2026-10-30T21:00", "2026-11-02T14:00"),
        (FRIDAY_NIGHT, "2026-01-16T23:30", None),  # 00:30 on Saturday is Friday's night
        (FRIDAY_NIGHT, "2026-01-17T01:00", "2026-01-23T21:00"),
        (FRIDAY_NIGHT, "2026-01-15T23:30", "2026-01-16T21:00"),  # 00:30 on Friday is Thursday's
        (SATURDAY_GAP, "2026-03-08T06:00", "2026-03-08T07:00"),  # 02:30 is skipped: opens at 03:00
        (SATURDAY_GAP, "2026-03-08T07:30", "2026-03-15T06:30"),
        (SendWindow(frozenset({6}), time(1), time(1, 30), NEW_YORK), "2026-11-01T06:10", None),
        (SendWindow(frozenset({0}), time(0), time(0), KATHMANDU), "2026-01-18T18:15", None),
        (
            SendWindow(frozenset({0}), time(0), time(0), KATHMANDU),
            "2026-01-19T18:15",
            "2026-01-25T18:15",
        ),
    ],
)
def test_a_send_window_opens_on_its_days(window: SendWindow, now: str, until: str | None) -> None:
    assert window_until(at(now), window) == (until and at(until))


@settings(deadline=None)
@given(
    now=INSTANTS,
    days=st.frozensets(st.integers(0, 6), min_size=1),
    start=CLOCKS,
    end=CLOCKS,
    tz=ZONES,
)
def test_a_window_opens_at_the_first_minute_of_the_week_that_is_in_it(
    now: datetime, days: frozenset[int], start: time, end: time, tz: ZoneInfo
) -> None:
    start_m = start.hour * 60 + start.minute
    length_m = (end.hour * 60 + end.minute - start_m) % 1440 or 1440

    def inside(instant: datetime) -> bool:
        wall = instant.astimezone(tz)
        minute_of_week = wall.weekday() * 1440 + wall.hour * 60 + wall.minute
        return any((minute_of_week - d * 1440 - start_m) % 10080 < length_m for d in days)

    expected = now
    while not inside(expected):
        expected += MINUTE
    assert (window_until(now, SendWindow(days, start, end, tz)) or now) == expected


@pytest.mark.parametrize("days", [frozenset[int](), frozenset({7}), frozenset({-1, 0})])
def test_a_window_without_a_real_day_is_an_error(days: frozenset[int]) -> None:
    with pytest.raises(ValueError, match="days"):
        SendWindow(days, time(9), time(17), NEW_YORK)


# Loosening a default


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (Limits(), Limits(), []),
        (Limits(min_gap_s=300), Limits(min_gap_s=240), []),  # back to the default
        (Limits(min_gap_s=60), Limits(min_gap_s=100), []),  # towards the default
        (Limits(min_gap_s=60), Limits(min_gap_s=60), []),  # acknowledged before
        (Limits(min_gap_s=60), Limits(min_gap_s=30.5), ["every 30.5 seconds"]),
        (Limits(min_gap_s=300), Limits(min_gap_s=239), ["every 239 seconds"]),
        (Limits(daily_cap=50), Limits(daily_cap=200), []),
        (Limits(daily_cap=500), Limits(daily_cap=400), []),
        (Limits(), Limits(daily_cap=201), ["up to 201 texts a day"]),
        (Limits(daily_cap=500), Limits(daily_cap=501), ["up to 501 texts a day"]),
        (Limits(), Limits(warmup=False), ["warm-up"]),
        (Limits(warmup=False), Limits(warmup=False), []),
        (Limits(warmup=False), Limits(), []),
        (Limits(), Limits(quiet_hours=None), ["at any hour on"]),
        (Limits(quiet_hours=None), Limits(quiet_hours=None), []),
        (Limits(quiet_hours=None), Limits(quiet_hours=QuietHours(time(23), time(5))), []),
        (Limits(), Limits(quiet_hours=QuietHours(time(20), time(9))), []),
        (Limits(quiet_hours=QuietHours(time(18), time(10))), Limits(), []),
        (Limits(), Limits(quiet_hours=QuietHours(time(22), time(8))), ["outside 22:00 to 08:00"]),
        (Limits(), Limits(quiet_hours=QuietHours(time(8), time(21))), ["outside 08:00 to 21:00"]),
        (
            Limits(),
            Limits(min_gap_s=1, daily_cap=DAILY_CAP * 2, warmup=False, quiet_hours=None),
            ["SIM, for good", "bulk sending", "spam filters", "up to $1,500"],
        ),
    ],
)
def test_only_a_step_away_from_the_default_is_warned_about(
    old: Limits, new: Limits, words: list[str]
) -> None:
    warnings = loosenings(old, new)
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))


def quiet_minutes(quiet_hours: QuietHours | None) -> set[int]:
    if quiet_hours is None:
        return set()
    start = quiet_hours.start.hour * 60 + quiet_hours.start.minute
    end = quiet_hours.end.hour * 60 + quiet_hours.end.minute
    return {(start + minute) % 1440 for minute in range((end - start) % 1440)}


HOURS = st.none() | st.builds(QuietHours, CLOCKS, CLOCKS)


@settings(deadline=None)
@given(old=HOURS, new=HOURS)
def test_quiet_hours_loosen_when_a_quiet_minute_is_lost(
    old: QuietHours | None, new: QuietHours | None
) -> None:
    lost = (quiet_minutes(old) & quiet_minutes(QuietHours())) - quiet_minutes(new)
    assert bool(loosenings(Limits(quiet_hours=old), Limits(quiet_hours=new))) == bool(lost)
