"""The judge is judged: of a faultless run nothing is reported, of every planted fault something."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from shared import events as e
from shared import ids
from tests.fakes.webhook_receiver import Hit
from tests.faults.evidence import Arrived, Endpoint, Evidence, Radio, Wish

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WS = ids.derive("ws", "evidence")
PHONE, OTHER_PHONE = ids.derive("phn", "one"), ids.derive("phn", "two")
ANNA, BEN = ids.derive("con", "anna"), ids.derive("con", "ben")
FIRST, CONFIRMATION = ids.derive("msg", "first"), ids.derive("msg", "confirmation")
STOP = ids.derive("msg", "stop")
NUMBER = "+14155550100"
BODY = "Hello"
ENDPOINT = Endpoint("/hook", frozenset({"sms.delivered", "contact.opted_out"}))


def _requested(message_id: str, body: str, source: str) -> e.Data:
    return e.SendRequested(
        message_id=message_id,
        contact_id=ANNA,
        to=NUMBER,
        body=body,
        parts=1,
        source=source,
        expires_at=NOW,
    )


def _dispatched(message_id: str, body: str, source: str, **changes: Any) -> e.Data:
    fields: dict[str, Any] = {
        "message_id": message_id,
        "contact_id": ANNA,
        "command_id": ids.command_id(message_id, 1),
        "phone_id": PHONE,
        "attempt": 1,
        "to": NUMBER,
        "body": body,
        "parts": 1,
        "source": source,
        "expires_at": NOW,
    }
    return e.SendDispatched(**fields | changes)


def _fact(kind: type[e.SmsFact], message_id: str, seq: int, **more: Any) -> e.Data:
    return kind(
        message_id=message_id,
        contact_id=ANNA,
        command_id=ids.command_id(message_id, 1),
        phone_id=PHONE,
        attempt=1,
        journal_seq=seq,
        phone_at=NOW,
        generation=1,
        **more,
    )


def _way(message_id: str, body: str, source: str, seq: int) -> list[e.Data]:
    """A message from the wish to the receipt; its journal begins at ``seq``."""
    kinds = (e.SmsAccepted, e.SmsSubmitted, e.SmsSent, e.SmsDelivered)
    facts = [_fact(kind, message_id, seq + n) for n, kind in enumerate(kinds)]
    return [_requested(message_id, body, source), _dispatched(message_id, body, source), *facts]


STOPPED = e.ContactOptedOut(contact_id=ANNA, number=NUMBER, source="keyword", message_id=STOP)
HEARD = e.SmsReceived(
    contact_id=ANNA,
    message_id=STOP,
    phone_id=PHONE,
    sender=NUMBER,
    sender_kind="number",
    body="STOP",
    parts=1,
    received_at=NOW,
    provider_id="7",
    journal_seq=5,
    generation=1,
)
REPLY = e.ReplyReceived(
    message_id=STOP,
    contact_id=ANNA,
    conversation_id=ids.conversation_id(ANNA),
    phone_id=PHONE,
    sender=NUMBER,
    sender_kind="number",
    body="STOP",
    parts=1,
    received_at=NOW,
)
STORY = [
    *_way(FIRST, BODY, "api", 1),
    HEARD,
    STOPPED,
    *_way(CONFIRMATION, "You are out", "confirmation", 6),
    REPLY,
]


def _logged(story: list[e.Data]) -> list[tuple[int, e.Event]]:
    system = e.Actor("system", "tests")
    return [
        (
            seq,
            e.make(
                data, id=ids.derive("evt", str(seq)), workspace_id=WS, at=NOW, actor=system
            ),
        )
        for seq, data in enumerate(story, 1)
    ]  # fmt: skip


def _radio(message_id: str, body: str) -> Radio:
    digest = hashlib.sha256(body.encode()).hexdigest()
    return Radio(PHONE, ids.command_id(message_id, 1), message_id, NUMBER, digest)


def _hit(event: e.Event) -> Hit:
    return Hit("/hook", event.id, {"id": event.id, "type": event.type}, 200, None)


def faultless(story: list[e.Data] | None = None) -> Evidence:
    """A wish, its delivery, a STOP and its confirmation: all there, all once."""
    log = _logged(STORY if story is None else story)
    return Evidence(
        log=log,
        wishes={FIRST: Wish(NUMBER, BODY)},
        refused=[NUMBER],
        radio=[_radio(FIRST, BODY), _radio(CONFIRMATION, "You are out")],
        arrived=[Arrived(PHONE, "7", NUMBER, "STOP")],
        hits=[_hit(event) for _, event in log if event.type in ENDPOINT.types],
        endpoints=[ENDPOINT],
    )


def test_a_faultless_run_is_faultless() -> None:
    evidence = faultless()
    assert evidence.missing() == []
    assert evidence.wrong() == []


def without(kind: type[e.Data]) -> list[e.Data]:
    return [data for data in STORY if not isinstance(data, kind)]


def but(data: e.Data, **fields: Any) -> e.Data:
    return msgspec.structs.replace(data, **fields)


def changed(evidence: Evidence, **fields: Any) -> Evidence:
    return dataclasses.replace(evidence, **fields)


MISSING: dict[str, Callable[[], Evidence]] = {
    "a promised message without an end": lambda: faultless(without(e.SmsDelivered)),
    "a promised message that is nowhere": lambda: faultless(STORY[6:]),
    "a text the log never heard of": lambda: faultless(without(e.SmsReceived)),
    "a text that became no reply": lambda: faultless(without(e.ReplyReceived)),
    "a webhook that never came": lambda: changed(faultless(), hits=faultless().hits[:1]),
    "a STOP without a confirmation": lambda: faultless([*STORY[:8], REPLY]),
}


@pytest.mark.parametrize("fault", MISSING)
def test_what_is_missing_is_missed(fault: str) -> None:
    assert MISSING[fault]().missing()


def _retried(error_class: str) -> Evidence:
    """The first message fails and is tried again; both attempts were on the air."""
    again = {"command_id": ids.command_id(FIRST, 2), "attempt": 2}
    failed = _fact(
        e.SmsFailed, FIRST, 3, error_class=error_class, code="x", detail="x", result_code=4
    )
    story = [*STORY[:4], failed, _dispatched(FIRST, BODY, "api", **again)]
    radio = _radio(FIRST, BODY)
    second = dataclasses.replace(radio, command_id=again["command_id"])
    return changed(faultless(story), radio=[radio, second])


def test_a_retry_after_a_proven_failure_is_right() -> None:
    assert _retried("transient").wrong() == ["a number that never opted out was refused"]


WRONG: dict[str, Callable[[], Evidence]] = {
    "an event stored twice": lambda: changed(
        faultless(), log=[*faultless().log, (99, faultless().log[-1][1])]
    ),
    "a message requested twice": lambda: faultless([*STORY, STORY[0]]),
    "a promise that is not in the log": lambda: faultless(STORY[6:]),
    "a message with another text": lambda: changed(
        faultless(), wishes={FIRST: Wish(NUMBER, "Bye")}
    ),
    "two ends": lambda: faultless([*STORY, e.SendCancelled(message_id=FIRST, contact_id=ANNA)]),
    "a fact said twice": lambda: faultless([*STORY, _fact(e.SmsSent, FIRST, 50)]),
    "facts out of order": lambda: faultless([*STORY[:3], STORY[4], STORY[3], *STORY[5:]]),
    "one place of a journal twice": lambda: faultless(
        [*STORY, but(HEARD, provider_id="8", message_id=ids.derive("msg", "x"))]
    ),
    "one command for two phones": lambda: faultless(
        [*STORY, _dispatched(FIRST, BODY, "api", phone_id=OTHER_PHONE)]
    ),
    "a command submitted twice": lambda: changed(
        faultless(), radio=[*faultless().radio, faultless().radio[0]]
    ),
    "a retry after an ambiguous failure": lambda: _retried("ambiguous"),
    "a command nobody dispatched": lambda: changed(
        faultless(),
        radio=[*faultless().radio, _radio(ids.derive("msg", "ghost"), BODY)],
    ),
    "another text on the air": lambda: changed(
        faultless(), radio=[_radio(FIRST, "Bye"), faultless().radio[1]]
    ),
    "sent, and never on the air": lambda: changed(faultless(), radio=faultless().radio[1:]),
    "a text received twice": lambda: faultless([*STORY, but(HEARD, journal_seq=80)]),
    "two replies for one text": lambda: faultless([*STORY, REPLY]),
    "a text nobody sent": lambda: changed(faultless(), arrived=[]),
    "a dispatch after the STOP": lambda: faultless(
        [*STORY, _dispatched(ids.derive("msg", "late"), BODY, "api")]
    ),
    "two confirmations": lambda: faultless(
        [*STORY, _dispatched(ids.derive("msg", "again"), BODY, "confirmation")]
    ),
    "a refusal without a STOP": lambda: changed(faultless(), refused=["+14155550199"]),
    "a webhook with a bad signature": lambda: changed(
        faultless(), hits=[dataclasses.replace(faultless().hits[0], fault="bad signature")]
    ),
    "a webhook of what did not happen": lambda: changed(
        faultless(), hits=[dataclasses.replace(faultless().hits[0], webhook_id="evt_x")]
    ),
    "a webhook with another event's type": lambda: changed(
        faultless(), hits=[dataclasses.replace(faultless().hits[0], body={"type": "sms.sent"})]
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_seen(fault: str) -> None:
    assert WRONG[fault]().wrong()
