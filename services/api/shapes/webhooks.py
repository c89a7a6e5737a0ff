"""Webhook endpoints and their deliveries as they are asked for and as they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from pydantic import ConfigDict, Field

from services.api.shapes.fields import INTEGRAL, ONE_LINE, Body, Instant, Paged, absent

EventType = Literal[
    "sms.sent",
    "sms.delivered",
    "sms.failed",
    "reply.received",
    "reply.classified",
    "contact.opted_out",
    "contact.opted_in",
    "phone.online",
    "phone.offline",
    "campaign.completed",
]
Subscribed = Literal[EventType, "*"]
URL_MAX_CHARS = 2000
GRACE_MAX_S = 7 * 24 * 3600

Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=URL_MAX_CHARS,
        pattern=r"^https?://[^\s\x00-\x1f\x7f]+$",
        description="https, reachable from the internet.",
        examples=["https://example.com/hooks/8ms"],
    ),
]
Types = Annotated[
    list[Subscribed],
    Field(min_length=1, max_length=50, description="`*` is every type, future ones included."),
]
Description = Annotated[str, Field(max_length=200, pattern=ONE_LINE)]


class EndpointRequest(Body):
    """Where to tell what happens."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "url": "https://example.com/hooks/8ms",
                    "types": ["sms.delivered", "reply.received"],
                }
            ]
        }
    )

    url: Url
    types: Types
    description: Description = ""
    ordered: bool = Field(False, description="Keep the order within a conversation.")
    enabled: bool = True


class EndpointPatch(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": False}]})

    url: Url = absent()
    types: Types = absent()
    description: Description = absent()
    ordered: bool = absent()
    enabled: bool = absent()


class RotateRequest(Body):
    grace_s: Annotated[int, Field(ge=0, le=GRACE_MAX_S), INTEGRAL] | None = Field(
        None, description="For how many seconds the old secret signs as well."
    )


class TestRequest(Body):
    """What to send as an example."""

    __test__ = False  # no test of pytest's

    type: EventType = "sms.delivered"


class ReplayRequest(Body):
    """Deliver again what happened since a time."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"since": "2026-11-23T00:00:00Z", "only_failed": True}]}
    )

    since: Instant
    types: Types | None = None
    only_failed: bool = False


class EndpointQuery(Paged):
    pass


class AttemptQuery(Paged):
    pass


class Endpoint(Struct, kw_only=True):
    """A webhook endpoint."""

    id: str
    url: str
    types: list[str]
    state: Literal["enabled", "disabled"]
    disabled_reason: Annotated[
        str | None,
        Meta(description="user; gone: it answered 410; failing: five days without one success."),
    ]
    ordered: bool
    description: str
    created_at: datetime
    updated_at: datetime


class NewEndpoint(Endpoint, kw_only=True):
    """A webhook endpoint with its secret, which is shown only now."""

    secret: Annotated[str, Meta(examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"])]


class NewSecret(Struct):
    """The secret that signs from now on, shown only now."""

    secret: str


class Attempt(Struct, kw_only=True):
    """One try to deliver one event."""

    id: str
    endpoint_id: str
    delivery_id: str
    event_id: Annotated[str, Meta(description="The webhook-id header: the same for every try.")]
    event_type: str
    attempt: Annotated[int, Meta(description="The how manieth try of this delivery, from 1.")]
    trigger: Annotated[str, Meta(description="event, test, resend or replay.")]
    outcome: Annotated[str, Meta(description="delivered, failed or exhausted.")]
    url: str
    status: Annotated[int | None, Meta(description="HTTP status of the answer, if one came.")]
    error: str | None
    response: Annotated[str | None, Meta(description="The beginning of the answer.")]
    duration_ms: int
    next_at: Annotated[datetime | None, Meta(description="When it is tried again.")]
    at: datetime


class Deliveries(Struct):
    """How many deliveries were begun."""

    deliveries: int


class Begun(Struct):
    """It is under way; its attempts appear in the endpoint's list of attempts."""

    delivery_id: str


def endpoint(row: Any) -> Endpoint:
    """A row of ``endpoint`` as it is shown."""
    return Endpoint(
        id=row["id"],
        url=row["url"],
        types=row["types"],
        state="enabled" if row["enabled"] else "disabled",
        disabled_reason=row["disabled_reason"],
        ordered=row["ordered"],
        description=row["description"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def attempt(row: Any) -> Attempt:
    """A row of ``attempt`` as it is shown."""
    return Attempt(**{name: row[name] for name in Attempt.__struct_fields__})
