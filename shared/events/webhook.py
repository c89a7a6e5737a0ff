"""Customers' webhook endpoints and every attempt to reach them. Written by webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from shared.events.base import Data


class EndpointFact(Data, frozen=True, kw_only=True):
    KEY: ClassVar[str] = "endpoint_id"

    endpoint_id: str


class WebhookEndpointSaved(EndpointFact, frozen=True, kw_only=True):
    """The full state of an endpoint. Its secret is in the vault of webhooks, not here.

    ``ordered`` keeps the order of deliveries within a conversation.
    """

    TYPE: ClassVar[str] = "webhook.endpoint_saved"

    url: str
    types: tuple[str, ...]
    enabled: bool = True
    ordered: bool = False
    description: str = ""


class WebhookEndpointRemoved(EndpointFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "webhook.endpoint_removed"


class WebhookEndpointDisabled(EndpointFact, frozen=True, kw_only=True):
    """``reason``: ``gone`` (it answered 410) or ``failing`` (five days without one success)."""

    TYPE: ClassVar[str] = "webhook.endpoint_disabled"

    reason: str


class WebhookAttempted(EndpointFact, frozen=True, kw_only=True):
    """One delivery attempt. ``outcome``: delivered, failed (again at ``next_at``), exhausted.

    ``event_id`` is the webhook-id: the same for every attempt and every replay of one event.
    """

    TYPE: ClassVar[str] = "webhook.attempted"

    attempt_id: str
    delivery_id: str
    event_id: str
    event_type: str
    attempt: int
    trigger: str  # event | test | resend | replay
    outcome: str
    url: str
    duration_ms: int
    status: int | None = None
    error: str | None = None
    response: str | None = None
    next_at: datetime | None = None


class WebhookTestRequested(EndpointFact, frozen=True, kw_only=True):
    """A person wants an example event of ``event_type`` sent there now."""

    TYPE: ClassVar[str] = "webhook.test_requested"

    event_type: str


class WebhookResendRequested(EndpointFact, frozen=True, kw_only=True):
    """A person wants one delivery made again."""

    TYPE: ClassVar[str] = "webhook.resend_requested"

    delivery_id: str


class WebhookReplayRequested(EndpointFact, frozen=True, kw_only=True):
    """A person wants everything since a time delivered again."""

    TYPE: ClassVar[str] = "webhook.replay_requested"

    since: datetime
    types: tuple[str, ...] = ()
    only_failed: bool = False
