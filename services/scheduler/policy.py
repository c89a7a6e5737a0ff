"""When may a text leave, and why does it wait: the sending rules as pure functions.

No I/O, no clock of its own: the scheduler, the campaign forecast (on a virtual clock) and "why does
it wait" call the same code. Every `*_until` answers None for "now", else the first UTC instant at
which that one rule allows the text; the caller asks every rule, and asks again at that instant.

Times of day are wall-clock times and intervals are `[start, end)`. An instant is inside when the
wall clock it shows is. So a skipped local time begins at the first real instant after it, and a
repeated local time counts both times.

ValueError: what no validated request contains (a naive datetime, no timezone, a window of no day).
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import IntEnum
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

# Limits

PARTS_PER_MINUTE: Final = 24
"""Parts per phone in any 60 s. Android stops an app at 30 (AOSP SmsUsageMonitor) and counts when
the phone sends, not when we dispatch: the six between absorb a network that delivers late."""
MIN_GAP_S: Final = 240.0
"""From dispatch to dispatch of one phone: 15 an hour, half of what the strictest carriers allow."""
DAILY_CAP: Final = 200
"""Texts per phone and day. CTIA, the US carriers' guideline, counts up to 200 different recipients
as a person's own use; the cap stays there even if no recipient is written to twice."""
WARMUP_CAPS: Final = ((7, 50), (14, 100), (21, 150))
"""(last day of age, cap). A new number at full speed is what carriers' filters look for."""
QUIET_START: Final = time(21)
QUIET_END: Final = time(8)
"""47 CFR 64.1200(c)(1): not before 8 am or after 9 pm, local time where the recipient is."""
QUIET_SEARCH: Final = timedelta(days=2)
"""How far ahead an instant that suits all timezones is sought. Quiet hours repeat daily, so two
days hold a whole round even across a clock change; a text (72 h) rarely lives to see more."""
RELEASE_SPREAD_S: Final = 600.0
"""Releases at the end of quiet hours are spread over this. Ten thousand phones become 17 dispatches
a second, and it exceeds two gaps, so phones also fall out of step with each other. It is short
against the shortest opening the default rules leave (US toll-free numbers: 90 minutes)."""
RELEASE_SPREAD_STEP_S: Final = 1.0
"""An opening that leaves less spread than this leaves none: the text goes when it opens."""
TTL: Final = timedelta(hours=72)
"""Life of a text whose request names none: a weekend, so that Friday's text still has a Monday."""
CONFIRMATION_TTL: Final = timedelta(minutes=5)
"""Life of an opt-out confirmation. 47 CFR 64.1200(a)(12): later than that needs a justification."""
CAMPAIGN_FAILOVER: Final = timedelta(minutes=30)
"""A campaign's text may take another phone after this; a conversation waits for its own."""
MAX_ATTEMPTS: Final = 3
"""Dispatches of one text; a phone or number that fails three times needs a person."""
RETRY_BACKOFF_S: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {"transient": (60.0, 600.0), "throttled": (300.0, 1800.0)}
)
"""Wait after attempt 1 and 2. Transient (radio off, no service): a tunnel or a reboot is over in a
minute, a dead spot in ten. Throttled: clear of Android's 60 s window, then of the 30 min window of
Android 4.1 and modified systems."""


class Lane(IntEnum):
    """Order on a phone: the smaller goes first; first in, first out within a lane."""

    CONFIRMATION = 0
    PERSON = 1
    API = 2
    CAMPAIGN = 3


PRIORITY: Final[Mapping[str, Lane]] = MappingProxyType(
    {
        "confirmation": Lane.CONFIRMATION,
        "inbox": Lane.PERSON,
        "crm": Lane.PERSON,
        "ghl": Lane.PERSON,
        "api": Lane.API,
        "campaign": Lane.CAMPAIGN,
    }
)
"""Source of a send → its lane."""


def lane(source: str) -> Lane:
    """The lane of a source; one that is not known here (a newer writer's) goes with the API's."""
    return PRIORITY.get(source, Lane.API)


# Daily cap and warm-up


def phone_age_days(paired_at: datetime, now: datetime, tz: ZoneInfo) -> int:
    """Age in days on the workspace's calendar: 1 on the date of pairing, never below 1."""
    paired_on, today = _utc(paired_at).astimezone(tz).date(), _utc(now).astimezone(tz).date()
    return max(1, (today - paired_on).days + 1)


def effective_daily_cap(age_days: int, configured: int, *, warmup: bool = True) -> int:
    """Texts the phone may send today: as configured, less while it is young. Never below 0."""
    cap = max(0, configured)
    if warmup:
        for last_day, young_cap in WARMUP_CAPS:
            if age_days <= last_day:
                return min(young_cap, cap)
    return cap


