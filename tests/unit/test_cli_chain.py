"""Which events belong to a message."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from cli import chain
from shared import events as e
from shared import ids
from shared.events.base import ActorKind
from tests.examples import EXAMPLES

WS = "ws_" + "0" * 26
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
SENT, OTHER, REPLY = (ids.derive("msg", name) for name in ("sent", "other", "reply"))
CONTACT = ids.derive("con", "ann")


def link(seq: int, data: e.Data, cause: str | None = None, by: str = "scheduler") -> chain.Link:
    event = e.make(
        data,
        id=f"evt_{seq:026d}",
        workspace_id=WS,
        at=AT,
        actor=e.Actor("system", by),
        cause=cause,
    )
    return chain.Link(seq, AT + timedelta(milliseconds=seq), event)


def requested(seq: int, message_id: str, cause: str | None = None) -> chain.Link:
    data = e.SendRequested(
        message_id=message_id,
        contact_id=CONTACT,
        to="+14155550100",
        body="Hello",
        parts=1,
        source="api",
        expires_at=AT,
    )
    return link(seq, data, cause, "inbound" if cause else "api")


def fact(seq: int, kind: type[e.SmsFact], message_id: str = SENT) -> chain.Link:
    of: dict[str, Any] = {"message_id": message_id, "contact_id": CONTACT, "command_id": "cmd_1"}
    data = kind(**of, phone_id="phn_1", attempt=1, journal_seq=1, phone_at=AT)
    return link(seq, data)


def told(seq: int, of: chain.Link) -> chain.Link:
    data = e.WebhookAttempted(
        endpoint_id="whk_1",
        attempt_id="att_1",
        delivery_id="dlv_1",
        event_id=of.event.id,
        event_type=of.event.type,
        attempt=1,
        trigger="event",
        outcome="delivered",
        url="https://example.com",
        duration_ms=12,
        status=200,
    )
    return link(seq, data, by="webhooks")


def seqs(message_id: str, *links: chain.Link) -> list[int]:
    return [one.seq for one in chain.of_message(message_id, links)]


def test_a_message_has_its_own_events_and_nobody_elses() -> None:
    mine, other = requested(1, SENT), requested(2, OTHER)
    assert seqs(SENT, mine, other, fact(3, e.SmsSent), fact(4, e.SmsSent, OTHER)) == [1, 3]


def test_the_webhooks_that_told_of_it_belong_to_it() -> None:
    sent, elsewhere = fact(3, e.SmsSent), fact(4, e.SmsSent, OTHER)
    links = [requested(1, SENT), sent, elsewhere, told(5, sent), told(6, elsewhere)]
    assert seqs(SENT, *links) == [1, 3, 5]


def test_a_confirmation_shows_the_text_that_caused_it_and_the_other_way_round() -> None:
    received = link(
        1,
        e.SmsReceived(
            contact_id=CONTACT,
            message_id=REPLY,
            phone_id="phn_1",
            sender="+14155550100",
            sender_kind="number",
            body="STOP",
            parts=1,
            received_at=AT,
            provider_id="1",
            journal_seq=1,
        ),
    )
    opted_out = e.ContactOptedOut(contact_id=CONTACT, number="+14155550100", source="keyword")
    stopped = link(2, opted_out, received.event.id)
    confirmation = requested(3, SENT, received.event.id)
    sent = fact(4, e.SmsSent)
    assert seqs(REPLY, received, stopped, confirmation, sent) == [1, 2, 3]
    assert seqs(SENT, received, stopped, confirmation, sent) == [1, 3, 4]


def test_a_cause_that_is_not_in_the_log_ends_the_chain() -> None:
    assert seqs(SENT, requested(1, SENT, "req_1")) == [1]


def test_how_it_ended_is_told_by_the_last_word() -> None:
    links = [requested(1, SENT), fact(2, e.SmsSent), fact(3, e.SmsDelivered)]
    assert chain.end(links) == "delivered"
    assert chain.end(links[:2]) is None


def test_every_event_can_be_told_without_a_text_or_a_number() -> None:
    for event in EXAMPLES.values():
        words = chain.words(event)
        for name in ("body", "to", "sender", "number"):
            private = getattr(event.data, name, None)
            assert not private or str(private) not in words


def test_every_actor_has_a_service() -> None:
    for kind in get_args(ActorKind):
        event = e.make(
            e.PhoneOnline(phone_id="phn_1"),
            id="evt_1",
            workspace_id=WS,
            at=AT,
            actor=e.Actor(kind, "gateway"),
        )
        assert chain.Link(1, AT, event).service
