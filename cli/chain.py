"""Which events belong to one message, and what each says in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cli.render import counted, moment
from shared import events as e

SERVICE_OF = {
    "phone": "gateway",
    "api_key": "api",
    "user": "api",
    "stripe": "api",
    "ghl": "ghl_sync",
}
"""Who writes down what such an actor does."""

ENDS = {
    "sms.delivered": "delivered",
    "send.rejected": "rejected",
    "send.cancelled": "cancelled",
    "send.expired": "expired",
    "reply.received": "in its conversation",
}


@dataclass(frozen=True, slots=True)
class Link:
    """One event of the chain, and when the log stored it."""

    seq: int
    stored_at: datetime
    event: e.Event

    @property
    def service(self) -> str:
        """The service that wrote it."""
        actor = self.event.actor
        if self.event.type == "webhook.attempted":
            return "webhooks"
        return actor.id if actor.kind == "system" else SERVICE_OF[actor.kind]


def of_message(message_id: str, stored: Iterable[Link]) -> list[Link]:
    """What happened to the message: its own events, what led to them, what they caused.

    A text that came in causes the confirmation that goes out: each is in the other's chain, but
    not what else became of it.
    """
    links = sorted(stored, key=lambda link: link.seq)
    by_id = {link.event.id: link for link in links}
    own = {link.event.id for link in links if _is_about(link.event, message_id)}
    chain = set(own)
    for event_id in own:  # upwards: what led to it
        cause = by_id[event_id].event.cause
        while cause in by_id and cause not in chain:
            chain.add(cause)
            cause = by_id[cause].event.cause
    for link in links:  # downwards, in the order of the log: causes come first
        event = link.event
        told_of = getattr(event.data, "event_id", None)
        if told_of in own or (event.cause in own and event.id not in chain):
            chain.add(event.id)
            own.add(event.id)
    return [link for link in links if link.event.id in chain]


def _is_about(event: e.Event, message_id: str) -> bool:
    return message_id in (getattr(event.data, "message_id", None), event.cause)


def words(event: e.Event) -> str:
    """What it says, for a person; no text, no number."""
    match event.data:
        case e.SendRequested() as d:
            at = f", not before {moment(d.send_at)}" if d.send_at else ""
            by = f" through {d.phone_id}" if d.phone_id else ""
            return f"asked for by {_who(event)}{by}: {counted(d.parts, 'part')}, {d.source}{at}"
        case e.SendHeld() as d:
            return f"waits: {d.reason}" + (f" until {moment(d.until)}" if d.until else "")
        case e.SendDispatched() as d:
            return f"given to {d.phone_id}, attempt {d.attempt}"
        case e.SendCancelRequested() as d:
            return "is to be taken back" + (f": {d.reason}" if d.reason != "user" else "")
        case e.SendRejected() as d:
            return f"refused: {d.code}"
        case e.SendExpired() as d:
            return "its time ran out" + (
                f" while it waited: {d.waited_for}" if d.waited_for else ""
            )
        case e.SendResolved() as d:
            return f"a person decided: {d.decision}"
        case e.ReplyReceived() as d:
            return "put into its conversation" + (f": {d.verdict}, {d.rule}" if d.verdict else "")
        case e.WebhookAttempted() as d:
            said = d.status or d.error or ""
            return f"{d.event_type} to {d.endpoint_id}: {d.outcome} {said} in {d.duration_ms} ms"
        case e.ContactOptedOut() | e.ContactOptedIn() as d:
            return f"by {d.source}" + (f": {d.rule}" if d.rule else "")
        case _:
            return _of_the_phone(event)


def _of_the_phone(event: e.Event) -> str:
    match event.data:
        case e.SmsAccepted():
            return "the phone has it in its journal"
        case e.SmsSubmitted():
            return "the phone hands it to its radio: from here on it may be out"
        case e.SmsSent() as d:
            return f"left the phone, {counted(d.parts, 'part')}"
        case e.SmsDelivered():
            return "the network reports it delivered"
        case e.SmsFailed() as d:
            return f"failed, {d.error_class}: {d.code}"
        case e.SmsUnknown():
            return "the phone cannot tell whether it went out"
        case e.SmsCancelled() as d:
            return f"the phone will not send it ({d.proof})"
        case e.SmsReceived() as d:
            return f"arrived on {d.phone_id}, {counted(d.parts, 'part')}"
        case _:
            return ""


def _who(event: e.Event) -> str:
    actor = event.actor
    return actor.id if actor.kind == "system" else f"{actor.kind} {actor.id}"


def end(links: Sequence[Link]) -> str | None:
    """How it ended; None while it is on its way."""
    for link in reversed(links):
        if link.event.type in ENDS:
            return ENDS[link.event.type]
    return None
