"""The API's rows: how a message moves, and that nothing late, repeated or foreign moves it back."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.project import APPLY, FILTERS, apply
from services.api.project.message import OVER, RANK
from services.api.project.tables import (
    API_KEY,
    CONTACT,
    CONTACT_WORD,
    CONVERSATION,
    ENDPOINT,
    MESSAGE,
    PHONE,
    TABLES,
    TIMELINE,
    WORKSPACE,
    Message,
)
from shared import events as e
from shared import ids
from shared.rows import Rows, fold
from tests.examples import EXAMPLES

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
WS = ids.derive("ws", "acme")
CON = ids.derive("con", "somebody")
MSG = ids.derive("msg", "a message")
PHONE_ID = ids.derive("phn", "front desk")
SYSTEM = e.Actor("system", "test")
TO = "+14155550100"


def event(data: e.Data, at: datetime = NOW) -> e.Event:
    return e.make(data, id=ids.new("evt"), workspace_id=WS, at=at, actor=SYSTEM)


def requested(**fields: Any) -> e.SendRequested:
    given = {"message_id": MSG, "contact_id": CON, "to": TO, "body": "Hello", "parts": 1}
    return e.SendRequested(
        **{**given, "source": "api", "expires_at": NOW + timedelta(days=3), **fields}
    )


def dispatched(attempt: int = 1, phone_id: str = PHONE_ID) -> e.SendDispatched:
    return e.SendDispatched(
        message_id=MSG,
        contact_id=CON,
        command_id=ids.command_id(MSG, attempt),
        phone_id=phone_id,
        attempt=attempt,
        to=TO,
        body="Hello",
        parts=1,
        source="api",
        expires_at=NOW,
    )


def fact(kind: Any, attempt: int = 1, **fields: Any) -> e.SmsFact:
    return kind(
        message_id=MSG,
        contact_id=CON,
        command_id=ids.command_id(MSG, attempt),
        phone_id=PHONE_ID,
        attempt=attempt,
        journal_seq=1,
        phone_at=NOW,
        **fields,
    )


def failed(error_class: str, attempt: int = 1) -> e.SmsFact:
    return fact(e.SmsFailed, attempt, error_class=error_class, code="x", detail="It failed.")


def held(reason: str, until: datetime | None = None) -> e.SendHeld:
    return e.SendHeld(message_id=MSG, contact_id=CON, reason=reason, until=until)


def cancelled() -> e.SendCancelled:
    return e.SendCancelled(message_id=MSG, contact_id=CON)


def cancel_requested(reason: str = "user") -> e.SendCancelRequested:
    return e.SendCancelRequested(message_id=MSG, contact_id=CON, reason=reason)


def folded(*given: e.Data) -> Rows:
    rows = Rows(TABLES)
    fold(rows, apply, [(n, event(data)) for n, data in enumerate(given, 1)])
    return rows


def message(*given: e.Data) -> Message:
    row = folded(requested(), *given).get(MESSAGE, MSG)
    assert row is not None
    return row


def told(rows: Rows) -> list[str]:
    return [fact.type for fact in sorted(rows.all(TIMELINE), key=lambda fact: fact.seq)]


WAY = [
    dispatched(),
    fact(e.SmsAccepted),
    fact(e.SmsSubmitted),
    fact(e.SmsSent),
    fact(e.SmsDelivered),
]


STATES = ["queued", "dispatched", "accepted", "submitted", "sent", "delivered"]


@pytest.mark.parametrize(("count", "state"), list(enumerate(STATES)))
def test_a_message_goes_its_way(count: int, state: str) -> None:
    row = message(*WAY[:count])
    assert (row.state, row.attempt) == (state, min(count, 1))


@given(st.lists(st.sampled_from(range(5)), max_size=12), st.data())
def test_facts_in_any_order_and_number_never_move_it_back(late: list[int], data: Any) -> None:
    facts = [WAY[0], *(WAY[n] for n in data.draw(st.permutations([1, 2, 3, 4])))]
    given = facts + [WAY[n] for n in late]
    rows = Rows(TABLES)
    reached = 0
    for seq, one in enumerate([requested(), *given], 1):
        apply(rows, seq, event(one))
        row = rows.get(MESSAGE, MSG)
        assert row is not None
        assert RANK[row.state] >= reached
        reached = RANK[row.state]
    assert rows.get(MESSAGE, MSG).state == "delivered"  # type: ignore[union-attr]
    assert len(told(rows)) == len(set(told(rows))) == 6


def test_a_repeated_request_changes_nothing() -> None:
    rows = folded(requested(), *WAY, requested(body="Other"))
    row = rows.get(MESSAGE, MSG)
    assert row is not None
    assert (row.state, row.body) == ("delivered", "Hello")
    assert told(rows).count("send.requested") == 1


def test_a_wait_is_shown_until_it_is_over() -> None:
    row = message(held("quiet_hours", NOW))
    assert (row.state, row.waiting_reason, row.waiting_until) == ("queued", "quiet_hours", NOW)
    row = message(held("quiet_hours", NOW), dispatched())
    assert (row.waiting_reason, row.waiting_until) == (None, None)
    assert message(dispatched(), held("quiet_hours", NOW)).waiting_reason is None


@pytest.mark.parametrize("error_class", ["transient", "throttled"])
def test_a_passing_failure_is_tried_again_and_the_last_one_is_the_end(error_class: str) -> None:
    once = message(dispatched(), failed(error_class))
    assert (once.state, once.waiting_reason) == ("queued", "retry")
    assert (once.error_code, once.error_detail) == ("x", "It failed.")
    waits = message(dispatched(), failed(error_class), held("retry", NOW))
    assert (waits.state, waits.waiting_until) == ("queued", NOW)
    again = message(dispatched(), failed(error_class), dispatched(2), fact(e.SmsSent, 2))
    assert (again.state, again.attempt, again.error_code) == ("sent", 2, None)
    tries = [one for n in (1, 2, 3) for one in (dispatched(n), failed(error_class, n))]
    end = message(*tries)
    assert (end.state, end.waiting_reason, end.attempt) == ("failed", None, 3)


def test_a_permanent_failure_is_the_end_also_after_sent() -> None:
    assert message(dispatched(), failed("permanent")).state == "failed"
    row = message(*WAY[:4], failed("permanent"))
    assert (row.state, row.error_class) == ("failed", "permanent")
    assert message(*WAY, failed("permanent")).state == "delivered"


@pytest.mark.parametrize("doubt", [fact(e.SmsUnknown), failed("ambiguous")])
def test_a_doubtful_message_waits_for_a_person(doubt: e.SmsFact) -> None:
    given = [dispatched(), fact(e.SmsSubmitted), doubt, held("quarantined")]
    row = message(*given)
    assert row.state in ("unknown", "failed")
    assert row.waiting_reason == "quarantined"
    retry = e.SendResolved(message_id=MSG, contact_id=CON, decision="retry")
    drop = e.SendResolved(message_id=MSG, contact_id=CON, decision="drop")
    assert message(*given, retry).state == "queued"
    assert message(*given, retry, drop).state == "queued"
    left = message(*given, drop)
    assert (left.state, left.waiting_reason) == (row.state, None)
    late = message(*given, fact(e.SmsSent))  # the phone came back and knew
    assert (late.state, late.waiting_reason) == ("sent", None)
    again = message(*given, retry, dispatched(2), fact(e.SmsDelivered, 1))
    assert (again.state, again.attempt) == ("dispatched", 2)


def test_what_an_unpaired_phone_held_is_in_doubt() -> None:
    row = message(dispatched(), held("quarantined"))
    assert (row.state, row.waiting_reason) == ("unknown", "quarantined")


def test_a_command_given_back_goes_to_another_phone() -> None:
    other = ids.derive("phn", "other")
    row = message(dispatched(), cancel_requested("failover"), fact(e.SmsCancelled))
    assert (row.state, row.cancel_requested) == ("queued", None)
    row = message(dispatched(), fact(e.SmsCancelled), dispatched(2, other), fact(e.SmsAccepted, 1))
    assert (row.state, row.phone_id, row.attempt) == ("dispatched", other, 2)


def test_a_cancellation_is_shown_first_as_asked_for() -> None:
    asked = message(cancel_requested())
    assert (asked.state, asked.cancel_requested) == ("queued", True)
    assert message(cancel_requested(), cancelled()).state == "cancelled"
    given = [dispatched(), cancel_requested(), fact(e.SmsCancelled)]
    assert message(*given).state == "dispatched"
    assert message(*given, cancelled()).state == "cancelled"
    assert told(folded(requested(), cancel_requested(), cancel_requested())) == [
        "send.requested", "send.cancel_requested",
    ]  # fmt: skip


def test_what_the_phone_sent_was_sent_whatever_was_decided_meanwhile() -> None:
    row = message(dispatched(), cancel_requested(), cancelled(), fact(e.SmsSent))
    assert row.state == "sent"
    assert message(*WAY[:4], cancelled()).state == "sent"
    assert message(dispatched(), cancelled(), fact(e.SmsAccepted)).state == "cancelled"


def test_refusal_and_expiry_say_why() -> None:
    rejected = e.SendRejected(
        message_id=MSG, contact_id=CON, code="recipient_opted_out", detail="Opted out."
    )
    row = message(rejected)
    assert (row.state, row.error_code, row.error_detail) == (
        "rejected", "recipient_opted_out", "Opted out.",
    )  # fmt: skip
    expired = message(e.SendExpired(message_id=MSG, contact_id=CON, waited_for="phone_offline"))
    assert (expired.state, expired.error_code) == ("expired", "expired")


def test_facts_about_a_message_nobody_knows_are_no_rows() -> None:
    assert folded(*WAY, held("retry"), cancelled()).all(MESSAGE) == []
    assert folded(*WAY).all(TIMELINE) == []


ANY_EVENT = st.sampled_from(
    [
        dispatched(1), dispatched(2), dispatched(3), held("quiet_hours", NOW), held("retry", NOW),
        held("quarantined"), held("queue"), cancel_requested(), cancel_requested("failover"),
        cancelled(), e.SendExpired(message_id=MSG, contact_id=CON),
        e.SendRejected(message_id=MSG, contact_id=CON, code="c", detail="d"),
        e.SendResolved(message_id=MSG, contact_id=CON, decision="retry"),
        e.SendResolved(message_id=MSG, contact_id=CON, decision="drop"),
        *(fact(kind, attempt) for kind in (e.SmsAccepted, e.SmsSubmitted, e.SmsSent, e.SmsDelivered,
          e.SmsUnknown, e.SmsCancelled) for attempt in (1, 2, 3)),
        *(failed(kind, attempt) for kind in ("transient", "permanent", "ambiguous")
          for attempt in (1, 2, 3)),
    ]
)  # fmt: skip


@given(st.lists(ANY_EVENT, max_size=25))
def test_no_history_breaks_what_the_tables_promise(history: list[e.Data]) -> None:
    row = message(*history)
    assert row.state in RANK
    # schema/001_projection.sql, CHECKs
    assert row.waiting_reason is None or row.state in ("queued", "unknown", "failed")
    assert row.waiting_until is None or row.waiting_reason is not None
    delivered = fact(e.SmsDelivered, row.attempt or 1)
    if row.state in OVER:
        after = message(*history, dispatched(9), held("retry"), cancelled(), cancel_requested())
        assert after.state == row.state
    if row.state == "delivered":
        assert message(*history, delivered, failed("permanent", row.attempt)).state == "delivered"


def reply(message_id: str = ids.derive("msg", "reply"), **fields: Any) -> e.ReplyReceived:
    return e.ReplyReceived(
        **{
            "message_id": message_id,
            "contact_id": CON,
            "conversation_id": ids.conversation_id(CON),
            "phone_id": PHONE_ID,
            "sender": TO,
            "sender_kind": "number",
            "body": "Yes",
            "parts": 1,
            "received_at": NOW,
            **fields,
        }
    )


def test_a_reply_is_a_message_and_makes_contact_and_conversation() -> None:
    rows = folded(reply())
    (row,) = rows.all(MESSAGE)
    assert (row.direction, row.state, row.number) == ("inbound", "received", TO)
    contact = rows.get(CONTACT, CON)
    assert contact is not None
    assert (contact.number, contact.saved, contact.seq) == (TO, False, 0)
    conversation = rows.get(CONVERSATION, CON)
    assert conversation is not None
    assert (conversation.state, conversation.unread) == ("open", 1)
    assert folded(reply(), reply()).get(CONVERSATION, CON).unread == 1  # type: ignore[union-attr]


def test_an_opt_out_is_told_on_the_reply_that_was_one() -> None:
    out = e.ContactOptedOut(
        contact_id=CON, number=TO, source="keyword", rule="stop", message_id=reply().message_id
    )
    rows = folded(reply(), out)
    contact = rows.get(CONTACT, CON)
    assert contact is not None
    assert (contact.opted_out, contact.seq) == (True, 2)
    assert told(rows) == ["reply.received", "contact.opted_out"]


def test_saving_keeps_consent_and_lists_the_words() -> None:
    out = e.ContactOptedOut(contact_id=CON, number=TO, source="api")
    first = e.ContactSaved(contact_id=CON, number=TO, first_name="Ada", tags=("vip",))
    second = e.ContactSaved(contact_id=CON, number=TO, first_name="Grace", tags=("vip", "x"))
    rows = folded(out, first, second)
    contact = rows.get(CONTACT, CON)
    assert contact is not None
    assert (contact.opted_out, contact.first_name, contact.saved) == (True, "Grace", True)
    assert {row.word for row in rows.all(CONTACT_WORD)} == {"grace", "#vip", "#x"}


def test_pairing_again_keeps_settings_and_age() -> None:
    paired = e.PhonePaired(
        phone_id=PHONE_ID, generation=1, device_hash="x", label="Desk", manufacturer="A",
        model="B", android="14", app_version="1", sims=(e.Sim(subscription_id=1),),
    )  # fmt: skip
    configured = e.PhoneConfigured(
        phone_id=PHONE_ID, label="Desk", min_gap_s=60, daily_cap=10, warmup=False
    )
    gone = e.PhoneUnpaired(phone_id=PHONE_ID)
    rows = folded(paired, configured, e.PhoneOnline(phone_id=PHONE_ID), gone)
    row = rows.get(PHONE, PHONE_ID)
    assert row is not None
    assert (row.paired, row.state, row.seq) == (False, "offline", 4)
    row = folded(paired, configured, gone, paired).get(PHONE, PHONE_ID)
    assert row is not None
    assert (row.paired, row.daily_cap, row.warmup, row.seq) == (True, 10, False, 4)


def test_keys_and_workspaces_hint_at_what_is_cached() -> None:
    made = e.ApiKeyCreated(
        key_id="key_1", name="n", mode="live", hash="ab" * 32, last_four="1234", scopes=("*",)
    )
    rows = folded(made)
    assert rows.hints == {"ab" * 32}
    rows.hints.clear()
    apply(rows, 2, event(e.ApiKeyRevoked(key_id="key_1")))
    assert rows.hints == {"ab" * 32}
    row = rows.get(API_KEY, "key_1")
    assert row is not None
    assert row.revoked_at == NOW
    rows = folded(e.WorkspaceCreated(workspace_id=WS, name="A", timezone="UTC"))
    assert rows.hints == {WS}
    workspace = rows.get(WORKSPACE, WS)
    assert workspace is not None
    assert (workspace.quiet_start, workspace.seq) == ("21:00", 1)


def test_a_removed_endpoint_takes_its_attempts_along() -> None:
    saved = e.WebhookEndpointSaved(endpoint_id="whk_1", url="https://x", types=("*",))
    rows = folded(saved)
    apply(rows, 2, event(e.WebhookEndpointRemoved(endpoint_id="whk_1")))
    assert rows.get(ENDPOINT, "whk_1") is None
    assert rows.barrier == ("DELETE FROM attempt WHERE endpoint_id = $1", ("whk_1",))


def test_every_event_it_asks_for_can_be_applied() -> None:
    heard = [
        example
        for example in EXAMPLES.values()
        if any(f"{example.type}.x".startswith(f.removesuffix(">")) for f in FILTERS)
    ]
    assert {type(example.data) for example in heard} == set(APPLY)
    rows = Rows(TABLES)
    for seq, example in enumerate(heard, 1):
        apply(rows, seq, example)
