"""People and conversations. Written by api, inbound (opt-out words) and ghl_sync."""

from __future__ import annotations

from typing import ClassVar

from msgspec import field

from shared.events.base import Data


class ContactSaved(Data, frozen=True, kw_only=True):
    """The full state of a contact. ``number`` is E.164 or an opaque sender address."""

    TYPE: ClassVar[str] = "contact.saved"
    KEY: ClassVar[str] = "contact_id"

    contact_id: str
    number: str
    kind: str = "number"  # number | short_code | alphanumeric (shared/numbers.py)
    generation: int = 0
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    company: str | None = None
    tags: tuple[str, ...] = ()
    custom_fields: dict[str, str] = field(default_factory=dict[str, str])
    timezone: str | None = None
    source: str = "api"


class Consent(Data, frozen=True, kw_only=True):
    """A consent fact carries its evidence: source, text, message, rule (design/policy.md)."""

    KEY: ClassVar[str] = "contact_id"

    contact_id: str
    number: str
    source: str  # keyword | phrase | api | user | ghl | classifier
    rule: str | None = None
    tier: str | None = None
    text: str | None = None
    message_id: str | None = None


class ContactOptedOut(Consent, frozen=True, kw_only=True):
    """From here on the number gets nothing from this workspace, except one confirmation."""

    TYPE: ClassVar[str] = "contact.opted_out"


class ContactOptedIn(Consent, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "contact.opted_in"


class ConversationState(Data, frozen=True, kw_only=True):
    """Inbox state; keyed by the contact, so that it is erased with the person."""

    KEY: ClassVar[str] = "contact_id"

    contact_id: str
    conversation_id: str


class ConversationRead(ConversationState, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "conversation.read"


class ConversationClosed(ConversationState, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "conversation.closed"


class ConversationReopened(ConversationState, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "conversation.reopened"
