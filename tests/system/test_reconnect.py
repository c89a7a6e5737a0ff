"""A phone that loses its network or its process gets every text once, whenever it comes back."""

from __future__ import annotations

import pytest

from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TO = "+14155550100"


async def delivered(stack: Stack, *texts: str) -> None:
    def done() -> bool:
        return {event.data.message_id for event in stack.events("sms.delivered")} >= set(texts)

    await stack.until("they are delivered", done)
    for text in texts:
        calls = stack.phones_db(f"SELECT command_id FROM radio WHERE message_id = '{text}'")
        assert len(calls) == 1
        assert len([e for e in stack.events("send.dispatched") if e.data.message_id == text]) == 1


async def dispatched(stack: Stack, text: str) -> bool:
    return (await stack.message(text))["state"] == "dispatched"


async def test_what_was_sent_while_it_was_away_is_offered_when_it_is_back(stack: Stack) -> None:
    await stack.new_workspace()
    (phone,) = await stack.pair(1)
    for n in range(3):
        await stack.airplane(phone, online=False)
        text = (await stack.send(TO, f"while you were away {n}"))["id"]
        await stack.until("it is dispatched", lambda t=text: dispatched(stack, t))
        await stack.airplane(phone, online=True)
        await delivered(stack, text)


@pytest.mark.stack(hold_ms=700)
async def test_a_phone_that_dies_with_a_text_in_its_hands_sends_it_afterwards(
    stack: Stack,
) -> None:
    await stack.new_workspace()
    await stack.pair(1)
    text = (await stack.send(TO, "hold on"))["id"]
    await stack.until("the phone has it", lambda: stack.count["sms.accepted"])
    stack.kill("simphone")
    await delivered(stack, text)


@pytest.mark.stack(delay_ms=1500)
async def test_what_a_phone_cannot_tell_is_never_sent_again_by_itself(stack: Stack) -> None:
    """Killed between `submitted` and the result: the phone says unknown, a person decides."""
    await stack.new_workspace()
    await stack.pair(1)
    text = (await stack.send(TO, "did it go out?"))["id"]
    await stack.until("it is submitted", lambda: stack.count["sms.submitted"])
    stack.kill("simphone")
    await stack.until("nobody knows", lambda: stack.count["sms.unknown"])
    other = (await stack.send("+14155550101", "another"))["id"]
    await delivered(stack, other)
    await stack.becomes(text, "unknown")
    assert (await stack.message(text))["waiting"]["reason"] == "quarantined"
    retried = await stack.api("POST", f"/v1/messages/{text}/resolve", {"decision": "retry"})
    assert retried.status in (200, 202), retried.body

    async def arrived() -> bool:
        return (await stack.message(text))["state"] == "delivered"

    await stack.until("sent again because a person said so", arrived)
    assert len(stack.phones_db(f"SELECT 1 FROM radio WHERE message_id = '{text}'")) == 2


@pytest.mark.stack(hold_ms=3000)
async def test_a_text_cancelled_in_time_is_not_sent(stack: Stack) -> None:
    await stack.new_workspace()
    await stack.pair(1)
    text = (await stack.send(TO, "never mind"))["id"]
    await stack.until("the phone has it", lambda: stack.count["sms.accepted"])
    cancelled = await stack.api("POST", f"/v1/messages/{text}/cancel")
    assert cancelled.status in (200, 202), cancelled.body
    await stack.until("it is cancelled", lambda: stack.count["send.cancelled"])
    fence = (await stack.send("+14155550101", "this one goes"))["id"]
    await delivered(stack, fence)
    assert stack.phones_db(f"SELECT 1 FROM radio WHERE message_id = '{text}'") == []
    await stack.becomes(text, "cancelled")
