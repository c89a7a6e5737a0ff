"""What a customer lives through on the first day, on the real stack: a phone, a text, its webhook,
an answer, a STOP that is obeyed, and a START."""

from __future__ import annotations

from typing import Any

import pytest

from clients.simphone import SimphoneError, control
from shared.events import QuietHours
from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ANNA, BEN = "+14155550100", "+14155550101"
HOOKS = ("sms.sent", "sms.delivered", "reply.received", "contact.opted_out", "contact.opted_in")


async def paired(stack: Stack) -> str:
    """A phone paired as a person does it, by the link of the dashboard; its id."""
    opened = await stack.api("POST", "/v1/phones/pairings", {"label": "Front desk"})
    assert opened.status == 201, opened.body
    assert opened.body["uri"].startswith("eightms://pair?")
    assert opened.body["qr_svg"].startswith("<svg")
    stack.programs["simphone"].start()
    socket = control.socket_of(stack.simphone_dir)
    await stack.until("the simulated phones answer", socket.exists)
    answer = await control.pair(stack.simphone_dir, opened.body["uri"])
    with pytest.raises(SimphoneError) as refused:
        await control.pair(stack.simphone_dir, opened.body["uri"])
    assert refused.value.code == "pairing_expired"
    state = await stack.api("GET", f"/v1/phones/pairings/{opened.body['id']}")
    assert state.body["state"] == "used"
    return answer["phones"][0]["phone_id"]


async def online(stack: Stack, phone_id: str) -> dict[str, Any] | None:
    phone = (await stack.api("GET", f"/v1/phones/{phone_id}")).body
    return phone if phone["state"] == "online" and phone["battery"] is not None else None


async def state_is(stack: Stack, message_id: str, state: str) -> None:
    async def reached() -> bool:
        return (await stack.message(message_id))["state"] == state

    await stack.until(f"{message_id} is {state}", reached)


async def loosened(stack: Stack, path: str, change: dict[str, Any]) -> None:
    """Loosening asks for confirmation, in words, and is done when the risk is acknowledged."""
    asked = await stack.api("PATCH", path, change)
    assert asked.status == 409, asked.body
    assert asked.body["code"] == "confirmation_required"
    assert asked.body["warnings"]
    done = await stack.api("PATCH", path, {**change, "acknowledge_risk": True})
    assert done.status == 200, done.body


async def test_a_text_goes_out_is_told_of_answered_and_stopped(stack: Stack) -> None:
    await stack.new_workspace(quiet_hours=QuietHours(start="21:00", end="08:00"))
    await loosened(stack, "/v1/workspace", {"quiet_hours": None})
    phone_id = await paired(stack)
    phone = await stack.until("the phone is online", lambda: online(stack, phone_id))
    assert phone["battery"] == 100
    await loosened(stack, f"/v1/phones/{phone_id}", {"min_gap_s": 0, "daily_cap": 5000})
    await stack.endpoint("/hook", HOOKS)

    first = await sent_once(stack)
    await state_is(stack, first, "delivered")
    await tells_the_whole_way(stack, first)
    await stopped(stack, phone_id)
    await started_again(stack, phone_id)

    told = stack.receiver.good()
    assert [hit.fault for hit in told if hit.fault] == []
    assert len({hit.webhook_id for hit in told}) == len(told)
    await stack.verify()


