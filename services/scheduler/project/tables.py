"""The scheduler's rows, and how events find them. Fields are columns, in order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct

from shared import events as e
from shared.rows import Key, Table


class Workspace(Struct):
    id: str
    workspace_id: str
    timezone: str
    quiet_start: str | None
    quiet_end: str | None
    failover_s: int | None
    campaign_failover_s: int
    resend_unknown: bool


class Phone(Struct):
    id: str
    workspace_id: str
    label: str
    state: str
    state_at: datetime
    simulated: bool
    age_from: datetime
    iccids: list[str]
    min_gap_s: int
    jitter_s: int
    daily_cap: int
    warmup: bool
    last_dispatch_at: datetime | None
    last_command_id: str | None
    recent: list[list[float]]
    day: str
    sent_today: int
    in_flight: int


class Contact(Struct):
    """``successor_id`` is set of an erased person: nothing brings them back."""

    id: str
    workspace_id: str
    opted_out: bool
    timezone: str | None
    phone_id: str | None
    seq: int
    successor_id: str | None = None


class Message(Struct):
    id: str
    workspace_id: str
    contact_id: str
    to_number: str
    body: str
    parts: int
    source: str
    lane: int
    phone_id: str | None
    subscription_id: int | None
    test: bool
    timezone: str | None
    requested_seq: int
    expires_at: datetime
    state: str
    queue: str
    wake_at: datetime
    reason: str | None
    until: datetime | None
    attempt: int
    command_id: str | None
    dispatched_to: str | None
    dispatched_at: datetime | None
    accepted: bool
    cancel: str | None
    outcome: str | None
    campaign_id: str | None = None


class Campaign(Struct):
    id: str
    workspace_id: str
    state: str
    seq: int
    send_window: dict[str, Any] | None
    phone_ids: list[str]
    failover_s: int | None
    start_at: datetime | None
    audience_id: str | None
    recipients: int
    test: bool


class Audience(Struct):
    audience_id: str
    part: int
    campaign_id: str
    workspace_id: str
    contact_ids: list[str]


class Skip(Struct):
    campaign_id: str
    contact_id: str
    workspace_id: str


class Standing(Struct):
    """How a phone, or a contact's acquaintance with one, stood when messages were forgotten."""

    id: str
    workspace_id: str
    forgotten: str
    day: str
    sent_today: int
    recent: list[list[float]]
    last_dispatch_at: datetime | None
    last_command_id: str | None
    contact_phone: str | None


def _phones(event: e.Event) -> Iterable[Key]:
    match event.data:
        case e.MessageForgotten() as data:
            return [(phone_id,) for phone_id in data.phones]
        case e.MessageRestated() as data:
            return [(use.phone_id,) for use in data.phones]
        case _:
            return ()


def _standings(event: e.Event) -> Iterable[Key]:
    data = event.data
    if isinstance(data, e.MessageRestated):
        return [(data.contact_id,), *((use.phone_id,) for use in data.phones)]
    return ()


def _successors(event: e.Event) -> Iterable[Key]:
    data = event.data
    return [(data.successor_id,)] if isinstance(data, e.ContactErased) else ()


def _messages(event: e.Event) -> Iterable[Key]:
    data = event.data
    return [(id,) for id, _ in data.messages] if isinstance(data, e.MessageForgotten) else ()


WORKSPACE = Table("workspace", Workspace, by=("workspace_id",))
PHONE = Table("phone", Phone, by=("phone_id",), keys=_phones)
CONTACT = Table("contact", Contact, by=("contact_id",), keys=_successors)
MESSAGE = Table("message", Message, by=("message_id",), keys=_messages)
STANDING = Table("standing", Standing, keys=_standings)
CAMPAIGN = Table("campaign", Campaign, by=("campaign_id",))
AUDIENCE = Table("audience", Audience, ("audience_id", "part"), insert_only=True)
SKIP = Table("skip", Skip, ("campaign_id", "contact_id"), insert_only=True)

TABLES = (WORKSPACE, PHONE, CONTACT, MESSAGE, STANDING, CAMPAIGN, AUDIENCE, SKIP)
