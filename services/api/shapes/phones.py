"""Phones, pairings and simulated handsets as they are asked for and as they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from pydantic import ConfigDict, Field

from services.api.shapes.fields import (
    INT_MAX,
    INTEGRAL,
    PAGE_DEFAULT,
    TEXT,
    Body,
    Label,
    Limit,
    Paged,
    Query,
    TypedNumber,
    absent,
)

GAP_MAX_S = 24 * 3600
CAP_MAX = 100_000
JITTER_MAX_S = 3600

PhoneState = Literal["online", "late", "offline"]
STATES: frozenset[str] = frozenset({"online", "late", "offline"})


class PhonePatch(Body):
    """What to change. Loosening a limit needs ``acknowledge_risk`` after its warnings were read."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"label": "Front desk"}, {"daily_cap": 120}]}
    )

    label: Label = absent()
    min_gap_s: Annotated[int, Field(ge=0, le=GAP_MAX_S), INTEGRAL] = absent(
        "Seconds from one text to the next."
    )
    daily_cap: Annotated[int, Field(ge=0, le=CAP_MAX), INTEGRAL] = absent("Texts a day.")
    warmup: Literal["on", "off"] = absent("Whether a new number starts with a lower cap.")
    jitter_s: Annotated[int, Field(ge=0, le=JITTER_MAX_S), INTEGRAL] = absent(
        "At most this many seconds are added to a gap, by chance."
    )
    acknowledge_risk: bool = False


class PairingRequest(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"label": "Front desk"}]})

    label: Label | None = None


class SimulateReplyRequest(Body):
    """A text that arrives at a simulated handset."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"from": "+14155550123", "body": "Yes, please!"}]},
        populate_by_name=False,
    )

    from_: TypedNumber = Field(alias="from", description="Who texts: a number, or a sender's name.")
    body: Annotated[str, Field(min_length=1, max_length=1600, pattern=TEXT)]
    subscription_id: Annotated[int, Field(ge=0, le=INT_MAX), INTEGRAL] | None = None


class PhoneQuery(Paged):
    pass


class TextsQuery(Query):
    limit: Limit = PAGE_DEFAULT


class Sim(Struct, kw_only=True):
    """A SIM card as the phone reports it."""

    subscription_id: int
    slot: int
    carrier: str
    number: str | None


class Phone(Struct, kw_only=True):
    """A phone that sends and receives for the workspace."""

    id: str
    label: str
    state: PhoneState
    battery: Annotated[int | None, Meta(description="Percent.")]
    charging: bool | None
    network: str | None
    last_heartbeat_at: datetime | None
    sims: list[Sim]
    min_gap_s: Annotated[int, Meta(description="Seconds from one text to the next.")]
    daily_cap: Annotated[int, Meta(description="Texts a day, as configured.")]
    warmup: Literal["on", "off"]
    jitter_s: int
    effective_daily_cap: Annotated[
        int | None,
        Meta(description="Texts today, with the warm-up; null while that cannot be told."),
    ]
    sent_today: int | None
    next_slot_at: Annotated[datetime | None, Meta(description="When it may send next.")]
    age_days: int | None
    simulated: bool
    manufacturer: str
    model: str
    android: str
    app_version: str
    paired_at: datetime
    created_at: datetime


class Health(Struct, kw_only=True):
    """How a phone is right now."""

    id: str
    state: PhoneState
    battery: int | None
    charging: bool | None
    network: str | None
    app_version: str | None
    streaming: Annotated[bool | None, Meta(description="Whether it listens for commands now.")]
    last_heartbeat_at: datetime | None
    effective_daily_cap: int | None
    sent_today: int | None
    next_slot_at: datetime | None


class Pairing(Struct, kw_only=True):
    """An invitation for one phone, valid for minutes. ``uri`` is a secret, shown once."""

    id: str
    uri: Annotated[str, Meta(examples=["eightms://pair?e=…&t=…&l=Front+desk"])]
    qr_svg: Annotated[str, Meta(description="The same as a QR code, an SVG image.")]
    expires_at: datetime


class PairingState(Struct, kw_only=True):
    """What became of an invitation."""

    id: str
    state: Literal["open", "used", "expired"]
    phone_id: str | None
    expires_at: datetime


class SimulatedText(Struct, kw_only=True):
    """A text as the simulated handset shows it."""

    id: str
    direction: Literal["in", "out"]
    number: str
    body: str
    state: str
    at: datetime
    subscription_id: int | None


class SimulatedTexts(Struct):
    """The newest texts of a handset, newest first."""

    data: list[SimulatedText]


class SimulatedArrival(Struct):
    """The handset has it; it comes up as a received message within moments."""

    provider_id: str


def phone(row: Any, presence: Mapping[str, Any] | None, pace: Mapping[str, Any] | None) -> Phone:
    """A row of ``phone`` with its last sign of life and the scheduler's part, as far as known."""
    live = presence or {}
    paced = pace or {}
    return Phone(
        id=row["id"],
        label=row["label"],
        state=_state(row, live),
        battery=live.get("battery"),
        charging=live.get("charging"),
        network=live.get("network"),
        last_heartbeat_at=_time(live.get("at")),
        sims=[
            Sim(
                subscription_id=sim["subscription_id"],
                slot=sim["slot"],
                carrier=sim["carrier"],
                number=sim["number"],
            )
            for sim in row["sims"]
        ],
        min_gap_s=row["min_gap_s"],
        daily_cap=row["daily_cap"],
        warmup="on" if row["warmup"] else "off",
        jitter_s=row["jitter_s"],
        effective_daily_cap=paced.get("effective_daily_cap"),
        sent_today=paced.get("sent_today"),
        next_slot_at=_time(paced.get("next_slot_at")),
        age_days=paced.get("age_days"),
        simulated=row["simulated"],
        manufacturer=row["manufacturer"],
        model=row["model"],
        android=row["android"],
        app_version=live.get("app_version") or row["app_version"],
        paired_at=row["paired_at"],
        created_at=row["created_at"],
    )


def health(row: Any, presence: Mapping[str, Any] | None, pace: Mapping[str, Any] | None) -> Health:
    """The live part of a phone."""
    live = presence or {}
    shown = phone(row, presence, pace)
    return Health(
        id=shown.id,
        state=shown.state,
        battery=shown.battery,
        charging=shown.charging,
        network=shown.network,
        app_version=shown.app_version,
        streaming=live.get("streaming"),
        last_heartbeat_at=shown.last_heartbeat_at,
        effective_daily_cap=shown.effective_daily_cap,
        sent_today=shown.sent_today,
        next_slot_at=shown.next_slot_at,
    )


def _state(row: Any, live: Mapping[str, Any]) -> Any:
    """The newer of the last transition in the log and the last sign of life."""
    at = _time(live.get("at"))
    if at is not None and at > row["state_at"] and live.get("state") in STATES:
        return live["state"]
    return row["state"]


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
