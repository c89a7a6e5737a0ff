"""What the phone says happened. Written by gateway from the phone's journal."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from shared.events.base import Data


class SmsFact(Data, frozen=True, kw_only=True):
    """A fact about a command. ``phone_at`` is the phone's own clock, which may be wrong.

    ``journal_seq`` counts within one ``generation`` of the phone; 0: it was not in the journal.
    """

    KEY: ClassVar[str] = "contact_id"

    message_id: str
    contact_id: str
    command_id: str
    phone_id: str
    attempt: int
    journal_seq: int
    phone_at: datetime
    generation: int = 0


class SmsAccepted(SmsFact, frozen=True, kw_only=True):
    """The phone has it in its own journal."""

    TYPE: ClassVar[str] = "sms.accepted"


class SmsSubmitted(SmsFact, frozen=True, kw_only=True):
    """The phone is about to hand it to Android: from here on it may have gone out."""

    TYPE: ClassVar[str] = "sms.submitted"

    parts: int = 1


class SmsSent(SmsFact, frozen=True, kw_only=True):
    """Every part left the phone."""

    TYPE: ClassVar[str] = "sms.sent"

    parts: int = 1


class SmsDelivered(SmsFact, frozen=True, kw_only=True):
    """Every part was reported delivered."""

    TYPE: ClassVar[str] = "sms.delivered"


class SmsFailed(SmsFact, frozen=True, kw_only=True):
    """``error_class``: transient, throttled, permanent or ambiguous; ``code`` names the result."""

    TYPE: ClassVar[str] = "sms.failed"

    error_class: str
    code: str
    detail: str
    result_code: int | None = None
    error_code: int | None = None


class SmsUnknown(SmsFact, frozen=True, kw_only=True):
    """Crash between submitted and a result: never sent again on its own."""

    TYPE: ClassVar[str] = "sms.unknown"


class SmsCancelled(SmsFact, frozen=True, kw_only=True):
    """The phone proves that it will not send the command: it said so, or does not list it.

    ``proof``: ``journal`` or ``inventory`` (phone-protocol.md, Who re-sends).
    """

    TYPE: ClassVar[str] = "sms.cancelled"

    proof: str = "journal"


class SmsReceived(Data, frozen=True, kw_only=True):
    """A text as the phone got it. Identity is (phone, provider_id, received_at), never the text."""

    TYPE: ClassVar[str] = "sms.received"
    KEY: ClassVar[str] = "contact_id"

    contact_id: str
    message_id: str
    phone_id: str
    sender: str
    sender_kind: str  # number | short_code | alphanumeric
    body: str
    parts: int
    received_at: datetime
    provider_id: str
    journal_seq: int
    subscription_id: int | None = None
    generation: int = 0
