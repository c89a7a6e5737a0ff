"""The rows that webhooks projects, and which of them an event touches. project.py writes them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct

from services.webhooks import shapes
from shared import events
from shared.events import Event
from shared.rows import Key, Table


class Endpoint(Struct):
    """An endpoint as it stands. ``failing_since`` is its first failure since its last success."""

    id: str
    workspace_id: str
    url: str
    types: list[str]
    enabled: bool
    ordered: bool
    description: str
    removed: bool
    disabled_reason: str | None
    failing_since: datetime | None
    created_at: datetime
    updated_at: datetime


class Subscription(Struct):
    """A workspace's enabled endpoints: their types, which of them are ordered, their open
    deliveries. ``saved_seq`` is the last endpoint_saved, which the next one is decided on."""

    workspace_id: str
    saved_seq: int
    types: dict[str, list[str]]
    ordered: list[str]
    backlog: dict[str, int]


class Message(Struct):
    """Whom a message goes to."""

    id: str
    workspace_id: str
    to_number: str
    client_ref: str | None
    campaign_id: str | None
    parts: int
    keep_until: datetime


class Payload(Struct):
    """The bytes of one event's webhook, as text."""

    event_id: str
    workspace_id: str
    body: str
    at: datetime


class Delivery(Struct):
    """One event for one endpoint (decide.Due says more)."""

    id: str
    workspace_id: str
    endpoint_id: str
    event_id: str
    event_type: str
    seq: int
    at: datetime
    ordered_by: str | None
    state: str
    trigger: str
    opened_by: str
    attempt: int
    next_at: datetime | None
    status: int | None
    error: str | None


class Attempt(Struct):
    """Which delivery an attempt was of."""

    id: str
    workspace_id: str
    delivery_id: str
    at: datetime


class Pruned(Struct):
    """When old rows were last removed, and how many were made since."""

    id: str
    at: datetime
    made: int


ALL = "all"  # the key of the only row of `pruned`


def _workspaces(event: Event) -> Iterable[Key]:
    return ((event.workspace_id,),)


def _payloads(event: Event) -> Iterable[Key]:
    if event.type in shapes.TOLD or isinstance(event.data, events.WebhookTestRequested):
        return ((event.id,),)
    return ()


def _messages(event: Event) -> Iterable[Key]:
    if isinstance(event.data, events.SmsFact):
        return ((event.data.message_id,),)
    return ()


def _pruned(_: Event) -> Iterable[Key]:
    return ((ALL,),)


ENDPOINT = Table("endpoint", Endpoint, by=("endpoint_id",))
SUBSCRIPTION = Table("subscription", Subscription, ("workspace_id",), keys=_workspaces)
MESSAGE = Table("message", Message, keys=_messages)
PAYLOAD = Table("payload", Payload, ("event_id",), keys=_payloads)
DELIVERY = Table("delivery", Delivery, by=("delivery_id",))
ATTEMPT = Table("attempt", Attempt, insert_only=True)
PRUNED = Table("pruned", Pruned, keys=_pruned)
TABLES: tuple[Table[Any], ...] = (
    ENDPOINT,
    SUBSCRIPTION,
    MESSAGE,
    PAYLOAD,
    DELIVERY,
    ATTEMPT,
    PRUNED,
)
