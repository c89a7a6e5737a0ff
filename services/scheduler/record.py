"""Outcomes as events. Pure: the same decision always makes the same event, id and all."""

from __future__ import annotations

from datetime import datetime

from services.scheduler import decide
from shared import events as e
from shared import ids

ACTOR = e.Actor("system", "scheduler")
HELD_AGAIN_S = 1  # a wait put on record twice within this is one record


def event(outcome: decide.Outcome | decide.Cancelled, now: datetime) -> e.Event:
    """The event that puts ``outcome`` on record."""
    text = outcome.text
    match outcome:
        case decide.Go(phone_id=phone_id):
            attempt = text.attempt + 1
            data: e.Data = e.SendDispatched(
                message_id=text.id,
                contact_id=text.contact_id,
                command_id=ids.command_id(text.id, attempt),
                phone_id=phone_id,
                attempt=attempt,
                to=text.to,
                body=text.body,
                parts=text.parts,
                source=text.source,
                expires_at=text.expires_at,
                subscription_id=text.subscription_id,
            )
            key: tuple[str, ...] = (str(attempt),)
        case decide.Hold(reason=reason, until=until, queue=queue):
            data = e.SendHeld(
                message_id=text.id,
                contact_id=text.contact_id,
                reason=reason,
                until=until,
                queue=queue,
            )
            slot = int(now.timestamp()) // HELD_AGAIN_S
            key = (reason, until.isoformat() if until else "", queue or "", str(slot))
        case decide.Reject(code=code, detail=detail):
            data = e.SendRejected(
                message_id=text.id, contact_id=text.contact_id, code=code, detail=detail
            )
            key = ()
        case decide.Expire(waited_for=waited_for, phone_id=phone_id):
            data = e.SendExpired(
                message_id=text.id,
                contact_id=text.contact_id,
                waited_for=waited_for,
                phone_id=phone_id,
            )
            key = ()
        case decide.Cancelled():
            data = e.SendCancelled(message_id=text.id, contact_id=text.contact_id)
            key = ()
    return _event(data, text, now, *key)


def settled(outcome: decide.Outcome | decide.Cancelled, now: datetime) -> e.Event:
    """The event that settles an open message: one for each attempt, however often it is decided."""
    made = event(outcome, now)
    if isinstance(outcome, decide.Hold):
        return _event(made.data, outcome.text, now, outcome.reason, str(outcome.text.attempt))
    return made


def recall(text: decide.Text, command_id: str, reason: str, now: datetime) -> e.Event:
    """Asks the phone to give a command back: ``failover``, ``expired`` or ``user``."""
    data = e.SendCancelRequested(
        message_id=text.id, contact_id=text.contact_id, reason=reason, command_id=command_id
    )
    return _event(data, text, now, reason, str(text.attempt))


def _event(data: e.Data, text: decide.Text, now: datetime, *key: str) -> e.Event:
    return e.make(
        data,
        id=ids.derive("evt", text.id, data.TYPE, *key),
        workspace_id=text.workspace_id,
        at=now,
        actor=ACTOR,
        cause=text.id,
    )
