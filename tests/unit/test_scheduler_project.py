"""Log → the scheduler's rows: a message's states, what a phone has done today, consent."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler import policy
from services.scheduler.project import PROJECTION, apply
from services.scheduler.project.phone import OPEN_STRANDED
from services.scheduler.project.tables import (
    CONTACT,
    MESSAGE,
    PHONE,
    WORKSPACE,
    Contact,
    Message,
    Phone,
)
from shared import events as e
from shared import ids
from shared.rows import Rows
from tests import examples
from tests.examples import example

AT = examples.AT
WS, PHONE_ID, CON, MSG = (
    examples.WORKSPACE,
    examples.PHONE,
    examples.CONTACT,
    examples.MESSAGE,
)
OTHER = ids.derive("phn", "other")
SYSTEM = e.Actor("system", "test")


class Given:
    """Rows without a database, fed with events; each a minute after the one before."""

    def __init__(self, *data: e.Data, start: datetime = AT) -> None:
        self.rows = Rows(PROJECTION.tables)
        self.seq, self.at = 0, start
        self.feed(*data)

    def feed(self, *data: e.Data) -> "Given":
        for one in data:
            self.seq += 1
            self.at += timedelta(minutes=1)
            event = e.make(one, id=f"evt_{self.seq}", workspace_id=WS, at=self.at, actor=SYSTEM)
            apply(self.rows, self.seq, event)
        return self

    @property
    def message(self) -> Message:
        row = self.rows.get(MESSAGE, MSG)
        assert row is not None
        return row

    @property
    def phone(self) -> Phone:
        row = self.rows.get(PHONE, PHONE_ID)
        assert row is not None
        return row

    @property
    def contact(self) -> Contact:
        row = self.rows.get(CONTACT, CON)
        assert row is not None
        return row


def data(kind: type[e.Data], **changes: Any) -> Any:
    return example(kind, **changes).data


PAIRED = data(e.PhonePaired)
ONLINE = data(e.PhoneOnline)
REQUESTED = data(e.SendRequested, phone_id=None, send_at=None)
WORKSPACE_UTC = data(e.WorkspaceCreated, timezone="UTC")
BEGIN = (WORKSPACE_UTC, PAIRED, ONLINE, REQUESTED)


def dispatched(attempt: int = 1, **changes: Any) -> e.Data:
    command = ids.command_id(MSG, attempt)
    return data(e.SendDispatched, command_id=command, attempt=attempt, **changes)


def fact(kind: type[e.SmsFact], attempt: int = 1, **changes: Any) -> e.Data:
    return data(kind, command_id=ids.command_id(MSG, attempt), attempt=attempt, **changes)


def failed(error_class: str, attempt: int = 1) -> e.Data:
    return fact(e.SmsFailed, attempt, error_class=error_class)


def held(reason: str, **changes: Any) -> e.Data:
    return data(e.SendHeld, **{"reason": reason, "until": None, "queue": None, **changes})


def cancel(reason: str = "user", command_id: str | None = None) -> e.Data:
    return data(e.SendCancelRequested, reason=reason, command_id=command_id)


# -- a message's life ------------------------------------------------------------------------------


def test_a_request_waits_in_the_workspaces_line() -> None:
    row = Given(*BEGIN).message
    assert (row.state, row.queue, row.lane, row.attempt) == ("waiting", WS, policy.Lane.API, 0)
    assert row.body == REQUESTED.body


def test_a_request_waits_in_the_line_of_the_phone_it_names_or_the_contact_knows() -> None:
    named = data(e.SendRequested, phone_id=OTHER)
    assert Given(PAIRED, named).message.queue == OTHER
    assert Given(PAIRED, example(e.ReplyReceived).data, REQUESTED).message.queue == PHONE_ID
    assert Given(PAIRED, example(e.ReplyReceived).data, named).message.queue == OTHER


def test_a_request_for_later_is_not_looked_at_before() -> None:
    later = AT + timedelta(days=1)
    assert Given(data(e.SendRequested, send_at=later)).message.wake_at == later


def test_a_source_nobody_knows_yet_stops_nothing() -> None:
    row = Given(data(e.SendRequested, source="invented_later")).message
    assert row.lane == policy.Lane.API


def test_the_same_request_again_changes_nothing() -> None:
    world = Given(*BEGIN, dispatched())
    before = world.message.dispatched_at
    world.feed(REQUESTED)
    assert (world.message.state, world.message.dispatched_at) == ("dispatched", before)


def test_a_message_goes_its_way() -> None:
    world = Given(*BEGIN)
    states = [world.message.state]
    for one in (dispatched(), fact(e.SmsAccepted), fact(e.SmsSubmitted), fact(e.SmsSent)):
        world.feed(one)
        states.append(world.message.state)
    assert states == ["waiting", "dispatched", "dispatched", "submitted", "final"]
    assert world.message.body == ""
    assert world.contact.phone_id == PHONE_ID


def test_facts_out_of_order_or_repeated_never_move_it_back() -> None:
    world = Given(*BEGIN, dispatched(), fact(e.SmsSent))
    world.feed(fact(e.SmsSubmitted), fact(e.SmsAccepted), dispatched(), failed("transient"))
    assert world.message.state == "final"
    world = Given(*BEGIN, dispatched(), fact(e.SmsSubmitted), fact(e.SmsAccepted))
    assert (world.message.state, world.message.accepted) == ("submitted", True)
    world.feed(fact(e.SmsSubmitted), dispatched())
    assert (world.message.state, world.phone.in_flight) == ("submitted", 0)


def test_facts_of_another_attempt_are_none_of_its_business() -> None:
    world = Given(*BEGIN, dispatched(), failed("transient"), held("retry"), dispatched(2))
    world.feed(fact(e.SmsSent, 1), failed("permanent", 1), fact(e.SmsCancelled, 1))
    assert (world.message.state, world.message.attempt) == ("dispatched", 2)
    world.feed(fact(e.SmsSent, 2))
    assert world.message.state == "final"


def test_a_dispatch_of_the_wrong_attempt_is_not_taken() -> None:
    world = Given(*BEGIN, dispatched(2))
    assert world.message.state == "waiting"
    world.feed(dispatched(1), dispatched(1, phone_id=OTHER))
    assert (world.message.attempt, world.message.dispatched_to) == (1, PHONE_ID)
    assert world.phone.in_flight == 1


def test_facts_about_a_message_nobody_asked_for_change_nothing() -> None:
    world = Given(PAIRED, ONLINE)
    world.feed(dispatched(), fact(e.SmsSent), failed("transient"), held("retry"), cancel())
    assert world.rows.get(MESSAGE, MSG) is None


@pytest.mark.parametrize("end", [e.SendRejected, e.SendExpired, e.SendCancelled])
def test_final_is_final_and_keeps_no_text(end: type[e.Data]) -> None:
    world = Given(*BEGIN, data(end))
    assert (world.message.state, world.message.body) == ("final", "")
    world.feed(held("retry"), dispatched(), cancel(), REQUESTED)
    assert world.message.state == "final"


# -- waiting and why -------------------------------------------------------------------------------


def test_why_it_waits_is_remembered_and_timed_waits_set_its_time() -> None:
    until = AT + timedelta(hours=9)
    world = Given(*BEGIN, held("quiet_hours", until=until))
    assert (world.message.reason, world.message.until) == ("quiet_hours", until)
    assert world.message.wake_at == until
    capped = Given(*BEGIN, held("daily_cap", until=until)).message
    assert capped.wake_at < until  # it goes as soon as there is room, whatever was foreseen


def test_a_hold_can_move_it_to_another_line() -> None:
    assert Given(*BEGIN, held("queue", queue=OTHER)).message.queue == OTHER


# -- failures --------------------------------------------------------------------------------------


def test_a_failure_that_may_pass_is_open_until_it_is_settled() -> None:
    world = Given(*BEGIN, dispatched(), failed("transient"))
    assert (world.message.state, world.message.outcome) == ("open", "transient")
    until = AT + timedelta(hours=1)
    world.feed(held("retry", until=until))
    row = world.message
    assert (row.state, row.reason, row.wake_at, row.attempt) == ("waiting", "retry", until, 1)
    assert (row.command_id, row.cancel) == (None, None)


def test_after_three_attempts_it_is_over() -> None:
    world = Given(*BEGIN)
    for attempt in (1, 2):
        world.feed(dispatched(attempt), failed("transient", attempt))
        assert world.message.state == "open"
        world.feed(held("retry"))
    world.feed(dispatched(3), failed("transient", 3))
    assert (world.message.state, world.message.body) == ("final", "")


def test_a_permanent_failure_is_the_end() -> None:
    assert Given(*BEGIN, dispatched(), failed("permanent")).message.state == "final"


@pytest.mark.parametrize("one", [failed("ambiguous"), fact(e.SmsUnknown), failed("new_class")])
def test_what_nobody_knows_waits_for_a_person(one: e.Data) -> None:
    world = Given(*BEGIN, dispatched(), fact(e.SmsSubmitted), one)
    assert world.message.state == "open"
    world.feed(held("quarantined"))
    assert (world.message.state, world.message.outcome) == ("open", "quarantined")
    assert Given().feed(*BEGIN, dispatched(), one).message.state == "open"


def test_a_person_decides_once() -> None:
    begin = (*BEGIN, dispatched(), fact(e.SmsUnknown), held("quarantined"))
    retry, drop = data(e.SendResolved, decision="retry"), data(e.SendResolved, decision="drop")
    world = Given(*begin, retry)
    assert world.message.outcome == "retry"
    world.feed(drop)
    assert world.message.outcome == "retry"
    world.feed(held("retry"), dispatched(2))
    assert world.message.attempt == 2
    assert Given(*begin, drop, retry).message.state == "final"
    assert Given(*BEGIN, retry).message.state == "waiting"


def test_a_phone_that_could_not_tell_may_tell_later() -> None:
    world = Given(*BEGIN, dispatched(), fact(e.SmsSubmitted), fact(e.SmsUnknown))
    world.feed(held("quarantined"), fact(e.SmsSent))
    assert world.message.state == "final"
    world.feed(data(e.SendResolved, decision="retry"))
    assert world.message.state == "final"


# -- taking back -----------------------------------------------------------------------------------


def test_a_waiting_message_is_taken_back_at_once() -> None:
    world = Given(*BEGIN, cancel())
    row = world.message
    assert (row.state, row.outcome, row.cancel) == ("open", "cancelled", "user")
    assert world.feed(data(e.SendCancelled)).message.state == "final"


def test_a_dispatched_one_when_its_phone_confirms() -> None:
    world = Given(*BEGIN, dispatched(), cancel())
    assert (world.message.state, world.message.cancel) == ("dispatched", "user")
    world.feed(fact(e.SmsCancelled))
    assert (world.message.state, world.message.outcome) == ("open", "cancelled")


def test_a_submitted_one_never() -> None:
    world = Given(*BEGIN, dispatched(), cancel(), fact(e.SmsSubmitted), fact(e.SmsCancelled))
    assert world.message.state == "submitted"
    assert world.feed(cancel()).message.state == "submitted"
    assert world.feed(fact(e.SmsSent)).message.state == "final"


def test_a_persons_word_stands_above_a_recall() -> None:
    world = Given(*BEGIN, dispatched(), cancel(), cancel("failover", ids.command_id(MSG, 1)))
    assert world.message.cancel == "user"
    world = Given(*BEGIN, dispatched(), cancel("failover", ids.command_id(MSG, 1)), cancel())
    assert world.message.cancel == "user"


def test_a_recall_of_an_older_command_is_none_of_this_ones_business() -> None:
    world = Given(*BEGIN, dispatched(), failed("transient"), held("retry"), dispatched(2))
    assert world.feed(cancel("expired", ids.command_id(MSG, 1))).message.cancel is None


def test_taken_back_between_decision_and_record_it_is_recalled() -> None:
    """The dispatch was decided before the cancellation and recorded after it."""
    world = Given(*BEGIN, cancel(), dispatched())
    row = world.message
    assert (row.state, row.outcome, row.cancel) == ("dispatched", "cancelled", "user")
    world.feed(cancel("user", row.command_id))
    assert (world.message.state, world.message.outcome) == ("dispatched", None)
    world.feed(fact(e.SmsCancelled))
    assert (world.message.state, world.message.outcome) == ("open", "cancelled")
    too_late = Given(*BEGIN, cancel(), dispatched(), fact(e.SmsSubmitted), fact(e.SmsSent))
    assert too_late.message.state == "final"


def test_a_wait_decided_before_the_cancellation_does_not_undo_it() -> None:
    world = Given(*BEGIN, cancel(), held("quiet_hours", until=AT), held("queue", queue=OTHER))
    assert (world.message.state, world.message.cancel) == ("open", "user")


def test_taking_back_what_failed_meanwhile_keeps_it_from_being_retried() -> None:
    world = Given(*BEGIN, dispatched(), failed("transient"), cancel())
    assert (world.message.outcome, world.message.cancel) == ("cancelled", "user")
    unknown = Given(*BEGIN, dispatched(), fact(e.SmsUnknown), cancel()).message
    assert (unknown.state, unknown.outcome, unknown.cancel) == ("open", "unknown", "user")


# -- phones ----------------------------------------------------------------------------------------


def test_a_paired_phone_begins_with_the_safe_defaults() -> None:
    phone = Given(WORKSPACE_UTC, PAIRED).phone
    assert (phone.min_gap_s, phone.daily_cap, phone.warmup) == (240, 200, True)
    assert (phone.state, phone.iccids) == ("offline", ["ab" * 32])


def test_states_are_remembered_with_their_time() -> None:
    world = Given(WORKSPACE_UTC, PAIRED, ONLINE)
    since = world.phone.state_at
    world.feed(ONLINE)
    assert (world.phone.state, world.phone.state_at) == ("online", since)
    world.feed(data(e.PhoneLate))
    assert (world.phone.state, world.phone.state_at) == ("late", world.at)
    world.feed(data(e.PhoneOffline))
    assert world.phone.state == "offline"


def test_a_dispatch_counts_and_its_submission_frees_the_window() -> None:
    world = Given(*BEGIN, dispatched(parts=3))
    phone = world.phone
    assert (phone.sent_today, phone.in_flight, phone.day) == (1, 1, "2026-03-02")
    assert phone.recent == [[world.at.timestamp(), 3]]
    assert phone.last_dispatch_at == world.at
    world.feed(fact(e.SmsSubmitted))
    assert (world.phone.sent_today, world.phone.in_flight) == (1, 0)
    world.feed(fact(e.SmsSent))
    assert (world.phone.sent_today, world.phone.in_flight) == (1, 0)


@pytest.mark.parametrize(
    "back", [fact(e.SmsCancelled), failed("transient"), failed("permanent"), fact(e.SmsUnknown)]
)
def test_what_was_never_submitted_gives_its_place_back(back: e.Data) -> None:
    world = Given(*BEGIN, dispatched(), fact(e.SmsAccepted), back, back)
    assert (world.phone.sent_today, world.phone.in_flight) == (0, 0)
    submitted = Given(*BEGIN, dispatched(), fact(e.SmsSubmitted), failed("transient"))
    assert (submitted.phone.sent_today, submitted.phone.in_flight) == (1, 0)


def test_a_place_is_given_back_to_its_own_day_only() -> None:
    world = Given(*BEGIN, start=datetime(2026, 3, 2, 23, 50, tzinfo=UTC)).feed(dispatched())
    assert world.phone.day == "2026-03-02"
    world.at += timedelta(hours=1)
    other = data(
        e.SendRequested, message_id=ids.derive("msg", "b"), contact_id=ids.derive("con", "b")
    )
    world.feed(other)
    command = {
        "command_id": "cmd_b",
        "message_id": other.message_id,
        "contact_id": other.contact_id,
    }
    world.feed(data(e.SendDispatched, **command))
    assert (world.phone.day, world.phone.sent_today) == ("2026-03-03", 1)
    world.feed(fact(e.SmsCancelled))
    assert (world.phone.sent_today, world.phone.in_flight) == (1, 1)


def test_the_day_is_the_workspaces_own() -> None:
    auckland = data(e.WorkspaceCreated, timezone="Pacific/Auckland")
    world = Given(auckland, PAIRED, ONLINE, REQUESTED, dispatched())
    assert world.phone.day == "2026-03-03"


def test_a_command_no_phone_ever_answered_for_gives_its_place_back() -> None:
    world = Given(*BEGIN, dispatched(), data(e.SendExpired, phone_id=PHONE_ID))
    assert (world.phone.in_flight, world.message.state) == (0, "final")


def test_only_the_last_minute_is_remembered() -> None:
    world = Given(*BEGIN)
    for n in range(5):
        wanted = ids.derive("msg", str(n))
        world.feed(data(e.SendRequested, message_id=wanted))
        world.feed(data(e.SendDispatched, message_id=wanted, command_id=f"cmd_{n}"))
    assert len(world.phone.recent) == 1
    assert world.phone.sent_today == 5


def test_a_new_sim_begins_its_warm_up_again_and_a_moved_one_does_not() -> None:
    world = Given(WORKSPACE_UTC, PAIRED)
    paired_at = world.phone.age_from
    moved = e.Sim(subscription_id=7, slot=1, iccid_hash="ab" * 32)
    world.feed(data(e.PhoneSimsChanged, sims=(moved,)), data(e.PhoneSimsChanged, sims=()))
    assert world.phone.age_from == paired_at
    new = e.Sim(subscription_id=8, iccid_hash="cd" * 32)
    world.feed(data(e.PhoneSimsChanged, sims=(moved, new)))
    assert world.phone.age_from == world.at
    since = world.at
    world.feed(data(e.PhoneSimsChanged, sims=(moved,)), data(e.PhoneSimsChanged, sims=(new,)))
    assert world.phone.age_from == since


def test_pairing_again_keeps_age_history_and_settings() -> None:
    configured = data(e.PhoneConfigured, min_gap_s=300, daily_cap=80, warmup=False)
    world = Given(*BEGIN, configured, dispatched())
    age = world.phone.age_from
    world.feed(data(e.PhonePaired, generation=2, label="New label"))
    phone = world.phone
    assert (phone.age_from, phone.min_gap_s, phone.daily_cap) == (age, 300, 80)
    assert (phone.sent_today, phone.in_flight, phone.state) == (1, 1, "offline")
    assert phone.label == "New label"


def test_an_unpaired_phone_leaves_nothing_behind_that_blocks_it_later() -> None:
    world = Given(*BEGIN, dispatched(), data(e.PhoneUnpaired))
    assert world.rows.barrier == (OPEN_STRANDED, (PHONE_ID,))
    assert (world.phone.state, world.phone.in_flight) == ("unpaired", 0)
    world.feed(data(e.PhonePaired, generation=2), ONLINE)
    assert (world.phone.state, world.phone.in_flight) == ("online", 0)


def test_a_dispatch_recorded_after_its_phone_was_removed_is_given_back() -> None:
    world = Given(*BEGIN, data(e.PhoneUnpaired), dispatched())
    assert (world.message.state, world.message.outcome) == ("open", "cancelled")
    assert (world.phone.in_flight, world.phone.sent_today) == (0, 0)
    world.feed(held("queue", queue=WS))
    assert (world.message.state, world.message.queue) == ("waiting", WS)


# -- contacts and workspaces -----------------------------------------------------------------------


def test_consent_and_timezone_are_the_newest_and_guards_know_their_event() -> None:
    world = Given(data(e.ContactSaved))
    assert (world.contact.timezone, world.contact.seq) == ("America/New_York", 1)
    world.feed(data(e.ContactOptedOut))
    assert (world.contact.opted_out, world.contact.seq) == (True, 2)
    world.feed(data(e.ContactOptedIn))
    assert (world.contact.opted_out, world.contact.seq) == (False, 3)
    world.feed(REQUESTED, example(e.ReplyReceived).data)
    assert (world.contact.phone_id, world.contact.seq) == (PHONE_ID, 3)


def test_a_workspace_is_replaced_as_a_whole() -> None:
    world = Given(data(e.WorkspaceCreated))
    world.feed(data(e.WorkspaceUpdated, quiet_hours=None))
    row = world.rows.get(WORKSPACE, WS)
    assert row is not None
    assert (row.quiet_start, row.quiet_end, row.failover_s) == (None, None, 3600)


# -- whatever comes --------------------------------------------------------------------------------

STEPS = st.lists(
    st.sampled_from(
        [
            REQUESTED,
            *(dispatched(n) for n in (1, 2, 3)),
            *(fact(kind, n) for kind in (e.SmsAccepted, e.SmsSubmitted, e.SmsSent) for n in (1, 2)),
            *(fact(kind, n) for kind in (e.SmsUnknown, e.SmsCancelled) for n in (1, 2)),
            *(failed(c, n) for c in ("transient", "permanent", "ambiguous") for n in (1, 2)),
            held("retry"),
            held("queue", queue=OTHER),
            held("quiet_hours", until=AT),
            held("quarantined"),
            cancel(),
            cancel("failover", ids.command_id(MSG, 1)),
            data(e.SendResolved, decision="retry"),
            data(e.SendRejected),
            data(e.SendExpired, phone_id=PHONE_ID),
            data(e.SendCancelled),
            data(e.PhoneUnpaired),
            data(e.PhonePaired, generation=2),
            ONLINE,
        ]
    ),
    max_size=14,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_whatever_comes_in_whatever_order_the_schemas_invariants_hold(steps: list[e.Data]) -> None:
    world = Given(WORKSPACE_UTC, PAIRED, ONLINE)
    final_at: int | None = None
    for n, one in enumerate(steps):
        world.feed(one)
        world.rows.barrier = None
        phone, row = world.phone, world.rows.get(MESSAGE, MSG)
        assert phone.in_flight >= 0
        assert phone.sent_today >= 0
        if row is None:
            continue
        assert row.state in ("waiting", "dispatched", "submitted", "open", "final")
        assert row.state != "dispatched" or row.command_id is not None
        assert row.state != "open" or row.outcome is not None
        assert row.cancel in (None, "user", "failover", "expired")
        assert phone.in_flight <= 1
        if row.state == "final":
            final_at = final_at or n
            assert row.body == ""
        assert final_at is None or row.state == "final"
