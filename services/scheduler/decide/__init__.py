"""What happens to a waiting text. Rows and a time in, an outcome out; policy.py has the rules.

``message_outcome`` asks what the text itself must wait for or be refused for; ``phone_block`` asks
what a phone must wait for. ``assign`` puts both together for one workspace.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.scheduler import hours, policy
from services.scheduler.decide.model import (
    Account,
    Campaign,
    Desk,
    Expire,
    Go,
    Handset,
    Hold,
    Limits,
    Outcome,
    Reject,
    Text,
)
from shared import ids

EXPIRY_GRACE_S = 86_400.0
"""A command no phone ever answered for is given up this long after the text expired."""


def message_outcome(
    text: Text, account: Account, now: datetime, campaign: Campaign | None = None
) -> Hold | Reject | Expire | None:
    """What the text must wait for, or why it never goes; None: nothing about it is in the way.

    While its campaign is paused it stands in a queue of the campaign's own, in nobody's way."""
    if text.expires_at <= now:
        return Expire(text, text.reason)
    if text.source == "confirmation":  # ignores suppression, quiet hours and gap; nothing else does
        return None
    if text.opted_out:
        return Reject(
            text, "recipient_opted_out", "The recipient opted out of messages from this workspace."
        )
    if campaign is not None and campaign.state != "running":
        return Hold(text, "campaign_paused", None, campaign.id)
    if campaign is not None and text.queue == campaign.id:
        known = text.contact_phone if _among(campaign, text.contact_phone) else None
        return Hold(text, "queue", None, text.phone_id or known or account.id)
    if text.wake_at > now:
        return Hold(text, text.reason or "scheduled", text.wake_at)
    if account.quiet is None and campaign is None:
        return None
    zones = policy.zones_for(text.timezone, text.number_zones, account.zone)
    window = campaign.window if campaign is not None else None

    def blocked(at: datetime) -> datetime | None:
        closed = hours.closed_until(at, zones, account.quiet, window)
        return None if closed is None else closed[1]

    closed = hours.closed_until(now, zones, account.quiet, window)
    if closed is None:
        return None
    spread_by = text.queue if text.queue != text.workspace_id else text.id
    return Hold(text, closed[0], policy.release_at(closed[1], spread_by, blocked))


def phone_block(
    phone: Handset, text: Text | None, account: Account, limits: Limits, now: datetime
) -> tuple[str, datetime | None] | None:
    """(reason, until) that keeps ``phone`` from taking ``text`` now; None: it may."""
    if phone.state != "online":
        return "phone_offline", None
    parts = text.parts if text else 1
    confirmation = text is not None and text.source == "confirmation"
    cap_at = policy.cap_until(
        _sent(phone, account, now), cap(phone, account, now), now, account.zone
    )
    if cap_at is not None:
        return "daily_cap", cap_at
    if not (phone.simulated and limits.unpaced_simulation):
        parts_at = policy.parts_until(phone.recent, parts, now)
        if parts_at is not None:
            return "min_gap", parts_at
    if not confirmation:
        gap_s = phone.min_gap_s
        if phone.jitter_s and phone.last_command_id:
            gap_s += policy.jitter_s(phone.last_command_id, phone.jitter_s)
        gap_at = policy.gap_until(phone.last_dispatch_at, gap_s, now)
        if gap_at is not None:
            return "min_gap", gap_at
    if phone.in_flight >= limits.window:
        return "queue", None
    return None


def cap(phone: Handset, account: Account, now: datetime) -> int:
    """How many texts the phone may send today."""
    age = policy.phone_age_days(phone.age_from, now, account.zone)
    return policy.effective_daily_cap(age, phone.daily_cap, warmup=phone.warmup)


def _sent(phone: Handset, account: Account, now: datetime) -> int:
    today = now.astimezone(account.zone).date().isoformat()
    return phone.sent_today if phone.day == today else 0


def failover_at(
    text: Text, phone: Handset, account: Account, campaign: Campaign | None = None
) -> datetime | None:
    """When a text that waits for a silent phone may take another; None: never.

    Only an offline phone counts: one that is merely late is given time to come back.
    """
    if text.phone_id is not None or phone.state != "offline":
        return None
    after_s = account.campaign_failover_s if text.source == "campaign" else account.failover_s
    if campaign is not None and campaign.failover_s is not None:
        after_s = campaign.failover_s
    return None if after_s is None else phone.state_at + timedelta(seconds=after_s)


def assign(desk: Desk, texts: Iterable[Text], now: datetime) -> list[Outcome]:
    """An outcome for every text that can be decided now; the others stay in line.

    ``texts`` come in the order of each queue. Phones are used up as texts take them, so two texts
    never share one slot; a contact's second text in one go follows its first to the same phone.
    """
    outcomes: list[Outcome] = []
    chosen: dict[str, str] = {}
    blocked: set[str] = set()
    pool = Pool(desk, now)
    for text in texts:
        own = message_outcome(text, desk.account, now, desk.campaign(text))
        if own is not None:
            if not (
                isinstance(own, Hold) and own.reason == text.reason and own.until == text.until
            ):
                outcomes.append(own)
            continue
        wanted = text.phone_id or chosen.get(text.contact_id) or _last_spoken(desk, text)
        outcome = (
            _through(desk, text, wanted, blocked, pool, now)
            if wanted
            else _through_any(desk, text, pool, now)
        )
        if isinstance(outcome, Go):
            chosen[text.contact_id] = outcome.phone_id
            command_id = ids.command_id(text.id, text.attempt + 1)
            desk.phones[outcome.phone_id].dispatched(now, text.parts, command_id, desk.account.zone)
        if outcome is not None:
            outcomes.append(outcome)
    return outcomes


def _last_spoken(desk: Desk, text: Text) -> str | None:
    """The phone this contact knows, unless it is gone, silent too long, or wrong for a test."""
    phone = desk.phones.get(text.contact_phone or text.queue)
    if phone is None or phone.state == "unpaired" or (text.test and not phone.simulated):
        return None
    return phone.id if _among(desk.campaign(text), phone.id) else None


def _among(campaign: Campaign | None, phone_id: str | None) -> bool:
    """Whether the campaign of a text, if it is of one, lets this phone carry it."""
    return campaign is None or not campaign.phone_ids or phone_id in campaign.phone_ids


class Pool:
    """The online phones of a workspace, the longest rested first, while texts use them up."""

    def __init__(self, desk: Desk, now: datetime) -> None:
        self._desk, self._now = desk, now
        self._heap: list[tuple[float, str]] | None = None
        self.waits: dict[tuple[Any, ...], tuple[str, datetime | None] | None] = {}

    def take(self, text: Text) -> str | None:
        """The phone for ``text``, or None. It is at hand again for the next text if it may be."""
        if self._heap is None:  # built on demand: most texts know their phone
            phones = self._desk.phones.values()
            self._heap = [(_rested(p), p.id) for p in phones if p.state == "online"]
            heapq.heapify(self._heap)
        passed_over: list[tuple[float, str]] = []
        found: str | None = None
        while self._heap and found is None:
            entry = heapq.heappop(self._heap)
            phone = self._desk.phones[entry[1]]
            if self._blocked(phone, None) and text.source != "confirmation":
                continue  # for every text of this round, as confirmations come first
            if not may_carry(self._desk, phone, text) or self._blocked(phone, text):
                passed_over.append(entry)
            else:
                found = phone.id
                passed_over.append((self._now.timestamp(), phone.id))
        for entry in passed_over:
            heapq.heappush(self._heap, entry)
        return found

    def _blocked(self, phone: Handset, text: Text | None) -> bool:
        desk = self._desk
        return phone_block(phone, text, desk.account, desk.limits, self._now) is not None


def _through(
    desk: Desk, text: Text, phone_id: str, blocked: set[str], pool: Pool, now: datetime
) -> Outcome | None:
    phone = desk.phones.get(phone_id)
    if phone is None or phone.state == "unpaired":
        return Reject(text, "phone_unpaired", "The phone this message asked for was removed.")
    if text.test and not phone.simulated:
        return Reject(text, "test_key_real_phone", "A test key reaches only simulated phones.")
    if phone.state != "online":
        moves_at = failover_at(text, phone, desk.account, desk.campaign(text))
        if moves_at is not None and moves_at <= now:
            other = _through_any(desk, text, pool, now)
            if isinstance(other, Go) or text.queue == desk.account.id:
                return other
            reason, until = (
                (other.reason, other.until) if isinstance(other, Hold) else ("queue", None)
            )
            return Hold(text, reason, until, desk.account.id)  # joins the line for any phone
        reason = "phone_offline" if moves_at is None else "failover_wait"
        if (text.reason, text.until, text.queue) == (reason, moves_at, phone_id):
            return None
        return Hold(text, reason, moves_at, phone_id)
    if text.queue != phone_id:
        return Hold(text, "queue", None, phone_id)  # joins the line of the phone it knows
    if phone_id in blocked:
        return None
    block = phone_block(phone, text, desk.account, desk.limits, now)
    if block is None:
        return Go(text, phone_id)
    if text.source != "confirmation":
        blocked.add(phone_id)  # first in, first out: nothing overtakes within a phone
    if block[0] == "daily_cap" and (text.reason, text.until) != block:
        return Hold(text, *block)
    return None


def may_carry(desk: Desk, phone: Handset, text: Text) -> bool:
    """Whether ``phone`` may be chosen for ``text``, which names none. A simulated phone stands in
    only while a workspace has no real one: nobody is reached by it."""
    if phone.state == "unpaired" or not _among(desk.campaign(text), phone.id):
        return False
    return phone.simulated if text.test else not (phone.simulated and desk.has_real_phone())


def _through_any(desk: Desk, text: Text, pool: Pool, now: datetime) -> Go | Hold | None:
    """The online phone that has rested longest, else why there is none."""
    kind = (text.source == "confirmation", text.parts, text.test, text.campaign_id)
    if kind not in pool.waits:  # else there was none for its like, and none comes free meanwhile
        phone_id = pool.take(text)
        if phone_id is not None:
            return Go(text, phone_id)
        pool.waits[kind] = _wait_for_any(desk, text, now)
    wait = pool.waits[kind]
    if wait is None or wait == (text.reason, text.until):
        return None
    return Hold(text, *wait, None if wait[1] else desk.account.id)


def _wait_for_any(desk: Desk, text: Text, now: datetime) -> tuple[str, datetime | None] | None:
    phones = [p for p in desk.phones.values() if may_carry(desk, p, text)]
    online = [p for p in phones if p.state == "online"]
    if not online:
        return "phone_offline" if phones else "no_phone", None
    slot = earliest(online, text, desk, now)
    return slot if slot is not None and slot[0] == "daily_cap" else None


def _rested(phone: Handset) -> float:
    return phone.last_dispatch_at.timestamp() if phone.last_dispatch_at else 0.0


def earliest(
    phones: Sequence[Handset], text: Text | None, desk: Desk, now: datetime
) -> tuple[str, datetime | None] | None:
    """(reason, until) of the phone that is free first; None if one is free now or there is none."""
    blocks = [phone_block(p, text, desk.account, desk.limits, now) for p in phones]
    if not blocks or any(block is None for block in blocks):
        return None
    timed = [b for b in blocks if b is not None and b[1] is not None]
    in_line = [b for b in blocks if b is not None and b[0] == "queue"]
    if in_line or not timed:
        return in_line[0] if in_line else blocks[0]
    return min(timed, key=lambda b: b[1] or now)


def next_slot(desk: Desk, phone: Handset, now: datetime) -> datetime | None:
    """When ``phone`` could take its next text; None while it is not online."""
    if phone.state != "online":
        return None
    block = phone_block(phone, None, desk.account, desk.limits, now)
    return now if block is None or block[1] is None else block[1]


# -- what is open --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Final: it was taken back before any phone submitted it."""

    text: Text


