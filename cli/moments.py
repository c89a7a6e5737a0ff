"""Places in the log as people name them: a sequence, a time, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from cli.errors import UsageError
from shared.errors import LogUnavailable
from shared.log import STREAM, Log

_AGO = re.compile(r"(\d+)\s*(s|min|m|h|d)\Z")
_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}
HELP = "a sequence, a time (2026-11-23T08:00Z; UTC unless it says otherwise), or how long ago (2h)"


def parse(text: str, now: datetime) -> int | datetime:
    """``text`` as a sequence or a time. UsageError: it is neither."""
    text = text.strip()
    if text.isdigit():
        return int(text)
    if ago := _AGO.match(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a place in the log.", f"Give {HELP}.") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


async def first_at(log: Log, at: datetime) -> int:
    """The sequence of the first event stored at ``at`` or later; past the end if there is none."""
    when = at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    try:
        found = await log.api(f"STREAM.MSG.GET.{STREAM}", {"start_time": when})
    except LogUnavailable as error:
        if "no message found" not in str(error):
            raise
        return (await log.state()).last_seq + 1
    return found["message"]["seq"]


async def since(log: Log, text: str) -> int:
    """The first sequence of what ``text`` means by "since"."""
    place = parse(text, datetime.now(UTC))
    return place if isinstance(place, int) else await first_at(log, place)


async def until(log: Log, text: str) -> tuple[int, datetime | None]:
    """The last sequence of what ``text`` means by "until", and the time if it named one."""
    place = parse(text, datetime.now(UTC))
    end = (await log.state()).last_seq
    if isinstance(place, int):
        if place > end:
            raise UsageError(f"The log ends at {end:,}, before {place:,}.")
        return place, None
    # What was stored at that very moment had happened.
    return min(await first_at(log, place + timedelta(microseconds=1)) - 1, end), place
