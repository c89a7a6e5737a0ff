"""What happened, as people outside are told: the shapes of webhooks and of the event feed.

    {id, type, api_version, timestamp, workspace_id, data}

The names of the log are the names outside; the shapes are these, so that what is internal stays
inside, and what a webhook says the feed says in the same words. Fields are only ever added; another
meaning is another ``api_version``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from shared import events, ids

API_VERSION = "2026-11-01"


class Body(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The envelope. ``id`` is the webhook-id: the same on every attempt and every replay."""

    id: str
    type: str
    api_version: str
    timestamp: datetime
    workspace_id: str
    data: Any
    test: bool = False  # only in the examples a person asks for


class Failure(Struct, frozen=True, kw_only=True, rename={"kind": "class"}):
    """Why a message failed. ``class``: transient, throttled (8ms tries both again), permanent or
    ambiguous."""

    kind: str
    code: str
    detail: str


class SmsData(Struct, frozen=True, kw_only=True):
    """sms.sent, sms.delivered, sms.failed. ``to``, ``client_ref`` and ``parts`` are null for a
    message that was requested before the workspace had its first endpoint."""

    message_id: str
    contact_id: str
    conversation_id: str
    to: str | None
    phone_id: str
    client_ref: str | None
    campaign_id: str | None
    parts: int | None
    attempt: int
    error: Failure | None


class ReplyData(Struct, frozen=True, kw_only=True, rename={"sender": "from", "kind": "from_kind"}):
    """reply.received. ``verdict``: opt_out, opt_in, help or null, by ``rule`` of ``tier``."""

    message_id: str
    contact_id: str
    conversation_id: str
    sender: str
    kind: str
    phone_id: str
    subscription_id: int | None
    body: str
    parts: int
    received_at: datetime
    verdict: str | None
    tier: str | None
    rule: str | None


class ConsentData(Struct, frozen=True, kw_only=True):
    """contact.opted_out, contact.opted_in, with their evidence."""

    contact_id: str
    conversation_id: str
    number: str
    source: str
    rule: str | None
    tier: str | None
    text: str | None
    message_id: str | None


class PhoneData(Struct, frozen=True, kw_only=True):
    """phone.online, phone.offline."""

    phone_id: str


class CampaignData(Struct, frozen=True, kw_only=True):
    """campaign.completed: of ``recipients`` so many got a text, so many were skipped."""

    campaign_id: str
    recipients: int
    messages: int
    skipped: int


class About(Struct, frozen=True, kw_only=True):
    """What is remembered of the message an sms event is about."""

    to: str | None = None
    client_ref: str | None = None
    campaign_id: str | None = None
    parts: int | None = None


def sms_data(data: events.SmsFact, about: About) -> SmsData:
    """What a phone says of a message."""
    error = None
    if isinstance(data, events.SmsFailed):
        error = Failure(kind=data.error_class, code=data.code, detail=data.detail)
    return SmsData(
        message_id=data.message_id,
        contact_id=data.contact_id,
        conversation_id=ids.conversation_id(data.contact_id),
        to=about.to,
        phone_id=data.phone_id,
        client_ref=about.client_ref,
        campaign_id=about.campaign_id,
        parts=data.parts if isinstance(data, events.SmsSent) else about.parts,
        attempt=data.attempt,
        error=error,
    )


def _reply(data: events.ReplyReceived, _: About) -> ReplyData:
    return reply_data(data, data.body)


def reply_data(data: events.ReplyReceived, body: str) -> ReplyData:
    """A reply with its text as it is kept."""
    return ReplyData(
        message_id=data.message_id,
        contact_id=data.contact_id,
        conversation_id=data.conversation_id,
        sender=data.sender,
        kind=data.sender_kind,
        phone_id=data.phone_id,
        subscription_id=data.subscription_id,
        body=body,
        parts=data.parts,
        received_at=data.received_at,
        verdict=data.verdict,
        tier=data.tier,
        rule=data.rule,
    )


def _consent(data: events.Consent, _: About) -> ConsentData:
    return ConsentData(
        contact_id=data.contact_id,
        conversation_id=ids.conversation_id(data.contact_id),
        number=data.number,
        source=data.source,
        rule=data.rule,
        tier=data.tier,
        text=data.text,
        message_id=data.message_id,
    )


def phone_data(data: events.Data, _: About) -> PhoneData:
    """Which phone it is about."""
    return PhoneData(phone_id=data.key)


def _campaign(data: events.CampaignCompleted, _: About) -> CampaignData:
    return CampaignData(
        campaign_id=data.campaign_id,
        recipients=data.recipients,
        messages=data.messages,
        skipped=data.skipped,
    )


SHAPES: Mapping[str, Callable[[Any, About], Struct]] = {
    events.SmsSent.TYPE: sms_data,
    events.SmsDelivered.TYPE: sms_data,
    events.SmsFailed.TYPE: sms_data,
    events.ReplyReceived.TYPE: _reply,
    events.ContactOptedOut.TYPE: _consent,
    events.ContactOptedIn.TYPE: _consent,
    events.PhoneOnline.TYPE: phone_data,
    events.PhoneOffline.TYPE: phone_data,
    events.CampaignCompleted.TYPE: _campaign,
}
"""What is told, by type: its data and what is remembered of its message → what is said."""
