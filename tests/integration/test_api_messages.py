"""Messages and conversations through the API: how far they are, their story, lists and pages."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest_asyncio

from cli.embedded import NatsServer
from shared import events as e
from shared import ids
from tests.api import ApiWorld

TO = "+14155550100"


@pytest_asyncio.fixture
async def world(database_url: str, nats_server: NatsServer) -> AsyncIterator[ApiWorld]:
    async with ApiWorld(database_url, nats_server) as world:
        yield world


def dispatched(world: ApiWorld, message: Any, attempt: int = 1) -> e.SendDispatched:
    return e.SendDispatched(
        message_id=message["id"],
        contact_id=message["contact_id"],
        command_id=ids.command_id(message["id"], attempt),
        phone_id=world.home.phone_id,
        attempt=attempt,
        to=message["to"],
        body=message["body"],
        parts=1,
        source="api",
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )


def fact(world: ApiWorld, kind: Any, message: Any, attempt: int = 1, **fields: Any) -> e.SmsFact:
    return kind(
        message_id=message["id"],
        contact_id=message["contact_id"],
        command_id=ids.command_id(message["id"], attempt),
        phone_id=world.home.phone_id,
        attempt=attempt,
        journal_seq=1,
        phone_at=datetime.now(UTC),
        **fields,
    )


def reply(world: ApiWorld, number: str = TO, body: str = "Yes", **fields: Any) -> e.ReplyReceived:
    contact_id = ids.contact_id(world.keys.identity_key, world.home.id, number, 0)
    return e.ReplyReceived(
        message_id=ids.new("msg"),
        contact_id=contact_id,
        conversation_id=ids.conversation_id(contact_id),
        phone_id=world.home.phone_id,
        sender=number,
        sender_kind="number",
        body=body,
        parts=1,
        received_at=datetime.now(UTC),
        **fields,
    )


async def delivered(world: ApiWorld, message: Any) -> None:
    await world.append(dispatched(world, message))
    for kind in (e.SmsAccepted, e.SmsSubmitted, e.SmsSent, e.SmsDelivered):
        await world.append(fact(world, kind, message))


async def test_the_timeline_tells_the_whole_way_in_words(world: ApiWorld) -> None:
    message = await world.send(TO)
    until = datetime(2026, 11, 24, 16, tzinfo=UTC)
    held = e.SendHeld(
        message_id=message["id"],
        contact_id=message["contact_id"],
        reason="quiet_hours",
        until=until,
    )
    await world.append(held)
    waiting = (await world.get(f"/v1/messages/{message['id']}")).body["waiting"]
    assert (waiting["reason"], waiting["until"]) == ("quiet_hours", "2026-11-24T16:00:00Z")
    await delivered(world, message)
    shown = (await world.get(f"/v1/messages/{message['id']}")).body
    assert (shown["state"], shown["attempts"], shown["waiting"]) == ("delivered", 1, None)
    assert shown["from_phone_id"] == world.home.phone_id
    told = (await world.get(f"/v1/messages/{message['id']}/timeline")).body
    assert told["waiting"] is None
    assert [(entry["type"], entry["service"]) for entry in told["data"]] == [
        ("send.requested", "api"),
        ("send.held", "scheduler"),
        ("send.dispatched", "scheduler"),
        ("sms.accepted", "gateway"),
        ("sms.submitted", "gateway"),
        ("sms.sent", "gateway"),
        ("sms.delivered", "gateway"),
    ]
    # 415 is in California, whose clock is the recipient's for sure.
    assert [entry["detail"] for entry in told["data"]] == [
        "Asked for through the API.",
        "Waits for quiet hours at the recipient to end at 08:00 on 24 November 2026 "
        "(America/Los_Angeles).",
        "Handed to phone “Front desk”.",
        "Phone “Front desk” has it.",
        "Phone “Front desk” gave it to Android to send.",
        "Phone “Front desk” sent it to the network.",
        "The network reports that it was delivered.",
    ]
    assert told["data"][2]["data"] == {"phone_id": world.home.phone_id, "attempt": 1}
    times = [entry["at"] for entry in told["data"]]
    assert times == sorted(times)


async def test_a_waiting_message_is_explained_live_and_from_the_record(world: ApiWorld) -> None:
    message = await world.send(TO)
    live = {"reason": "queue", "until": None, "detail": "2 messages are ahead.", "position": 3}
    world.says["scheduler.explain"] = lambda _: {"waiting": live}
    path = f"/v1/messages/{message['id']}"
    assert (await world.get(path)).body["waiting"] == live
    assert (await world.get(path + "/timeline")).body["waiting"] == live
    assert world.asked[0][2] == {"workspace_id": world.home.id, "message_id": message["id"]}
    await world.append(
        e.SendHeld(
            message_id=message["id"], contact_id=message["contact_id"], reason="phone_offline"
        )
    )
    world.silence("scheduler.explain")
    assert (await world.get(path)).body["waiting"]["reason"] == "phone_offline"


async def test_a_message_is_cancelled_once_and_not_too_late(world: ApiWorld) -> None:
    message = await world.send(TO)
    path = f"/v1/messages/{message['id']}/cancel"
    first = await world.post(path)
    assert (first.status, first.body["message"]["cancel_requested"]) == (202, True)
    again = await world.post(path)
    assert (again.status, again.body) == (202, first.body)
    assert len(await world.events("send.cancel_requested")) == 1
    final = e.SendCancelled(message_id=message["id"], contact_id=message["contact_id"])
    await world.append(final)
    late = await world.post(path)
    assert (late.status, late.code, late.body["state"]) == (409, "not_cancellable", "cancelled")
    other = await world.send(TO)
    await delivered(world, other)
    assert (await world.post(f"/v1/messages/{other['id']}/cancel")).code == "not_cancellable"
    inbound = reply(world)
    await world.append(inbound)
    received = await world.post(f"/v1/messages/{inbound.message_id}/cancel")
    assert (received.status, received.code) == (409, "not_cancellable")
    assert (await world.post(path, {"why": "x"})).status == 422


async def quarantined(world: ApiWorld) -> Any:
    message = await world.send(TO)
    await world.append(dispatched(world, message))
    await world.append(fact(world, e.SmsSubmitted, message))
    await world.append(fact(world, e.SmsUnknown, message))
    await world.append(
        e.SendHeld(message_id=message["id"], contact_id=message["contact_id"], reason="quarantined")
    )
    shown = (await world.get(f"/v1/messages/{message['id']}")).body
    assert (shown["state"], shown["waiting"]["reason"]) == ("unknown", "quarantined")
    return message


async def test_a_person_decides_about_a_quarantined_message_once(world: ApiWorld) -> None:
    message = await quarantined(world)
    path = f"/v1/messages/{message['id']}/resolve"
    answer = await world.post(path, {"decision": "retry"})
    assert (answer.status, answer.body["message"]["state"]) == (202, "queued")
    assert answer.body["message"]["waiting"]["reason"] == "retry"
    again = await world.post(path, {"decision": "drop"})
    assert (again.status, again.code) == (409, "not_quarantined")
    dropped = await quarantined(world)
    answer = await world.post(f"/v1/messages/{dropped['id']}/resolve", {"decision": "drop"})
    assert (answer.body["message"]["state"], answer.body["message"]["waiting"]) == ("unknown", None)
    wrong = await world.post(path, {"decision": "maybe"})
    assert (wrong.status, wrong.pointers) == (422, {"#/decision"})


async def test_messages_are_listed_newest_first_and_filtered(world: ApiWorld) -> None:
    first, second = await world.send(TO), await world.send("+14155550101")
    third = await world.send(TO, phone_id=world.home.phone_id)
    inbound = reply(world)
    await world.append(inbound)
    await delivered(world, second)

    async def listed(query: str = "") -> list[str]:
        return [m["id"] for m in (await world.get(f"/v1/messages{query}")).body["data"]]

    everything = [inbound.message_id, third["id"], second["id"], first["id"]]
    assert await listed() == everything
    assert await listed("?direction=inbound") == [inbound.message_id]
    assert await listed(f"?contact_id={first['contact_id']}") == [
        inbound.message_id, third["id"], first["id"],
    ]  # fmt: skip
    assert await listed("?state=queued") == [third["id"], first["id"]]
    assert await listed("?state=delivered") == [second["id"]]
    on_phone = f"?phone_id={world.home.phone_id}"
    assert await listed(on_phone) == [inbound.message_id, third["id"], second["id"]]
    assert await listed(on_phone + "&state=queued&direction=outbound") == [third["id"]]
    both = f"?contact_id={first['contact_id']}&phone_id={world.home.phone_id}&state=queued"
    assert await listed(both) == [third["id"]]
    assert await listed(f"?contact_id={ids.derive('con', 'nobody')}") == []


async def test_pages_hold_everything_once_and_link_to_the_next(world: ApiWorld) -> None:
    wishes = [{"to": f"+1415555{n:04}", "body": "x"} for n in range(100, 123)]
    sent = (await world.post("/v1/sms/send/bulk", {"messages": wishes})).body["results"]
    pages: list[list[str]] = []
    path = "/v1/messages?limit=10&direction=outbound"
    while True:
        answer = await world.get(path)
        pages.append([message["id"] for message in answer.body["data"]])
        cursor = answer.body["next_cursor"]
        assert answer.body["has_more"] == (cursor is not None) == ("Link" in answer.headers)
        if cursor is None:
            break
        url, _, rel = answer.headers["Link"].partition("; ")
        assert rel == 'rel="next"'
        path = url.strip("<>").removeprefix("http://api.test")
        await world.send()  # what comes in meanwhile moves no page
    assert [len(page) for page in pages] == [10, 10, 3]
    listed = [message_id for page in pages for message_id in page]
    assert sorted(listed) == sorted(result["message"]["id"] for result in sent)
    cursor = (await world.get("/v1/messages?limit=10")).body["next_cursor"]
    for wrong in ("?direction=outbound&", "?state=queued&"):
        answer = await world.get(f"/v1/messages{wrong}cursor={cursor}")
        assert (answer.status, answer.code) == (422, "invalid_cursor")
    foreign = await world.get(f"/v1/messages?cursor={cursor}", key=world.other.key)
    assert foreign.code == "invalid_cursor"
    assert (await world.get(f"/v1/contacts?cursor={cursor}")).code == "invalid_cursor"


async def test_a_reply_opens_the_conversation_and_is_unread_until_read(world: ApiWorld) -> None:
    message = await world.send(TO, "How are you?")
    path = f"/v1/conversations/{message['conversation_id']}"
    quiet = (await world.get(path)).body
    assert (quiet["state"], quiet["unread"]) == ("open", 0)
    assert quiet["last_message"]["body"] == "How are you?"
    assert (await world.post(path + "/close")).body["state"] == "closed"
    assert (await world.post(path + "/close")).body["state"] == "closed"
    inbound = reply(world, body="Fine!", verdict=None)
    await world.append(inbound)
    await world.append(reply(world, body="And you?"))
    shown = (await world.get(path)).body
    assert (shown["state"], shown["unread"]) == ("open", 2)
    assert shown["last_message"]["direction"] == "inbound"
    assert shown["last_message"]["body"] == "And you?"
    assert shown["contact"]["phone"] == TO
    assert (await world.post(path + "/read")).body["unread"] == 0
    await world.post(path + "/read")
    kinds = [event.type for event in await world.events("conversation")]
    assert kinds == ["conversation.closed", "conversation.read"]
    thread = (await world.get(path + "/messages")).body["data"]
    assert [m["body"] for m in thread] == ["And you?", "Fine!", "How are you?"]
    assert (thread[0]["from"], thread[0]["to"], thread[0]["state"]) == (TO, None, "received")
    assert (await world.post(path + "/close")).body["state"] == "closed"
    assert (await world.post(path + "/reopen")).body["state"] == "open"


async def test_conversations_are_listed_by_their_newest_message_and_found(world: ApiWorld) -> None:
    ada = (await world.post("/v1/contacts", {"phone": TO, "first_name": "Ada"})).body
    await world.send(TO, "first")
    other = await world.send("+442079460000", "second")

    async def listed(query: str = "") -> list[str]:
        answer = await world.get(f"/v1/conversations{query}")
        assert answer.status == 200, answer.text
        return [c["contact"]["phone"] for c in answer.body["data"]]

    assert await listed() == ["+442079460000", TO]
    await world.append(reply(world))
    assert await listed() == [TO, "+442079460000"]
    assert await listed("?status=unread") == [TO]
    await world.post(f"/v1/conversations/{other['conversation_id']}/close")
    assert await listed("?status=closed") == ["+442079460000"]
    assert await listed("?q=ada") == [TO]
    assert await listed("?q=ADA&status=unread") == [TO]
    assert await listed("?q=ada&status=closed") == []
    assert await listed("?q=%2B44") == ["+442079460000"]
    assert await listed("?q=415555") == [TO]
    assert await listed("?limit=1") == [TO]
    first = await world.get("/v1/conversations?limit=1")
    rest = await world.get(f"/v1/conversations?limit=1&cursor={first.body['next_cursor']}")
    assert [c["contact"]["phone"] for c in rest.body["data"]] == ["+442079460000"]
    assert ada["conversation_id"] == first.body["data"][0]["id"]
    assert (await world.get("/v1/conversations?status=lost")).pointers == {"#/status"}
