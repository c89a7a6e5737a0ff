"""Messages as they are asked for and as they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from services.api.shapes.fields import (
    INT_MAX,
    INTEGRAL,
    ONE_LINE,
    TEXT,
    ULID,
    Body,
    CampaignId,
    ContactId,
    Direction,
    Flag,
    Instant,
    Paged,
    PhoneId,
    Query,
    Search,
    TypedNumber,
)
from shared import events as e
from shared import ids

BODY_MAX_CHARS = 1530  # ten parts of 153 GSM characters: more can never fit
TTL_MIN_S, TTL_MAX_S = 60, 14 * 24 * 3600
BULK_MAX = 1000
CLIENT_REF_MAX_CHARS = 128

State = Literal[
    "queued",
    "dispatched",
    "accepted",
    "submitted",
    "sent",
    "delivered",
    "rejected",
    "cancelled",
    "expired",
    "failed",
    "unknown",
    "received",
]
# One recipient, named in one of two ways: a JSON Schema can say so, a pydantic field cannot.
_ONE_RECIPIENT: JsonDict = {
    "oneOf": [
        {
            "required": ["to"],
            "properties": {"to": {"type": "string"}, "contact_id": {"type": "null"}},
        },
        {
            "required": ["contact_id"],
            "properties": {"contact_id": {"type": "string"}, "to": {"type": "null"}},
        },
    ]
}


class SendRequest(Body):
    """A text to be sent, now or later."""

    model_config = ConfigDict(
        json_schema_extra={
            **_ONE_RECIPIENT,
            "examples": [
                {"to": "+14155550123", "body": "Your table is ready."},
                {
                    "to": "(415) 555-0123",
                    "body": "See you tomorrow at 9.",
                    "send_at": "2027-01-15T16:00:00Z",
                    "ttl": 3600,
                    "client_ref": "appointment-4711",
                },
            ],
        }
    )

    to: TypedNumber | None = None
    contact_id: ContactId | None = Field(None, description="Instead of `to`: somebody known.")
    body: Annotated[
        str,
        Field(
            min_length=1,
            max_length=BODY_MAX_CHARS,
            pattern=TEXT,
            description="At most ten SMS parts.",
        ),
    ]
    phone_id: PhoneId | None = Field(None, description="Only this phone may send it.")
    subscription_id: Annotated[int, Field(ge=0, le=INT_MAX), INTEGRAL] | None = Field(
        None, description="The SIM to send with, as the phone lists it."
    )
    send_at: Instant | None = Field(None, description="Not before this time; at most a year ahead.")
    ttl: Annotated[int, Field(ge=TTL_MIN_S, le=TTL_MAX_S), INTEGRAL] | None = Field(
        None, description="Seconds after which it is no longer sent; three days if not given."
    )
    category: Literal["transactional", "marketing", "conversation"] | None = None
    client_ref: (
        Annotated[str, Field(min_length=1, max_length=CLIENT_REF_MAX_CHARS, pattern=ONE_LINE)]
        | None
    ) = Field(None, description="Yours; shown wherever the message is shown.")


class SendQuery(Query):
    dry_run: Flag = Field(False, description="Say what would happen, and send nothing.")


class BulkRequest(Body):
    """Many texts; each gets its own result, in the same order."""

    messages: Annotated[list[SendRequest], Field(min_length=1, max_length=BULK_MAX)]


class MessageQuery(Paged):
    state: State | None = None
    contact_id: ContactId | None = None
    phone_id: PhoneId | None = None
    direction: Direction | None = None
    campaign_id: CampaignId | None = Field(None, description="Alone, without another filter.")
    q: Search | None = Field(
        None,
        description="Words of what was written. Of texts that programs sent, only the newest are "
        "looked through.",
    )


class ResolveRequest(Body):
    """What to do with a message that may or may not have been sent."""

    decision: Literal["retry", "drop"] = Field(
        description="`retry` sends it again, `drop` leaves it as it is."
    )


class Waiting(Struct):
    """Why a message waits."""

    reason: Annotated[
        str,
        Meta(
            description="no_phone, phone_offline, min_gap, daily_cap, quiet_hours, send_window, "
            "scheduled, queue, retry, failover_wait, campaign_paused or quarantined."
        ),
    ]
    until: Annotated[datetime | None, Meta(description="Until when, where that is known.")]
    detail: Annotated[str | None, Meta(description="The same as a sentence.")] = None
    position: Annotated[int | None, Meta(description="Place in the phone's queue, from 1.")] = None


class Failure(Struct):
    """What went wrong with a message."""

    code: str
    detail: str


class Message(Struct, kw_only=True):
    """A text, out or in, as far as it got."""

    id: Annotated[str, Meta(pattern=f"^msg_{ULID}$")]
    state: State
    direction: Direction
    to: Annotated[str | None, Meta(description="Recipient of an outbound message.")]
    from_: Annotated[str | None, Meta(description="Sender of an inbound one.")] = field(name="from")
    from_phone_id: Annotated[
        str | None, Meta(description="The phone that carries it, or that was asked for.")
    ]
    subscription_id: int | None
    contact_id: str
    conversation_id: str
    body: str
    segments: Annotated[int, Meta(description="SMS parts the text takes.")]
    waiting: Waiting | None
    error: Failure | None
    attempts: Annotated[int, Meta(description="How often it was handed to a phone.")]
    source: Annotated[str | None, Meta(description="api, inbox, crm, campaign, confirmation.")]
    category: str | None
    client_ref: str | None
    campaign_id: str | None
    cancel_requested: bool
    test: bool
    send_at: datetime | None
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime


class SendAnswer(Struct):
    """The message as it was accepted."""

    message: Message


class DryRun(Struct, kw_only=True):
    """What would happen to a text; nothing was sent or stored."""

    to: Annotated[str, Meta(description="The number as it would be dialled, E.164.")]
    contact_id: str
    segments: int
    encoding: Literal["gsm7", "ucs2"]
    suppressed: Annotated[bool, Meta(description="The recipient opted out; it would be refused.")]
    phone_id: Annotated[str | None, Meta(description="The phone that would send it, as of now.")]
    earliest_at: datetime | None
    waiting: Waiting | None
    rejected: Annotated[Failure | None, Meta(description="Why it would never go out.")]


class ProblemDocument(Struct, kw_only=True):
    """What a refused item is answered with: the members of a problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[dict[str, str]]


