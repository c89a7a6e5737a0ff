"""When would a campaign end? The scheduler's rules on a virtual clock. Pure.

Phone after phone, slot after slot: what is queued goes first, other campaigns share the turns, then
the group of people that may be texted and closes first, as in shelf.py. Day, cap and warm-up come
from ``decide.phone_block`` whenever a phone's day begins or it is blocked; between two texts of a
day it is the gap alone, which is what keeps a hundred thousand texts within a second or two.

What it does not know: phones that come and go, replies and new texts, opt-outs to come. It counts
the phones that are online or late now.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from services.scheduler import decide, policy, shelf
from services.scheduler.desk import campaign_of
from services.scheduler.hours import Opening

FAR: Final = datetime(9999, 1, 1, tzinfo=UTC)
HORIZON: Final = timedelta(days=366)
"""Further ahead nothing is said: something is wrong with caps, windows or the audience."""
SLICE: Final = 250
"""Slots between two pauses: about a millisecond, so that whoever computes can do other things."""


@dataclass(slots=True)
class Group:
    """People who are the same to every rule: how many, and the parts of their texts."""

    opening: Opening
    count: int
    parts: int


@dataclass(slots=True)
class Rival:
    """Another campaign of the workspace under way: it takes turns with this one."""

    opening: Opening
    count: int
    phone_ids: frozenset[str]
    start_at: datetime


@dataclass(slots=True)
class Forecast:
    """What was found. ``finish_at`` None: never, for the reason ``waiting``."""

    finish_at: datetime | None = None
    by_day: dict[tuple[date, str], int] = field(default_factory=dict[tuple[date, str], int])
    segments: int = 0
    messages: int = 0
    skipped: dict[str, int] = field(default_factory=dict[str, int])
    waiting: str | None = None

    def answer(self) -> dict[str, Any]:
        """The same as JSON."""
        days = sorted(self.by_day.items())
        return {
            "finish_at": self.finish_at,
            "by_day": [
                {"date": day.isoformat(), "phone_id": phone_id, "messages": count}
                for (day, phone_id), count in days
            ],
            "skipped": self.skipped,
            "segments": self.segments,
            "messages": self.messages,
            "waiting": self.waiting,
        }


@dataclass(slots=True)
class Line:
    """A phone on the virtual clock: its people, and how far its day is."""

    phone: decide.Handset
    own: list[Group] = field(default_factory=list[Group])
    queued: list[datetime] = field(default_factory=list[datetime])  # due times, latest first
    day: date = date.min
    midnight: datetime = FAR
    room: int = 0
    turn: int = 0  # whose turn it is: its own people's or anybody's
    best: Group | None = None
    best_until: datetime | None = None  # until when nothing about its own groups changes


class Clockwork:
    """One forecast. ``run`` does it in slices."""

    def __init__(
        self,
        desk: decide.Desk,
        campaign: decide.Campaign,
        groups: Sequence[tuple[Opening, str | None, int, int]],
        *,
        queued: Mapping[str, Sequence[datetime]],
        rivals: Sequence[Rival] = (),
        start_at: datetime,
    ) -> None:
        self._desk, self._now = desk, start_at
        self._rivals = list(rivals)
        self._found = Forecast()
        usable = shelf.phones_for(desk, campaign)
        online = {one for one in usable if desk.phones[one].state in ("online", "late")}
        self._lines = {one: Line(_fresh(desk.phones[one])) for one in sorted(online)}
        self._shared: list[Group] = []
        self._left = 0
        for opening, phone_id, parts, count in groups:
            if not opening.at(start_at) and opening.never:
                skipped = self._found.skipped
                skipped["never_in_window"] = skipped.get("never_in_window", 0) + count
                continue
            line = self._lines.get(phone_id) if phone_id is not None else None
            (self._shared if line is None else line.own).append(Group(opening, count, parts))
            self._left += count
            self._found.segments += parts * count
        self._found.messages = self._left
        for queue, times in queued.items():
            if queue in self._lines:
                self._lines[queue].queued = sorted(times, reverse=True)
        self._queued = sorted(queued.get(desk.account.id, ()), reverse=True)
        self._best: Group | None = None
        self._best_until: datetime | None = None
        self._turn = 0
        if self._left and not self._lines:
            self._found.waiting = "phone_offline" if usable else "no_phone"

    def run(self) -> Iterator[Forecast | None]:
        """None now and then, so that others get a turn; at last what was found."""
        heap = [(self._now, phone_id) for phone_id in self._lines]
        heapq.heapify(heap)
        end = self._now + HORIZON
        slots = 0
        while heap and self._left:
            at, phone_id = heap[0]
            if at > end:
                break
            later = self._slot(at, self._lines[phone_id])
            if later is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (later, phone_id))
            slots += 1
            if slots % SLICE == 0:
                yield None
        if self._left and self._found.waiting is None:
            self._found.finish_at, self._found.waiting = None, "daily_cap"
        yield self._found

    def _slot(self, at: datetime, line: Line) -> datetime | None:
        """What a phone does with its slot at ``at``; when to come back, None: no more."""
        if at >= line.midnight or line.room <= 0:
            blocked_until = self._new_day(at, line)
            if blocked_until is not None:
                return blocked_until
        if self._take_queued(at, line):
            return self._sent(at, line, 1)
        group, anybodys = self._pick(at, line)
        if group is None:
            return self._next_at(at, line)
        if anybodys and self._rivals and self._rival_goes(at, line.phone.id):
            return self._sent(at, line, 1)
        group.count -= 1
        self._left -= 1
        if not group.count:
            line.best_until = self._best_until = None
        key = (line.day, line.phone.id)
        self._found.by_day[key] = self._found.by_day.get(key, 0) + 1
        self._found.finish_at = at
        return self._sent(at, line, group.parts)

    def _new_day(self, at: datetime, line: Line) -> datetime | None:
        """The phone's day as of ``at``, by the real rules; when to come back if it is blocked."""
        account, phone = self._desk.account, line.phone
        block = decide.phone_block(phone, None, account, self._desk.limits, at)
        if block is not None:
            return max(block[1], at) if block[1] is not None else at + timedelta(minutes=1)
        line.day = at.astimezone(account.zone).date()
        line.midnight = policy.cap_until(1, 0, at, account.zone) or FAR
        sent = phone.sent_today if phone.day == line.day.isoformat() else 0
        line.room = decide.cap(phone, account, at) - sent
        return None

    def _sent(self, at: datetime, line: Line, parts: int) -> datetime:
        """Count a text on the phone; when its next slot is."""
        phone, account = line.phone, self._desk.account
        line.room -= 1
        today = line.day.isoformat()
        phone.sent_today = phone.sent_today + 1 if phone.day == today else 1
        phone.day, phone.last_dispatch_at = today, at
        gap_s = phone.min_gap_s + phone.jitter_s / 2  # its jitter is known only to the real ones
        if gap_s >= 60.0:  # then the rate of parts is never in the way
            return at + timedelta(seconds=gap_s)
        phone.recent = [r for r in phone.recent if r[0] > at - timedelta(seconds=60)]
        phone.recent.append((at, parts))
        block = decide.phone_block(phone, None, account, self._desk.limits, at)
        if block is None:  # no gap at all: the next one goes at once
            return at
        if block[0] == "daily_cap":
            line.room = 0
        return at if block[1] is None else block[1]

    def _take_queued(self, at: datetime, line: Line) -> bool:
        """Replies, texts of the API and what was queued before go first."""
        for queue in (line.queued, self._queued):
            if queue and queue[-1] <= at:
                queue.pop()
                return True
        return False

    def _pick(self, at: datetime, line: Line) -> tuple[Group | None, bool]:
        """The group whose turn it is, and whether it stands in anybody's line."""
        if line.best_until is None or at >= line.best_until:
            line.best, line.best_until = _first(line.own, at)
        if self._best_until is None or at >= self._best_until:
            self._best, self._best_until = _first(self._shared, at)
        if line.best is not None and self._best is not None:
            line.turn += 1  # both stand in line as long: they take turns
            return (line.best, False) if line.turn % 2 else (self._best, True)
        return (line.best, False) if line.best is not None else (self._best, True)

    def _rival_goes(self, at: datetime, phone_id: str) -> bool:
        """Whether this turn is another campaign's."""
        rivals = [
            one
            for one in self._rivals
            if one.count > 0
            and at >= one.start_at
            and (not one.phone_ids or phone_id in one.phone_ids)
            and one.opening.at(at)
        ]
        self._turn += 1
        whose = self._turn % (len(rivals) + 1)
        if whose == 0:
            return False
        rivals[whose - 1].count -= 1
        return True

    def _next_at(self, at: datetime, line: Line) -> datetime | None:
        """Nobody may be texted now: when the first of those this phone can reach may be."""
        groups = [g for g in (*line.own, *self._shared) if g.count]
        if not groups:
            return None
        times = [g.opening.until for g in groups if g.opening.until is not None]
        times += [queue[-1] for queue in (line.queued, self._queued) if queue]
        later = [one for one in times if one > at]
        return min(later, default=None)


