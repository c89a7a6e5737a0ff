"""Contacts and conversations as they are asked for and as they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from pydantic import ConfigDict, Field

from services.api.shapes.fields import (
    ONE_LINE,
    PAGE_DEFAULT,
    SOME_LINE,
    Body,
    Cursor,
    Email,
    Flag,
    Limit,
    Line,
    MessageId,
    Note,
    Paged,
    Query,
    Search,
    Tag,
    TypedNumber,
    Zone,
    absent,
)
from services.api.shapes.messages import Message
from shared import ids

TAGS_MAX = 50
FIELDS_MAX = 50

FieldName = Annotated[str, Field(min_length=1, max_length=64, pattern=SOME_LINE)]
FieldValue = Annotated[str, Field(max_length=1000, pattern=ONE_LINE)]
# Pydantic says which names are good, and would let JSON Schema accept every other one as well.
CustomFields = Annotated[
    dict[FieldName, FieldValue],
    Field(max_length=FIELDS_MAX, json_schema_extra={"additionalProperties": False}),
]
Tags = Annotated[list[Tag], Field(max_length=TAGS_MAX)]


class ContactRequest(Body):
    """Somebody to keep."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "phone": "+14155550123",
                    "first_name": "Ada",
                    "tags": ["vip"],
                    "custom_fields": {"birthday": "10 December"},
                }
            ]
        }
    )

    phone: TypedNumber
    first_name: Line | None = None
    last_name: Line | None = None
    email: Email | None = None
    company: Line | None = None
    tags: Tags = Field(default=[])
    custom_fields: CustomFields = Field(default={})
    timezone: Zone | None = None


class ContactPatch(Body):
    """What to change; null takes a value away."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"last_name": "Lovelace"}]})

    first_name: Line | None = None
    last_name: Line | None = None
    email: Email | None = None
    company: Line | None = None
    tags: Tags = absent()
    custom_fields: CustomFields = absent()
    timezone: Zone | None = None


class TagsRequest(Body):
    """Tags to add and tags to take away."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"add": ["vip"], "remove": ["lead"]}]}
    )

    add: Tags = Field(default=[])
    remove: Tags = Field(default=[])


class ConsentRequest(Body):
    """Evidence to be kept with the change."""

    note: Note | None = Field(
        None, description="How you know, in your words.", examples=["Asked on the phone."]
    )


class ContactQuery(Paged):
    q: Search | None = Field(
        None, description="Beginnings of words of the name, company or address, or of the number."
    )
    tag: Tag | None = None
    opted_out: Flag | None = None


class ConversationQuery(Paged):
    status: Literal["unread", "open", "closed"] | None = None
    q: Search | None = Field(
        None, description="Who it is with, as for contacts, or words of what was written."
    )


class ThreadQuery(Query):
    """Which part of a conversation; one of ``cursor``, ``before``, ``after`` and ``around``."""

    limit: Limit = PAGE_DEFAULT
    cursor: Cursor | None = None
    before: MessageId | None = Field(None, description="Older than this message.")
    after: MessageId | None = Field(None, description="Newer than this message.")
    around: MessageId | None = Field(
        None, description="This message, with as many before it as after it."
    )
    q: Search | None = Field(None, description="Only texts with all of these words in them.")


class Consent(Struct, kw_only=True):
    """What the person said about being texted, as last put on record."""

    state: Literal["unknown", "opted_in", "opted_out"]
    source: Annotated[str | None, Meta(description="keyword, phrase, api, user, ghl, classifier.")]
    at: datetime | None
    message_id: str | None


class Contact(Struct, kw_only=True):
    """A person."""

    id: str
    first_name: str | None
    last_name: str | None
    phone: Annotated[str, Meta(description="E.164; a short code or a sender's name as it came.")]
    kind: Literal["number", "short_code", "alphanumeric"]
    email: str | None
    company: str | None
    tags: list[str]
    custom_fields: dict[str, str]
    timezone: str | None
    do_not_contact: Annotated[bool, Meta(description="True after an opt-out: nothing is sent.")]
    consent: Consent
    conversation_id: str
    created_at: datetime
    updated_at: datetime


class TagCount(Struct):
    """A tag and who has it."""

    tag: str
    contacts: Annotated[int, Meta(description="How many; 1,000 stands for as many or more.")]


class FieldNames(Struct):
    """Custom fields by name."""

    data: list[str]


class ConversationCounts(Struct):
    """What waits in the inbox."""

    unread_conversations: Annotated[
        int, Meta(description="With replies nobody has looked at; 1,000 stands for 1,000 or more.")
    ]
    unread_messages: Annotated[int, Meta(description="Such replies in these conversations.")]


class ContactBrief(Struct, kw_only=True):
    """Who a conversation is with."""

    id: str
    first_name: str | None
    last_name: str | None
    phone: str
    do_not_contact: bool


class MessageBrief(Struct, kw_only=True):
    """The newest message of a conversation."""

    id: str
    direction: Literal["outbound", "inbound"]
    state: str
    body: str
    created_at: datetime


class Conversation(Struct, kw_only=True):
    """Everything said with one contact; ``unread`` counts replies nobody has looked at."""

    id: str
    state: Literal["open", "closed"]
    unread: int
    contact: ContactBrief
    last_message: MessageBrief | None
    last_message_at: datetime
    created_at: datetime


class Thread(Struct, kw_only=True):
    """A part of a conversation, newest first. Go on with ``next_cursor``."""

    data: list[Message]
    has_more: Annotated[bool, Meta(description="There are older ones.")]
    next_cursor: str | None
    has_newer: Annotated[bool, Meta(description="There are newer ones: ask for those `after`.")]


def contact(row: Any) -> Contact:
    """A row of ``contact`` as it is shown."""
    known = row["consent"] or {}
    return Contact(
        id=row["id"],
        first_name=row["first_name"],
        last_name=row["last_name"],
        phone=row["number"],
        kind=row["kind"],
        email=row["email"],
        company=row["company"],
        tags=row["tags"] or [],
        custom_fields=row["custom_fields"] or {},
        timezone=row["timezone"],
        do_not_contact=row["opted_out"],
        consent=Consent(
            state=known.get("state", "unknown"),
            source=known.get("source"),
            at=datetime.fromisoformat(known["at"]) if known else None,
            message_id=known.get("message_id"),
        ),
        conversation_id=ids.conversation_id(row["id"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def conversation(row: Any) -> Conversation:
    """A row of ``conversation`` with its contact and newest message as it is shown."""
    return Conversation(
        id=ids.conversation_id(row["contact_id"]),
        state=row["state"],
        unread=row["unread"],
        contact=ContactBrief(
            id=row["contact_id"],
            first_name=row["first_name"],
            last_name=row["last_name"],
            phone=row["number"],
            do_not_contact=row["opted_out"],
        ),
        last_message=MessageBrief(
            id=row["last_message_id"],
            direction=row["message_direction"],
            state=row["message_state"],
            body=row["message_body"],
            created_at=row["message_created_at"],
        )
        if row["message_state"]
        else None,
        last_message_at=row["last_at"],
        created_at=row["created_at"],
    )
