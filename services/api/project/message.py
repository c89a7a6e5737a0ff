"""Messages and their timelines: what was asked, what was decided, what the phone says happened.

A message only moves forward. ``RANK`` says how much is known of its present attempt, and a fact
counts only if it says more. A new dispatch is a new attempt and begins again; what an earlier
attempt still reports goes on the timeline and nowhere else. The phone outranks the scheduler: a
text it says it sent was sent, although its message had been cancelled meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.api import search
from services.api.project.contact import contact_of, is_erased
from services.api.project.tables import (
    CONVERSATION,
    MESSAGE,
    MESSAGE_WORD,
    TIMELINE,
    Conversation,
    Message,
    MessageWord,
    Timeline,
)
from shared import events as e
from shared.rows import Rows

ATTEMPTS_MAX = 3  # a passing failure is tried again up to this many (phone-protocol, Who re-sends)
PASSING = frozenset({"transient", "throttled"})

RANK: Mapping[str, int] = {
    "queued": 0,
    "dispatched": 1,
    "accepted": 2,
    "rejected": 3,
    "cancelled": 3,
    "expired": 3,
    "submitted": 4,
    "unknown": 5,  # less than any result: a phone that comes back may still know
    "sent": 6,
    "delivered": 7,
    "failed": 7,
    "received": 8,
}
AMBIGUOUS_RANK = RANK["unknown"]  # a failure that may have been a success
TYPED = frozenset({"inbox", "ghl", "crm"})  # sources of texts that a person wrote one by one
OVER = frozenset({"rejected", "cancelled", "expired", "sent", "delivered", "received"})

# What the phone says, the state that is, and its bit in Message.seen.
FACTS: Mapping[type[e.Data], tuple[str, int]] = {
    e.SmsAccepted: ("accepted", 1),
    e.SmsSubmitted: ("submitted", 2),
    e.SmsSent: ("sent", 4),
    e.SmsDelivered: ("delivered", 8),
    e.SmsFailed: ("failed", 16),
    e.SmsUnknown: ("unknown", 32),
    e.SmsCancelled: ("queued", 64),
}


def rank(state: str, error_class: str | None) -> int:
    """How much a state says; the higher one stays."""
    return AMBIGUOUS_RANK if state == "failed" and error_class == "ambiguous" else RANK[state]


def _requested(rows: Rows, seq: int, event: e.Event, data: e.SendRequested) -> None:
    if rows.get(MESSAGE, data.message_id) is not None:
        return  # the same request again, after the log's own window for repeats
    if is_erased(rows, data.contact_id):
        return
    contact_of(rows, event, data.contact_id, data.to)
    rows.put(
        MESSAGE,
        Message(
            id=data.message_id,
            workspace_id=event.workspace_id,
            contact_id=data.contact_id,
            direction="outbound",
            state="queued",
            number=data.to,
            body=data.body,
            parts=data.parts,
            attempt=0,
            seen=0,
            test=data.test,
            created_at=event.at,
            updated_at=event.at,
            source=data.source,
            phone_id=data.phone_id,
            subscription_id=data.subscription_id,
            category=data.category,
            client_ref=data.client_ref,
            campaign_id=data.campaign_id,
            send_at=data.send_at,
            expires_at=data.expires_at,
        ),
    )
    if data.source in TYPED:
        _words(rows, event, data.contact_id, data.message_id, data.body)
    _last(rows, event, data.contact_id, data.message_id, inbound=False)
    _tell(
        rows,
        seq,
        event,
        data.message_id,
        source=data.source,
        asked_by=event.actor.id,
        phone_id=data.phone_id,
        send_at=data.send_at,
    )


def _received(rows: Rows, seq: int, event: e.Event, data: e.ReplyReceived) -> None:
    if rows.get(MESSAGE, data.message_id) is not None or is_erased(rows, data.contact_id):
        return
    contact_of(rows, event, data.contact_id, data.sender, data.sender_kind)
    rows.put(
        MESSAGE,
        Message(
            id=data.message_id,
            workspace_id=event.workspace_id,
            contact_id=data.contact_id,
            direction="inbound",
            state="received",
            number=data.sender,
            body=data.body,
            parts=data.parts,
            attempt=0,
            seen=0,
            test=False,
            created_at=event.at,
            updated_at=event.at,
            phone_id=data.phone_id,
            subscription_id=data.subscription_id,
        ),
    )
    _words(rows, event, data.contact_id, data.message_id, data.body)
    _last(rows, event, data.contact_id, data.message_id, inbound=True)
    _tell(
        rows,
        seq,
        event,
        data.message_id,
        phone_id=data.phone_id,
        verdict=data.verdict,
        rule=data.rule,
    )


def _words(rows: Rows, event: e.Event, contact_id: str, message_id: str, body: str) -> None:
    """What the text is found by."""
    for word in search.words(body)[: search.BODY_WORDS_MAX]:
        found_by = MessageWord(event.workspace_id, word, message_id, contact_id, event.at)
        rows.put(MESSAGE_WORD, found_by)


def _last(rows: Rows, event: e.Event, contact_id: str, message_id: str, *, inbound: bool) -> None:
    """The newest message of a conversation; a reply opens it again and is unread."""
    known = rows.edit(CONVERSATION, contact_id)
    if known is None:
        known = rows.put(
            CONVERSATION,
            Conversation(contact_id, event.workspace_id, "open", 0, message_id, event.at, event.at),
        )
    known.last_message_id, known.last_at = message_id, event.at
    if inbound:
        known.unread += 1
        known.state = "open"


def _tell(rows: Rows, seq: int, event: e.Event, message_id: str, **detail: Any) -> None:
    kept = {name: value for name, value in detail.items() if value is not None}
    rows.put(
        TIMELINE,
        Timeline(message_id, seq, event.workspace_id, event.at, event.type, kept or None),
    )


Final = e.SendRejected | e.SendCancelled | e.SendExpired


# -- the scheduler's word ------------------------------------------------------------------------


def _held(rows: Rows, seq: int, event: e.Event, data: e.SendHeld) -> None:
    message = rows.get(MESSAGE, data.message_id)
    if message is None or message.state in OVER:
        return
    quarantined = data.reason == "quarantined"
    if quarantined:
        if message.state not in ("failed", "unknown"):
            message.state = "unknown"  # its phone was unpaired: nobody will ever know
    elif message.state in ("failed", "unknown"):
        message.state = "queued"
    elif message.state != "queued":
        return  # decided before the dispatch it comes after
    message.waiting_reason = data.reason
    message.waiting_until = data.until
    message.updated_at = event.at
    rows.edit(MESSAGE, data.message_id)
    _tell(rows, seq, event, data.message_id, reason=data.reason, until=data.until)


def _dispatched(rows: Rows, seq: int, event: e.Event, data: e.SendDispatched) -> None:
    message = rows.get(MESSAGE, data.message_id)
    if message is None or data.attempt <= message.attempt or message.state in OVER:
        return
    _move(rows, message, event, "dispatched")
    message.attempt, message.seen = data.attempt, 0
    message.phone_id, message.subscription_id = data.phone_id, data.subscription_id
    message.error_class = message.error_code = message.error_detail = None
    _tell(rows, seq, event, data.message_id, phone_id=data.phone_id, attempt=data.attempt)


def _cancel_requested(rows: Rows, seq: int, event: e.Event, data: e.SendCancelRequested) -> None:
    message = rows.get(MESSAGE, data.message_id)
    if message is None or message.state in OVER:
        return
    if data.reason == "user":
        if message.cancel_requested:
            return
        message.cancel_requested, message.updated_at = True, event.at
        rows.edit(MESSAGE, data.message_id)
    asked_by = event.actor.id if data.reason == "user" else None
    _tell(rows, seq, event, data.message_id, reason=data.reason, asked_by=asked_by)


def _settled(rows: Rows, seq: int, event: e.Event, data: Final) -> None:
    message = rows.get(MESSAGE, data.message_id)
    if message is None or message.state in OVER or message.state == "submitted":
        return
    _move(rows, message, event, event.type.removeprefix("send."))
    match data:
        case e.SendRejected(code=code, detail=detail):
            message.error_class, message.error_code, message.error_detail = "policy", code, detail
            _tell(rows, seq, event, data.message_id, code=code, detail=detail)
        case e.SendExpired(waited_for=waited_for):
            message.error_class, message.error_code = "expired", "expired"
            message.error_detail = "Its time ran out before it could be sent."
            _tell(rows, seq, event, data.message_id, waited_for=waited_for)
        case _:
            message.error_class = message.error_code = message.error_detail = None
            _tell(rows, seq, event, data.message_id)


def _resolved(rows: Rows, seq: int, event: e.Event, data: e.SendResolved) -> None:
    message = rows.edit(MESSAGE, data.message_id)
    if message is None or message.waiting_reason != "quarantined":
        return
    if data.decision == "retry":
        message.state, message.waiting_reason = "queued", "retry"
    else:
        message.waiting_reason = None
    message.waiting_until, message.updated_at = None, event.at
    _tell(rows, seq, event, data.message_id, decision=data.decision, asked_by=event.actor.id)


# -- the phone's word ----------------------------------------------------------------------------


def _fact(rows: Rows, seq: int, event: e.Event, data: e.SmsFact) -> None:
    message = rows.get(MESSAGE, data.message_id)
    if message is None:
        return
    state, bit = FACTS[type(data)]
    present = data.attempt == message.attempt
    if present:
        if message.seen & bit:
            return  # told before
        message.seen |= bit
        rows.edit(MESSAGE, data.message_id)
    detail: dict[str, Any] = {"phone_id": data.phone_id, "attempt": data.attempt}
    failed = data if isinstance(data, e.SmsFailed) else None
    if failed is not None:
        detail |= {
            "class": failed.error_class,
            "code": failed.code,
            "explanation": failed.detail,
            "result_code": failed.result_code,
            "error_code": failed.error_code,
        }
    _tell(rows, seq, event, data.message_id, **detail)
    if not present:
        return
    if isinstance(data, e.SmsCancelled):
        if message.state in ("dispatched", "accepted") and not message.cancel_requested:
            _move(rows, message, event, state)  # another phone may take it
        return
    error_class = failed.error_class if failed else None
    known = rank(message.state, message.error_class)
    if message.state == "queued":  # this attempt is over: only a result says more
        known = AMBIGUOUS_RANK
    if rank(state, error_class) <= known:
        return
    _move(rows, message, event, state)
    if failed is None:
        message.error_class = message.error_code = message.error_detail = None
    else:
        message.error_class, message.error_code = failed.error_class, failed.code
        message.error_detail = failed.detail
        if failed.error_class in PASSING and data.attempt < ATTEMPTS_MAX:
            message.state, message.waiting_reason = "queued", "retry"


def _move(rows: Rows, message: Message, event: e.Event, state: str) -> None:
    message.state, message.updated_at = state, event.at
    message.waiting_reason = message.waiting_until = None
    rows.edit(MESSAGE, message.id)


APPLY: Mapping[type[e.Data], Callable[[Rows, int, e.Event, Any], None]] = {
    e.SendRequested: _requested,
    e.SendHeld: _held,
    e.SendDispatched: _dispatched,
    e.SendCancelRequested: _cancel_requested,
    e.SendRejected: _settled,
    e.SendCancelled: _settled,
    e.SendExpired: _settled,
    e.SendResolved: _resolved,
    e.ReplyReceived: _received,
    **dict.fromkeys(FACTS, _fact),
}
