"""When may somebody be texted: outside quiet hours where they live, inside the campaign's window.

Pure, over policy.py. The dispatch of a text, the feeding of a campaign and its forecast ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from services.scheduler import policy
from services.scheduler.policy import SendWindow

Quiet = tuple[time, time] | None

TURNS_MAX: Final = 40
"""Quiet hours and a window take turns in being closed twice a day at most; in three weeks every day
of a window has come, and clocks have changed once at most."""
LEAST_QUIET_STEP: Final = timedelta(minutes=1)
"""Where some zone is always quiet (policy.quiet_until), what is open is only known for now."""
_EVERY_DAY: Final = frozenset(range(7))


def closed_until(
    now: datetime, zones: Sequence[ZoneInfo], quiet: Quiet, window: SendWindow | None
) -> tuple[str, datetime, bool] | None:
    """None if both allow a text now; else (reason, the first instant they may, whether they do).

    The last is False where no instant was found: the window only opens when people sleep.
    """
    at, reason = now, None
    for _ in range(TURNS_MAX):
        awake_at = policy.quiet_until(at, zones, *quiet) if quiet is not None else None
        open_at = policy.window_until(at, window) if window is not None else None
        if awake_at is None and open_at is None:
            return None if reason is None else (reason, at, True)
        if reason is None:
            by_window = open_at is not None and (awake_at is None or open_at >= awake_at)
            reason = "send_window" if by_window else "quiet_hours"
        at = max(one for one in (awake_at, open_at) if one is not None)
    return reason or "send_window", at, False


def open_until(
    now: datetime, zones: Sequence[ZoneInfo], quiet: Quiet, window: SendWindow | None
) -> datetime | None:
    """Until when what is open now stays so, at least; None: for ever."""
    ends: list[datetime] = []
    if quiet is not None and quiet[0] != quiet[1]:
        for zone in zones:
            quiet_at = policy.window_until(now, SendWindow(_EVERY_DAY, *quiet, zone))
            ends.append(quiet_at or now + LEAST_QUIET_STEP)
    if window is not None:
        end = window.end if window.end != window.start else window.start
        last_minute = (datetime.combine(now.date(), end) + LEAST_QUIET_STEP).time()
        edge = SendWindow(_EVERY_DAY, end, last_minute, window.tz)
        ends.append(policy.window_until(now, edge) or now + LEAST_QUIET_STEP)
    return min(ends) if ends else None


class Opening:
    """Whether people who live by the same clocks may be texted, known until it changes.

    ``key`` spreads what opens over the minutes after (policy.release_spread_s).
    """

    __slots__ = (
        "_again", "_key", "_open", "_quiet", "_since", "_until", "_window", "never", "zones",
    )  # fmt: skip

    def __init__(
        self, zones: tuple[ZoneInfo, ...], quiet: Quiet, window: SendWindow | None, key: str
    ) -> None:
        self.zones = zones
        self.never = False  # it will not open at all
        self._quiet, self._window, self._key = quiet, window, key
        self._open = False
        self._since: datetime | None = None
        self._until: datetime | None = None
        self._again: datetime | None = None

    @property
    def urgency(self) -> tuple[float, float]:
        """Of what is open: who goes first. What closes first; of those, what opens again last."""
        closes_s = self._until.timestamp() if self._until is not None else float("inf")
        return closes_s, -self._again.timestamp() if self._again is not None else 0.0

    def at(self, now: datetime) -> bool:
        """Whether it is open; ``until`` says until when that holds."""
        if self._since is None or (self._until is not None and now >= self._until):
            self._look(now)
        return self._open

    @property
    def until(self) -> datetime | None:
        """When it changes next; None: never. Of the last look."""
        return self._until

    def _look(self, now: datetime) -> None:
        self._since = now
        closed = closed_until(now, self.zones, self._quiet, self._window)
        if closed is None:
            self._open = True
            self._until = open_until(now, self.zones, self._quiet, self._window)
            self._again = None
            if self._until is not None:
                shut = closed_until(self._until, self.zones, self._quiet, self._window)
                self._again = self._until if shut is None else shut[1]
            return
        self._open, self.never = False, not closed[2]
        self._until = policy.release_at(closed[1], self._key, self._blocked)

    def _blocked(self, at: datetime) -> datetime | None:
        closed = closed_until(at, self.zones, self._quiet, self._window)
        return None if closed is None else closed[1]
