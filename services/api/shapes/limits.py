"""Limits, and the request log, as they are asked for and as they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from pydantic import Field

from services.api.shapes.fields import ONE_LINE, ULID, Paged

PATH_MAX_CHARS = 200


class RequestQuery(Paged):
    status: (
        Annotated[
            str,
            Field(
                max_length=3,
                pattern="^([1-5][0-9][0-9]|[1-5]xx)$",
                description="A status, or a class of them.",
                examples=["422", "4xx"],
            ),
        ]
        | None
    ) = None
    actor: Annotated[str, Field(min_length=1, max_length=64, pattern=ONE_LINE)] | None = Field(
        None, description="Only requests of this key or user, by its id."
    )
    path: (
        Annotated[str, Field(min_length=1, max_length=PATH_MAX_CHARS, pattern=ONE_LINE)] | None
    ) = Field(None, description="Exactly this path.", examples=["/v1/sms/send"])
    method: Literal["GET", "POST", "PATCH", "PUT", "DELETE"] | None = None


class Caller(Struct):
    """Who asked."""

    kind: str
    id: str


class RequestEntry(Struct, kw_only=True):
    """A request and its answer, without what they said."""

    id: Annotated[str, Meta(pattern=f"^req_{ULID}$", description="The answer's `X-Request-Id`.")]
    method: str
    path: Annotated[str, Meta(description="Without the query.")]
    operation: Annotated[str, Meta(examples=["sms.send"])]
    status: int
    code: Annotated[str | None, Meta(description="The problem's code, if it was one.")]
    replayed: Annotated[bool, Meta(description="Answered from memory (Idempotency-Key).")]
    duration_ms: int
    actor: Caller
    network: Annotated[
        str,
        Meta(
            description="Where it came from, as far as that is kept.", examples=["203.0.113.0/24"]
        ),
    ]
    created_at: datetime


class RateLimit(Struct, kw_only=True):
    """How often may be called, and what is left of it now."""

    policy: Annotated[str, Meta(examples=["key"])]
    requests: int
    window_s: float
    remaining: int
    resets_in_s: Annotated[float, Meta(description="Until `remaining` is `requests` again.")]


class Sizes(Struct, kw_only=True):
    """How large and how many things may be."""

    body_bytes: int
    messages_per_call: int
    characters_per_message: int
    parts_per_message: int
    items_per_page: int
    event_streams: int
    idempotency_key_hours: int
    requests_kept_days: int


class WarmUp(Struct):
    """A phone younger than ``days`` sends at most ``cap`` a day, until it is warmed up."""

    days: int
    cap: int


class Sending(Struct, kw_only=True):
    """What a phone may send before anybody changes it (PATCH /v1/phones/{phone_id}); where each
    phone stands today shows GET /v1/phones."""

    min_gap_s: float
    daily_cap: int
    warmup: list[WarmUp]
    parts_per_minute: Annotated[int, Meta(description="Nothing lifts this.")]
    attempts: int
    message_ttl_s: int


class PlanLimit(Struct, kw_only=True):
    """What the plan allows of something; null: as much as you like."""

    what: Annotated[str, Meta(examples=["phones"])]
    limit: int | None
    used: int


class LimitsAnswer(Struct, kw_only=True):
    """Everything that is limited. ``sending`` is null while the scheduler does not answer."""

    rate: Annotated[list[RateLimit], Meta(description="Of this key or user, by this instance.")]
    sizes: Sizes
    sending: Sending | None
    plan: Annotated[list[PlanLimit], Meta(description="GET /v1/billing says more.")]


def logged(row: Any) -> RequestEntry:
    """A row of ``vault_request`` as it is shown."""
    return RequestEntry(
        id=row["id"],
        method=row["method"],
        path=row["path"],
        operation=row["operation"],
        status=row["status"],
        code=row["code"],
        replayed=row["replayed"],
        duration_ms=row["duration_ms"],
        actor=Caller(row["actor_kind"], row["actor_id"]),
        network=row["address"],
        created_at=row["created_at"],
    )
