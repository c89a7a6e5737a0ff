"""When an endpoint is tried again, given up or switched off."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.webhooks.decide import (
    RESPONSE_MAX_CHARACTERS,
    Due,
    Result,
    delay_s,
    error_of,
    excerpt,
    outcome,
    retry_after_s,
    wants,
    wrong_types,
)
from services.webhooks.settings import SCHEDULE, WebhookSettings
from shared import events, ids
from shared.settings import BadSetting

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
SCHEDULE_S = tuple(float(part) for part in SCHEDULE.split(","))
SENT = json.dumps({"data": {"body": "Your code is 1234"}})
DUE = Due(
    delivery_id=ids.derive("dlv", "one"),
    endpoint_id=ids.derive("whk", "one"),
    workspace_id=ids.derive("ws", "one"),
    event_id=ids.derive("evt", "one"),
    event_type="sms.sent",
    attempt=0,
    trigger="event",
    opened_by=ids.derive("evt", "one"),
    url="https://example.com/hook",
)


def after(result: Result, **due: Any) -> list[events.Event]:
    return outcome(replace(DUE, **due), result, SENT, SCHEDULE_S, NOW)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    (event,) = after(Result(12, status=status, response=b"thanks"))
    data = event.data
    assert (data.outcome, data.attempt, data.status, data.duration_ms) == (
        "delivered",
        1,
        status,
        12,
    )
    assert (data.error, data.response, data.next_at) == (None, None, None)
    assert event.cause == DUE.opened_by


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (Result(1, status=500), "http_5xx"),
        (Result(1, status=404), "http_4xx"),
        (Result(1, status=302), "redirect"),
        (Result(1, error="timeout"), "timeout"),
        (Result(1, error="address_blocked"), "address_blocked"),
    ],
)
def test_everything_else_is_tried_again(result: Result, error: str) -> None:
    (event,) = after(result)
    assert (event.data.outcome, event.data.error) == ("failed", error)
    assert event.data.next_at is not None
    assert timedelta(seconds=4) <= event.data.next_at - NOW <= timedelta(seconds=6)


def test_the_default_schedule_is_ten_attempts_in_75_hours() -> None:
    assert len(SCHEDULE_S) == 10
    assert sum(SCHEDULE_S) == timedelta(hours=75, minutes=35, seconds=5).total_seconds()


@given(st.integers(1, 9), st.text(max_size=8))
def test_each_delay_is_within_a_fifth_of_the_schedule_and_always_the_same(
    attempt: int, who: str
) -> None:
    due = replace(DUE, delivery_id=ids.derive("dlv", who))
    delay = delay_s(due, attempt, Result(1, status=500), SCHEDULE_S, NOW)
    assert 0.8 * SCHEDULE_S[attempt] <= delay <= 1.2 * SCHEDULE_S[attempt]
    assert delay == delay_s(due, attempt, Result(1, status=500), SCHEDULE_S, NOW)


def test_deliveries_that_fail_together_do_not_come_back_together() -> None:
    dues = [replace(DUE, delivery_id=ids.derive("dlv", str(n))) for n in range(50)]
    delays = {delay_s(due, 3, Result(1, status=500), SCHEDULE_S, NOW) for due in dues}
    assert len(delays) == 50


def test_the_tenth_failure_ends_it() -> None:
    (ninth,) = after(Result(1, status=500), attempt=8)
    assert ninth.data.outcome == "failed"
    (tenth,) = after(Result(1, status=500), attempt=9)
    assert (tenth.data.outcome, tenth.data.next_at) == ("exhausted", None)


def test_retry_after_is_honoured_when_it_is_later() -> None:
    (event,) = after(Result(1, status=429, retry_after="120"))
    assert event.data.next_at == NOW + timedelta(seconds=120)


def test_retry_after_cannot_hurry_or_stall_us() -> None:
    (sooner,) = after(Result(1, status=503, retry_after="1"))
    assert sooner.data.next_at >= NOW + timedelta(seconds=4)
    (never,) = after(Result(1, status=503, retry_after="99999999999"))
    assert never.data.next_at == NOW + timedelta(days=1)


def test_retry_after_can_be_a_date() -> None:
    assert retry_after_s("Mon, 23 Nov 2026 10:02:00 GMT", NOW) == 120
    assert retry_after_s("Mon, 23 Nov 2026 09:00:00 GMT", NOW) == 0


@given(st.text())
def test_any_retry_after_is_a_number_of_seconds(header: str) -> None:
    assert retry_after_s(header, NOW) >= 0


def test_410_ends_the_delivery_and_switches_the_endpoint_off() -> None:
    attempted, disabled = after(Result(1, status=410))
    assert (attempted.data.outcome, attempted.data.error) == ("exhausted", "gone")
    assert disabled.data == events.WebhookEndpointDisabled(
        endpoint_id=DUE.endpoint_id, reason="gone"
    )


@pytest.mark.parametrize(("days", "off"), [(4, False), (5, True)])
def test_five_days_of_failures_switch_it_off(days: int, off: bool) -> None:
    out = after(Result(1, status=500), failing_since=NOW - timedelta(days=days))
    assert [event.type for event in out][1:] == (["webhook.endpoint_disabled"] if off else [])


@pytest.mark.parametrize("trigger", ["test", "resend", "replay"])
def test_what_somebody_asked_for_never_switches_it_off(trigger: str) -> None:
    since = NOW - timedelta(days=9)
    assert len(after(Result(1, status=410), trigger=trigger)) == 1
    assert len(after(Result(1, status=500), trigger=trigger, failing_since=since)) == 1


def test_a_success_never_switches_it_off() -> None:
    assert len(after(Result(1, status=200), failing_since=NOW - timedelta(days=9))) == 1


def test_a_test_is_one_attempt() -> None:
    (event,) = after(Result(1, status=500), trigger="test")
    assert event.data.outcome == "exhausted"


def test_the_same_attempt_has_the_same_ids_and_another_has_others() -> None:
    again = after(Result(1, status=410))
    assert [e.id for e in again] == [e.id for e in after(Result(99, status=410))]
    seen = {e.id for e in again}
    for due in ({"attempt": 1}, {"opened_by": ids.new("evt")}, {"delivery_id": ids.new("dlv")}):
        assert seen.isdisjoint(e.id for e in after(Result(1, status=410), **due))


def test_an_error_page_is_kept_short_and_without_numbers() -> None:
    kept = excerpt(b"<h1>Bad\x00 gateway</h1> call +1 415 555 0100 " + b"x" * 2000, SENT)
    assert kept is not None
    assert kept.startswith("<h1>Bad gateway</h1> call [number] xxx")
    assert len(kept) == RESPONSE_MAX_CHARACTERS


def test_an_answer_that_repeats_the_message_is_not_kept() -> None:
    assert excerpt(b'{"you sent": "Your code is 1234"}', SENT) is None
    assert excerpt(b"", SENT) is None


@given(st.binary())
def test_any_answer_makes_a_printable_excerpt(response: bytes) -> None:
    kept = excerpt(response, "")
    assert kept is None or kept.isprintable()


def test_answers_have_error_classes() -> None:
    found = [error_of(s) for s in (None, 301, 410, 418, 503)]
    assert found == ["no_answer", "redirect", "gone", "http_4xx", "http_5xx"]


def test_types_nobody_knows_are_named_by_their_place() -> None:
    errors = wrong_types(["sms.sent", "sms.snet", "*"], ["sms.sent"])
    assert [(e["pointer"], e["code"]) for e in errors] == [("#/types/1", "unknown_type")]
    assert [e["pointer"] for e in wrong_types([], ["sms.sent"])] == ["#/types"]


def test_a_star_wants_everything() -> None:
    assert wants(["*"], "phone.online")
    assert wants(["sms.sent"], "sms.sent")
    assert not wants(["sms.sent"], "sms.failed")


@pytest.mark.parametrize("text", ["", "a", "0,-1", "0;5"])
def test_a_schedule_that_is_none_is_refused_at_start(text: str) -> None:
    settings = WebhookSettings(database_url="", nats_url="", secret_key="", webhook_schedule=text)
    with pytest.raises(BadSetting, match="EIGHTMS_WEBHOOK_SCHEDULE_S"):
        settings.schedule_s()
