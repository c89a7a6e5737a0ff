"""A campaign's people who wait for their turn, and what a turn makes of them. Pure.

They stand in groups: who lives by the same clocks and knows the same phone is the same to every
rule. Of the groups that may be texted now the one that closes first goes first, so that nobody's
day passes unused; within a group it is first in, first out. The forecast (forecast.py) counts by
the same groups and the same order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from services.scheduler import decide, hours, policy
from services.scheduler.hours import Opening
from shared import events as e
from shared import ids, numbers

TTL: Final = timedelta(days=14)
"""Life of a campaign's text. It is written when it could go, so it only ends up waiting when its
campaign is paused or every phone is away; that should cost nobody their text too soon."""


@dataclass(slots=True)
class Person:
    """One of a campaign's recipients: the clocks they may live by, the phone they know."""

    contact_id: str
    zones: tuple[ZoneInfo, ...]
    phone_id: str | None


@dataclass(slots=True)
class Group:
    """People who are the same to every rule."""

    opening: Opening
    phone_id: str | None
    people: deque[Person] = field(default_factory=deque[Person])


class Shelf:
    """Everybody of one campaign whose turn is to come."""

    def __init__(self, campaign: decide.Campaign, quiet: hours.Quiet) -> None:
        self._campaign, self._quiet = campaign, quiet
        self._groups: dict[tuple[tuple[ZoneInfo, ...], str | None], Group] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, person: Person, *, first: bool = False) -> None:
        """Whose turn is to come; ``first``: whose turn it was, and it came to nothing."""
        key = (person.zones, person.phone_id)
        group = self._groups.get(key)
        if group is None:
            campaign = self._campaign
            opening = Opening(person.zones, self._quiet, campaign.window, campaign.id)
            group = self._groups[key] = Group(opening, person.phone_id)
        (group.people.appendleft if first else group.people.append)(person)
        self._count += 1

    def take(
        self, line: str | None, phones: Collection[str], most: int, now: datetime
    ) -> list[Person]:
        """Up to ``most`` people whose turn it is in ``line``, a phone's or (None) anybody's.

        Who knows a phone that is not one of ``phones`` goes in anybody's line.
        """
        taken: list[Person] = []
        while len(taken) < most:
            groups = [g for g in self._groups.values() if g.people and _line(g, phones) == line]
            open_ = [g for g in groups if g.opening.at(now)]
            if not open_:
                break
            group = min(open_, key=lambda g: g.opening.urgency)
            while group.people and len(taken) < most:
                taken.append(group.people.popleft())
        self._count -= len(taken)
        return taken

    def lines(self, phones: Collection[str]) -> set[str | None]:
        """The lines somebody would stand in."""
        return {_line(g, phones) for g in self._groups.values() if g.people}

    def next_at(self, now: datetime) -> datetime | None:
        """When the next group that is closed now opens."""
        closed = (g.opening for g in self._groups.values() if g.people and not g.opening.at(now))
        times = [o.until for o in closed if o.until is not None]
        return min(times, default=None)

    def never(self, now: datetime) -> list[Person]:
        """Those whom the send window will never reach: it only opens while they sleep. Taken."""
        found: list[Person] = []
        for group in self._groups.values():
            if group.people and not group.opening.at(now) and group.opening.never:
                found += group.people
                group.people.clear()
        self._count -= len(found)
        return found


def _line(group: Group, phones: Collection[str]) -> str | None:
    return group.phone_id if group.phone_id in phones else None


def person_of(told: Mapping[str, Any], phone_id: str | None, zone: ZoneInfo) -> Person:
    """A recipient as api tells of them (``ask.api.recipients``); ``zone`` is the workspace's."""
    number = told.get("to")
    zones = numbers.timezones(number) if number else ()
    contact_id = told["contact_id"]
    return Person(contact_id, policy.zones_for(told.get("timezone"), zones, zone), phone_id)


def turn(
    campaign: decide.Campaign,
    account: decide.Account,
    person: Person,
    told: Mapping[str, Any],
    now: datetime,
) -> e.SendRequested | e.CampaignSkipped | None:
    """What somebody's turn makes of them: a text, or why there is none. None: not now after all."""
    if "skipped" in told:
        return skipped(campaign, person, told["skipped"])
    if hours.closed_until(now, person.zones, account.quiet, campaign.window) is not None:
        return None
    return e.SendRequested(
        message_id=message_id(campaign.id, person.contact_id),
        contact_id=person.contact_id,
        to=told["to"],
        body=told["body"],
        parts=told["parts"],
        source="campaign",
        expires_at=now + TTL,
        category="marketing",
        campaign_id=campaign.id,
        timezone=told["timezone"],
        test=campaign.test,
    )


def skipped(campaign: decide.Campaign, person: Person, reason: str) -> e.CampaignSkipped:
    """Why somebody gets nothing."""
    return e.CampaignSkipped(campaign_id=campaign.id, contact_id=person.contact_id, reason=reason)


def message_id(campaign_id: str, contact_id: str) -> str:
    """The one text somebody gets from a campaign, however often it is asked for."""
    return ids.derive("msg", campaign_id, contact_id)


def event(
    data: e.SendRequested | e.CampaignSkipped | e.CampaignCompleted, account: str, now: datetime
) -> e.Event:
    """``data`` on record: each once, however often it is decided."""
    match data:
        case e.SendRequested(message_id=id):
            parts = (id,)
        case e.CampaignSkipped(campaign_id=id, contact_id=contact_id):
            parts = (id, contact_id)
        case e.CampaignCompleted(campaign_id=id):
            parts = (id,)
    return e.make(
        data,
        id=ids.derive("evt", data.TYPE, *parts),
        workspace_id=account,
        at=now,
        actor=e.Actor("system", "scheduler"),
        cause=data.campaign_id,
    )


def phones_for(desk: decide.Desk, campaign: decide.Campaign) -> set[str]:
    """The phones that may ever carry a text of ``campaign`` (decide.may_carry)."""
    real = desk.has_real_phone()
    return {
        phone.id
        for phone in desk.phones.values()
        if phone.state != "unpaired"
        and (not campaign.phone_ids or phone.id in campaign.phone_ids)
        and (phone.simulated if campaign.test else not (phone.simulated and real))
    }


def rooms(
    waiting: Iterable[str], lines: Iterable[str | None], account: str, shared: int, own: int
) -> dict[str | None, int]:
    """How many more may stand in each line: ``shared`` in anybody's, ``own`` in a phone's.

    ``waiting`` are the queues in which this campaign's texts stand already.
    """
    standing: dict[str | None, int] = {}
    for queue in waiting:
        line = None if queue == account else queue
        standing[line] = standing.get(line, 0) + 1
    room = {line: (shared if line is None else own) - standing.get(line, 0) for line in lines}
    return {line: count for line, count in room.items() if count > 0}