def cap_until(sent_today: int, cap: int, now: datetime, tz: ZoneInfo) -> datetime | None:
    """None while the cap has room, else the first instant of the next local date.

    That is not 00:00 where the clocks skip it. `sent_today`: dispatches on the local date of
    `now`, without those the phone gave back.
    """
    if sent_today < cap:
        return None
    now_utc = _utc(now)
    today = now_utc.astimezone(tz).date()
    midnight = datetime.combine(today + timedelta(days=1), time())
    return _first_open(now_utc, tz, lambda wall: None if wall.date() > today else midnight)


# Gap and rate


def gap_until(
    last_dispatch_at: datetime | None, min_gap_s: float, now: datetime
) -> datetime | None:
    """None if the phone's last dispatch is `min_gap_s` ago or there is none, else when it will be.

    Jitter is the caller's to add: `min_gap_s + jitter_s(command_key, …)`.
    """
    if last_dispatch_at is None:
        return None
    free_at = _utc(last_dispatch_at) + timedelta(seconds=min_gap_s)
    return None if _utc(now) >= free_at else free_at


def jitter_s(command_key: str, max_jitter_s: float) -> float:
    """Seconds in [0, max_jitter_s) to add to a gap: the same for the same key, never negative."""
    return _fraction(command_key, b"gap-jitter") * max(0.0, max_jitter_s)


def parts_until(
    recent: Sequence[tuple[datetime, int]],
    parts: int,
    now: datetime,
    limit_per_minute: int = PARTS_PER_MINUTE,
) -> datetime | None:
    """None if `parts` more fit into this phone's last 60 s, else the instant they will.

    `recent`: (dispatched at, parts) of at least the last 60 s, in any order. A dispatch counts for
    60 s from its instant, even if that is ahead of `now` (a clock stepped back). Limits above
    PARTS_PER_MINUTE count as that. ValueError if the text alone exceeds the limit.
    """
    limit = min(limit_per_minute, PARTS_PER_MINUTE)
    if not 1 <= parts <= limit:
        raise ValueError(f"a text of {parts} parts cannot keep to {limit} parts a minute")
    now_utc = _utc(now)
    ends = sorted((_utc(at) + timedelta(seconds=60), count) for at, count in recent)
    counting = [(ends_at, count) for ends_at, count in ends if ends_at > now_utc]
    excess = sum(count for _, count in counting) + parts - limit
    room_at = None
    for ends_at, count in counting:
        if excess <= 0:
            break
        excess -= count
        room_at = ends_at
    return room_at


def retry_delay_s(attempt: int, error_class: str) -> float | None:
    """Seconds to wait after failed attempt number `attempt` (from 1), or None: not again.

    Only what surely did not leave the phone is sent again. Permanent, ambiguous and any class not
    known here are None: a person can send a missing text, nobody can call back a second one.
    """
    if attempt < 1:
        raise ValueError("attempts are counted from 1")
    backoff_s = RETRY_BACKOFF_S.get(error_class)
    return None if backoff_s is None or attempt >= MAX_ATTEMPTS else backoff_s[attempt - 1]


# Quiet hours


def zones_for(
    contact_tz: str | None, number_zones: Sequence[ZoneInfo], workspace_tz: ZoneInfo
) -> tuple[ZoneInfo, ...]:
    """The clocks a recipient may live by: the contact's, else all of its number, else ours.

    A contact timezone that the timezone database does not know is passed over, as if not set.
    """
    if contact_tz:
        try:
            return (ZoneInfo(contact_tz),)
        except (KeyError, ValueError, OSError):  # unknown, malformed ("../x"), a folder ("America")
            pass
    return tuple(dict.fromkeys(number_zones)) or (workspace_tz,)


def quiet_until(
    now: datetime, zones: Sequence[ZoneInfo], start: time, end: time
) -> datetime | None:
    """None if no zone has quiet hours `[start, end)` now, else the first instant at which none has.

    `start > end` crosses midnight; `start == end` means no quiet hours.

    Some zone may always be quiet: for no number on Earth by default, but for US toll-free numbers
    in summer under 20:00 to 09:00. Then it is the first instant within QUIET_SEARCH at which the
    fewest zones are quiet. To wait for ever would turn a tightened setting into a silent refusal,
    and any single zone would be a guess; this instant is wrong in the fewest places. A timezone on
    the contact ends the guessing.
    """
    if now.tzinfo is None or not zones:
        raise ValueError("quiet hours need an instant and a timezone")
    for zone in zones:  # spelled out: nearly every call ends here, thousands of times a second
        if _is_quiet(now.astimezone(zone).time(), start, end):
            break
    else:
        return None
    now_utc = _utc(now)
    opens_at = _all_open(now_utc, zones, start, end) or _least_quiet(now_utc, zones, start, end)
    return None if opens_at == now_utc else opens_at


