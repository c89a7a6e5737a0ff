"""Why a text waits: each reason told the same by the message, its timeline and `eightms trace`, and
gone when what it waited for is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio

from shared.events import QuietHours
from tests.stack import Stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]

CALIFORNIA = ("+14155550100", ZoneInfo("America/Los_Angeles"))
TO = CALIFORNIA[0]
QUICK = {  # a phone is offline a second after its stream is gone, its commands are free at once
    "EIGHTMS_GATEWAY_HEARTBEAT_S": "2",
    "EIGHTMS_GATEWAY_STREAM_GONE_S": "1",
    "EIGHTMS_GATEWAY_INVENTORY_SETTLE_S": "0.1",
    "EIGHTMS_LEASE_S": "1",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One stack for all reasons; each test has a workspace of its own."""
    directory: Path = tmp_path_factory.mktemp("waiting")
    async with Stack(directory, env=QUICK) as running:
        yield running
        assert running.complaints() == []


async def waits_for(stack: Stack, message_id: str, reason: str) -> Mapping[str, Any]:
    """Wait until the message waits for ``reason``, and everybody says so; what they say."""

    async def told() -> Any:
        waiting = (await stack.message(message_id))["waiting"]
        return waiting if waiting and waiting["reason"] == reason else None

    async def explained() -> bool:
        timeline = (await stack.api("GET", f"/v1/messages/{message_id}/timeline")).body
        waiting = timeline["waiting"] or {}
        return waiting.get("reason") == reason and bool(waiting["detail"])

    waiting = await stack.until(f"it waits for {reason}", told)
    await stack.until(f"the timeline explains {reason}", explained)
    code, out, errors = await stack.command("trace", message_id)
    assert code == 0, errors
    assert "It waits: " in out
    return waiting


async def delivered(stack: Stack, message_id: str) -> None:
    async def done() -> bool:
        return (await stack.message(message_id))["state"] == "delivered"

    await stack.until("it is delivered", done)
    assert (await stack.message(message_id))["waiting"] is None


def hours_from(now: datetime, zone: ZoneInfo, hours: int) -> str:
    return (now.astimezone(zone) + timedelta(hours=hours)).strftime("%H:%M")


async def test_without_a_phone_it_waits_for_one(stack: Stack) -> None:
    await stack.new_workspace()
    text = (await stack.send(TO, "hello"))["id"]
    waiting = await waits_for(stack, text, "no_phone")
    assert waiting["until"] is None
    await stack.pair(1)
    await delivered(stack, text)


async def test_while_the_phone_is_offline_it_waits_for_the_phone(stack: Stack) -> None:
    await stack.new_workspace()
    (phone,) = await stack.pair(1)
    await stack.airplane(phone, online=False)
    await stack.until("it is offline", lambda: phone not in stack.online())
    text = (await stack.send(TO, "hello"))["id"]
    await waits_for(stack, text, "phone_offline")
    await stack.airplane(phone, online=True)
    await delivered(stack, text)


async def test_behind_the_gap_it_waits_its_turn_and_knows_its_place(stack: Stack) -> None:
    await stack.new_workspace()
    (phone,) = await stack.pair(1, min_gap_s=3600)
    texts = [(await stack.send(TO, f"number {n}"))["id"] for n in range(4)]
    await delivered(stack, texts[0])
    waiting = await waits_for(stack, texts[1], "min_gap")
    assert datetime.fromisoformat(waiting["until"]) > datetime.now(UTC) + timedelta(minutes=50)
    for n in (2, 3):
        waiting = await waits_for(stack, texts[n], "queue")
        assert waiting["position"] == n
    shown = (await stack.api("GET", f"/v1/phones/{phone}")).body
    assert shown["sent_today"] == 1
    assert datetime.fromisoformat(shown["next_slot_at"]) > datetime.now(UTC)


async def test_at_the_daily_cap_it_waits_for_tomorrow(stack: Stack) -> None:
    await stack.new_workspace()
    await stack.pair(1, daily_cap=1)
    await delivered(stack, (await stack.send(TO, "today's"))["id"])
    text = (await stack.send(TO, "tomorrow's"))["id"]
    waiting = await waits_for(stack, text, "daily_cap")
    midnight = datetime.fromisoformat(waiting["until"])
    assert timedelta() < midnight - datetime.now(UTC) <= timedelta(days=1)