class Accepted(Struct, tag_field="status", tag="accepted"):
    """This one is on its way."""

    message: Message


class Refused(Struct, tag_field="status", tag="refused"):
    """This one is not; pointers are relative to the item."""

    problem: ProblemDocument


class BulkAnswer(Struct):
    """One result per message, in the order of the request."""

    results: list[Accepted | Refused]
    accepted: int
    refused: int


class TimelineEntry(Struct, kw_only=True):
    """One fact about a message."""

    at: datetime
    type: Annotated[str, Meta(examples=["send.dispatched"])]
    service: Annotated[str, Meta(description="Who put it on record.")]
    detail: Annotated[str, Meta(description="The fact as a sentence.")]
    data: Annotated[dict[str, Any], Meta(description="The same as values.")]


class TimelineAnswer(Struct):
    """Everything that is known about a message, oldest first, and why it waits now."""

    data: list[TimelineEntry]
    waiting: Waiting | None


def requested(event: e.Event, data: e.SendRequested) -> Message:
    """The message a request becomes, before anything has happened to it."""
    return Message(
        id=data.message_id,
        state="queued",
        direction="outbound",
        to=data.to,
        from_=None,
        from_phone_id=data.phone_id,
        subscription_id=data.subscription_id,
        contact_id=data.contact_id,
        conversation_id=ids.conversation_id(data.contact_id),
        body=data.body,
        segments=data.parts,
        waiting=None,
        error=None,
        attempts=0,
        source=data.source,
        category=data.category,
        client_ref=data.client_ref,
        campaign_id=data.campaign_id,
        cancel_requested=False,
        test=data.test,
        send_at=data.send_at,
        expires_at=data.expires_at,
        created_at=event.at,
        updated_at=event.at,
    )


def message(row: Any) -> Message:
    """A row of ``message`` as it is shown."""
    outbound = row["direction"] == "outbound"
    reason = row["waiting_reason"]
    code = row["error_code"]
    return Message(
        id=row["id"],
        state=row["state"],
        direction=row["direction"],
        to=row["number"] if outbound else None,
        from_=None if outbound else row["number"],
        from_phone_id=row["phone_id"],
        subscription_id=row["subscription_id"],
        contact_id=row["contact_id"],
        conversation_id=ids.conversation_id(row["contact_id"]),
        body=row["body"],
        segments=row["parts"],
        waiting=Waiting(reason, row["waiting_until"]) if reason else None,
        error=Failure(code, row["error_detail"] or "") if code else None,
        attempts=row["attempt"],
        source=row["source"],
        category=row["category"],
        client_ref=row["client_ref"],
        campaign_id=row["campaign_id"],
        cancel_requested=bool(row["cancel_requested"]),
        test=row["test"],
        send_at=row["send_at"],
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
