"""Webhooks' rows: what happened opens deliveries, attempts close them, nothing is sent twice."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.webhooks import project, shapes
from services.webhooks.project import (
    ATTEMPT,
    DELIVERY,
    ENDPOINT,
    MESSAGE,
    PAYLOAD,
    SUBSCRIPTION,
    TABLES,
    Delivery,
    Endpoint,
    apply,
)
from shared import events, ids
from shared.rows import Rows, fold

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
WS, OTHER_WS = ids.derive("ws", "acme"), ids.derive("ws", "other")
CON, MSG, PHONE = ids.derive("con", "a"), ids.derive("msg", "a"), ids.derive("phn", "a")
WHK, WHK2 = ids.derive("whk", "1"), ids.derive("whk", "2")
SYSTEM = events.Actor("system", "test")


def event(data: events.Data, name: str = "", **fields: Any) -> events.Event:
    return events.make(
        data,
        id=ids.derive("evt", name) if name else ids.new("evt"),
        workspace_id=fields.pop("workspace_id", WS),
        at=fields.pop("at", NOW),
        actor=SYSTEM,
        **fields,
    )


def saved(endpoint_id: str = WHK, **fields: Any) -> events.Event:
    fields = {"url": "https://example.com/a", "types": ("*",), **fields}
    return event(events.WebhookEndpointSaved(endpoint_id=endpoint_id, **fields))


def sent(name: str = "sent", **fields: Any) -> events.Event:
    data = events.SmsSent(
        message_id=MSG,
        contact_id=CON,
        command_id="cmd_1",
        phone_id=PHONE,
        attempt=1,
        journal_seq=3,
        phone_at=NOW,
        parts=2,
    )
    return event(data, name, **fields)


def requested() -> events.Event:
    data = events.SendRequested(
        message_id=MSG,
        contact_id=CON,
        to="+14155550100",
        body="secret text",
        parts=1,
        source="api",
        expires_at=NOW + timedelta(hours=72),
        client_ref="order-7",
    )
    return event(data)


def attempted(outcome: str, *, of: events.Event, whk: str = WHK, **fields: Any) -> events.Event:
    delivery_id = ids.derive("dlv", whk, of.id)
    number = fields.pop("attempt", 1)
    cause = fields.pop("cause", of.id)
    at = fields.pop("at", NOW)
    data = events.WebhookAttempted(
        endpoint_id=whk,
        attempt_id=ids.derive("att", delivery_id, cause, str(number)),
        delivery_id=delivery_id,
        event_id=of.id,
        event_type=of.type,
        attempt=number,
        trigger=fields.pop("trigger", "event"),
        outcome=outcome,
        url="https://example.com/a",
        duration_ms=5,
        next_at=NOW + timedelta(seconds=5) if outcome == "failed" else None,
        **fields,
    )
    return event(data, cause=cause, at=at)


def folded(*given: events.Event) -> Rows:
    """Fold events; a statement that was asked for ends a fold, and is looked at by the test."""
    rows = Rows(TABLES)
    todo = list(enumerate(given, 1))
    while todo:
        rows.barrier = None
        done = fold(rows, apply, todo)
        todo = todo[done:]
    return rows


def delivery(rows: Rows, of: events.Event, whk: str = WHK) -> Delivery:
    row = rows.get(DELIVERY, ids.derive("dlv", whk, of.id))
    assert row is not None
    return row


def endpoint(rows: Rows, whk: str = WHK) -> Endpoint:
    row = rows.get(ENDPOINT, whk)
    assert row is not None
    return row


def backlog(rows: Rows) -> dict[str, int]:
    row = rows.get(SUBSCRIPTION, WS)
    assert row is not None
    return row.backlog


# -- opening -------------------------------------------------------------------------------------


def test_what_happened_opens_a_delivery_for_every_endpoint_that_asked() -> None:
    happened = sent()
    rows = folded(saved(), saved(WHK2, types=("phone.online",)), happened)
    (row,) = rows.all(DELIVERY)
    assert (row.endpoint_id, row.state, row.attempt, row.next_at) == (WHK, "open", 0, NOW)
    assert (row.event_id, row.opened_by, row.trigger) == (happened.id, happened.id, "event")
    assert backlog(rows) == {WHK: 1}
    assert WHK in rows.hints


def test_the_body_is_the_public_shape_with_whom_it_went_to() -> None:
    happened = sent()
    rows = folded(saved(), requested(), happened)
    (row,) = rows.all(PAYLOAD)
    assert json.loads(row.body) == {
        "id": happened.id,
        "type": "sms.sent",
        "api_version": shapes.API_VERSION,
        "timestamp": "2026-11-23T10:00:00Z",
        "workspace_id": WS,
        "data": {
            "message_id": MSG,
            "contact_id": CON,
            "conversation_id": ids.conversation_id(CON),
            "to": "+14155550100",
            "phone_id": PHONE,
            "client_ref": "order-7",
            "campaign_id": None,
            "parts": 2,
            "attempt": 1,
            "error": None,
        },
    }


def test_two_endpoints_share_one_body() -> None:
    rows = folded(saved(), saved(WHK2), sent())
    assert len(rows.all(PAYLOAD)) == 1
    assert len(rows.all(DELIVERY)) == 2


def test_nothing_is_kept_for_workspaces_without_endpoints() -> None:
    rows = folded(requested(), sent())
    assert rows.all(MESSAGE) == rows.all(PAYLOAD) == rows.all(DELIVERY) == []


def test_another_workspace_is_never_told() -> None:
    rows = folded(saved(), sent(workspace_id=OTHER_WS))
    assert rows.all(DELIVERY) == []


def test_an_event_that_is_in_the_log_twice_is_delivered_once() -> None:
    happened = sent()
    rows = folded(saved(), happened, attempted("delivered", of=happened), happened)
    assert delivery(rows, happened).state == "delivered"
    assert backlog(rows) == {WHK: 0}


@pytest.mark.parametrize("name", shapes.TYPES)
def test_every_type_can_be_tested_and_its_example_looks_like_it(name: str) -> None:
    wish = event(events.WebhookTestRequested(endpoint_id=WHK, event_type=name))
    rows = folded(saved(), wish)
    (row,) = rows.all(DELIVERY)
    assert (row.trigger, row.event_id, row.event_type) == ("test", wish.id, name)
    assert row.next_at == project.FIRST  # before all that waits: somebody is looking
    body = json.loads(rows.all(PAYLOAD)[0].body)
    assert (body["id"], body["type"], body["test"]) == (wish.id, name, True)
    assert body["data"]


def test_an_endpoint_that_is_off_can_be_tested() -> None:
    wish = event(events.WebhookTestRequested(endpoint_id=WHK, event_type="sms.sent"))
    rows = folded(saved(enabled=False), wish)
    assert [row.state for row in rows.all(DELIVERY)] == ["open"]


def test_only_an_ordered_endpoint_orders_by_conversation() -> None:
    happened = sent()
    online = event(events.PhoneOnline(phone_id=PHONE))
    rows = folded(saved(ordered=True), saved(WHK2), happened, online)
    assert delivery(rows, happened).ordered_by == ids.conversation_id(CON)
    assert delivery(rows, happened, WHK2).ordered_by is None
    assert delivery(rows, online).ordered_by is None


def test_beyond_the_backlog_a_delivery_is_given_up_at_once(monkeypatch: Any) -> None:
    monkeypatch.setattr(project, "BACKLOG_MAX", 1)
    first, second = sent("a"), sent("b")
    rows = folded(saved(), first, second)
    assert delivery(rows, first).state == "open"
    assert (delivery(rows, second).state, delivery(rows, second).error) == (
        "exhausted",
        "backlog_full",
    )
    assert backlog(rows) == {WHK: 1}


# -- closing -------------------------------------------------------------------------------------


def test_a_delivered_attempt_closes_it() -> None:
    happened = sent()
    rows = folded(saved(), happened, attempted("delivered", of=happened, status=200))
    row = delivery(rows, happened)
    assert (row.state, row.attempt, row.next_at, row.status) == ("delivered", 1, None, 200)
    assert backlog(rows) == {WHK: 0}
    assert [a.delivery_id for a in rows.all(ATTEMPT)] == [row.id]


def test_a_failed_attempt_says_when_it_is_tried_again() -> None:
    happened = sent()
    rows = folded(saved(), happened, attempted("failed", of=happened, error="timeout"))
    row = delivery(rows, happened)
    assert (row.state, row.attempt, row.error) == ("open", 1, "timeout")
    assert row.next_at == NOW + timedelta(seconds=5)


def test_an_attempt_that_is_in_the_log_twice_counts_once() -> None:
    happened = sent()
    first, second = (attempted("failed", of=happened, attempt=n) for n in (1, 2))
    rows = folded(saved(), happened, first, second, first)
    assert delivery(rows, happened).attempt == 2


def test_failing_starts_at_the_first_failure_and_any_success_ends_it() -> None:
    happened = sent()
    later = NOW + timedelta(hours=1)
    failed = attempted("failed", of=happened)
    again = attempted("failed", of=happened, attempt=2, at=later)
    rows = folded(saved(), happened, failed, again)
    assert endpoint(rows).failing_since == NOW
    rows = folded(saved(), happened, failed, again, attempted("delivered", of=happened, attempt=3))
    assert endpoint(rows).failing_since is None


@pytest.mark.parametrize("trigger", ["test", "resend", "replay"])
def test_what_somebody_asked_for_does_not_start_the_clock(trigger: str) -> None:
    happened = sent()
    rows = folded(saved(), happened, attempted("failed", of=happened, trigger=trigger))
    assert endpoint(rows).failing_since is None


# -- again ---------------------------------------------------------------------------------------


def resend(of: events.Event, name: str = "resend") -> events.Event:
    data = events.WebhookResendRequested(endpoint_id=WHK, delivery_id=ids.derive("dlv", WHK, of.id))
    return event(data, name)


def test_a_resend_opens_a_closed_delivery_under_the_same_webhook_id() -> None:
    happened = sent()
    wish = resend(happened)
    rows = folded(saved(), happened, attempted("exhausted", of=happened, attempt=10), wish)
    row = delivery(rows, happened)
    assert (row.state, row.attempt, row.trigger) == ("open", 0, "resend")
    assert (row.event_id, row.opened_by) == (happened.id, wish.id)
    assert backlog(rows) == {WHK: 1}


def test_an_attempt_of_an_earlier_opening_does_not_close_the_resend() -> None:
    happened = sent()
    wish = resend(happened)
    rows = folded(saved(), happened, wish, attempted("exhausted", of=happened, attempt=10))
    assert delivery(rows, happened).state == "open"
    closing = attempted("delivered", of=happened, cause=wish.id, trigger="resend")
    rows = folded(saved(), happened, wish, closing)
    assert delivery(rows, happened).state == "delivered"
    assert backlog(rows) == {WHK: 0}


def test_a_resend_to_an_endpoint_that_is_off_opens_nothing() -> None:
    happened = sent()
    off = event(events.WebhookEndpointDisabled(endpoint_id=WHK, reason="gone"))
    closing = attempted("delivered", of=happened)
    rows = folded(saved(), happened, closing, off, resend(happened))
    assert delivery(rows, happened).state == "delivered"


def test_a_replay_asks_for_a_statement_that_opens_what_was_closed() -> None:
    data = events.WebhookReplayRequested(
        endpoint_id=WHK, since=NOW - timedelta(days=1), types=("sms.sent",), only_failed=True
    )
    wish = event(data)
    rows = folded(saved(), wish)
    assert rows.barrier is not None
    statement, args = rows.barrier
    assert statement == project.sql.reopen
    assert args == (
        wish.id,
        NOW,
        WHK,
        NOW - timedelta(days=1),
        ["sms.sent"],
        True,
        project.REPLAY_MAX,
        WS,
    )
    assert WHK in rows.hints


def test_a_replay_to_an_endpoint_that_is_off_opens_nothing() -> None:
    wish = event(events.WebhookReplayRequested(endpoint_id=WHK, since=NOW))
    assert folded(saved(enabled=False), wish).barrier is None


# -- endpoints -----------------------------------------------------------------------------------


def test_an_endpoint_that_is_switched_off_ends_what_it_has_open_and_gets_nothing_new() -> None:
    happened = sent()
    off = event(events.WebhookEndpointDisabled(endpoint_id=WHK, reason="failing"))
    rows = folded(saved(), happened, off)
    assert rows.barrier == (project.sql.close_open, (WHK,))
    assert (endpoint(rows).enabled, endpoint(rows).disabled_reason) == (False, "failing")
    assert backlog(rows) == {}
    rows = folded(saved(), off, happened)
    assert rows.all(DELIVERY) == []


def test_switching_it_on_again_clears_the_reason_and_the_clock() -> None:
    happened = sent()
    off = event(events.WebhookEndpointDisabled(endpoint_id=WHK, reason="failing"))
    rows = folded(saved(), happened, attempted("failed", of=happened), off, saved(), sent("later"))
    row = endpoint(rows)
    assert (row.enabled, row.disabled_reason, row.failing_since) == (True, None, None)
    assert delivery(rows, sent("later")).state == "open"


def test_a_person_who_saves_an_endpoint_that_was_switched_off_keeps_the_reason() -> None:
    off = event(events.WebhookEndpointDisabled(endpoint_id=WHK, reason="gone"))
    rows = folded(saved(), off, saved(enabled=False, description="old"))
    assert endpoint(rows).disabled_reason == "gone"
    assert folded(saved(enabled=False)).all(ENDPOINT)[0].disabled_reason == "user"


def test_another_url_starts_with_a_clean_record_and_another_description_does_not() -> None:
    happened = sent()
    failed = attempted("failed", of=happened)
    rows = folded(saved(), happened, failed, saved(description="new"))
    assert endpoint(rows).failing_since == NOW
    rows = folded(saved(), happened, failed, saved(url="https://example.com/b"))
    assert endpoint(rows).failing_since is None


def test_a_removed_endpoint_cannot_be_saved_back() -> None:
    gone = event(events.WebhookEndpointRemoved(endpoint_id=WHK))
    rows = folded(saved(), gone, saved(), sent())
    assert endpoint(rows).removed
    assert endpoint(rows).url == ""
    assert rows.all(DELIVERY) == []


def test_saves_are_numbered_for_the_next_decision() -> None:
    row = folded(saved(), saved(WHK2)).get(SUBSCRIPTION, WS)
    assert row is not None
    assert row.saved_seq == 2


# -- time ----------------------------------------------------------------------------------------


def test_old_rows_are_removed_now_and_then_by_the_logs_time() -> None:
    soon, later = NOW + timedelta(minutes=59), NOW + timedelta(minutes=60)
    assert folded(sent("a"), sent("b", at=soon)).barrier is None
    rows = folded(sent("a"), sent("b", at=later))
    assert rows.barrier == (
        project.sql.prune,
        (later - project.KEPT, project.PRUNE_MAX, later),
    )


def test_many_new_rows_remove_old_ones_sooner() -> None:
    many = [sent(str(n)) for n in range(project.PRUNE_AFTER)]
    assert folded(saved(), *many[:-1]).barrier is None
    rows = folded(saved(), *many)
    assert rows.barrier == (project.sql.prune, (NOW - project.KEPT, project.PRUNE_MAX, NOW))


def test_folding_twice_makes_the_same_rows() -> None:
    happened = sent()
    given = [saved(), requested(), happened, attempted("failed", of=happened), resend(happened)]
    first, second = folded(*given), folded(*given)
    for table in TABLES:
        assert first.all(table) == second.all(table)
