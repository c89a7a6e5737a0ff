"""What a journal call becomes: given rows and entries, then events, rejections, acknowledgement."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway import decide, entries
from services.gateway.decide import CommandView, Known, PhoneView, Verdict
from services.gateway.entries import Call, Rejected
from services.gateway.facts import Fact, is_news
from shared import events as e
from shared import ids

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
WS, PHONE, MSG, CON = (ids.new(prefix) for prefix in ("ws", "phn", "msg", "con"))
CMD = ids.command_id(MSG, 1)
KEY = b"k" * 32
SIM = e.Sim(subscription_id=1, slot=0, carrier="Test", iccid_hash="aa")
OK = [{"n": 1, "result_code": -1}]
ARRIVED = [{"n": 1, "tp_status": 0}]


def phone(**changes: Any) -> PhoneView:
    values: dict[str, Any] = {
        "id": PHONE, "workspace_id": WS, "generation": 2, "unpaired": False, "head": 0,
        "sims": [SIM], "sims_seq": 5, "region": "US",
    }  # fmt: skip
    return PhoneView(**{**values, **changes})


def command(**changes: Any) -> CommandView:
    values: dict[str, Any] = {
        "id": CMD, "phone_id": PHONE, "message_id": MSG, "contact_id": CON, "attempt": 1,
        "parts": 1, "facts": 0, "cause": "evt_dispatched",
    }  # fmt: skip
    return CommandView(**{**values, **changes})


def known(*commands: CommandView, **changes: Any) -> Known:
    values: dict[str, Any] = {
        "phone": phone(),
        "commands": {one.id: one for one in commands or (command(),)},
        "received": frozenset[str](),
    }
    return Known(**{**values, **changes})


def read(*items: dict[str, Any], inventory: dict[str, Any] | None = None) -> Call:
    whole = [{"at": NOW, **item} for item in items]
    body = msgspec.json.encode({"entries": whole, "inventory": inventory})
    return entries.read_call(body)


def entry(seq: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"seq": seq, "type": kind, "command_id": CMD, **fields}


def text(seq: int, **fields: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "seq": seq, "type": "received", "from": "(415) 555-0100", "body": "Hi",
        "subscription_id": 1, "received_at": NOW, "provider_id": "7", "parts": 1,
    }  # fmt: skip
    return {**whole, **fields}


def decided(call: Call, rows: Known) -> Verdict:
    return decide.journal(call, rows, NOW, KEY)


def types(verdict: Verdict) -> list[str]:
    return [event.type for event in verdict.events]


WHOLE_WAY = (
    entry(1, "accepted"),
    entry(2, "submitted", parts=1),
    entry(3, "sent", parts=OK),
    entry(4, "delivered", parts=ARRIVED),
)


def test_the_whole_way_of_a_text_is_four_events_in_order() -> None:
    verdict = decided(read(*WHOLE_WAY), known())
    assert types(verdict) == ["sms.accepted", "sms.submitted", "sms.sent", "sms.delivered"]
    assert (verdict.acked_seq, verdict.told_seq, verdict.rejected) == (4, 4, [])
    first = verdict.events[0]
    assert first.workspace_id == WS
    assert first.actor == e.Actor("phone", PHONE)
    assert first.cause == "evt_dispatched"
    assert (first.data.journal_seq, first.data.generation, first.data.attempt) == (1, 2, 1)
    assert len({event.id for event in verdict.events}) == 4


def test_a_repeated_call_makes_the_same_ids() -> None:
    once, again = decided(read(*WHOLE_WAY), known()), decided(read(*WHOLE_WAY), known())
    assert [event.id for event in once.events] == [event.id for event in again.events]


def test_a_new_generation_makes_other_ids() -> None:
    old = decided(read(entry(1, "accepted")), known())
    new = decided(read(entry(1, "accepted")), known(phone=phone(generation=3)))
    assert old.events[0].id != new.events[0].id


def test_entries_at_or_below_the_head_are_repeats() -> None:
    verdict = decided(read(*WHOLE_WAY), known(phone=phone(head=3)))
    assert types(verdict) == ["sms.delivered"]
    assert verdict.acked_seq == 4


def test_entries_count_in_the_order_of_their_numbers() -> None:
    verdict = decided(read(*reversed(WHOLE_WAY)), known())
    assert types(verdict) == ["sms.accepted", "sms.submitted", "sms.sent", "sms.delivered"]


def test_nothing_beyond_a_gap_is_stored_or_acknowledged() -> None:
    verdict = decided(read(WHOLE_WAY[0], WHOLE_WAY[2], WHOLE_WAY[3]), known())
    assert types(verdict) == ["sms.accepted"]
    assert verdict.acked_seq == 1
    assert verdict.gap_at == 3
    assert [(one.seq, one.code) for one in verdict.rejected] == [(3, "gap"), (4, "gap")]


def test_a_phone_that_has_nothing_older_goes_on_beyond_the_gap() -> None:
    call = read(entry(9, "accepted"))
    assert decided(call, known(phone=phone(head=5))).acked_seq == 5
    verdict = decided(call, known(phone=phone(head=5), first_seq=9))
    assert (types(verdict), verdict.acked_seq) == (["sms.accepted"], 9)


def test_a_wrong_entry_counts_as_told_and_does_not_block_the_others() -> None:
    call = read(entry(1, "accepted"), entry(2, "teleported"), entry(3, "submitted", parts=1))
    verdict = decided(call, known())
    assert types(verdict) == ["sms.accepted", "sms.submitted"]
    assert verdict.acked_seq == 3
    assert [(one.seq, one.code) for one in verdict.rejected] == [(2, "unknown_type")]


def test_a_wrong_entry_at_the_end_is_acknowledged_by_the_vault() -> None:
    verdict = decided(read(entry(1, "accepted"), entry(2, "teleported")), known())
    assert (verdict.acked_seq, verdict.told_seq) == (2, 1)


def test_an_entry_without_a_number_is_named_and_blocks_nothing() -> None:
    call = Call(None, read(entry(1, "accepted")).entries, [Rejected(0, "invalid_entry", "?")])
    verdict = decided(call, known())
    assert verdict.acked_seq == 1
    assert [one.seq for one in verdict.rejected] == [0]


@pytest.mark.parametrize("rows", [known(command(phone_id="phn_other")), known(commands={})])
def test_a_command_this_phone_never_had_is_rejected(rows: Known) -> None:
    verdict = decided(read(entry(1, "accepted")), rows)
    assert verdict.events == []
    assert [(one.seq, one.code) for one in verdict.rejected] == [(1, "unknown_command")]
    assert verdict.acked_seq == 1


def test_a_fact_said_twice_is_one_event() -> None:
    verdict = decided(read(entry(1, "accepted"), entry(2, "accepted")), known())
    assert types(verdict) == ["sms.accepted"]
    assert (verdict.acked_seq, verdict.rejected) == (2, [])


@pytest.mark.parametrize(
    ("facts", "said", "types_after"),
    [
        (Fact.SENT, entry(1, "accepted"), []),
        (Fact.SENT, entry(1, "submitted", parts=1), []),
        (Fact.SENT, entry(1, "unknown"), []),
        (Fact.SENT, entry(1, "cancelled"), []),
        (Fact.SENT, entry(1, "failed", result_code=4), []),
        (Fact.DELIVERED, entry(1, "sent", parts=OK), []),
        (Fact.DELIVERED, entry(1, "delivered", parts=ARRIVED), []),
        (Fact.FAILED, entry(1, "failed", result_code=4), []),
        (Fact.FAILED, entry(1, "sent", parts=OK), []),
        (Fact.CANCELLED, entry(1, "cancelled"), []),
        (Fact.UNKNOWN, entry(1, "sent", parts=OK), ["sms.sent"]),
        (Fact.UNKNOWN, entry(1, "delivered", parts=ARRIVED), ["sms.delivered"]),
        (Fact.UNKNOWN, entry(1, "failed", result_code=4), ["sms.failed"]),
        (Fact.SUBMITTED, entry(1, "cancelled"), []),
        (Fact.CANCELLED, entry(1, "submitted", parts=1), ["sms.submitted"]),
        (Fact.CANCELLED, entry(1, "sent", parts=OK), ["sms.sent"]),
        (Fact.SENT, entry(1, "delivered", parts=ARRIVED), ["sms.delivered"]),
        (Fact.SENT, entry(1, "delivered", parts=[{"n": 1, "tp_status": 70}]), ["sms.failed"]),
    ],
)
def test_a_late_fact_counts_only_if_it_is_news(
    facts: Fact, said: dict[str, Any], types_after: list[str]
) -> None:
    verdict = decided(read(said), known(command(facts=facts)))
    assert types(verdict) == types_after
    assert verdict.acked_seq == 1


def test_no_fact_is_news_twice() -> None:
    for fact in Fact:
        assert not is_news(fact, fact)
        assert is_news(fact, 0)


def test_sent_waits_for_every_part() -> None:
    rows = known(command(facts=Fact.SUBMITTED, parts=3))
    call = read(entry(1, "sent", parts=[{"n": 3, "result_code": -1}]))
    verdict = decided(call, rows)
    assert verdict.events == []
    assert verdict.parts[CMD].sent == [3]
    rest = [{"n": n, "result_code": -1} for n in (1, 2)]
    kept = known(command(facts=Fact.SUBMITTED, parts=3, sent=[3]))
    verdict = decided(
        read(entry(2, "sent", parts=rest)), Known(**{**vars(kept), "phone": phone(head=1)})
    )
    assert types(verdict) == ["sms.sent"]
    assert verdict.events[0].data.parts == 3
    assert verdict.parts == {}


def test_parts_of_one_call_add_up() -> None:
    said = [entry(n, "delivered", parts=[{"n": n, "tp_status": 0}]) for n in (1, 2)]
    verdict = decided(read(*said), known(command(facts=Fact.SUBMITTED | Fact.SENT, parts=2)))
    assert types(verdict) == ["sms.delivered"]
    assert verdict.events[0].data.journal_seq == 2


def test_the_phones_count_of_parts_wins() -> None:
    call = read(entry(1, "submitted", parts=2), entry(2, "sent", parts=OK))
    assert types(decided(call, known(command(parts=1)))) == ["sms.submitted"]


def test_one_part_refused_fails_the_text_with_its_class() -> None:
    parts = [{"n": 1, "result_code": -1}, {"n": 2, "result_code": 4}]
    verdict = decided(read(entry(1, "sent", parts=parts)), known(command(parts=2)))
    assert types(verdict) == ["sms.failed"]
    assert verdict.events[0].data.error_class == "transient"


def test_a_failure_carries_class_code_and_numbers() -> None:
    verdict = decided(read(entry(1, "failed", result_code=1, error_code=38)), known())
    data = verdict.events[0].data
    assert (data.error_class, data.code) == ("ambiguous", "generic_failure")
    assert (data.result_code, data.error_code) == (1, 38)
    assert data.detail


def test_a_failure_that_is_none_is_rejected() -> None:
    verdict = decided(read(entry(1, "failed", result_code=-1)), known())
    assert verdict.events == []
    assert verdict.rejected[0].code == "invalid_entry"


def test_a_network_that_still_tries_is_nothing_yet() -> None:
    call = read(entry(1, "delivered", parts=[{"n": 1, "tp_status": 0x20}]))
    verdict = decided(call, known(command(facts=Fact.SENT)))
    assert (verdict.events, verdict.parts, verdict.acked_seq) == ([], {}, 1)


# -- texts that came in ----------------------------------------------------------------------------


def test_a_received_text_belongs_to_the_normalised_sender() -> None:
    verdict = decided(read(text(1)), known())
    data = verdict.events[0].data
    assert (data.sender, data.sender_kind) == ("+14155550100", "number")
    assert data.contact_id == ids.contact_id(KEY, WS, "+14155550100", 0)
    assert (data.body, data.parts, data.provider_id) == ("Hi", 1, "7")
    other = decided(read(text(1, **{"from": "+1 415 555 0100"})), known())
    assert other.events[0].data.contact_id == data.contact_id


def test_numbers_without_plus_are_of_the_workspaces_country() -> None:
    verdict = decided(read(text(1, **{"from": "0151 23456789"})), known(phone=phone(region="DE")))
    assert verdict.events[0].data.sender == "+4915123456789"


@pytest.mark.parametrize(
    ("sender", "kind"), [("22000", "short_code"), ("ACME", "alphanumeric"), (" ", "alphanumeric")]
)
def test_senders_that_are_no_numbers_stay_as_they_are(sender: str, kind: str) -> None:
    data = decided(read(text(1, **{"from": sender})), known()).events[0].data
    assert (data.sender, data.sender_kind) == (sender, kind)


def test_a_text_swept_twice_is_one_event() -> None:
    verdict = decided(read(text(1), text(2)), known())
    assert types(verdict) == ["sms.received"]
    message_id = verdict.events[0].data.message_id
    later = known(phone=phone(head=2), received=frozenset({message_id}))
    verdict = decided(read(text(3)), later)
    assert (verdict.events, verdict.acked_seq, verdict.rejected) == ([], 3, [])


def test_equal_texts_stay_distinct() -> None:
    later = text(2, received_at=NOW + timedelta(seconds=1))
    verdict = decided(read(text(1), later, text(3, provider_id="8")), known())
    assert len({event.data.message_id for event in verdict.events}) == 3
    assert len({event.id for event in verdict.events}) == 3


def test_a_text_keeps_its_id_whatever_zone_its_time_is_written_in() -> None:
    one = decided(read(text(1, received_at="2026-11-23T10:00:00Z")), known())
    two = decided(read(text(1, received_at="2026-11-23T12:00:00+02:00")), known())
    assert one.events[0].id == two.events[0].id


def test_what_postgresql_cannot_store_never_gets_into_the_log() -> None:
    data = decided(read(text(1, body="a\0b", provider_id="\0")), known()).events[0].data
    assert "\0" not in data.body + data.provider_id


# -- health and inventory --------------------------------------------------------------------------


def test_health_is_no_event_and_is_acknowledged() -> None:
    call = read({"seq": 1, "type": "health", "battery": 79.6, "charging": False, "network": "lte"})
    verdict = decided(call, known())
    assert (verdict.events, verdict.acked_seq, verdict.told_seq) == ([], 1, 0)
    assert verdict.vitals == {"battery": 80, "charging": False, "network": "lte"}


def test_other_sims_are_an_event_once() -> None:
    new = {"subscription_id": 2, "slot": 0, "carrier": "Other"}
    verdict = decided(read(inventory={"sims": [new]}), known())
    assert types(verdict) == ["phone.sims_changed"]
    assert verdict.events[0].data.sims == (e.Sim(subscription_id=2, slot=0, carrier="Other"),)
    again = decided(read(inventory={"sims": [new]}), known())
    assert again.events[0].id == verdict.events[0].id
    changed_back = decided(read(inventory={"sims": [new]}), known(phone=phone(sims_seq=9)))
    assert changed_back.events[0].id != verdict.events[0].id


def test_the_same_sims_in_another_order_are_no_event() -> None:
    second = e.Sim(subscription_id=2, slot=1)
    listed = [msgspec.to_builtins(sim) for sim in (second, SIM)]
    verdict = decided(read(inventory={"sims": listed}), known(phone=phone(sims=[SIM, second])))
    assert verdict.events == []


WANTED_BACK = {"cancels": [command(frame_seq=100)], "stream_from": 100}


def test_a_command_not_held_is_proven_cancelled() -> None:
    verdict = decided(read(inventory={"open_commands": []}), known(**WANTED_BACK))
    assert types(verdict) == ["sms.cancelled"]
    data = verdict.events[0].data
    assert (data.proof, data.command_id, data.journal_seq) == ("inventory", CMD, 0)
    assert verdict.told_seq == 0


@pytest.mark.parametrize(
    ("inventory", "changes"),
    [
        ({"open_commands": [CMD]}, {}),  # it holds it
        ({}, {}),  # it does not say
        ({"open_commands": []}, {"stream_from": 99}),  # its stream may have carried the text
        ({"open_commands": []}, {"stream_from": None}),  # it has no stream, or too young a one
        ({"open_commands": [], "journal_head": 7}, {}),  # it has more to tell
        ({"open_commands": []}, {"cancels": []}),  # nobody wants it back
    ],
)
def test_what_is_no_proof_cancels_nothing(
    inventory: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert decided(read(inventory=inventory), known(**{**WANTED_BACK, **changes})).events == []


def test_a_command_accepted_in_the_same_call_is_held() -> None:
    one = command(frame_seq=100)
    call = read(entry(1, "accepted"), inventory={"open_commands": []})
    verdict = decided(call, known(one, cancels=[command(frame_seq=100)], stream_from=100))
    assert types(verdict) == ["sms.accepted"]


def test_an_inventory_beside_a_gap_proves_nothing() -> None:
    call = read(entry(3, "accepted"), inventory={"open_commands": []})
    assert decided(call, known(**WANTED_BACK)).events == []


# -- whatever a phone says -------------------------------------------------------------------------

KINDS: list[dict[str, Any]] = [
    {"type": "accepted"},
    {"type": "submitted", "parts": 2},
    {"type": "sent", "parts": [{"n": 1, "result_code": -1}]},
    {"type": "sent", "parts": [{"n": 2, "result_code": -1}]},
    {"type": "sent", "parts": [{"n": 1, "result_code": 4}]},
    {"type": "delivered", "parts": [{"n": 1, "tp_status": 0}]},
    {"type": "delivered", "parts": [{"n": 2, "tp_status": 0}, {"n": 1, "tp_status": 48}]},
    {"type": "delivered", "parts": [{"n": 2, "tp_status": 70}]},
    {"type": "failed", "result_code": 5},
    {"type": "unknown"},
    {"type": "cancelled"},
    {"type": "health"},
    {"type": "teleported"},
]


@given(st.lists(st.sampled_from(KINDS), max_size=12), st.integers(0, 12))
def test_however_a_journal_is_cut_into_calls_it_says_the_same(
    kinds: list[dict[str, Any]], cut: int
) -> None:
    journal = [{"seq": n, "command_id": CMD, **kind} for n, kind in enumerate(kinds, 1)]
    whole = decided(read(*journal), known())
    rows = command()
    first = decided(read(*journal[:cut]), known(rows))
    head = first.acked_seq
    second = decided(read(*journal), known(rows, phone=phone(head=head)))
    assert types(first) + types(second) == types(whole)
    assert max(first.acked_seq, second.acked_seq) == whole.acked_seq == len(journal)
    assert len(set(types(whole))) == len(types(whole))
