"""What the API decides: pure, with everything that stands against a wish said at once."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from services.api import decide
from services.api.decide import Handset, Recipient, Sender
from shared import events as e
from shared.problems import Problem

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
ADA = Recipient("con_ada", "+14155550100", timezone="America/New_York")
DESK = Handset("phn_desk", paired=True, simulated=False)
API = Sender("api", test=False)


@dataclass(frozen=True)
class Wish:
    to: str | None = "+14155550100"
    contact_id: str | None = None
    body: str = "Hello"
    phone_id: str | None = None
    subscription_id: int | None = None
    send_at: datetime | None = None
    ttl: int | None = None
    category: str | None = None
    client_ref: str | None = None


def accept(wish: Wish, recipient: Recipient | decide.FieldError = ADA, **more: object) -> object:
    given = {"message_id": "msg_1", "phone": None, "sender": API, "now": NOW, **more}
    return decide.accept(wish, recipient=recipient, **given)


def codes(result: object) -> list[tuple[str, str]]:
    assert isinstance(result, list)
    return [(entry["pointer"], entry["code"]) for entry in result]


def test_a_wish_becomes_an_event() -> None:
    made = accept(Wish())
    assert isinstance(made, e.SendRequested)
    assert (made.to, made.parts, made.source) == (ADA.number, 1, "api")
    assert made.timezone == "America/New_York"
    assert made.expires_at == NOW + timedelta(hours=72)


def test_a_text_lives_from_the_time_it_is_scheduled_for() -> None:
    at = NOW + timedelta(days=10)
    made = accept(Wish(send_at=at, ttl=60))
    assert isinstance(made, e.SendRequested)
    assert (made.send_at, made.expires_at) == (at, at + timedelta(seconds=60))


def test_a_time_just_past_means_now() -> None:
    made = accept(Wish(send_at=NOW - timedelta(minutes=4)))
    assert isinstance(made, e.SendRequested)
    assert (made.send_at, made.expires_at) == (None, NOW + timedelta(hours=72))


@pytest.mark.parametrize(
    ("wish", "recipient", "phone", "sender", "expected"),
    [
        (Wish(), replace(ADA, opted_out=True), None, API, [("#/to", "recipient_opted_out")]),
        (
            Wish(to=None, contact_id="con_ada"),
            replace(ADA, opted_out=True),
            None,
            API,
            [("#/contact_id", "recipient_opted_out")],
        ),
        (Wish(), replace(ADA, kind="alphanumeric"), None, API, [("#/to", "invalid_number")]),
        (Wish(body="й" * 671), ADA, None, API, [("#/body", "too_many_parts")]),
        (Wish(phone_id="phn_desk"), ADA, None, API, [("#/phone_id", "phone_not_found")]),
        (
            Wish(phone_id="phn_desk"),
            ADA,
            replace(DESK, paired=False),
            API,
            [("#/phone_id", "phone_unpaired")],
        ),
        (
            Wish(phone_id="phn_desk"),
            ADA,
            DESK,
            Sender("api", test=True),
            [("#/phone_id", "test_key_real_phone")],
        ),
        (Wish(send_at=NOW - timedelta(minutes=6)), ADA, None, API, [("#/send_at", "in_the_past")]),
        (Wish(send_at=NOW + timedelta(days=367)), ADA, None, API, [("#/send_at", "too_far_ahead")]),
        (
            Wish(body="й" * 671, phone_id="phn_desk", send_at=NOW - timedelta(days=1)),
            replace(ADA, opted_out=True),
            None,
            API,
            [
                ("#/to", "recipient_opted_out"),
                ("#/body", "too_many_parts"),
                ("#/phone_id", "phone_not_found"),
                ("#/send_at", "in_the_past"),
            ],
        ),
    ],
)
def test_everything_against_a_wish_is_said(
    wish: Wish,
    recipient: Recipient,
    phone: Handset | None,
    sender: Sender,
    expected: list[tuple[str, str]],
) -> None:
    assert codes(accept(wish, recipient, phone=phone, sender=sender)) == expected


def test_ten_parts_are_enough_and_eleven_too_many() -> None:
    assert decide.parts("x" * 1530) == 10
    assert isinstance(decide.parts("x" * 1531), dict)


def test_a_dry_run_tells_of_suppression_instead_of_refusing() -> None:
    made = accept(Wish(), replace(ADA, opted_out=True), suppression=False)
    assert isinstance(made, e.SendRequested)


def test_a_live_key_may_use_a_simulated_phone() -> None:
    phone = replace(DESK, simulated=True)
    assert isinstance(accept(Wish(phone_id="phn_desk"), phone=phone), e.SendRequested)


def test_a_recipient_is_named_in_exactly_one_way() -> None:
    assert decide.addressed("+1", None) is None
    assert decide.addressed(None, "con") is None
    assert decide.addressed(None, None) is not None
    assert decide.addressed("+1", "con") is not None


@pytest.mark.parametrize("state", ["queued", "dispatched", "accepted"])
def test_what_is_not_sent_can_be_cancelled_once(state: str) -> None:
    made = decide.cancel("msg", "con", "outbound", state, False)
    assert made is not None
    assert made.reason == "user"
    assert decide.cancel("msg", "con", "outbound", state, True) is None


@pytest.mark.parametrize(
    "state",
    ["submitted", "sent", "delivered", "cancelled", "expired", "rejected", "failed", "unknown"],
)
def test_what_may_be_sent_cannot_be_cancelled(state: str) -> None:
    with pytest.raises(Problem) as refused:
        decide.cancel("msg", "con", "outbound", state, False)
    assert (refused.value.status, refused.value.code) == (409, "not_cancellable")


def test_only_a_quarantined_message_is_decided_about() -> None:
    assert decide.resolve("msg", "con", "quarantined", "retry").decision == "retry"
    for reason in (None, "retry", "quiet_hours"):
        with pytest.raises(Problem):
            decide.resolve("msg", "con", reason, "retry")


def test_nobody_gives_away_more_than_they_hold() -> None:
    def errors(held: set[str], mode: str, scopes: list[str], wanted: str = "live") -> object:
        return decide.key_errors(held, mode, wanted, scopes, None, NOW)

    assert errors({"*"}, "live", ["*", "messages:write"]) == (422, [])
    assert errors({"keys:write", "phones:read"}, "live", ["phones:read"]) == (422, [])
    status, beyond = decide.key_errors({"keys:write"}, "live", "live", ["*"], None, NOW)
    assert (status, beyond[0]["pointer"]) == (403, "#/scopes/0")
    status, beyond = decide.key_errors({"*"}, "test", "live", ["*"], None, NOW)
    assert (status, beyond[0]["pointer"]) == (403, "#/mode")
    status, past = decide.key_errors({"*"}, "live", "live", ["*"], NOW, NOW)
    assert (status, past[0]["code"]) == (422, "in_the_past")


def test_a_loosening_is_confirmed_with_its_warnings() -> None:
    assert decide.confirmed([], acknowledged=False) == ()
    assert decide.confirmed(["careful"], acknowledged=True) == ("careful",)
    with pytest.raises(Problem) as asked:
        decide.confirmed(["careful"], acknowledged=False)
    assert asked.value.extra == {"warnings": ["careful"]}