async def test_in_quiet_hours_it_waits_for_their_end(stack: Stack) -> None:
    number, zone = CALIFORNIA
    now = datetime.now(UTC)
    quiet = QuietHours(start=hours_from(now, zone, -2), end=hours_from(now, zone, 2))
    await stack.new_workspace(quiet_hours=quiet)
    await stack.pair(1)
    text = (await stack.send(number, "good night"))["id"]
    waiting = await waits_for(stack, text, "quiet_hours")
    ends_in = datetime.fromisoformat(waiting["until"]) - now
    assert timedelta(hours=1, minutes=55) < ends_in < timedelta(hours=2, minutes=15)


async def test_scheduled_it_waits_for_its_time(stack: Stack) -> None:
    await stack.new_workspace()
    await stack.pair(1)
    at = datetime.now(UTC) + timedelta(hours=1)
    text = (await stack.send(TO, "later", send_at=at.isoformat()))["id"]
    waiting = await waits_for(stack, text, "scheduled")
    assert abs(datetime.fromisoformat(waiting["until"]) - at) < timedelta(seconds=1)
    soon = datetime.now(UTC) + timedelta(seconds=2)
    quick = (await stack.send(TO, "soon", send_at=soon.isoformat()))["id"]
    await delivered(stack, quick)
    cancelled = await stack.api("POST", f"/v1/messages/{text}/cancel")
    assert cancelled.status in (200, 202), cancelled.body
    await stack.until("it is cancelled", lambda: stack.count["send.cancelled"])
    await stack.becomes(text, "cancelled")


async def test_after_a_passing_failure_it_waits_to_be_tried_again(stack: Stack) -> None:
    await stack.new_workspace()
    await stack.pair(1)
    text = (await stack.send(TO, "fail:transient"))["id"]
    waiting = await waits_for(stack, text, "retry")
    assert datetime.fromisoformat(waiting["until"]) > datetime.now(UTC)


async def test_what_may_have_gone_out_waits_for_a_person(stack: Stack) -> None:
    await stack.new_workspace()
    await stack.pair(1)
    text = (await stack.send(TO, "fail:ambiguous"))["id"]
    await waits_for(stack, text, "quarantined")
    code, out, _ = await stack.command("parked", "list")
    assert code == 0
    assert text in out
    dropped = await stack.api("POST", f"/v1/messages/{text}/resolve", {"decision": "drop"})
    assert dropped.status in (200, 202), dropped.body

    async def settled() -> bool:
        return (await stack.message(text))["waiting"] is None

    await stack.until("a person has decided", settled)
    await stack.becomes(text, "failed")


async def test_another_phone_takes_over_when_the_known_one_stays_away(stack: Stack) -> None:
    await stack.new_workspace(failover_s=5)
    one, two = await stack.pair(2)
    await delivered(stack, (await stack.send(TO, "we know each other", phone_id=one))["id"])
    await stack.airplane(one, online=False)
    await stack.until("it is offline", lambda: one not in stack.online())
    text = (await stack.send(TO, "are you there?"))["id"]
    waiting = await waits_for(stack, text, "failover_wait")
    assert datetime.fromisoformat(waiting["until"]) < datetime.now(UTC) + timedelta(seconds=6)
    await delivered(stack, text)
    assert (await stack.message(text))["from_phone_id"] == two


async def test_a_command_the_silent_phone_never_took_moves_on(stack: Stack) -> None:
    """It was handed to a phone that vanished before it could take it: recalled, and sent once."""
    await stack.new_workspace(failover_s=2)
    one, two = await stack.pair(2)
    await delivered(stack, (await stack.send(TO, "we know each other", phone_id=one))["id"])
    await stack.airplane(one, online=False)
    text = (await stack.send(TO, "quick"))["id"]  # the phone counts as online for a second yet

    def recalled() -> bool:
        asked = stack.events("send.cancel_requested")
        return any(event.data.message_id == text for event in asked)

    await stack.until("the command is recalled", recalled)
    await stack.airplane(one, online=True)
    await delivered(stack, text)
    phones = stack.phones_db(f"SELECT phone_id FROM radio WHERE message_id = '{text}'")
    assert len(phones) == 1
    assert phones[0][0] in (one, two)
