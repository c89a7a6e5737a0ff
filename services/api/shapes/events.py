"""The event feed and the audit list as they are asked for and as they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from pydantic import Field

from services.api.shapes.fields import (
    CURSOR_MAX_CHARS,
    ONE_LINE,
    PAGE_DEFAULT,
    Instant,
    Limit,
    Paged,
    Query,
)

TYPES_MAX_CHARS = 1000

Types = Annotated[
    str,
    Field(
        min_length=1,
        max_length=TYPES_MAX_CHARS,
        pattern=ONE_LINE,
        description="Only these types, with commas between; `sms.*` is every type of sms.",
        examples=["sms.delivered,reply.received"],
    ),
]
After = Annotated[
    str,
    Field(
        min_length=1,
        max_length=CURSOR_MAX_CHARS,
        pattern=ONE_LINE,
        description="Begin behind this `cursor`; `latest`: behind everything there is now. "
        "Left out: from the beginning.",
    ),
]


class EventQuery(Query):
    """Which events, and how many."""

    after: After | None = None
    type: Types | None = None
    limit: Limit = PAGE_DEFAULT


class StreamQuery(Query):
    """Which events."""

    after: After | None = Field(
        None,
        description="Begin behind this `cursor`; left out: with what happens from now on. A "
        "`Last-Event-ID` header goes before it.",
    )
    type: Types | None = None


class AuditQuery(Paged):
    actor: Annotated[str, Field(min_length=1, max_length=64, pattern=ONE_LINE)] | None = Field(
        None, description="Only what this user, key or service did, by its id."
    )
    target: Annotated[str, Field(min_length=1, max_length=64, pattern=ONE_LINE)] | None = Field(
        None, description="Only what was done to this, by its id."
    )
    type: Types | None = None
    since: Instant | None = Field(None, description="Not before this time.")
    until: Instant | None = Field(None, description="Before this time.")


class Waiting(Struct):
    """Why a text waits, and until when, where that is known."""

    reason: str
    until: datetime | None


class Refusal(Struct):
    """Why a text will not be sent."""

    code: str
    detail: str


class SendData(Struct, kw_only=True):
    """send.*: ``body`` with send.requested, ``waiting`` with send.held, ``error`` where it ends."""

    message_id: str
    contact_id: str
    conversation_id: str
    to: str
    phone_id: str | None
    client_ref: str | None
    campaign_id: str | None
    parts: int
    attempt: int | None
    body: str | None
    waiting: Waiting | None
    error: Refusal | None


class Event(Struct, kw_only=True):
    """Something that happened, as a webhook would tell it, and the ``cursor`` behind it."""

    id: str
    type: Annotated[str, Meta(examples=["sms.delivered"])]
    api_version: str
    timestamp: datetime
    workspace_id: str
    data: Annotated[
        Any,
        Meta(
            description="As in the webhook of this type, where there is one (see `webhooks`). "
            "Else the ids of what it is about; `send.*` also why it waits, or will not be sent."
        ),
    ]
    cursor: str


class Events(Struct, kw_only=True):
    """Events, oldest first. ``next_cursor`` always says where to go on, now or later; ``has_more``
    that there is more already. A page may be empty and still have more behind it."""

    data: list[Event]
    has_more: bool
    next_cursor: str


class Doer(Struct):
    """Who did it."""

    kind: Literal["user", "api_key", "phone", "system", "ghl", "stripe"]
    id: str


class AuditEntry(Struct, kw_only=True):
    """Something that somebody did: ids, and nothing of what was said."""

    at: datetime
    type: Annotated[str, Meta(examples=["api_key.created"])]
    actor: Doer
    target: Annotated[str, Meta(description="The id of what it was done to.")]
    request_id: Annotated[str | None, Meta(description="The request it came with.")]
    event_id: Annotated[str | None, Meta(description="The event that led to it, if one did.")]


def audit_entry(row: Any) -> AuditEntry:
    """A row of ``audit`` as it is shown."""
    cause: str = row["cause"] or ""
    return AuditEntry(
        at=row["at"],
        type=row["type"],
        actor=Doer(row["actor_kind"], row["actor_id"]),
        target=row["target"],
        request_id=cause if cause.startswith("req_") else None,
        event_id=cause if cause.startswith("evt_") else None,
    )
