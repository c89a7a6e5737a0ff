"""What a received text leads to. Pure: the text, what is known of its sender, and the time go in.

Every id is derived from the received message's, so that deciding again after a crash makes the very
same events, and whatever the log already holds is stored once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec import Struct

from services.inbound import texts
from services.inbound.optout import Help, OptIn, OptOut, match
from shared import events, ids
from shared.text import segments

ACTOR = events.Actor("system", "inbound")
ANSWER_ONCE_IN = timedelta(hours=24)  # one automatic answer of a kind per contact (policy)
# 47 CFR 64.1200(a)(12): a confirmation within five minutes needs no justification, so a later one
# is not sent. Counted from when the gateway had the text; the phone's clock may be wrong.
CONFIRM_WITHIN = timedelta(minutes=5)
HELP_WITHIN = timedelta(hours=24)  # long enough for a night of quiet hours, then it is only noise
CONFIRMATION, HELP = "confirmation", "help"


class Text(Struct, frozen=True, kw_only=True):
    """A received text that nobody has decided about, with what is known of its sender.

    ``opted_out`` and ``consent_message_id`` are the contact's consent and the text it came from;
    ``confirmed_at`` and ``helped_at`` when an automatic answer of that kind was last given.
    """

    message_id: str
    event_id: str
    workspace_id: str
    contact_id: str
    phone_id: str
    subscription_id: int | None
    sender: str
    sender_kind: str
    body: str
    parts: int
    received_at: datetime
    at: datetime
    opted_out: bool
    consent_message_id: str | None
    confirmed_at: datetime | None
    helped_at: datetime | None
    workspace_name: str
    help_text: str | None
    opt_out_text: str | None


@dataclass(frozen=True)
class Decision:
    """Events in the order to store them: ``first`` must be in the log before ``reply`` goes there.

    The reply closes the text. Were it stored first and the process killed, nobody would ever look
    at the text again, and an opt-out would be lost.
    """

    first: tuple[events.Event, ...]
    reply: events.Event


@dataclass(frozen=True)
class _Reading:
    """A text's verdict with its rule, the consent fact to store and the answer to give, if any."""

    verdict: str | None = None
    tier: str | None = None
    rule: str | None = None
    consent: type[events.Consent] | None = None
    answer: str | None = None


def decide(text: Text, now: datetime) -> Decision:
    """What to store about ``text`` at ``now``. Raises nothing."""
    reading = _read(text)
    first: list[events.Event] = []
    if reading.consent is not None:
        first.append(_consent(text, reading, reading.consent, now))
    answer = _answer(text, reading.answer, now)
    if answer is not None:
        first.append(answer)
    reply = events.ReplyReceived(
        message_id=text.message_id,
        contact_id=text.contact_id,
        conversation_id=ids.conversation_id(text.contact_id),
        phone_id=text.phone_id,
        sender=text.sender,
        sender_kind=text.sender_kind,
        body=text.body,
        parts=text.parts,
        received_at=text.received_at,
        subscription_id=text.subscription_id,
        verdict=reading.verdict,
        tier=reading.tier,
        rule=reading.rule,
        answered=reading.answer if answer is not None else None,
    )
    # Of the moment it came: its answer must stand behind it, not beside it.
    return Decision(tuple(first), _event(text, reply, "reply", min(text.at, now)))


def _read(text: Text) -> _Reading:
    """Compare the body with the rules, and the verdict with the consent as it stands."""
    # The consent may already be this text's own doing, when an earlier try got no further.
    ours = text.consent_message_id == text.message_id
    match match(text.body):
        case OptOut(tier=tier, rule=rule):
            return _Reading(
                "opt_out",
                tier,
                rule,
                consent=None if text.opted_out else events.ContactOptedOut,
                answer=CONFIRMATION if ours or not text.opted_out else None,
            )
        case OptIn(word=word, only_if_opted_out=only_if_opted_out):
            if only_if_opted_out and not (text.opted_out or ours):
                return _Reading()  # "yes" from somebody who is in was just an answer
            consent = events.ContactOptedIn if text.opted_out else None
            return _Reading("opt_in", "keyword", word, consent=consent)
        case Help():
            # Whoever opted out gets nothing, not even help: the policy has one exception only.
            answer = HELP if text.help_text and not text.opted_out else None
            return _Reading("help", "keyword", "help", answer=answer)
        case None:
            return _Reading()


def _consent(
    text: Text, reading: _Reading, kind: type[events.Consent], now: datetime
) -> events.Event:
    data = kind(
        contact_id=text.contact_id,
        number=text.sender,
        source=reading.tier or "keyword",
        rule=reading.rule,
        tier=reading.tier,
        text=text.body,
        message_id=text.message_id,
    )
    return _event(text, data, kind.TYPE, now)


def _answer(text: Text, kind: str | None, now: datetime) -> events.Event | None:
    """The automatic answer of ``kind``, unless its time, its number or its sender forbids it."""
    if kind is None or text.sender_kind != "number":
        return None
    if kind == CONFIRMATION:
        last_at, expires_at = text.confirmed_at, text.at + CONFIRM_WITHIN
        body = text.opt_out_text or texts.confirmation(text.workspace_name)
        source = "confirmation"  # goes before everything else, and past the opt-out itself
    else:
        last_at, expires_at = text.helped_at, text.at + HELP_WITHIN
        body, source = text.help_text or "", "inbox"
    if now >= expires_at or (last_at is not None and now - last_at < ANSWER_ONCE_IN):
        return None
    data = events.SendRequested(
        message_id=ids.derive("msg", text.message_id, kind),
        contact_id=text.contact_id,
        to=text.sender,
        body=body,
        parts=segments(body).parts,
        source=source,
        expires_at=expires_at,
        phone_id=text.phone_id,
        subscription_id=text.subscription_id,
    )
    return _event(text, data, kind, now)


def _event(text: Text, data: events.Data, what: str, now: datetime) -> events.Event:
    return events.make(
        data,
        id=ids.derive("evt", text.message_id, what),
        workspace_id=text.workspace_id,
        at=now,
        actor=ACTOR,
        cause=text.event_id,
    )