def open_outcome(
    text: Text, outcome: str, cancel: str | None, account: Account, now: datetime
) -> Outcome | Cancelled | None:
    """What follows a failure, a cancellation or a command given back; None: a person decides.

    ``outcome`` is the error class, ``cancelled`` (the phone will not send it), ``unknown``,
    ``unpaired``, ``retry`` (a person said so) or ``quarantined`` (waiting for that person). What
    may be on the air is never called cancelled, and what a person took back is never sent again.
    """
    match outcome:
        case "quarantined":
            return None
        case "cancelled" | "transient" | "throttled" | "retry" if cancel == "user":
            return Cancelled(text)
        case "cancelled":
            if text.expires_at <= now:
                return Expire(text, "phone_offline")
            return Hold(text, "queue", None, text.phone_id or account.id)
        case "retry":
            return Hold(text, "retry", now)
        case "transient" | "throttled":
            delay_s = policy.retry_delay_s(max(text.attempt, 1), outcome)
            if delay_s is None:  # of a time with other limits: now a person decides
                return Hold(text, "quarantined")
            at = now + timedelta(seconds=delay_s)
            return Hold(text, "retry", at) if at < text.expires_at else Expire(text, "retry")
        case "unknown" | "ambiguous" if account.resend_unknown and cancel != "user":
            again = text.attempt < policy.MAX_ATTEMPTS
            return Hold(text, "retry", now) if again else Hold(text, "quarantined")
        case _:  # a phone that is gone, a class that only a newer gateway knows
            return Hold(text, "quarantined")
