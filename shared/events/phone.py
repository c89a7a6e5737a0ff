"""Phones. Paired, seen and lost by gateway; configured and unpaired by api."""

from __future__ import annotations

from typing import ClassVar

from shared.events.base import Data, Sim


class PhoneFact(Data, frozen=True, kw_only=True):
    KEY: ClassVar[str] = "phone_id"
    phone_id: str


class PhonePaired(PhoneFact, frozen=True, kw_only=True):
    """A device took a pairing. The same ``device_hash`` again keeps ``phone_id``, age and history.

    ``generation`` counts the pairings of this phone: its journal starts at 1 in each.
    """

    TYPE: ClassVar[str] = "phone.paired"

    generation: int
    device_hash: str
    label: str
    manufacturer: str
    model: str
    android: str
    app_version: str
    sims: tuple[Sim, ...]
    simulated: bool = False


class PhoneConfigured(PhoneFact, frozen=True, kw_only=True):
    """All settings of a phone as they stand now; ``acknowledged`` are the accepted warnings."""

    TYPE: ClassVar[str] = "phone.configured"

    label: str
    min_gap_s: int
    daily_cap: int
    warmup: bool
    jitter_s: int = 0
    acknowledged: tuple[str, ...] = ()


class PhoneUnpaired(PhoneFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "phone.unpaired"


class PhoneOnline(PhoneFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "phone.online"


class PhoneLate(PhoneFact, frozen=True, kw_only=True):
    """Two heartbeats missed."""

    TYPE: ClassVar[str] = "phone.late"


class PhoneOffline(PhoneFact, frozen=True, kw_only=True):
    """Silent for five minutes, or its stream gone for one (phone-protocol.md)."""

    TYPE: ClassVar[str] = "phone.offline"


class PhoneSimsChanged(PhoneFact, frozen=True, kw_only=True):
    """The SIMs differ from what was paired; a new ICCID starts its warm-up again."""

    TYPE: ClassVar[str] = "phone.sims_changed"

    sims: tuple[Sim, ...]
