"""Log → what the API shows. The only writer of these tables; pure.

tables.py has the rows; one module per entity has a function per event type, listed in its APPLY.
"""

from __future__ import annotations

from services.api.project import (
    account,
    audit,
    billing,
    campaign,
    contact,
    member,
    message,
    phone,
    privacy,
    webhook,
)
from services.api.project.tables import TABLES
from shared import events as e
from shared.projector import Projection
from shared.rows import Rows

FILTERS = (
    "workspace.>",
    "api_key.>",
    "member.>",
    "contact.>",
    "conversation.>",
    "message.forgotten.>",
    "privacy.>",
    "phone.>",
    "campaign.>",
    "send.>",
    "sms.accepted.>",
    "sms.submitted.>",
    "sms.sent.>",
    "sms.delivered.>",
    "sms.failed.>",
    "sms.unknown.>",
    "sms.cancelled.>",
    "reply.received.>",
    "webhook.endpoint_saved.>",
    "webhook.endpoint_removed.>",
    "webhook.endpoint_disabled.>",
    "webhook.attempted.>",
    "subscription.>",
)

APPLY = {
    **account.APPLY,
    **member.APPLY,
    **phone.APPLY,
    **contact.APPLY,
    **{
        kind: fold if kind is e.ReplyReceived else campaign.counted(fold)
        for kind, fold in message.APPLY.items()
    },
    **webhook.APPLY,
    **billing.APPLY,
    **campaign.APPLY,
    **privacy.APPLY,
}


def apply(rows: Rows, seq: int, event: e.Event) -> None:
    """One event into rows. KeyError for a type that FILTERS lets in and nobody handles."""
    APPLY[type(event.data)](rows, seq, event, event.data)
    audit.note(rows, seq, event)


# All of it: a request that wrote, or reads what it wrote, waits for its rows and says so.
PROJECTION = Projection("api", FILTERS, TABLES, apply, gathers=("",))
