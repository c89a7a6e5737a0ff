"""Why a message waits, in words a customer understands."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo


def waiting(
    reason: str,
    until: datetime | None,
    zone: ZoneInfo,
    *,
    phone: str | None = None,
    position: int | None = None,
    min_gap_s: float | None = None,
    cap: int | None = None,
) -> str:
    """One or two sentences; times on the workspace's clock.

    ``phone`` is the label of the phone it waits for; without one it waits for any. ``position`` is
    how many messages are ahead.
    """
    at = f" at {until.astimezone(zone):%H:%M on %d %B %Y} ({zone.key})" if until else ""
    name, it = (f"“{phone}”", "it") if phone else ("Every phone", "one")
    match reason:
        case "no_phone":
            return "No phone can send it yet. Add a phone, and it goes out."
        case "phone_offline":
            return f"{name} is offline. The message goes out as soon as {it} is back."
        case "failover_wait":
            return f"{name} is offline. If it stays away, another phone takes over{at}."
        case "min_gap":
            gap = f"a gap of {min_gap_s:g} seconds" if min_gap_s else "a gap"
            return f"{name} keeps {gap} between texts to spare its SIM. Next slot{at}."
        case "daily_cap":
            limit = f" of {cap} texts" if cap is not None else ""
            return f"{name} has used its limit{limit} for today. It goes out{at}."
        case "quiet_hours":
            return f"It is quiet hours where the recipient is. It goes out{at}."
        case "send_window":
            return f"The campaign's send window is closed. It opens{at}."
        case "campaign_paused":
            return "Its campaign is paused. It goes out once the campaign is resumed."
        case "scheduled":
            return f"It is scheduled to go out{at}."
        case "retry":
            return f"The last attempt failed for a reason that often passes. It is tried again{at}."
        case "quarantined":
            return (
                "It may or may not have been sent: the phone could not tell. It is never sent "
                "again on its own. Decide: send it again, or leave it."
            )
        case _:
            return _in_line(phone, position or 0, at)


def _in_line(phone: str | None, ahead: int, at: str) -> str:
    line = f"on “{phone}”" if phone else "in the line for any phone"
    if not ahead:
        return f"It is next {line}."
    others = "1 message is" if ahead == 1 else f"{ahead} messages are"
    return f"{others} ahead of it {line}.{f' Expected{at}.' if at else ''}"
