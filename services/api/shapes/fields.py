"""The kinds of field that requests and queries are made of.

Pydantic validates with these, and the OpenAPI document is made from them. Control characters are
refused because PostgreSQL cannot store NUL and no phone shows the others; ``SENTENCES`` says so
in words, since nobody should have to read a pattern.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

ULID = "[0-7][0-9A-HJKMNP-TV-Z]{25}"
ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
SOME_LINE = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"
TEXT = r"^[^\x00-\x08\x0b\x0e-\x1f\x7f]*$"
CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
EMAIL = r"^[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+$"

SENTENCES = {
    ONE_LINE: "must be a single line without control characters",
    SOME_LINE: "must be a single line, not blank, without control characters",
    TEXT: "must not contain control characters other than line breaks and tabs",
    CLOCK: "must be a time of day as HH:MM, from 00:00 to 23:59",
    EMAIL: "must be an e-mail address",
}
KINDS = {
    "con": "a contact",
    "cnv": "a conversation",
    "msg": "a message",
    "phn": "a phone",
    "key": "an API key",
    "whk": "a webhook endpoint",
    "att": "a delivery attempt",
    "pair": "a pairing",
    "req": "a request",
    "tsk": "a task",
    "cmp": "a campaign",
    "mem": "a member",
    "prv": "a privacy request",
}
SENTENCES |= {f"^{p}_{ULID}$": f"must be the id of {kind}, {p}_…" for p, kind in KINDS.items()}

INT_MAX = 2**31 - 1  # what an integer column holds
NAME_MAX_CHARS = 120
EMAIL_MAX_CHARS = 254  # RFC 5321, 4.5.3.1.3
LABEL_MAX_CHARS = 80
PAGE_DEFAULT, PAGE_MAX = 25, 100
CURSOR_MAX_CHARS = 400


class Body(BaseModel):
    """A request body: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Query(BaseModel):
    """Query parameters: nothing unknown."""

    model_config = ConfigDict(extra="forbid")


def absent(description: str | None = None) -> Any:
    """The default of a field that may be left out but not null; ``model_fields_set`` tells."""
    return Field(default_factory=lambda: None, description=description)


def _flag(value: Any) -> Any:
    match value:
        case "true":
            return True
        case "false":
            return False
        case _:
            raise PydanticCustomError("flag", "must be true or false")


def _whole(value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    raise PydanticCustomError("whole", "must be a whole number")


def _integral(value: Any) -> Any:
    """JSON has one kind of number: 60.0 is the whole number 60."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _instant(value: Any) -> Any:
    """RFC 3339 and nothing else, as UTC: a time without its offset would be anybody's guess."""
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is None or "T" not in value.upper():
            raise ValueError
    except (TypeError, ValueError):
        raise PydanticCustomError(
            "instant", "must be a time with its offset, as in 2026-11-23T09:30:00Z"
        ) from None
    try:
        return found.astimezone(UTC)
    except OverflowError:  # in another zone it is the year 0 or 10000 there
        return found.replace(tzinfo=UTC)


Flag = Annotated[bool, BeforeValidator(_flag)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
INTEGRAL = BeforeValidator(_integral)  # behind a Field with limits, or they are not documented

Line = Annotated[str, Field(min_length=1, max_length=NAME_MAX_CHARS, pattern=SOME_LINE)]
Label = Annotated[str, Field(min_length=1, max_length=LABEL_MAX_CHARS, pattern=SOME_LINE)]
Note = Annotated[str, Field(min_length=1, max_length=1000, pattern=TEXT)]
Email = Annotated[str, Field(min_length=3, max_length=EMAIL_MAX_CHARS, pattern=EMAIL)]
Clock = Annotated[str, Field(pattern=CLOCK, examples=["21:00"])]
Tag = Annotated[str, Field(min_length=1, max_length=50, pattern=SOME_LINE)]
Zone = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        pattern=ONE_LINE,
        description="A timezone of the IANA database.",
        examples=["America/New_York"],
    ),
]
TypedNumber = Annotated[
    str,
    Field(
        min_length=1,
        max_length=250,
        pattern=ONE_LINE,
        description="A phone number: with + and country code, or as the workspace's country "
        "writes it.",
        examples=["+14155550123"],
    ),
]
MessageId = Annotated[str, Field(pattern=f"^msg_{ULID}$")]
ContactId = Annotated[str, Field(pattern=f"^con_{ULID}$")]
PhoneId = Annotated[str, Field(pattern=f"^phn_{ULID}$")]
CampaignId = Annotated[str, Field(pattern=f"^cmp_{ULID}$")]

Limit = Annotated[
    int,
    Field(ge=1, le=PAGE_MAX, description="How many to list at most."),
    BeforeValidator(_whole),
]
Cursor = Annotated[
    str,
    Field(
        min_length=1,
        max_length=CURSOR_MAX_CHARS,
        description="`next_cursor` of the page before, with the same filters.",
    ),
]
Search = Annotated[str, Field(min_length=1, max_length=100, pattern=ONE_LINE)]
Direction = Literal["outbound", "inbound"]


class Paged(Query):
    """What every list takes."""

    limit: Limit = PAGE_DEFAULT
    cursor: Cursor | None = None
