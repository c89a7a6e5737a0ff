"""What a customer receives: the body of a webhook, and one example of each type.

    {id, type, api_version, timestamp, workspace_id, data}

The names of the log are the names outside. A body is serialised once, when its event is projected,
and sent as those bytes ever after. Fields are only ever added; another meaning is another
``api_version``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from shared import events, ids
from shared.events import Data, Event

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


class About(Struct, frozen=True, kw_only=True):
    """What is remembered of the message an sms event is about."""

    to: str | None = None
    client_ref: str | None = None
    campaign_id: str | None = None
    parts: int | None = None


_encode = msgspec.json.Encoder().encode
_NOTHING = About()


def body(event: Event, about: About = _NOTHING) -> str:
    """The body of ``event``'s webhook. KeyError for a type that is not delivered."""
    shape = _SHAPES[event.type]
    return _serialised(event, event.type, shape(event.data, about), test=False)


def example_body(event: Event, event_type: str) -> str:
    """The body of the test ``event`` asks for: an example of ``event_type`` under its id."""
    data = _EXAMPLES[event_type]
    return _serialised(event, event_type, _SHAPES[event_type](data, _EXAMPLE_ABOUT), test=True)


def _serialised(event: Event, event_type: str, data: Struct, *, test: bool) -> str:
    whole = Body(
        id=event.id,
        type=event_type,
        api_version=API_VERSION,
        timestamp=event.at,
        workspace_id=event.workspace_id,
        data=data,
        test=test,
    )
    return _encode(whole).decode()


def _sms(data: events.SmsFact, about: About) -> SmsData:
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
    return ReplyData(
        message_id=data.message_id,
        contact_id=data.contact_id,
        conversation_id=data.conversation_id,
        sender=data.sender,
        kind=data.sender_kind,
        phone_id=data.phone_id,
        subscription_id=data.subscription_id,
        body=data.body,
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


def _phone(data: events.PhoneOnline | events.PhoneOffline, _: About) -> PhoneData:
    return PhoneData(phone_id=data.phone_id)


_SHAPES: dict[str, Callable[[Any, About], Struct]] = {
    events.SmsSent.TYPE: _sms,
    events.SmsDelivered.TYPE: _sms,
    events.SmsFailed.TYPE: _sms,
    events.ReplyReceived.TYPE: _reply,
    events.ContactOptedOut.TYPE: _consent,
    events.ContactOptedIn.TYPE: _consent,
    events.PhoneOnline.TYPE: _phone,
    events.PhoneOffline.TYPE: _phone,
}
TYPES = tuple(_SHAPES)
"""What an endpoint can subscribe to, by name; ``*`` is all of it, and what is added later."""
TOLD = frozenset(TYPES)

_CONTACT, _MESSAGE, _PHONE_ID = (ids.derive(kind, "example") for kind in ("con", "msg", "phn"))
_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
_EXAMPLE_ABOUT = About(to="+14155550100", client_ref="order-1234", parts=1)
_FACT: dict[str, Any] = {
    "message_id": _MESSAGE,
    "contact_id": _CONTACT,
    "command_id": ids.derive("cmd", "example"),
    "phone_id": _PHONE_ID,
    "attempt": 1,
    "journal_seq": 1,
    "phone_at": _AT,
}
_OPT_OUT: dict[str, Any] = {
    "contact_id": _CONTACT,
    "number": "+14155550100",
    "source": "keyword",
    "tier": "keyword",
    "message_id": _MESSAGE,
}
_EXAMPLES: dict[str, Data] = {
    example.TYPE: example
    for example in (
        events.SmsSent(**_FACT),
        events.SmsDelivered(**_FACT),
        events.SmsFailed(
            **_FACT, error_class="permanent", code="no_service", detail="The phone has no service."
        ),
        events.ReplyReceived(
            message_id=_MESSAGE,
            contact_id=_CONTACT,
            conversation_id=ids.conversation_id(_CONTACT),
            phone_id=_PHONE_ID,
            sender="+14155550100",
            sender_kind="number",
            body="Thanks, see you then!",
            parts=1,
            received_at=_AT,
        ),
        events.ContactOptedOut(**_OPT_OUT, rule="stop", text="STOP"),
        events.ContactOptedIn(**_OPT_OUT, rule="start", text="START"),
        events.PhoneOnline(phone_id=_PHONE_ID),
        events.PhoneOffline(phone_id=_PHONE_ID),
    )
}
