"""Inbound's rows: a text is open from sms.received to reply.received, and only once."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.inbound.project import CONTACT, INCOMING, TABLES, WORKSPACE, apply
from shared import events, ids
from shared.rows import Rows, fold

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
WS = ids.derive("ws", "acme")
CON = ids.derive("con", "somebody")
PHONE = ids.derive("phn", "front desk")
SYSTEM = events.Actor("system", "test")


def event(data: events.Data, at: datetime = NOW) -> events.Event:
    return events.make(data, id=ids.new("evt"), workspace_id=WS, at=at, actor=SYSTEM, cause=None)


def received(message_id: str, body: str = "Hello") -> events.Event:
    data = events.SmsReceived(
        contact_id=CON,
        message_id=message_id,
        phone_id=PHONE,
        sender="+14155550100",
        sender_kind="number",
        body=body,
        parts=1,
        received_at=NOW,
        provider_id="77",
        journal_seq=1,
    )
    return event(data)


def replied(message_id: str, at: datetime = NOW, **fields: Any) -> events.Event:
    data = events.ReplyReceived(
        message_id=message_id,
        contact_id=CON,
        conversation_id=ids.conversation_id(CON),
        phone_id=PHONE,
        sender="+14155550100",
        sender_kind="number",
        body="Hello",
        parts=1,
        received_at=NOW,
        **fields,
    )
    return event(data, at)


def folded(*given: events.Event) -> Rows:
    rows = Rows(TABLES)
    fold(rows, apply, list(enumerate(given, 1)))
    return rows


def test_a_received_text_is_open() -> None:
    rows = folded(received("msg_1"))
    row = rows.get(INCOMING, "msg_1")
    assert row is not None
    assert (row.open, row.body, row.sender, row.seq) == (True, "Hello", "+14155550100", 1)


def test_its_reply_closes_it_and_forgets_what_was_said() -> None:
    rows = folded(received("msg_1"), replied("msg_1"))
    row = rows.get(INCOMING, "msg_1")
    assert row is not None
    assert (row.open, row.body, row.sender) == (False, "", "")


def test_the_same_text_reported_again_stays_closed() -> None:
    rows = folded(received("msg_1"), replied("msg_1"), received("msg_1"))
    row = rows.get(INCOMING, "msg_1")
    assert row is not None
    assert not row.open


def test_consent_follows_the_last_fact() -> None:
    out = events.ContactOptedOut(contact_id=CON, number="+1", source="keyword", message_id="msg_1")
    back = events.ContactOptedIn(contact_id=CON, number="+1", source="user")
    rows = folded(event(out))
    contact = rows.get(CONTACT, CON)
    assert contact is not None
    assert (contact.opted_out, contact.consent_message_id) == (True, "msg_1")
    rows = folded(event(out), event(back))
    contact = rows.get(CONTACT, CON)
    assert contact is not None
    assert (contact.opted_out, contact.consent_message_id) == (False, None)


def test_answers_are_remembered_by_their_kind() -> None:
    later = NOW + timedelta(hours=1)
    rows = folded(
        received("msg_1"),
        replied("msg_1", answered="confirmation"),
        received("msg_2"),
        replied("msg_2", later, answered="help"),
    )
    contact = rows.get(CONTACT, CON)
    assert contact is not None
    assert (contact.confirmed_at, contact.helped_at) == (NOW, later)


def test_a_repeated_reply_does_not_renew_the_answer() -> None:
    later = NOW + timedelta(hours=1)
    rows = folded(
        received("msg_1"),
        replied("msg_1", answered="confirmation"),
        replied("msg_1", later, answered="confirmation"),
    )
    contact = rows.get(CONTACT, CON)
    assert contact is not None
    assert contact.confirmed_at == NOW


def test_an_ordinary_reply_makes_no_contact_row() -> None:
    assert folded(received("msg_1"), replied("msg_1")).all(CONTACT) == []


def test_the_workspaces_words_follow_its_profile() -> None:
    first = events.WorkspaceCreated(workspace_id=WS, name="Acme", timezone="UTC")
    then = events.WorkspaceUpdated(
        workspace_id=WS, name="Acme Inc", timezone="UTC", help_text="Call.", opt_out_text="Bye."
    )
    rows = folded(event(first), event(then))
    row = rows.get(WORKSPACE, WS)
    assert row is not None
    assert (row.name, row.help_text, row.opt_out_text) == ("Acme Inc", "Call.", "Bye.")
