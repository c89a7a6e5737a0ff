"""Erasures and exports as they are asked for and as they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct
from pydantic import ConfigDict, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from services.api.shapes.fields import Body, ContactId, TypedNumber
from shared import ids

# One person, named in one of two ways: a JSON Schema can say so, a pydantic field cannot.
_ONE_SUBJECT: JsonDict = {
    "oneOf": [
        {
            "required": ["contact_id"],
            "properties": {"contact_id": {"type": "string"}, "phone": {"type": "null"}},
        },
        {
            "required": ["phone"],
            "properties": {"phone": {"type": "string"}, "contact_id": {"type": "null"}},
        },
    ]
}


class Subject(Body):
    """A person: by id, or by number."""

    model_config = ConfigDict(json_schema_extra=_ONE_SUBJECT)

    contact_id: ContactId | None = None
    phone: TypedNumber | None = None

    @model_validator(mode="after")
    def _one(self) -> Subject:
        if (self.contact_id is None) == (self.phone is None):
            raise PydanticCustomError("one_subject", "must name contact_id or phone, one of them")
        return self


class PrivacyRequestBody(Body):
    """What is asked for, about whom."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"type": "erasure", "subject": {"phone": "+14155550123"}}]}
    )

    type: Literal["erasure"]
    subject: Subject


class Progress(Struct, kw_only=True):
    """How many events of the log are deleted of how many; null before they are counted."""

    done: int
    total: int | None


class PrivacyRequest(Struct, kw_only=True):
    """An erasure. ``effective``: nobody sees or texts the person any more; what is left is deleting
    bytes. ``done``: no service holds anything of it, and the log's bytes are overwritten.

    ``counts``: store → what → how many there were.
    """

    id: str
    type: Literal["erasure", "export"]
    scope: Literal["contact", "conversation", "message", "account", "retention"]
    state: Literal["requested", "effective", "done"]
    contact_id: str | None
    conversation_id: str | None
    message_id: str | None
    progress: Progress | None
    counts: dict[str, dict[str, int]]
    requested_by: str
    created_at: datetime
    fulfilled_at: datetime | None


STATES = {"requested": "requested", "erasing": "effective", "done": "done"}


def request(row: Any) -> PrivacyRequest:
    """A row as it is shown."""
    begun = row["found"] is not None
    total = row["found"] or (0 if row["state"] == "done" else None)
    return PrivacyRequest(
        id=row["id"],
        type=row["kind"],
        scope=row["scope"],
        state=STATES[row["state"]],  # type: ignore[arg-type]
        contact_id=row["contact_id"],
        conversation_id=ids.conversation_id(row["contact_id"]) if row["contact_id"] else None,
        message_id=row["message_id"],
        progress=Progress(done=row["deleted"], total=total) if begun else None,
        counts=row["counts"] or row["counted"] or {},
        requested_by=row["requested_by"],
        created_at=row["created_at"],
        fulfilled_at=row["fulfilled_at"],
    )
