"""Everything is stopped in good order and started again: it is all there, and goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.machinery import SERVERS
from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def test_a_second_start_finds_everything(stack: Stack) -> None:
    await stack.new_workspace()
    await stack.pair(3)
    await stack.endpoint("/hook", ["sms.delivered"])
    before = (await stack.send("+14155550100", "before"))["id"]
    await stack.until("it is delivered", lambda: stack.count["sms.delivered"] == 1)
    await stack.until("it is told", lambda: stack.receiver.good("/hook"))
    soon = datetime.now(UTC) + timedelta(hours=1)
    waits = (await stack.send("+14155550101", "later", send_at=soon.isoformat()))["id"]
    messages = (await stack.api("GET", "/v1/messages")).body
    stored = len(await stack.whole_log())

    everything = (*stack.ports, "simphone")
    await stack.stop(*everything)
    await stack.stop(*SERVERS)
    await stack.bring_up(*SERVERS, *everything)

    assert (await stack.api("GET", "/v1/messages")).body == messages
    assert (await stack.message(before))["state"] == "delivered"
    assert (await stack.message(waits))["waiting"]["reason"] == "scheduled"
    after = (await stack.send("+14155550102", "after"))["id"]

    def delivered() -> bool:
        return after in {event.data.message_id for event in stack.events("sms.delivered")}

    await stack.until("a new text is delivered by the old phones", delivered)
    await stack.until("and told", lambda: len(stack.receiver.good("/hook")) == 2)
    assert len(stack.phones_db("SELECT 1 FROM radio")) == 2
    new = [event.type for _, event in (await stack.whole_log())[stored:]]
    assert not [kind for kind in new if kind.startswith(("phone.paired", "webhook.endpoint"))]
    await stack.verify()
