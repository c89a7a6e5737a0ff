"""What happens to a waiting text: given a desk and texts, when it is this time, then this."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler import policy, record
from services.scheduler.decide import (
    Account,
    Cancelled,
    Desk,
    Expire,
    Go,
    Handset,
    Hold,
    Limits,
    Outcome,
    Reject,
    Text,
    assign,
    cap,
    earliest,
    failover_at,
    message_outcome,
    next_slot,
    open_outcome,
    phone_block,
)
from shared import events as e
from shared import ids

NOW = datetime(2026, 3, 2, 17, 0, tzinfo=UTC)  # 09:00 in Los Angeles, a Monday
LA = ZoneInfo("America/Los_Angeles")
WS = ids.derive("ws", "desk")
ONE, TWO, THREE = (ids.derive("phn", n) for n in ("one", "two", "three"))
MINUTE = timedelta(minutes=1)


def account(**changes: Any) -> Account:
    return Account(**{"id": WS, "zone": ZoneInfo("UTC"), **changes})


def handset(id: str = ONE, **changes: Any) -> Handset:
    fields: dict[str, Any] = {
        "id": id,
        "account": WS,
        "label": "Front desk",
        "state": "online",
        "state_at": NOW - 60 * MINUTE,
        "simulated": False,
        "age_from": NOW - timedelta(days=60),
        "min_gap_s": 240,
        "jitter_s": 0,
        "daily_cap": 200,
        "warmup": True,
        "last_dispatch_at": None,
        "last_command_id": None,
        "recent": [],
        "day": "",
        "sent_today": 0,
        "in_flight": 0,
    }
    return Handset(**fields | changes)


def text(n: int = 0, **changes: Any) -> Text:
    fields: dict[str, Any] = {
        "id": ids.derive("msg", str(n)),
        "workspace_id": WS,
        "contact_id": ids.derive("con", str(n)),
        "to": "+14155550123",
        "body": "Hello",
        "parts": 1,
        "source": "api",
        "phone_id": None,
        "subscription_id": None,
        "test": False,
        "timezone": None,
        "expires_at": NOW + timedelta(hours=72),
        "queue": WS,
        "wake_at": NOW - MINUTE,
        "reason": None,
        "until": None,
        "attempt": 0,
    }
    return Text(**fields | changes)


def desk(*phones: Handset, limits: Limits | None = None, **changes: Any) -> Desk:
    return Desk(account(**changes), {p.id: p for p in phones}, limits or Limits())


def decided(place: Desk, *texts: Text, now: datetime = NOW) -> list[Outcome]:
    return assign(place, texts, now)


# -- the text itself -------------------------------------------------------------------------------


def test_a_text_whose_time_ran_out_expires_with_what_it_waited_for() -> None:
    late = text(expires_at=NOW, reason="quiet_hours")
    assert message_outcome(late, account(), NOW) == Expire(late, "quiet_hours")


def test_a_recipient_who_opted_out_gets_nothing() -> None:
    outcome = message_outcome(text(opted_out=True), account(), NOW)
    assert isinstance(outcome, Reject)
    assert outcome.code == "recipient_opted_out"


def test_the_confirmation_passes_suppression_quiet_hours_and_schedules_but_not_its_end() -> None:
    quiet = account(quiet=(time(0), time(23)))
    confirmation = text(source="confirmation", opted_out=True, wake_at=NOW + MINUTE)
    assert message_outcome(confirmation, quiet, NOW) is None
    over = replace(confirmation, expires_at=NOW)
    assert isinstance(message_outcome(over, quiet, NOW), Expire)


def test_a_scheduled_text_waits_for_its_time_and_goes_then() -> None:
    later = text(wake_at=NOW + MINUTE)
    assert message_outcome(later, account(), NOW) == Hold(later, "scheduled", NOW + MINUTE)
    assert message_outcome(later, account(), NOW + MINUTE) is None


def test_quiet_hours_are_the_recipients_own() -> None:
    quiet = account(quiet=(time(21), time(8)))
    sleeping = text(timezone="Asia/Tokyo")  # 02:00 there
    outcome = message_outcome(sleeping, quiet, NOW)
    assert isinstance(outcome, Hold)
    assert outcome.reason == "quiet_hours"
    opens_at = datetime(2026, 3, 2, 23, tzinfo=UTC)  # 08:00 in Tokyo
    assert outcome.until is not None
    assert opens_at <= outcome.until < opens_at + timedelta(seconds=policy.RELEASE_SPREAD_S)
    assert message_outcome(sleeping, quiet, outcome.until) is None
    assert message_outcome(text(timezone="America/New_York"), quiet, NOW) is None


def test_without_a_timezone_of_its_own_all_zones_of_the_number_count() -> None:
    quiet = account(quiet=(time(21), time(8)))
    zones = (ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo"))
    outcome = message_outcome(text(number_zones=zones), quiet, NOW)
    assert isinstance(outcome, Hold)
    assert (
        message_outcome(text(timezone="America/New_York", number_zones=zones), quiet, NOW) is None
    )


def test_texts_of_one_phone_are_released_together_and_those_of_many_spread_out() -> None:
    quiet = account(quiet=(time(0), time(23)))

    def until(n: int, queue: str) -> datetime | None:
        outcome = message_outcome(text(n, queue=queue), quiet, NOW)
        assert isinstance(outcome, Hold)
        return outcome.until

    assert len({until(n, ONE) for n in range(20)}) == 1
    assert len({until(n, WS) for n in range(20)}) > 10


# -- the phone -------------------------------------------------------------------------------------


def test_a_phone_that_is_not_online_takes_nothing() -> None:
    for state in ("late", "offline", "unpaired"):
        phone = handset(state=state)
        assert phone_block(phone, text(), account(), Limits(), NOW) == ("phone_offline", None)


def test_a_gap_lies_between_two_dispatches() -> None:
    phone = handset(last_dispatch_at=NOW - timedelta(seconds=239))
    free_at = NOW + timedelta(seconds=1)
    assert phone_block(phone, text(), account(), Limits(), NOW) == ("min_gap", free_at)
    assert phone_block(phone, text(), account(), Limits(), free_at) is None


def test_jitter_only_lengthens_the_gap_and_is_the_same_every_time() -> None:
    phone = handset(last_dispatch_at=NOW, last_command_id="cmd_1", jitter_s=60)
    block = phone_block(phone, text(), account(), Limits(), NOW)
    assert block is not None
    assert block[1] is not None
    assert timedelta(seconds=240) <= block[1] - NOW < timedelta(seconds=300)
    assert phone_block(phone, text(), account(), Limits(), NOW) == block
    other = replace(phone, last_command_id="cmd_2")
    assert phone_block(other, text(), account(), Limits(), NOW) != block


def test_the_confirmation_ignores_the_gap_but_not_the_parts_a_minute() -> None:
    confirmation = text(source="confirmation")
    phone = handset(last_dispatch_at=NOW)
    assert phone_block(phone, confirmation, account(), Limits(), NOW) is None
    full = handset(recent=[(NOW - timedelta(seconds=10), 24)])
    block = phone_block(full, confirmation, account(), Limits(), NOW)
    assert block == ("min_gap", NOW + timedelta(seconds=50))


def test_a_simulated_phone_may_be_unpaced_for_load_tests_a_real_one_never() -> None:
    unpaced = Limits(unpaced_simulation=True)
    busy = [(NOW, 24)]
    assert (
        phone_block(handset(simulated=True, recent=busy), text(), account(), unpaced, NOW) is None
    )
    assert phone_block(handset(recent=busy), text(), account(), unpaced, NOW) is not None
    assert phone_block(handset(simulated=True, recent=busy), text(), account(), Limits(), NOW)


def test_the_cap_counts_the_workspaces_own_day() -> None:
    phone = handset(daily_cap=3, sent_today=3, day="2026-03-02")
    midnight = datetime(2026, 3, 3, 8, tzinfo=UTC)  # in Los Angeles
    block = phone_block(phone, text(), account(zone=LA), Limits(), NOW)
    assert block == ("daily_cap", midnight)
    assert phone_block(phone, text(), account(zone=LA), Limits(), midnight) is None
    tokyo = account(zone=ZoneInfo("Asia/Tokyo"))  # where it is the third of March already
    assert phone_block(phone, text(), tokyo, Limits(), NOW) is None


def test_a_young_phone_may_send_less() -> None:
    young = handset(age_from=NOW - timedelta(days=3), daily_cap=200)
    assert cap(young, account(), NOW) == 50
    assert cap(replace(young, warmup=False), account(), NOW) == 200


def test_a_phone_holds_only_a_few_commands() -> None:
    phone = handset(in_flight=2)
    assert phone_block(phone, text(), account(), Limits(window=2), NOW) == ("queue", None)
    assert phone_block(phone, text(), account(), Limits(window=3), NOW) is None


def test_the_next_slot_is_when_the_phone_is_free_and_none_while_it_is_away() -> None:
    place = desk(handset())
    assert next_slot(place, handset(), NOW) == NOW
    assert next_slot(place, handset(last_dispatch_at=NOW), NOW) == NOW + timedelta(seconds=240)
    assert next_slot(place, handset(state="offline"), NOW) is None


def test_a_dispatch_on_its_way_counts_at_once() -> None:
    phone = handset(day="2026-03-01", sent_today=9)
    phone.dispatched(NOW, 2, "cmd_1", ZoneInfo("UTC"))
    assert (phone.day, phone.sent_today, phone.in_flight) == ("2026-03-02", 1, 1)
    assert (phone.recent, phone.last_dispatch_at) == ([(NOW, 2)], NOW)
    phone.dispatched(NOW, 1, "cmd_2", ZoneInfo("UTC"))
    assert (phone.sent_today, phone.last_command_id) == (2, "cmd_2")


# -- which phone -----------------------------------------------------------------------------------


def test_a_text_goes_through_the_phone_it_names() -> None:
    place = desk(handset(ONE), handset(TWO))
    named = text(phone_id=TWO, queue=TWO, contact_phone=ONE)
    assert decided(place, named) == [Go(named, TWO)]


def test_else_through_the_phone_the_contact_knows() -> None:
    place = desk(
        handset(ONE, last_dispatch_at=None), handset(TWO, last_dispatch_at=NOW - 9 * MINUTE)
    )
    known = text(contact_phone=TWO, queue=TWO)
    assert decided(place, known) == [Go(known, TWO)]


def test_a_text_in_the_wrong_line_joins_the_line_of_the_phone_it_knows() -> None:
    place = desk(handset(ONE), handset(TWO))
    known = text(contact_phone=TWO, queue=WS)
    assert decided(place, known) == [Hold(known, "queue", None, TWO)]


def test_else_through_the_phone_that_rested_longest() -> None:
    place = desk(
        handset(ONE, last_dispatch_at=NOW - 9 * MINUTE),
        handset(TWO, last_dispatch_at=NOW - 20 * MINUTE),
        handset(THREE, last_dispatch_at=NOW - 15 * MINUTE),
    )
    texts = [text(n) for n in range(4)]
    assert decided(place, *texts) == [
        Go(texts[0], TWO),
        Go(texts[1], THREE),
        Go(texts[2], ONE),
    ]  # and the fourth stays in line: all of them rest


def test_a_phone_without_a_gap_takes_one_after_another_up_to_its_window() -> None:
    place = desk(handset(min_gap_s=0), limits=Limits(window=3))
    assert len(decided(place, *(text(n) for n in range(10)))) == 3


def test_a_contacts_second_text_follows_its_first() -> None:
    place = desk(handset(ONE, min_gap_s=0), handset(TWO, min_gap_s=0))
    first, second = text(1, contact_id="con_x"), text(2, contact_id="con_x")
    outcomes = decided(place, first, second)
    assert isinstance(outcomes[0], Go)
    assert outcomes[1] == Hold(second, "queue", None, outcomes[0].phone_id)


def test_two_texts_never_share_a_slot() -> None:
    place = desk(handset(ONE), handset(TWO))
    goes = [o for o in decided(place, *(text(n) for n in range(6))) if isinstance(o, Go)]
    assert {go.phone_id for go in goes} == {ONE, TWO}
    assert len(goes) == 2


def test_nothing_overtakes_on_a_phone_but_the_confirmation() -> None:
    busy = handset(recent=[(NOW, 20)], min_gap_s=0)
    large = text(1, phone_id=ONE, queue=ONE, parts=8)
    small = text(2, phone_id=ONE, queue=ONE)
    confirmation = text(3, phone_id=ONE, queue=ONE, source="confirmation")
    assert decided(desk(busy), large, small) == []
    assert decided(desk(busy), confirmation, large, small) == [Go(confirmation, ONE)]


def test_a_text_for_a_removed_phone_is_refused() -> None:
    named = text(phone_id=ONE, queue=ONE)
    for place in (desk(), desk(handset(state="unpaired"))):
        outcome = decided(place, named)[0]
        assert isinstance(outcome, Reject)
        assert outcome.code == "phone_unpaired"


def test_a_contact_whose_phone_was_removed_takes_any_other() -> None:
    place = desk(handset(ONE, state="unpaired"), handset(TWO))
    known = text(contact_phone=ONE, queue=WS)
    assert decided(place, known) == [Go(known, TWO)]


def test_a_test_key_reaches_only_simulated_phones() -> None:
    named = text(test=True, phone_id=ONE, queue=ONE)
    outcome = decided(desk(handset(ONE)), named)[0]
    assert isinstance(outcome, Reject)
    assert outcome.code == "test_key_real_phone"
    place = desk(handset(ONE), handset(TWO, simulated=True))
    known = text(test=True, contact_phone=ONE, queue=WS)
    assert decided(place, known) == [Go(known, TWO)]
    only_real = text(test=True)
    assert decided(desk(handset(ONE)), only_real) == [Hold(only_real, "no_phone", None, WS)]


def test_texts_that_must_wait_do_not_hold_up_those_behind_them() -> None:
    place = desk(handset(min_gap_s=0), quiet=(time(21), time(8)))
    sleeping = text(1, timezone="Asia/Tokyo")
    awake = text(2, timezone="America/New_York")
    outcomes = decided(place, sleeping, awake)
    assert isinstance(outcomes[0], Hold)
    assert outcomes[1] == Go(awake, ONE)


# -- why it waits, put on record once --------------------------------------------------------------


def test_without_a_phone_a_text_says_so_once() -> None:
    waiting = text()
    assert decided(desk(), waiting) == [Hold(waiting, "no_phone", None, WS)]
    assert decided(desk(), replace(waiting, reason="no_phone")) == []


def test_with_every_phone_away_a_text_says_so_once() -> None:
    place = desk(handset(state="offline"))
    waiting = text()
    assert decided(place, waiting) == [Hold(waiting, "phone_offline", None, WS)]
    assert decided(place, replace(waiting, reason="phone_offline")) == []


def test_a_text_for_a_silent_phone_waits_for_it_by_default() -> None:
    place = desk(handset(ONE, state="offline"), handset(TWO))
    waiting = text(contact_phone=ONE, queue=ONE)
    assert decided(place, waiting) == [Hold(waiting, "phone_offline", None, ONE)]
    assert decided(place, replace(waiting, reason="phone_offline")) == []


def test_a_used_up_cap_is_told_to_the_first_in_line_only() -> None:
    full = handset(daily_cap=1, sent_today=1, day="2026-03-02")
    first, second = text(1, phone_id=ONE, queue=ONE), text(2, phone_id=ONE, queue=ONE)
    midnight = datetime(2026, 3, 3, tzinfo=UTC)
    assert decided(desk(full), first, second) == [Hold(first, "daily_cap", midnight)]
    told = replace(first, reason="daily_cap", until=midnight)
    assert decided(desk(full), told, second) == []


def test_a_hold_that_is_on_record_is_not_repeated() -> None:
    place = desk(handset(), quiet=(time(0), time(23)))
    first = decided(place, text())[0]
    assert isinstance(first, Hold)
    assert decided(place, text(reason=first.reason, until=first.until)) == []


# -- failover --------------------------------------------------------------------------------------


def test_a_conversation_changes_phones_only_where_the_workspace_says_so() -> None:
    phone = handset(state="offline", state_at=NOW)
    assert failover_at(text(), phone, account()) is None
    assert failover_at(text(), phone, account(failover_s=60)) == NOW + MINUTE
    assert failover_at(text(source="campaign"), phone, account()) == NOW + 30 * MINUTE
    assert failover_at(text(phone_id=ONE), phone, account(failover_s=60)) is None
    assert failover_at(text(), replace(phone, state="late"), account(failover_s=60)) is None


def test_before_its_time_the_text_waits_and_after_it_another_phone_takes_over() -> None:
    place = desk(handset(ONE, state="offline", state_at=NOW), handset(TWO), failover_s=600)
    waiting = text(contact_phone=ONE, queue=ONE)
    due = NOW + 10 * MINUTE
    assert decided(place, waiting) == [Hold(waiting, "failover_wait", due, ONE)]
    assert decided(place, waiting, now=due) == [Go(waiting, TWO)]


def test_when_nobody_can_take_over_now_it_joins_the_line_for_any_phone() -> None:
    due = NOW + 10 * MINUTE
    pacing = handset(TWO, last_dispatch_at=due)
    place = desk(handset(ONE, state="offline", state_at=NOW), pacing, failover_s=600)
    waiting = text(contact_phone=ONE, queue=ONE)
    assert decided(place, waiting, now=due) == [Hold(waiting, "queue", None, WS)]
    assert decided(place, replace(waiting, queue=WS), now=due) == []
    alone = desk(handset(ONE, state="offline", state_at=NOW), failover_s=600)
    assert decided(alone, waiting, now=due) == [Hold(waiting, "phone_offline", None, WS)]


def test_back_online_the_phone_gets_its_line_back() -> None:
    place = desk(handset(ONE), handset(TWO), failover_s=600)
    waiting = text(contact_phone=ONE, queue=WS, reason="queue")
    assert decided(place, waiting) == [Hold(waiting, "queue", None, ONE)]


# -- the earliest of many --------------------------------------------------------------------------


def test_the_earliest_free_phone_tells_how_long_any_phone_takes() -> None:
    pacing = handset(ONE, last_dispatch_at=NOW - 3 * MINUTE)
    full = handset(TWO, daily_cap=0)
    place = desk(pacing, full)
    assert earliest([pacing, full], text(), place, NOW) == ("min_gap", NOW + MINUTE)
    assert earliest([pacing, handset(THREE)], text(), place, NOW) is None
    assert earliest([], text(), place, NOW) is None
    held = handset(THREE, in_flight=9)
    assert earliest([pacing, held], text(), place, NOW) == ("queue", None)


# -- what is open ----------------------------------------------------------------------------------


def opened(outcome: str, cancel: str | None = None, **changes: Any) -> Outcome | Cancelled | None:
    resend = changes.pop("resend_unknown", False)
    one = text(**{"attempt": 1, "queue": ONE, **changes})
    return open_outcome(one, outcome, cancel, account(resend_unknown=resend), NOW)


def test_a_failure_that_passes_is_tried_again_later_and_later() -> None:
    first = opened("transient")
    assert isinstance(first, Hold)
    assert (first.reason, first.until) == ("retry", NOW + MINUTE)
    second = opened("transient", attempt=2)
    assert isinstance(second, Hold)
    assert second.until == NOW + 10 * MINUTE
    slower = opened("throttled")
    assert isinstance(slower, Hold)
    assert slower.until == NOW + 5 * MINUTE


def test_a_retry_that_would_come_too_late_expires_instead() -> None:
    outcome = opened("transient", expires_at=NOW + MINUTE)
    assert isinstance(outcome, Expire)
    assert outcome.waited_for == "retry"


@pytest.mark.parametrize("outcome", ["unknown", "ambiguous", "unpaired", "invented_later"])
def test_what_may_have_been_sent_waits_for_a_person(outcome: str) -> None:
    held = opened(outcome)
    assert isinstance(held, Hold)
    assert (held.reason, held.until, held.queue) == ("quarantined", None, None)


def test_a_workspace_may_want_it_sent_again_but_not_for_ever() -> None:
    for outcome in ("unknown", "ambiguous"):
        again = opened(outcome, resend_unknown=True)
        assert isinstance(again, Hold)
        assert again.reason == "retry"
        last = opened(outcome, resend_unknown=True, attempt=policy.MAX_ATTEMPTS)
        assert isinstance(last, Hold)
        assert last.reason == "quarantined"
    gone = opened("unpaired", resend_unknown=True)
    assert isinstance(gone, Hold)
    assert gone.reason == "quarantined"


def test_a_persons_decision_is_carried_out() -> None:
    again = opened("retry")
    assert isinstance(again, Hold)
    assert (again.reason, again.until) == ("retry", NOW)
    assert opened("quarantined") is None


def test_a_command_given_back_goes_to_any_phone_or_the_one_it_names() -> None:
    anybody = opened("cancelled")
    assert isinstance(anybody, Hold)
    assert (anybody.reason, anybody.queue) == ("queue", WS)
    named = opened("cancelled", "failover", phone_id=TWO)
    assert isinstance(named, Hold)
    assert named.queue == TWO
    assert isinstance(opened("cancelled", "expired", expires_at=NOW), Expire)


@pytest.mark.parametrize("outcome", ["cancelled", "transient", "throttled", "retry"])
def test_what_a_person_took_back_is_not_sent_again(outcome: str) -> None:
    assert isinstance(opened(outcome, "user"), Cancelled)


@pytest.mark.parametrize("outcome", ["unknown", "ambiguous", "unpaired"])
def test_what_may_be_on_the_air_is_never_called_cancelled(outcome: str) -> None:
    held = opened(outcome, "user", resend_unknown=True)
    assert isinstance(held, Hold)
    assert held.reason == "quarantined"


# -- properties ------------------------------------------------------------------------------------

STATES = st.sampled_from(["online", "online", "online", "late", "offline", "unpaired"])
PHONES = st.lists(
    st.builds(
        handset,
        id=st.sampled_from([ONE, TWO, THREE]),
        state=STATES,
        simulated=st.booleans(),
        in_flight=st.integers(0, 5),
        min_gap_s=st.sampled_from([0, 240]),
        daily_cap=st.sampled_from([0, 1, 200]),
        last_dispatch_at=st.sampled_from([None, NOW, NOW - MINUTE, NOW - 10 * MINUTE]),
        recent=st.sampled_from([[], [(NOW, 24)], [(NOW, 12)]]),
    ),
    max_size=3,
    unique_by=lambda p: p.id,
)
TEXTS = st.lists(
    st.builds(
        text,
        st.integers(0, 8),
        contact_id=st.sampled_from(["con_a", "con_b", "con_c", "con_d"]),
        source=st.sampled_from(["confirmation", "inbox", "api", "campaign"]),
        phone_id=st.sampled_from([None, None, ONE, TWO]),
        contact_phone=st.sampled_from([None, None, ONE, THREE]),
        queue=st.sampled_from([WS, ONE, TWO]),
        parts=st.integers(1, 10),
        test=st.booleans(),
        opted_out=st.booleans(),
        wake_at=st.sampled_from([NOW - MINUTE, NOW + MINUTE]),
        expires_at=st.sampled_from([NOW, NOW + MINUTE]),
    ),
    max_size=9,
    unique_by=lambda t: t.id,
)


@given(PHONES, TEXTS, st.sampled_from([None, 60, 7200]))
def test_whatever_comes_no_rule_is_broken(
    phones: list[Handset], texts: list[Text], failover_s: int | None
) -> None:
    before = {p.id: replace(p, recent=list(p.recent)) for p in phones}
    place = desk(*phones, failover_s=failover_s)
    outcomes = decided(place, *texts)
    assert len({o.text.id for o in outcomes}) == len(outcomes)  # nothing is decided twice
    parts = dict.fromkeys(before, 0)
    for outcome in outcomes:
        if not isinstance(outcome, Go):
            continue
        one, phone = outcome.text, before[outcome.phone_id]
        assert phone.state == "online"
        assert one.expires_at > NOW
        assert phone.simulated or not one.test
        assert one.source == "confirmation" or (not one.opted_out and one.wake_at <= NOW)
        assert one.phone_id in (None, phone.id)
        parts[phone.id] += one.parts
    for id_, phone in before.items():
        goes = [o.text for o in outcomes if isinstance(o, Go) and o.phone_id == id_]
        used = sum(count for _, count in phone.recent)
        assert not goes or used + parts[id_] <= policy.PARTS_PER_MINUTE
        assert len(goes) <= max(0, Limits().window - phone.in_flight)
        assert not goes or phone.sent_today + len(goes) <= cap(phone, account(), NOW)
        paced = [one for one in goes if one.source != "confirmation"]
        assert phone.min_gap_s == 0 or len(paced) <= 1


@given(PHONES, TEXTS)
def test_every_outcome_becomes_one_event_the_same_every_time(
    phones: list[Handset], texts: list[Text]
) -> None:
    for outcome in decided(desk(*phones), *texts):
        made = record.event(outcome, NOW)
        assert made == record.event(outcome, NOW)
        assert e.decode(e.encode(made)) == made
        assert made.data.message_id == outcome.text.id
        assert made.workspace_id == WS
    goes = [o for o in decided(desk(*phones), *texts) if isinstance(o, Go)]
    for go in goes:  # whoever decides it, later or elsewhere: one id, so the log stores one
        later = record.event(replace(go, phone_id=THREE), NOW + 10 * MINUTE)
        assert later.id == record.event(go, NOW).id


def test_settling_an_open_message_has_one_id_for_each_attempt() -> None:
    first, again = opened("transient"), opened("transient")
    assert isinstance(first, Hold)
    assert isinstance(again, Hold)
    one = record.settled(first, NOW)
    assert record.settled(again, NOW + 9 * MINUTE).id == one.id
    second = opened("transient", attempt=2)
    assert isinstance(second, Hold)
    assert record.settled(second, NOW).id != one.id
    assert record.settled(Cancelled(text()), NOW).type == "send.cancelled"


def test_a_recall_names_the_command_and_is_asked_for_once() -> None:
    one = text(attempt=2)
    asked = record.recall(one, "cmd_2", "failover", NOW)
    assert (asked.data.command_id, asked.data.reason) == ("cmd_2", "failover")
    assert record.recall(one, "cmd_2", "failover", NOW + MINUTE).id == asked.id
    assert record.recall(one, "cmd_2", "expired", NOW).id != asked.id


def test_a_real_phone_is_never_passed_over_for_a_simulated_one() -> None:
    real, simulated = handset(ONE), handset(TWO, simulated=True)
    both = Desk(account(), {p.id: p for p in (simulated, real)})
    assert assign(both, [text(1), text(2)], NOW) == [Go(text(1), ONE)]  # the second waits its turn
    real.state = "offline"
    assert assign(both, [text(3)], NOW) == [Hold(text(3), "phone_offline", None, WS)]


def test_a_simulated_phone_stands_in_while_there_is_no_real_one() -> None:
    gone, simulated = handset(ONE, state="unpaired"), handset(TWO, simulated=True)
    left = Desk(account(), {p.id: p for p in (gone, simulated)})
    assert assign(left, [text()], NOW) == [Go(text(), TWO)]
