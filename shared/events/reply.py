"""Replies, threaded. Written by inbound."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from shared.events.base import Data


class ReplyReceived(Data, frozen=True, kw_only=True):
    """``sms.received``, threaded to a contact and a conversation, with the opt-out verdict.

    ``verdict``: opt_out, opt_in, help or None; ``tier`` and ``rule`` say which rule matched.
    ``answered`` is the kind of automatic answer it drew (confirmation, help) or None: read again by
    inbound, which gives one of a kind in 24 hours.
    """

    TYPE: ClassVar[str] = "reply.received"
    KEY: ClassVar[str] = "contact_id"

    message_id: str
    contact_id: str
    conversation_id: str
    phone_id: str
    sender: str
    sender_kind: str
    body: str
    parts: int
    received_at: datetime
    subscription_id: int | None = None
    verdict: str | None = None
    tier: str | None = None
    rule: str | None = None
    answered: str | None = None
