"""Many texts in one call, and a text that is only asked about."""

from __future__ import annotations

import pytest

from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MANY = 300


async def test_a_bulk_request_sends_what_can_be_sent_and_says_what_cannot(stack: Stack) -> None:
    await stack.new_workspace()
    await stack.pair(10)
    wishes = [{"to": f"+1415{2_000_000 + n}", "body": f"text {n}"} for n in range(MANY)]
    wishes[7]["to"] = "nobody"
    wishes[8]["body"] = ""
    answer = await stack.api(
        "POST", "/v1/sms/send/bulk", {"messages": wishes}, idempotency_key="bulk"
    )
    assert answer.status == 202, answer.body
    assert (answer.body["accepted"], answer.body["refused"]) == (MANY - 2, 2)
    results = answer.body["results"]
    assert results[7]["problem"]["code"] == "invalid_number"
    assert results[8]["problem"]["errors"][0]["pointer"] == "#/body"
    accepted = {r["message"]["id"]: r["message"]["to"] for r in results if "message" in r}
    again = await stack.api(
        "POST", "/v1/sms/send/bulk", {"messages": wishes}, idempotency_key="bulk"
    )
    assert again.body == answer.body

    def delivered() -> set[str]:
        return {e.data.message_id for e in stack.events("sms.delivered")}

    await stack.until("all are delivered", lambda: delivered() >= accepted.keys())
    on_air = dict(stack.phones_db("SELECT message_id, to_number FROM radio"))
    assert on_air == accepted
    assert len(stack.phones_db("SELECT 1 FROM radio")) == len(accepted)


async def test_a_dry_run_says_what_would_happen_and_stores_nothing(stack: Stack) -> None:
    await stack.new_workspace()
    (phone_id,) = await stack.pair(1)
    before = len(stack.seen)
    answer = await stack.api(
        "POST", "/v1/sms/send?dry_run=true", {"to": "(415) 555-0100", "body": "é" * 161}
    )
    assert answer.status == 200, answer.body
    assert answer.body["to"] == "+14155550100"
    assert (answer.body["segments"], answer.body["encoding"]) == (2, "gsm7")
    assert answer.body["phone_id"] == phone_id
    assert answer.body["waiting"] is None
    real = await stack.send("+14155550101", "the real one")
    await stack.until("it is delivered", lambda: stack.count["sms.delivered"])
    told = {getattr(event.data, "message_id", None) for _, event in stack.seen[before:]}
    assert told == {real["id"]}