async def sent_once(stack: Stack) -> str:
    """The same key is the same message; with another body it is refused."""
    wish = {"to": "(415) 555-0100", "body": "Hello from my own phone", "client_ref": "order-1"}
    answer = await stack.api("POST", "/v1/sms/send", wish, idempotency_key="k1")
    assert answer.status == 202, answer.body
    message = answer.body["message"]
    assert (message["to"], message["segments"]) == (ANNA, 1)
    again = await stack.api("POST", "/v1/sms/send", wish, idempotency_key="k1")
    assert (again.status, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert again.body == answer.body
    other = await stack.api("POST", "/v1/sms/send", {**wish, "body": "X"}, idempotency_key="k1")
    assert other.status == 422
    return message["id"]


async def tells_the_whole_way(stack: Stack, message_id: str) -> None:
    """The timeline, the webhook, and `eightms trace` say the same."""
    timeline = (await stack.api("GET", f"/v1/messages/{message_id}/timeline")).body
    way = [entry["type"] for entry in timeline["data"] if entry["type"].startswith(("send", "sms"))]
    assert way == [
        "send.requested", "send.dispatched", "sms.accepted", "sms.submitted", "sms.sent",
        "sms.delivered",
    ]  # fmt: skip
    assert timeline["waiting"] is None

    def told() -> list[str]:
        hits = stack.receiver.good("/hook")
        return [h.type for h in hits if h.body["data"].get("message_id") == message_id]

    await stack.until("both webhooks came", lambda: sorted(told()) == ["sms.delivered", "sms.sent"])
    code, out, _ = await stack.command("trace", message_id)
    assert code == 0
    assert "It is delivered" in out
    assert all(kind in out for kind in way)


async def stopped(stack: Stack, phone_id: str) -> None:
    """STOP, whatever it looks like: refused from now on, and one confirmation, however often."""
    await stack.receive(phone_id, ANNA, " stop. ")

    again = {"to": ANNA, "body": "again"}

    async def suppressed() -> bool:
        return (await stack.api("POST", "/v1/sms/send?dry_run=true", again)).body["suppressed"]

    await stack.until("the STOP is known", suppressed)
    refused = await stack.api("POST", "/v1/sms/send", again)
    assert refused.status == 422
    assert refused.body["code"] == "recipient_opted_out"
    assert refused.body["errors"][0]["pointer"] == "#/to"
    await stack.receive(phone_id, ANNA, "STOP")
    await stack.until("the second STOP is read", lambda: stack.count["reply.received"] == 2)
    fence = (await stack.send(BEN, "to somebody else"))["id"]
    await state_is(stack, fence, "delivered")
    to_anna = stack.phones_db(f"SELECT message_id FROM radio WHERE to_number = '{ANNA}'")
    assert len(to_anna) == 2  # the first text and the confirmation
    contact_id = (await stack.message(to_anna[0][0]))["contact_id"]
    contact = (await stack.api("GET", f"/v1/contacts/{contact_id}")).body
    assert contact["do_not_contact"] is True
    assert contact["consent"]["state"] == "opted_out"


async def started_again(stack: Stack, phone_id: str) -> None:
    await stack.receive(phone_id, ANNA, "START")
    await stack.until("the START is read", lambda: stack.count["contact.opted_in"] == 1)

    async def accepted() -> Any:
        answer = await stack.api("POST", "/v1/sms/send", {"to": ANNA, "body": "welcome back"})
        return answer.body["message"]["id"] if answer.status == 202 else None

    await state_is(stack, await stack.until("a send is accepted", accepted), "delivered")

    def opted() -> list[str]:
        return [h.type for h in stack.receiver.good() if h.type.startswith("contact.")]

    expected = ["contact.opted_in", "contact.opted_out"]
    await stack.until("both consents were told", lambda: sorted(opted()) == expected)


async def test_a_reply_is_threaded_and_told(stack: Stack) -> None:
    await stack.new_workspace()
    (phone_id,) = await stack.pair(1)
    await stack.endpoint("/hook", ["reply.received"])
    message = await stack.send(ANNA, "Coming today? reply:Yes, at five!")
    await stack.until("the reply is told", lambda: stack.receiver.good("/hook"))
    reply = stack.receiver.good("/hook")[0].body["data"]
    assert reply["body"] == "Yes, at five!"
    conversations = (await stack.api("GET", "/v1/conversations?status=unread")).body["data"]
    assert [c["id"] for c in conversations] == [message["conversation_id"]]
    path = f"/v1/conversations/{message['conversation_id']}"
    thread = (await stack.api("GET", path + "/messages")).body["data"]
    assert {(m["direction"], m["from_phone_id"]) for m in thread} == {
        ("outbound", phone_id), ("inbound", phone_id),
    }  # fmt: skip
    await stack.api("POST", path + "/read")
    assert (await stack.api("GET", "/v1/conversations?status=unread")).body["data"] == []
