"""What a customer receives: the body of a webhook, and one example of each type.

The words are shared/outward.py's. A body is serialised once, when its event is projected, and sent
as those bytes ever after.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from shared import events, ids
from shared.events import Data, Event
from shared.outward import API_VERSION, SHAPES, About, Body

_encode = msgspec.json.Encoder().encode
_NOTHING = About()


def body(event: Event, about: About = _NOTHING) -> str:
    """The body of ``event``'s webhook. KeyError for a type that is not delivered."""
    shape = SHAPES[event.type]
    return _serialised(event, event.type, shape(event.data, about), test=False)


def example_body(event: Event, event_type: str) -> str:
    """The body of the test ``event`` asks for: an example of ``event_type`` under its id."""
    data = _EXAMPLES[event_type]
    return _serialised(event, event_type, SHAPES[event_type](data, _EXAMPLE_ABOUT), test=True)


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


TYPES = tuple(SHAPES)
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
        events.CampaignCompleted(
            campaign_id=ids.derive("cmp", "example"), recipients=120, messages=117, skipped=3
        ),
    )
}