def _first(groups: list[Group], at: datetime) -> tuple[Group | None, datetime]:
    """The open group that closes first, and until when that is so unless it runs empty."""
    groups[:] = [group for group in groups if group.count]
    open_ = [group for group in groups if group.opening.at(at)]
    until = min((group.opening.until or FAR for group in groups), default=FAR)
    return min(open_, key=lambda g: g.opening.urgency, default=None), until


def _fresh(phone: decide.Handset) -> decide.Handset:
    """A copy that counts as online, its window empty: what it holds is sent by and by."""
    return dataclasses.replace(phone, state="online", in_flight=0, recent=list(phone.recent))


def prepared(
    desk: decide.Desk,
    body: Mapping[str, Any],
    queued: Iterable[Any],
    others: Iterable[Any],
    now: datetime,
) -> Clockwork:
    """The forecast a question asks for (``answers.forecast``); ``queued`` and ``others`` as of the
    statements ``queued_ahead`` and ``other_campaigns``."""
    account, wanted = desk.account, body["campaign"]
    campaign = campaign_of({**wanted, "state": "running"})
    start_at = now
    if wanted["start_at"] is not None:
        start_at = max(now, datetime.fromisoformat(wanted["start_at"]))
    openings = [
        Opening(_zones(names, account), account.quiet, campaign.window, campaign.id)
        for names in body["clocks"]
    ]
    due: dict[str, list[datetime]] = {}
    for row in queued:
        due.setdefault(row["queue"], []).extend([row["due"]] * row["count"])
    rivals = [
        Rival(
            Opening((account.zone,), account.quiet, other.window, other.id),
            row["pending"],
            other.phone_ids,
            row["start_at"] or now,
        )
        for row in others
        if row["pending"] > 0
        for other in (campaign_of(row),)
    ]
    groups = [(openings[clock], phone, parts, n) for clock, phone, parts, n in body["groups"]]
    return Clockwork(desk, campaign, groups, queued=due, rivals=rivals, start_at=start_at)


def _zones(names: Sequence[str], account: decide.Account) -> tuple[ZoneInfo, ...]:
    if len(names) == 1:  # also one that a contact was given and no database knows
        return policy.zones_for(names[0], (), account.zone)
    return policy.zones_for(None, [ZoneInfo(name) for name in names], account.zone)
