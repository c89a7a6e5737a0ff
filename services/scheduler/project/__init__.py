"""Log → scheduler's rows: what waits for which phone, and what each phone has done today.

The only writer of these tables. A message moves waiting → dispatched → submitted → final; what
needs a decision (a failure, a cancellation, a command given back) is ``open`` until the event that
act.py appends moves it on.
"""

from __future__ import annotations

from services.scheduler.project import campaign, contact, message, phone, privacy
from services.scheduler.project.tables import TABLES
from shared import events as e
from shared.projector import Projection
from shared.rows import Rows

FILTERS = (
    "send.>",
    "sms.accepted.>",
    "sms.submitted.>",
    "sms.sent.>",
    "sms.failed.>",
    "sms.unknown.>",
    "sms.cancelled.>",
    "contact.>",
    "message.>",
    "reply.received.>",
    "phone.>",
    "workspace.>",
    "campaign.>",
)


APPLY = {
    **message.APPLY,
    **contact.APPLY,
    **phone.APPLY,
    **campaign.APPLY,
    **privacy.APPLY,
}


def apply(rows: Rows, seq: int, event: e.Event) -> None:
    """One event into rows; pure."""
    fold = APPLY.get(type(event.data))
    if fold is not None:
        fold(rows, seq, event, event.data)
    elif event.type.startswith("contact."):
        contact.heard_of(rows, seq, event, event.data)


GATHERS = ("sms.", "send.dispatched.", "send.held.")  # they free a place, or are our own
PROJECTION = Projection("scheduler", FILTERS, TABLES, apply, gathers=GATHERS)
