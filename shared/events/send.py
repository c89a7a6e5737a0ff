"""Wishes to send and what the scheduler made of them. Keyed by the contact, so erasable with it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from shared.events.base import Data


class SendFact(Data, frozen=True, kw_only=True):
    KEY: ClassVar[str] = "contact_id"

    message_id: str
    contact_id: str


class SendRequested(SendFact, frozen=True, kw_only=True):
    """Somebody wants this text sent. Written by api, inbound (its answers), scheduler (campaigns).

    ``source`` sets the place in a phone's queue (policy.PRIORITY): confirmation, inbox, ghl, api,
    campaign. ``test`` is true for a test key: only simulated phones may carry it.
    """

    TYPE: ClassVar[str] = "send.requested"

    to: str
    body: str
    parts: int
    source: str
    expires_at: datetime
    category: str | None = None
    phone_id: str | None = None
    subscription_id: int | None = None
    send_at: datetime | None = None
    client_ref: str | None = None
    campaign_id: str | None = None
    timezone: str | None = None
    test: bool = False


class SendCancelRequested(SendFact, frozen=True, kw_only=True):
    """And now it does not. ``reason``: ``user`` (api), ``failover`` or ``expired`` (scheduler)."""

    TYPE: ClassVar[str] = "send.cancel_requested"

    reason: str = "user"
    command_id: str | None = None


class SendHeld(SendFact, frozen=True, kw_only=True):
    """Why it waits and until when, when that is not merely its place in the queue.

    ``queue`` moves it: into the queue of a phone, or of the workspace (its id) for any phone.
    """

    TYPE: ClassVar[str] = "send.held"

    reason: str
    until: datetime | None = None
    queue: str | None = None


class SendDispatched(SendFact, frozen=True, kw_only=True):
    """This phone, this SIM, this command, this attempt, now. Written by scheduler, read by gateway.

    Carries the text, so that the gateway needs no other event to offer the command.
    """

    TYPE: ClassVar[str] = "send.dispatched"

    command_id: str
    phone_id: str
    attempt: int
    to: str
    body: str
    parts: int
    source: str
    expires_at: datetime
    subscription_id: int | None = None


class SendRejected(SendFact, frozen=True, kw_only=True):
    """Final: policy forbids it (``recipient_opted_out``, ``phone_unpaired``, …)."""

    TYPE: ClassVar[str] = "send.rejected"

    code: str
    detail: str


class SendCancelled(SendFact, frozen=True, kw_only=True):
    """Final: it was taken back before any phone submitted it."""

    TYPE: ClassVar[str] = "send.cancelled"


class SendExpired(SendFact, frozen=True, kw_only=True):
    """Final: its time ran out; ``waited_for`` is the last reason it waited.

    ``phone_id`` is the phone that had the command and never said a word about it.
    """

    TYPE: ClassVar[str] = "send.expired"

    waited_for: str | None = None
    phone_id: str | None = None


class SendResolved(SendFact, frozen=True, kw_only=True):
    """A person decided about a quarantined message. ``decision``: ``retry`` or ``drop``."""

    TYPE: ClassVar[str] = "send.resolved"

    decision: str
