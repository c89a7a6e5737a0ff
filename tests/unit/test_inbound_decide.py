"""What a received text leads to: consent, one confirmation, and always a reply."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.inbound import texts
from services.inbound.decide import Decision, Text, decide
from shared import events, ids
from shared.text import segments

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
CONTACT = ids.derive("con", "somebody")
MESSAGE = ids.derive("msg", "received")


def text(body: str, **known: Any) -> Text:
    base = Text(
        message_id=MESSAGE,
        event_id=ids.derive("evt", "received"),
        workspace_id=ids.derive("ws", "acme"),
        contact_id=CONTACT,
        phone_id=ids.derive("phn", "front desk"),
        subscription_id=2,
        sender="+14155550100",
        sender_kind="number",
        body=body,
        parts=1,
        received_at=NOW - timedelta(hours=3),  # the phone's clock, which nothing depends on
        at=NOW,
        opted_out=False,
        consent_message_id=None,
        confirmed_at=None,
        helped_at=None,
        workspace_name="Acme",
        help_text=None,
        opt_out_text=None,
    )
    return replace(base, **known)


def types(decision: Decision) -> list[str]:
    return [event.type for event in (*decision.first, decision.reply)]


def test_an_ordinary_text_becomes_a_reply_in_its_conversation() -> None:
    decision = decide(text("See you at noon"), NOW)
    reply = decision.reply.data
    assert types(decision) == ["reply.received"]
    assert reply.conversation_id == "cnv_" + CONTACT[4:]
    assert (reply.verdict, reply.tier, reply.rule, reply.answered) == (None, None, None, None)
    assert (reply.sender, reply.body) == ("+14155550100", "See you at noon")
    assert decision.reply.cause == ids.derive("evt", "received")


def test_stop_opts_out_and_is_confirmed_before_the_reply_is_stored() -> None:
    decision = decide(text(" stop. "), NOW)
    assert types(decision) == ["contact.opted_out", "send.requested", "reply.received"]
    consent, confirmation = decision.first
    assert consent.data == events.ContactOptedOut(
        contact_id=CONTACT,
        number="+14155550100",
        source="keyword",
        rule="stop",
        tier="keyword",
        text=" stop. ",
        message_id=MESSAGE,
    )
    assert confirmation.data.source == "confirmation"
    assert confirmation.data.phone_id == ids.derive("phn", "front desk")
    assert confirmation.data.subscription_id == 2
    assert confirmation.data.expires_at == NOW + timedelta(minutes=5)
    assert "Acme" in confirmation.data.body
    assert confirmation.data.parts == 1
    assert decision.reply.data.verdict == "opt_out"
    assert decision.reply.data.answered == "confirmation"


def test_in_a_conversation_the_answer_stands_behind_the_text_it_answers() -> None:
    later = NOW + timedelta(milliseconds=3)
    decision = decide(text("STOP"), later)
    assert decision.reply.at == NOW
    assert [event.at for event in decision.first] == [later, later]


def test_a_clear_phrase_opts_out_and_says_that_a_phrase_did_it() -> None:
    decision = decide(text("Please stop texting me"), NOW)
    assert types(decision) == ["contact.opted_out", "send.requested", "reply.received"]
    consent = decision.first[0].data
    assert (consent.source, consent.tier, consent.rule) == ("phrase", "phrase", "stop_texting")
    assert decision.reply.data.tier == "phrase"


def test_stop_from_somebody_who_is_out_is_only_a_reply() -> None:
    decision = decide(text("STOP", opted_out=True, consent_message_id="msg_other"), NOW)
    assert types(decision) == ["reply.received"]
    assert decision.reply.data.verdict == "opt_out"


def test_deciding_twice_makes_the_same_events() -> None:
    first, second = decide(text("STOP"), NOW), decide(text("STOP"), NOW)
    assert first == second
    assert len({event.id for event in (*first.first, first.reply)}) == 3


def test_a_crash_after_the_opt_out_repeats_what_is_missing() -> None:
    whole = decide(text("STOP"), NOW)
    rest = decide(text("STOP", opted_out=True, consent_message_id=MESSAGE), NOW)
    assert types(rest) == ["send.requested", "reply.received"]
    assert [event.id for event in rest.first] == [whole.first[1].id]
    assert rest.first[0].data.message_id == whole.first[1].data.message_id
    assert rest.reply == whole.reply


def test_a_crash_after_the_opt_in_keeps_the_verdict() -> None:
    rest = decide(text("YES", consent_message_id=MESSAGE), NOW)
    assert types(rest) == ["reply.received"]
    assert rest.reply.data.verdict == "opt_in"


@pytest.mark.parametrize("body", ["START", "unstop", "Yes!"])
def test_whoever_is_out_can_come_back(body: str) -> None:
    decision = decide(text(body, opted_out=True), NOW)
    assert types(decision) == ["contact.opted_in", "reply.received"]
    assert decision.reply.data.verdict == "opt_in"


def test_yes_from_somebody_who_is_in_is_an_ordinary_text() -> None:
    decision = decide(text("yes"), NOW)
    assert types(decision) == ["reply.received"]
    assert decision.reply.data.verdict is None


def test_start_from_somebody_who_is_in_changes_nothing() -> None:
    decision = decide(text("START"), NOW)
    assert types(decision) == ["reply.received"]
    assert decision.reply.data.verdict == "opt_in"


@pytest.mark.parametrize(("hours_ago", "confirmed"), [(23, False), (24, True)])
def test_one_confirmation_in_24_hours(hours_ago: int, confirmed: bool) -> None:
    decision = decide(text("STOP", confirmed_at=NOW - timedelta(hours=hours_ago)), NOW)
    assert ("send.requested" in types(decision)) is confirmed
    assert types(decision)[0] == "contact.opted_out"  # consent has no such limit
    assert decision.reply.data.answered == ("confirmation" if confirmed else None)


def test_a_confirmation_that_comes_too_late_is_not_sent() -> None:
    decision = decide(text("STOP"), NOW + timedelta(minutes=5))
    assert types(decision) == ["contact.opted_out", "reply.received"]
    assert decision.reply.data.answered is None


@pytest.mark.parametrize("kind", ["short_code", "alphanumeric"])
def test_short_codes_and_names_get_no_automatic_answer(kind: str) -> None:
    stop = decide(text("STOP", sender="INFO", sender_kind=kind), NOW)
    assert types(stop) == ["contact.opted_out", "reply.received"]
    helped = decide(text("HELP", sender="INFO", sender_kind=kind, help_text="Call us."), NOW)
    assert types(helped) == ["reply.received"]


def test_help_is_answered_with_the_workspaces_text() -> None:
    decision = decide(text("HELP", help_text="Call 555."), NOW)
    assert types(decision) == ["send.requested", "reply.received"]
    answer = decision.first[0].data
    assert (answer.body, answer.source) == ("Call 555.", "inbox")
    assert (decision.reply.data.verdict, decision.reply.data.answered) == ("help", "help")


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"help_text": "Call 555.", "opted_out": True},
        {"help_text": "Call 555.", "helped_at": NOW - timedelta(hours=1)},
    ],
)
def test_help_without_a_text_or_after_opting_out_or_twice_is_not_answered(known: Any) -> None:
    decision = decide(text("HELP", **known), NOW)
    assert types(decision) == ["reply.received"]
    assert decision.reply.data.verdict == "help"


def test_the_workspaces_own_words_confirm() -> None:
    decision = decide(text("STOP", opt_out_text="Adiós €" * 30), NOW)
    assert decision.first[1].data.body == "Adiós €" * 30
    assert decision.first[1].data.parts == segments("Adiós €" * 30).parts > 1


@given(st.text())
def test_the_default_confirmation_is_one_part_of_gsm7(name: str) -> None:
    size = segments(texts.confirmation(name))
    assert (size.encoding, size.parts) == ("gsm7", 1)


def test_the_default_confirmation_names_the_workspace_as_well_as_it_can() -> None:
    assert "from Café Müller." in texts.confirmation("Café Müller")
    assert "from odz Dental." in texts.confirmation("Łódź 💈 Dental")
    assert texts.confirmation("美味しい") == texts.UNNAMED
    assert texts.confirmation("A" * 500).startswith("You are unsubscribed from AAAA")


@given(st.text(max_size=60), st.booleans())
def test_every_text_ends_in_exactly_one_reply(body: str, opted_out: bool) -> None:
    decision = decide(text(body, opted_out=opted_out), NOW)
    assert decision.reply.type == "reply.received"
    assert "reply.received" not in [event.type for event in decision.first]
