"""Erasure and export. Written by api, which alone may delete from the log.

An erasure is told twice. ``contact.erased`` (or ``conversation.erased``) takes effect at once:
nobody sees or sends anything any more. ``message.forgotten`` follows, when the person's part of the
log has been read: it names by id what every service still holds, and restates what must outlive the
deleted events, so that a rebuild from what is left ends in the same rows. Then bytes are deleted.

None of these holds a number, a name or a text, but ``conversation.erased``, whose contact stays.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from msgspec import Struct, field

from shared.events.base import Data


class ContactErased(Data, frozen=True, kw_only=True):
    """A person is erased; their id is never used again.

    ``root_id`` is the id their number had in generation 0: a keyed hash of it (ids.contact_id), by
    which the number is known again. From now on the number belongs to ``successor_id``, of the next
    generation, who is opted out already if the person was (``suppressed``). Said again where a STOP
    arrived in the same moment.
    """

    TYPE: ClassVar[str] = "contact.erased"
    KEY: ClassVar[str] = "contact_id"

    contact_id: str
    root_id: str
    generation: int
    successor_id: str
    suppressed: bool
    request_id: str


class ConversationErased(Data, frozen=True, kw_only=True):
    """All messages with a contact are erased; the contact, its consent and its id stay.

    Carries of the contact what only the deleted messages said.
    """

    TYPE: ClassVar[str] = "conversation.erased"
    KEY: ClassVar[str] = "contact_id"

    contact_id: str
    conversation_id: str
    request_id: str
    number: str
    kind: str
    generation: int
    created_at: datetime


class JournalHead(Struct, frozen=True, kw_only=True):
    """How far a phone's journal had come up in a generation of its pairing."""

    phone_id: str
    generation: int
    seq: int


class MessageForgotten(Data, frozen=True, kw_only=True):
    """These messages are gone, from every table and, soon, from the log.

    ``messages`` are (id, attempts); ``received`` those of them that came in, whose ids stay so that
    a phone which reports them again is not believed; ``events`` what customers were told of.
    ``phones`` carried some of them: what that used up of their limits is restated
    (``message.restated``) before anything is deleted, as of the event that is ``last`` and names
    them all. ``heads`` restates the phones' journals, ``fields`` what custom fields there were.
    """

    TYPE: ClassVar[str] = "message.forgotten"
    KEY: ClassVar[str] = "contact_id"

    contact_id: str
    request_id: str
    messages: tuple[tuple[str, int], ...] = ()
    received: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    heads: tuple[JournalHead, ...] = ()
    fields: tuple[str, ...] = ()
    last: bool = True


class PhoneUse(Struct, frozen=True, kw_only=True):
    """What a phone had used up of its limits when messages it carried were forgotten."""

    phone_id: str
    day: str
    sent_today: int
    recent: tuple[tuple[float, float], ...]
    last_dispatch_at: datetime | None = None
    last_command_id: str | None = None


class MessageRestated(Data, frozen=True, kw_only=True):
    """What phones had used up at the moment of the event ``forgotten``, as the scheduler's rows
    said. A rebuild, which lacks the deleted dispatches, adds what it misses; else it changes
    nothing. ``contact_phone``: the phone the contact last spoke with."""

    TYPE: ClassVar[str] = "message.restated"
    KEY: ClassVar[str] = "contact_id"

    contact_id: str
    forgotten: str
    phones: tuple[PhoneUse, ...] = ()
    contact_phone: str | None = None


class PrivacyRequested(Data, frozen=True, kw_only=True):
    """Somebody asks for an erasure or an export.

    ``kind``: erasure or export. ``scope``: contact, conversation, message, account, or retention
    (old texts, by the workspace's own rule). ``root_id`` where a number was named.
    """

    TYPE: ClassVar[str] = "privacy.requested"
    KEY: ClassVar[str] = "request_id"

    request_id: str
    kind: str
    scope: str
    contact_id: str | None = None
    message_id: str | None = None
    before: datetime | None = None


class PrivacyFulfilled(Data, frozen=True, kw_only=True):
    """It is done. ``counts``: store → what → how many."""

    TYPE: ClassVar[str] = "privacy.fulfilled"
    KEY: ClassVar[str] = "request_id"

    request_id: str
    counts: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
