"""Events to rows: given events in the log, what a phone must still be told, and what is known."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.gateway.facts import Fact
from services.gateway.project import (
    COMMAND,
    DROP_OFFERS,
    OFFER,
    PHONE,
    PHONE_HINT,
    PROJECTION,
    RECEIVED,
    WORKSPACE,
    apply,
)
from shared import events as e
from shared import ids
from shared.rows import Rows

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
WS, PHONE_ID, MSG, CON = (ids.new(prefix) for prefix in ("ws", "phn", "msg", "con"))
CMD = ids.command_id(MSG, 1)


class Given:
    """Rows after events; the sequence of each is its place."""

    def __init__(self, *events: e.Data) -> None:
        self.rows, self.seq = Rows(PROJECTION.tables), 0
        self.then(*events)

    def then(self, *events: e.Data) -> "Given":
        self.rows.hints.clear()
        for data in events:
            self.seq += 1
            event = e.make(
                data,
                id=f"evt_{self.seq}",
                workspace_id=WS,
                at=NOW,
                actor=e.Actor("system", "test"),
                cause="pair_1",
            )
            apply(self.rows, self.seq, event)
        return self

    @property
    def offer(self) -> Any:
        return self.rows.get(OFFER, MSG)

    @property
    def command(self) -> Any:
        return self.rows.get(COMMAND, CMD)

    @property
    def phone(self) -> Any:
        return self.rows.get(PHONE, PHONE_ID)


def paired(generation: int = 1) -> e.PhonePaired:
    return e.PhonePaired(
        phone_id=PHONE_ID, generation=generation, device_hash="d", label="L", manufacturer="M",
        model="M", android="14", app_version="1", sims=(e.Sim(subscription_id=1),),
    )  # fmt: skip


def dispatched(**changes: Any) -> e.SendDispatched:
    values: dict[str, Any] = {
        "message_id": MSG, "contact_id": CON, "command_id": CMD, "phone_id": PHONE_ID,
        "attempt": 1, "to": "+14155551234", "body": "Hello", "parts": 2, "source": "api",
        "expires_at": NOW + timedelta(hours=1), "subscription_id": 1,
    }  # fmt: skip
    return e.SendDispatched(**{**values, **changes})


def fact(cls: type[e.SmsFact], journal_seq: int = 1, generation: int = 1, **more: Any) -> e.SmsFact:
    return cls(
        message_id=MSG, contact_id=CON, command_id=CMD, phone_id=PHONE_ID, attempt=1,
        journal_seq=journal_seq, phone_at=NOW, generation=generation, **more,
    )  # fmt: skip


def cancel(command_id: str | None = None) -> e.SendCancelRequested:
    return e.SendCancelRequested(message_id=MSG, contact_id=CON, command_id=command_id)


def test_a_dispatched_text_is_offered_under_the_events_number() -> None:
    given = Given(paired(), dispatched())
    assert (given.offer.frame_seq, given.offer.body, given.offer.to_number) == (
        2,
        "Hello",
        "+14155551234",
    )
    assert (given.command.facts, given.command.parts, given.command.cause) == (0, 2, "evt_2")
    assert PHONE_ID in given.rows.hints


def test_a_command_dispatched_twice_is_offered_once() -> None:
    given = Given(paired(), dispatched(), dispatched(body="Other"))
    assert (given.offer.frame_seq, given.offer.body) == (2, "Hello")


def test_a_command_for_a_phone_that_is_not_there_is_offered_to_nobody() -> None:
    assert Given(dispatched()).offer is None
    assert Given(paired(), e.PhoneUnpaired(phone_id=PHONE_ID), dispatched()).offer is None


def test_an_accepted_command_is_kept_without_its_text() -> None:
    given = Given(paired(), dispatched(), fact(e.SmsAccepted))
    assert (given.offer.accepted, given.offer.body) == (True, "")
    assert given.command.facts == Fact.ACCEPTED


def test_a_submitted_command_has_nothing_more_to_be_told() -> None:
    given = Given(paired(), dispatched(), fact(e.SmsSubmitted, parts=3))
    assert given.offer is None
    assert given.command.parts == 3


def test_every_final_fact_ends_the_offer_and_keeps_the_command() -> None:
    failed = {"error_class": "transient", "code": "x", "detail": "x"}
    for cls, more, bit in [
        (e.SmsSent, {}, Fact.SENT),
        (e.SmsDelivered, {}, Fact.DELIVERED),
        (e.SmsFailed, failed, Fact.FAILED),
        (e.SmsUnknown, {}, Fact.UNKNOWN),
        (e.SmsCancelled, {}, Fact.CANCELLED),
    ]:
        given = Given(paired(), dispatched(), fact(cls, **more))
        assert given.offer is None
        assert given.command.facts == bit


def test_facts_add_up() -> None:
    given = Given(paired(), dispatched(), fact(e.SmsAccepted), fact(e.SmsSubmitted, 2))
    given.then(fact(e.SmsSent, 3), fact(e.SmsDelivered, 4))
    assert given.command.facts == Fact.ACCEPTED | Fact.SUBMITTED | Fact.SENT | Fact.DELIVERED


def test_a_command_taken_back_offers_only_the_cancel_under_a_new_number() -> None:
    for event in (
        cancel(CMD),
        cancel(None),
        e.SendCancelled(message_id=MSG, contact_id=CON),
        e.SendExpired(message_id=MSG, contact_id=CON),
        e.SendRejected(message_id=MSG, contact_id=CON, code="x", detail="x"),
    ):
        given = Given(paired(), dispatched()).then(event)
        assert (given.offer.cancel_wanted, given.offer.frame_seq) == (True, 3)
        assert given.offer.body == ""
        assert given.rows.hints == {PHONE_ID}


def test_a_command_taken_back_twice_keeps_its_first_frame() -> None:
    given = Given(paired(), dispatched(), cancel(CMD), cancel(None))
    assert given.offer.frame_seq == 3


def test_another_command_of_the_message_is_not_taken_back() -> None:
    given = Given(paired(), dispatched(), cancel(ids.command_id(MSG, 2)))
    assert not given.offer.cancel_wanted


def test_taking_back_what_is_nowhere_changes_nothing() -> None:
    given = Given(paired()).then(cancel(None))
    assert given.offer is None
    assert given.rows.hints == set()


def test_a_later_attempt_takes_the_place_of_an_earlier_one() -> None:
    second = ids.command_id(MSG, 2)
    given = Given(paired(), dispatched(), dispatched(command_id=second, attempt=2))
    assert given.offer.command_id == second
    # A late fact about the first leaves the second on offer.
    given.then(fact(e.SmsUnknown))
    assert given.offer.command_id == second
    assert given.command.facts == Fact.UNKNOWN


def test_the_journal_head_grows_with_its_generation_only() -> None:
    given = Given(paired(), dispatched(), fact(e.SmsAccepted, 7), fact(e.SmsSubmitted, 3))
    assert given.phone.journal_head == 7
    given.then(paired(2))
    assert given.phone.journal_head == 0
    given.then(fact(e.SmsSent, 57, generation=1))
    assert given.phone.journal_head == 0
    given.then(fact(e.SmsDelivered, 1, generation=2))
    assert given.phone.journal_head == 1


def test_a_received_text_is_remembered_and_moves_the_head() -> None:
    text = e.SmsReceived(
        contact_id=CON, message_id=MSG, phone_id=PHONE_ID, sender="+1", sender_kind="number",
        body="Hi", parts=1, received_at=NOW, provider_id="7", journal_seq=4, generation=1,
    )  # fmt: skip
    given = Given(paired(), text)
    assert given.phone.journal_head == 4
    assert [row.message_id for row in given.rows.all(RECEIVED)] == [MSG]


def test_a_phone_paired_again_keeps_its_commands() -> None:
    given = Given(paired(), e.PhoneOnline(phone_id=PHONE_ID), dispatched(), paired(2))
    assert (given.phone.generation, given.phone.state, given.phone.pairing_id) == (
        2,
        "offline",
        "pair_1",
    )
    assert given.offer.body == "Hello"


def test_the_same_pairing_twice_is_one() -> None:
    given = Given(paired(2), e.PhoneOnline(phone_id=PHONE_ID), paired(2), paired(1))
    assert (given.phone.generation, given.phone.state) == (2, "online")


def test_an_unpaired_phone_is_told_nothing_any_more() -> None:
    given = Given(paired(), e.PhoneOnline(phone_id=PHONE_ID), e.PhoneUnpaired(phone_id=PHONE_ID))
    assert (given.phone.unpaired, given.phone.state) == (True, "offline")
    assert given.rows.barrier == (DROP_OFFERS, (PHONE_ID,))
    assert {PHONE_ID, PHONE_HINT + PHONE_ID} <= given.rows.hints
    given.rows.barrier = None
    given.then(e.PhoneOnline(phone_id=PHONE_ID))
    assert given.phone.state == "offline"


def test_state_follows_presence_events() -> None:
    given = Given(paired())
    for cls, state in [
        (e.PhoneOnline, "online"),
        (e.PhoneLate, "late"),
        (e.PhoneOffline, "offline"),
    ]:
        given.then(cls(phone_id=PHONE_ID))
        assert (given.phone.state, given.phone.state_seq) == (state, given.seq)
        assert given.rows.hints == {PHONE_HINT + PHONE_ID}


def test_sims_and_label_follow_their_events() -> None:
    sims = (e.Sim(subscription_id=9),)
    given = Given(paired(), e.PhoneSimsChanged(phone_id=PHONE_ID, sims=sims))
    given.then(
        e.PhoneConfigured(phone_id=PHONE_ID, label="New", min_gap_s=1, daily_cap=1, warmup=True)
    )
    assert (given.phone.sims, given.phone.sims_seq, given.phone.label) == ([*sims], 2, "New")


def test_the_workspaces_country_is_known() -> None:
    profile: dict[str, Any] = {"workspace_id": WS, "name": "A", "timezone": "UTC"}
    given = Given(e.WorkspaceCreated(**profile), e.WorkspaceUpdated(**profile, region="DE"))
    assert [row.region for row in given.rows.all(WORKSPACE)] == ["DE"]


def test_events_about_a_phone_that_is_not_there_change_nothing() -> None:
    given = Given(e.PhoneOnline(phone_id=PHONE_ID), fact(e.SmsSent))
    assert given.rows.all(PHONE) == []
    assert given.rows.all(COMMAND) == []