def release_spread_s(message_id: str, spread_s: float = RELEASE_SPREAD_S) -> float:
    """Seconds in [0, spread_s) this release waits longer, so that 08:00 is no stampede.

    The same for the same id, on every machine.
    """
    return _fraction(message_id, b"release") * max(0.0, spread_s)


def release_at(
    opens_at: datetime, message_id: str, blocked_until: Callable[[datetime], datetime | None]
) -> datetime:
    """`opens_at` plus the message's spread, halved until `blocked_until` allows that instant too.

    Without the halving, a message whose spread exceeds a short opening would miss every opening.
    """
    offset_s = release_spread_s(message_id)
    while offset_s >= RELEASE_SPREAD_STEP_S:
        release = opens_at + timedelta(seconds=offset_s)
        if blocked_until(release) is None:
            return release
        offset_s /= 2
    return opens_at


def _is_quiet(clock: time, start: time, end: time) -> bool:
    """Whether `[start, end)` holds the clock; with `start == end` it holds none."""
    return start <= clock < end if start <= end else clock >= start or clock < end


def _open_from(at: datetime, zone: ZoneInfo, start: time, end: time) -> datetime:
    """The first instant from `at` (UTC) on at which the zone's clock is outside `[start, end)`."""

    def quiet_end(wall: datetime) -> datetime | None:
        if not _is_quiet(wall.time(), start, end):
            return None
        days = 0 if wall.time() < end else 1
        return datetime.combine(wall.date() + timedelta(days=days), end)

    return _first_open(at, zone, quiet_end)


def _all_open(
    now_utc: datetime, zones: Sequence[ZoneInfo], start: time, end: time
) -> datetime | None:
    """The first instant within QUIET_SEARCH at which no zone is quiet, or None.

    The zone that opens last is quiet until then, so nothing earlier can suit all of them. A short
    cut for nearly every number: `_least_quiet` would find the same, some eight times slower.
    """
    at = now_utc
    while at <= now_utc + QUIET_SEARCH:
        last_opens_at = max(_open_from(at, zone, start, end) for zone in zones)
        if last_opens_at == at:
            return at
        at = last_opens_at
    return None


def _least_quiet(now_utc: datetime, zones: Sequence[ZoneInfo], start: time, end: time) -> datetime:
    """The first instant within QUIET_SEARCH, `now_utc` included, at which the fewest are quiet."""

    def candidates(zone: ZoneInfo) -> Iterator[datetime]:
        """Now, and whenever this zone opens: only then can the number of quiet zones fall."""
        at = now_utc
        while at <= now_utc + QUIET_SEARCH:
            yield at
            closes_at = _open_from(at, zone, end, start)  # outside [end, start): inside quiet hours
            at = _open_from(closes_at, zone, start, end)

    def quiet_zones(at: datetime) -> int:
        return sum(_is_quiet(at.astimezone(zone).time(), start, end) for zone in zones)

    instants = sorted({at for zone in zones for at in candidates(zone)})
    return min(instants, key=quiet_zones)  # the first of equals


# Send windows


@dataclass(frozen=True, slots=True)
class SendWindow:
    """When a campaign may send. A window that crosses midnight belongs to the day it starts on.

    `days`: 0 is Monday. `start == end` is the whole 24 hours from `start`.
    """

    days: frozenset[int]
    start: time
    end: time
    tz: ZoneInfo

    def __post_init__(self) -> None:
        if not self.days or not self.days <= frozenset(range(7)):
            raise ValueError("a send window needs days from 0 (Monday) to 6 (Sunday)")


def window_until(now: datetime, window: SendWindow) -> datetime | None:
    """None inside the send window, else the instant it opens next."""
    now_utc = _utc(now)
    opens_at = _first_open(now_utc, window.tz, lambda wall: _window_opens(wall, window))
    return None if opens_at == now_utc else opens_at


def _window_opens(wall: datetime, window: SendWindow) -> datetime | None:
    """None if the wall clock is inside the window, else the wall-clock time it opens next."""
    length_days = timedelta(days=1 if window.end <= window.start else 0)
    day = wall.date() - timedelta(days=1)  # yesterday's window may reach past midnight
    while True:  # nine turns at most: one day in seven is a day of the window
        if day.weekday() in window.days and wall < datetime.combine(day + length_days, window.end):
            opens_at = datetime.combine(day, window.start)
            return None if wall >= opens_at else opens_at
        day += timedelta(days=1)


# Loosening a default


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Quiet hours `[start, end)` on the recipient's clock; `start == end` is none at all."""

    start: time = QUIET_START
    end: time = QUIET_END


