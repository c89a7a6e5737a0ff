"""Is a phone online, late or offline? Pure: its last sign of life and the time in, the answer out.

A heartbeat every 60 s; two missed: late; silent for five minutes, or without a stream for one:
offline (the phone protocol). A phone that calls but never gets a stream through (a proxy that
swallows it) is offline and stays so: it can be told nothing, and must not flap with every call.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from msgspec import Struct, structs

State = Literal["online", "late", "offline"]


class Sign(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The last sign of life of a phone: what the presence bucket holds.

    ``gone_at`` is when its last stream ended; ``since`` and ``position`` are when, and at which log
    position, its present one began.
    """

    state: str = "offline"
    at: datetime | None = None
    battery: int | None = None
    charging: bool | None = None
    network: str | None = None
    app_version: str | None = None
    streaming: bool = False
    instance: str | None = None
    gone_at: datetime | None = None
    since: datetime | None = None
    position: int | None = None


class Limits(NamedTuple):
    """After how many seconds of silence, or without a stream, a phone is what."""

    late_s: float
    offline_s: float
    stream_gone_s: float


class Standing(NamedTuple):
    """What a phone is now, and when to look again (None: when it gives its next sign)."""

    state: State
    look_at: datetime | None


def heard(sign: Sign, now: datetime, limits: Limits) -> Sign:
    """``sign`` after a call at ``now``.

    After a long silence the time without a stream counts from now: the phone is just coming back
    and will open one.
    """
    silent = sign.at is None or now - sign.at >= timedelta(seconds=limits.offline_s)
    gone_at = now if silent and not sign.streaming else sign.gone_at
    return replaced(sign, at=now, gone_at=gone_at)


def replaced(sign: Sign, **changes: object) -> Sign:
    """``sign`` with other values."""
    return structs.replace(sign, **changes)


def standing(sign: Sign, now: datetime, limits: Limits) -> Standing:
    """What the phone behind ``sign`` is at ``now``."""
    if sign.at is None:
        return Standing("offline", None)
    late_at = sign.at + timedelta(seconds=limits.late_s)
    offline_at = sign.at + timedelta(seconds=limits.offline_s)
    if not sign.streaming:
        gone_at = sign.gone_at or sign.at
        offline_at = min(offline_at, gone_at + timedelta(seconds=limits.stream_gone_s))
    if now >= offline_at:
        return Standing("offline", None)
    if now >= late_at:
        return Standing("late", offline_at)
    return Standing("online", min(late_at, offline_at))


def step(known: State, found: State, *, in_grace: bool) -> State | None:
    """The state to record where ``known`` is recorded and ``found`` is true; None: no change.

    A phone gets worse only after the grace an instance gives when it begins to lead, so that a
    restart of ours is not taken for silence of theirs; and only what was online becomes late.
    """
    if found == known:
        return None
    if found == "online":
        return "online"
    if in_grace or (found == "late" and known == "offline"):
        return None
    return found
