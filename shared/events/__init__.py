"""The whole vocabulary of 8ms: every event there is, and how it becomes bytes and back.

Read base.py for the envelope, then one file per entity. The catalogue with writers and readers is
ARCHITECTURE.md; one valid example of every event is tests/examples.py.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from shared.events.account import (
    ApiKeyCreated,
    ApiKeyRevoked,
    QuietHours,
    WorkspaceCreated,
    WorkspaceState,
    WorkspaceUpdated,
)
from shared.events.base import Actor, Data, Event, Sim, Wire
from shared.events.billing import SubscriptionChanged
from shared.events.campaign import (
    CampaignAudience,
    CampaignCancelled,
    CampaignCompleted,
    CampaignCreated,
    CampaignDeleted,
    CampaignFact,
    CampaignPaused,
    CampaignResumed,
    CampaignSkipped,
    CampaignStarted,
    CampaignState,
    CampaignUpdated,
    ContactFilter,
    SendWindow,
)
from shared.events.contact import (
    Consent,
    ContactOptedIn,
    ContactOptedOut,
    ContactSaved,
    ConversationClosed,
    ConversationRead,
    ConversationReopened,
)
from shared.events.member import (
    MemberChanged,
    MemberInvited,
    MemberJoined,
    MemberRemoved,
    Role,
)
from shared.events.phone import (
    PhoneConfigured,
    PhoneLate,
    PhoneOffline,
    PhoneOnline,
    PhonePaired,
    PhoneSimsChanged,
    PhoneUnpaired,
)
from shared.events.privacy import (
    ContactErased,
    ConversationErased,
    JournalHead,
    MessageForgotten,
    MessageRestated,
    PhoneUse,
    PrivacyFulfilled,
    PrivacyRequested,
)
from shared.events.reply import ReplyReceived
from shared.events.send import (
    SendCancelled,
    SendCancelRequested,
    SendDispatched,
    SendExpired,
    SendHeld,
    SendRejected,
    SendRequested,
    SendResolved,
)
from shared.events.sms import (
    SmsAccepted,
    SmsCancelled,
    SmsDelivered,
    SmsFact,
    SmsFailed,
    SmsReceived,
    SmsSent,
    SmsSubmitted,
    SmsUnknown,
)
from shared.events.upcast import upcast
from shared.events.webhook import (
    WebhookAttempted,
    WebhookEndpointDisabled,
    WebhookEndpointRemoved,
    WebhookEndpointSaved,
    WebhookReplayRequested,
    WebhookResendRequested,
    WebhookTestRequested,
)

ALL: tuple[type[Data], ...] = (
    WorkspaceCreated,
    WorkspaceUpdated,
    ApiKeyCreated,
    ApiKeyRevoked,
    MemberInvited,
    MemberJoined,
    MemberChanged,
    MemberRemoved,
    ContactSaved,
    ContactOptedOut,
    ContactOptedIn,
    ConversationRead,
    ConversationClosed,
    ConversationReopened,
    CampaignCreated,
    CampaignUpdated,
    CampaignDeleted,
    CampaignAudience,
    CampaignStarted,
    CampaignPaused,
    CampaignResumed,
    CampaignCancelled,
    CampaignSkipped,
    CampaignCompleted,
    PhonePaired,
    PhoneConfigured,
    PhoneUnpaired,
    PhoneOnline,
    PhoneLate,
    PhoneOffline,
    PhoneSimsChanged,
    SendRequested,
    SendCancelRequested,
    SendHeld,
    SendDispatched,
    SendRejected,
    SendCancelled,
    SendExpired,
    SendResolved,
    SmsAccepted,
    SmsSubmitted,
    SmsSent,
    SmsDelivered,
    SmsFailed,
    SmsUnknown,
    SmsCancelled,
    SmsReceived,
    ReplyReceived,
    WebhookEndpointSaved,
    WebhookEndpointRemoved,
    WebhookEndpointDisabled,
    WebhookAttempted,
    WebhookTestRequested,
    WebhookResendRequested,
    WebhookReplayRequested,
    SubscriptionChanged,
    ContactErased,
    ConversationErased,
    MessageForgotten,
    MessageRestated,
    PrivacyRequested,
    PrivacyFulfilled,
)

ENTITIES: tuple[str, ...] = tuple(sorted({cls.TYPE.split(".", 1)[0] for cls in ALL}))

_decode_wire = msgspec.json.Decoder(Wire).decode
_decoders = {cls.TYPE: (cls, msgspec.json.Decoder(cls).decode) for cls in ALL}
_encode = msgspec.json.Encoder().encode


class UndecodableEvent(ValueError):
    """The log holds bytes this version cannot read: a newer writer, or damage. Never skipped."""


def make(
    data: Data, *, id: str, workspace_id: str, at: datetime, actor: Actor, cause: str | None = None
) -> Event:
    """An event around ``data``. ``id`` names the command; time and id come from the caller."""
    return Event(
        id=id,
        type=data.TYPE,
        v=data.V,
        workspace_id=workspace_id,
        at=at,
        actor=actor,
        cause=cause,
        data=data,
    )


def encode(event: Event) -> bytes:
    """The event as JSON bytes."""
    return _encode(event)


def decode(raw: bytes) -> Event:
    """The newest version of the event in ``raw``; UndecodableEvent if this code cannot read it."""
    try:
        wire = _decode_wire(raw)
        cls, decode_data = _decoders[wire.type]
        if wire.v == cls.V:
            data = decode_data(wire.data)
        else:
            old: dict[str, Any] = msgspec.json.decode(wire.data)
            data = msgspec.convert(upcast(wire.type, wire.v, cls.V, old), cls)
    except (msgspec.DecodeError, KeyError) as error:
        raise UndecodableEvent(f"{type(error).__name__} in an event of {len(raw)} bytes") from error
    return Event(
        id=wire.id,
        type=wire.type,
        v=cls.V,
        workspace_id=wire.workspace_id,
        at=wire.at,
        actor=wire.actor,
        cause=wire.cause,
        data=data,
    )


__all__ = [
    "ALL",
    "ENTITIES",
    "Actor",
    "ApiKeyCreated",
    "ApiKeyRevoked",
    "CampaignAudience",
    "CampaignCancelled",
    "CampaignCompleted",
    "CampaignCreated",
    "CampaignDeleted",
    "CampaignFact",
    "CampaignPaused",
    "CampaignResumed",
    "CampaignSkipped",
    "CampaignStarted",
    "CampaignState",
    "CampaignUpdated",
    "Consent",
    "ContactErased",
    "ContactFilter",
    "ContactOptedIn",
    "ContactOptedOut",
    "ContactSaved",
    "ConversationClosed",
    "ConversationErased",
    "ConversationRead",
    "ConversationReopened",
    "Data",
    "Event",
    "JournalHead",
    "MemberChanged",
    "MemberInvited",
    "MemberJoined",
    "MemberRemoved",
    "MessageForgotten",
    "MessageRestated",
    "PhoneConfigured",
    "PhoneLate",
    "PhoneOffline",
    "PhoneOnline",
    "PhonePaired",
    "PhoneSimsChanged",
    "PhoneUnpaired",
    "PhoneUse",
    "PrivacyFulfilled",
    "PrivacyRequested",
    "QuietHours",
    "ReplyReceived",
    "Role",
    "SendCancelRequested",
    "SendCancelled",
    "SendDispatched",
    "SendExpired",
    "SendHeld",
    "SendRejected",
    "SendRequested",
    "SendResolved",
    "SendWindow",
    "Sim",
    "SmsAccepted",
    "SmsCancelled",
    "SmsDelivered",
    "SmsFact",
    "SmsFailed",
    "SmsReceived",
    "SmsSent",
    "SmsSubmitted",
    "SmsUnknown",
    "SubscriptionChanged",
    "UndecodableEvent",
    "WebhookAttempted",
    "WebhookEndpointDisabled",
    "WebhookEndpointRemoved",
    "WebhookEndpointSaved",
    "WebhookReplayRequested",
    "WebhookResendRequested",
    "WebhookTestRequested",
    "WorkspaceCreated",
    "WorkspaceState",
    "WorkspaceUpdated",
    "decode",
    "encode",
    "make",
]