@dataclass(frozen=True, slots=True)
class Limits:
    """What a customer may set, and the defaults: three of a phone, one of the workspace."""

    min_gap_s: float = MIN_GAP_S
    daily_cap: int = DAILY_CAP
    warmup: bool = True
    quiet_hours: QuietHours | None = QuietHours()


def loosenings(old: Limits, new: Limits) -> list[str]:
    """One plain-English warning per limit that `new` loosens; empty: the change is free.

    Loosened is what becomes less strict than its default *and* than it is now. So the default is
    always free to return to, so is every step towards it, and no risk is asked about twice.
    A caller that changes only some limits leaves the others equal in both.
    """
    warnings: list[str] = []
    if new.min_gap_s < min(old.min_gap_s, MIN_GAP_S):
        warnings.append(
            f"This phone would send a text as often as every {new.min_gap_s:g} seconds; the safe "
            f"default is every {MIN_GAP_S:g}. Carriers look for phones that text like a machine "
            "and may block the SIM, for good and without telling you."
        )
    if new.daily_cap > max(old.daily_cap, DAILY_CAP):
        warnings.append(
            f"This phone would send up to {new.daily_cap} texts a day; the safe default is "
            f"{DAILY_CAP}. US carriers' guideline for a person's own use is up to 200 different "
            "recipients. Beyond it a SIM looks like bulk sending and may be blocked."
        )
    if old.warmup and not new.warmup:
        warnings.append(
            "This phone would skip its warm-up and use its full daily cap from the first day. A "
            "new number that suddenly sends a lot is what carriers' spam filters look for, and "
            "the SIM may be blocked within days."
        )
    if _quiet_hours_loosened(old.quiet_hours, new.quiet_hours):
        quiet = new.quiet_hours
        hours = f"outside {quiet.start:%H:%M} to {quiet.end:%H:%M}" if quiet else "at any hour"
        warnings.append(
            f"People could be texted {hours} on their own clock; the safe default is silence from "
            f"{QUIET_START:%H:%M} to {QUIET_END:%H:%M}. US law (TCPA) allows marketing texts only "
            "from 8 am to 9 pm at the recipient's location, some states allow less, and each text "
            "outside those hours can cost you up to $1,500."
        )
    return warnings


def _quiet_hours_loosened(old: QuietHours | None, new: QuietHours | None) -> bool:
    """True if a time that is quiet now and by default would no longer be.

    The times lost are `[…)` intervals, and each begins where a quiet time of `old` or of the
    default begins, or where `new` ends: these clock times are enough to look at.
    """

    def covers(quiet: QuietHours | None, clock: time) -> bool:
        return quiet is not None and _is_quiet(clock, quiet.start, quiet.end)

    begins = [quiet.start for quiet in (QuietHours(), old) if quiet] + ([new.end] if new else [])
    return any(
        covers(QuietHours(), clock) and covers(old, clock) and not covers(new, clock)
        for clock in begins
    )


# Wall clocks


def _first_open(
    at: datetime, zone: ZoneInfo, opens: Callable[[datetime], datetime | None]
) -> datetime:
    """The first instant from `at` (UTC) on whose wall clock is open.

    `opens(wall)`: None if that naive wall-clock time is open, else the next one that is. Between
    two clock changes wall clocks run evenly, so the wait is a subtraction; at a change, ask again.
    """
    while True:
        local = at.astimezone(zone)
        wall = local.replace(tzinfo=None)
        opening = opens(wall)
        if opening is None:
            return at
        target = at + (opening - wall)
        if target.astimezone(zone).utcoffset() == local.utcoffset():
            return target
        at = _clock_change(at, target, zone)


def _clock_change(after: datetime, until: datetime, zone: ZoneInfo) -> datetime:
    """The instant in `(after, until]` at which the zone's offset changes; always a whole second."""
    offset = after.astimezone(zone).utcoffset()
    base = after.replace(microsecond=0)
    same_s, changed_s = 0, math.ceil((until - base).total_seconds())
    while changed_s - same_s > 1:
        middle_s = (same_s + changed_s) // 2
        if (base + timedelta(seconds=middle_s)).astimezone(zone).utcoffset() == offset:
            same_s = middle_s
        else:
            changed_s = middle_s
    return base + timedelta(seconds=changed_s)


def _utc(at: datetime) -> datetime:
    """The instant in UTC. A naive datetime would be read in the machine's own timezone: refused."""
    if at.tzinfo is None:
        raise ValueError("a datetime without a timezone is no instant")
    return at.astimezone(UTC)


def _fraction(key: str, purpose: bytes) -> float:
    """A number in [0, 1): even over keys, the same on every machine, unrelated between purposes."""
    digest = hashlib.blake2b(key.encode(), digest_size=8, person=purpose).digest()
    bits = int.from_bytes(digest, "big") >> 11  # 53, all that a float holds: 64 could round up to 1
    return bits / 2**53
