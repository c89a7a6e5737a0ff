"""What decisions are made of: accounts, phones and texts as they stand, and the outcomes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from zoneinfo import ZoneInfo

from services.scheduler import policy


@dataclass(frozen=True, slots=True)
class Account:
    """The workspace's part of the rules."""

    id: str
    zone: ZoneInfo
    quiet: tuple[time, time] | None = None
    failover_s: float | None = None
    campaign_failover_s: float = policy.CAMPAIGN_FAILOVER.total_seconds()
    resend_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign's part of the rules. ``phone_ids``: only these may carry it; empty is any."""

    id: str
    state: str
    window: policy.SendWindow | None = None
    phone_ids: frozenset[str] = frozenset()
    failover_s: float | None = None
    test: bool = False


@dataclass(slots=True)
class Handset:
    """A phone as the scheduler sees it: projected state plus what is on its way to the log."""

    id: str
    account: str
    label: str
    state: str
    state_at: datetime
    simulated: bool
    age_from: datetime
    min_gap_s: float
    jitter_s: float
    daily_cap: int
    warmup: bool
    last_dispatch_at: datetime | None
    last_command_id: str | None
    recent: list[tuple[datetime, int]]
    day: str
    sent_today: int
    in_flight: int

    def dispatched(self, at: datetime, parts: int, command_id: str, zone: ZoneInfo) -> None:
        """Count a dispatch that is not projected yet."""
        today = at.astimezone(zone).date().isoformat()
        if self.day != today:
            self.day, self.sent_today = today, 0
        self.sent_today += 1
        self.in_flight += 1
        self.recent.append((at, parts))
        self.last_dispatch_at, self.last_command_id = at, command_id


@dataclass(frozen=True, slots=True)
class Text:
    """A waiting text with what its contact adds."""

    id: str
    workspace_id: str
    contact_id: str
    to: str
    body: str
    parts: int
    source: str
    phone_id: str | None
    subscription_id: int | None
    test: bool
    timezone: str | None
    expires_at: datetime
    queue: str
    wake_at: datetime
    reason: str | None
    until: datetime | None
    attempt: int
    number_zones: tuple[ZoneInfo, ...] = ()
    opted_out: bool = False
    contact_seq: int = 0
    contact_phone: str | None = None
    campaign_id: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator of this scheduler allows."""

    window: int = 4
    lease_s: float = 300.0
    unpaced_simulation: bool = False


@dataclass(frozen=True, slots=True)
class Go:
    """Send it now through ``phone``."""

    text: Text
    phone_id: str


@dataclass(frozen=True, slots=True)
class Hold:
    """It waits, for a reason worth telling; ``queue`` moves it to another queue."""

    text: Text
    reason: str
    until: datetime | None = None
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """Final: policy forbids it."""

    text: Text
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Expire:
    """Final: its time ran out; ``phone_id`` if a phone had the command all the while."""

    text: Text
    waited_for: str | None
    phone_id: str | None = None


Outcome = Go | Hold | Reject | Expire


@dataclass(slots=True)
class Desk:
    """One workspace's phones at the moment of deciding."""

    account: Account
    phones: dict[str, Handset]
    limits: Limits = field(default_factory=Limits)
    campaigns: Mapping[str, Campaign] = field(default_factory=dict[str, Campaign])
    _real: bool | None = None

    def campaign(self, text: Text) -> Campaign | None:
        """The campaign ``text`` is of."""
        return None if text.campaign_id is None else self.campaigns.get(text.campaign_id)

    def has_real_phone(self) -> bool:
        """Whether a phone with a SIM of its own is paired."""
        if self._real is None:
            phones = self.phones.values()
            self._real = any(not p.simulated and p.state != "unpaired" for p in phones)
        return self._real
