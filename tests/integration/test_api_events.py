"""The event feed: pulled, streamed, resumed; what is in it, and what is not."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from cli.embedded import NatsServer
from services.api import live
from services.webhooks import shapes as webhooks
from shared import events as e
from shared import ids
from shared.outward import About
from tests.api import ApiWorld, Workspace
from tests.listening import Listener

MANY = 260


def listen(
    world: ApiWorld,
    query: str = "",
    *,
    of: Workspace | None = None,
    instance: int = 0,
    last: str = "",
) -> Listener:
    headers = {"Authorization": f"Bearer {(of or world.home).key}"}
    if last:
        headers["Last-Event-ID"] = last
    return Listener(world.http, f"{world.instances[instance].url}/v1/events/stream{query}", headers)


def sent(world: ApiWorld, message: Mapping[str, Any]) -> e.SmsSent:
    return e.SmsSent(**fact(world, message))


def fact(world: ApiWorld, message: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "message_id": message["id"],
        "contact_id": message["contact_id"],
        "command_id": ids.command_id(message["id"], 1),
        "phone_id": world.home.phone_id,
        "attempt": 1,
        "journal_seq": 7,
        "phone_at": world.clock.now(),
    }


async def dispatched(world: ApiWorld, message: Mapping[str, Any]) -> None:
    await world.append(
        e.SendDispatched(
            message_id=message["id"],
            contact_id=message["contact_id"],
            command_id=ids.command_id(message["id"], 1),
            phone_id=world.home.phone_id,
            attempt=1,
            to=message["to"],
            body=message["body"],
            parts=1,
            source="api",
            expires_at=world.clock.now(),
        )
    )


async def replied(world: ApiWorld, message: Mapping[str, Any]) -> None:
    await world.append(
        e.ReplyReceived(
            message_id=ids.new("msg"),
            contact_id=message["contact_id"],
            conversation_id=message["conversation_id"],
            phone_id=world.home.phone_id,
            sender=message["to"],
            sender_kind="number",
            body="Yes, please",
            parts=1,
            received_at=world.clock.now(),
        )
    )


async def test_a_page_tells_what_happened_in_the_words_of_the_webhooks(
    database_url: str, nats_server: NatsServer
) -> None:
    async with ApiWorld(database_url, nats_server) as world:
        message = await world.send(client_ref="order-1")
        await world.append(e.SendHeld(**about(message), reason="quiet_hours", until=None))
        await dispatched(world, message)
        await world.append(sent(world, message))
        await replied(world, message)
        await world.append(
            e.ContactOptedOut(
                contact_id=message["contact_id"], number=message["to"], source="api", text="STOP"
            )
        )
        answer = await world.get("/v1/events?limit=100")
        assert answer.status == 200, answer.text
        found = {event["type"]: event for event in answer.body["data"]}
        assert list(found)[:3] == ["workspace.created", "api_key.created", "phone.paired"]
        assert list(found)[3:] == [
            "send.requested", "send.held", "send.dispatched", "sms.sent", "reply.received",
            "contact.opted_out",
        ]  # fmt: skip
        assert found["send.requested"]["data"]["body"] == message["body"]
        assert found["send.held"]["data"]["waiting"] == {"reason": "quiet_hours", "until": None}
        assert found["phone.paired"]["data"] == {"phone_id": world.home.phone_id}
        assert found["api_key.created"]["data"] == {"key_id": world.home.key_id}
        assert "command_id" not in answer.text

        told = About(to=message["to"], client_ref="order-1", parts=1)
        for event in await world.events("sms.sent", "reply.received", "contact.opted_out"):
            shown = found[event.type]
            cursor = shown.pop("cursor")
            assert shown == json.loads(webhooks.body(event, told))
            after = (await world.get(f"/v1/events?after={cursor}")).body["data"]
            assert [one["id"] for one in after] == ids_after(answer.body["data"], event.id)


def about(message: Mapping[str, Any]) -> dict[str, str]:
    return {"message_id": message["id"], "contact_id": message["contact_id"]}


def ids_after(events: list[Any], id: str) -> list[str]:
    names = [event["id"] for event in events]
    return names[names.index(id) + 1 :]


async def test_pages_join_without_a_gap_and_filters_reach_the_end(
    database_url: str, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.routes.events.LOOKED_AT_MAX", 4)
    async with ApiWorld(database_url, nats_server) as world:
        for n in range(12):
            await world.send(body=f"Text {n}")
            if n % 5 == 0:
                await world.append(e.PhoneOnline(phone_id=world.home.phone_id))
        await world.post(
            "/v1/sms/send", {"to": "+14155550100", "body": "Other"}, key=world.other.key
        )
        everything = (await world.get("/v1/events?limit=100")).body
        assert not everything["has_more"]
        assert len(everything["data"]) == 3 + 12 + 3
        assert {event["workspace_id"] for event in everything["data"]} == {world.home.id}

        for query, wanted in (("", None), ("&type=phone.*,contact.saved", "phone.")):
            pages: list[Any] = []
            cursor = ""
            while True:
                page = (await world.get(f"/v1/events?limit=3{query}{cursor}")).body
                pages += page["data"]
                cursor = f"&after={page['next_cursor']}"
                if not page["has_more"]:
                    break
            expected = [
                event
                for event in everything["data"]
                if wanted is None or event["type"].startswith(wanted)
            ]
            assert pages == expected

        end = (await world.get("/v1/events?after=latest")).body
        assert end == {"data": [], "has_more": False, "next_cursor": end["next_cursor"]}
        new = await world.send(body="Later")
        (event,) = (await world.get(f"/v1/events?after={end['next_cursor']}")).body["data"]
        assert event["data"]["message_id"] == new["id"]

        foreign = await world.get(f"/v1/events?after={end['next_cursor']}", key=world.other.key)
        assert (foreign.status, foreign.code) == (422, "invalid_cursor")
        for wrong in ("x", "A" * 22, "%C3%A4"):
            answer = await world.get(f"/v1/events?after={wrong}")
            assert (answer.status, answer.code) == (422, "invalid_cursor")
        for path in ("/v1/events", "/v1/events/stream", "/v1/audit"):
            answer = await world.get(f"{path}?type=sms.sent,sms.never")
            assert (answer.status, answer.code) == (422, "unknown_type")
        key, _ = await world.new_key(world.home.id, "messages:read")
        for path in ("/v1/events", "/v1/events/stream", "/v1/audit"):
            assert (await world.get(path, key=key)).status == 403


async def test_what_is_erased_is_not_in_the_feed_any_more(
    database_url: str, nats_server: NatsServer
) -> None:
    async with ApiWorld(database_url, nats_server) as world:
        message = await world.send(body="Secret")
        assert "Secret" in (await world.get("/v1/events")).text
        await world.rows("UPDATE message SET body = '' WHERE id = $1", message["id"])
        assert "Secret" not in (await world.get("/v1/events")).text
        await world.rows("DELETE FROM timeline WHERE message_id = $1", message["id"])
        await world.rows("DELETE FROM message WHERE id = $1", message["id"])
        events = (await world.get("/v1/events")).body["data"]
        assert [one["type"] for one in events][-1] == "phone.paired"


async def test_a_stream_tells_what_can_be_read_at_that_moment_on_every_instance(
    database_url: str, nats_server: NatsServer
) -> None:
    async with (
        ApiWorld(database_url, nats_server, instances=2) as world,
        listen(world) as first,
        listen(world, "?type=send.*", instance=1) as second,
        listen(world, of=world.other, instance=1) as foreign,
    ):
        assert first.response.headers["Content-Type"] == "text/event-stream"
        assert first.response.headers["X-Request-Id"].startswith("req_")
        for stream in (first, second, foreign):
            begun = await stream.frame()
            assert begun is not None
            assert begun.id
        message = await world.send()
        told = await first.next()
        also = await second.next()
        assert told.event == also.event == "send.requested"
        assert told.data == also.data
        assert told.data["cursor"] == told.id == also.id
        shown = await world.get(f"/v1/messages/{message['id']}", instance=1)
        assert shown.status == 200
        await world.append(e.PhoneOnline(phone_id=world.home.phone_id))
        assert (await first.next()).event == "phone.online"
        await world.append(e.PhoneOnline(phone_id=world.other.phone_id), world.other.id)
        assert (await foreign.next()).data["data"] == {"phone_id": world.other.phone_id}


async def test_who_comes_back_misses_nothing_and_hears_nothing_twice(
    database_url: str, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.routes.events.HISTORY_MAX", 7)
    monkeypatch.setattr(live, "GATHERED_MAX_BYTES", 3_000)
    async with ApiWorld(database_url, nats_server, instances=2) as world:
        async with listen(world) as stream:
            await stream.frame()
            await world.send(body="First")
            await stream.next()
            last = stream.last_id
        wanted: list[str] = []

        async def write() -> None:
            for n in range(0, MANY, 20):
                messages = [{"to": "+14155550100", "body": f"Text {n + k}"} for k in range(20)]
                answer = await world.post("/v1/sms/send/bulk", {"messages": messages})
                wanted.extend(one["message"]["id"] for one in answer.body["results"])

        await write()
        writing = asyncio.create_task(write())
        heard: list[str] = []
        for n in range(3):  # each time on the other instance, in the middle of it
            async with listen(world, instance=n % 2, last=last) as stream:
                while len(heard) < (n + 1) * MANY * 2 // 3:
                    frame = await stream.next()
                    heard.append(frame.data["data"]["message_id"])
                last = stream.last_id
        await writing
        async with listen(world, last=last) as stream:
            while len(heard) < len(wanted):
                heard.append((await stream.next()).data["data"]["message_id"])
        assert heard == wanted


async def test_a_stream_ends_when_its_key_is_revoked_and_says_so(
    database_url: str, nats_server: NatsServer
) -> None:
    async with ApiWorld(database_url, nats_server) as world:
        key, key_id = await world.new_key(world.home.id, "events:read")
        headers = {"Authorization": f"Bearer {key}"}
        url = f"{world.instances[0].url}/v1/events/stream"
        async with Listener(world.http, url, headers) as theirs, listen(world) as ours:
            await theirs.frame()
            await ours.frame()
            assert (await world.delete(f"/v1/api-keys/{key_id}")).status == 204
            *_, last = await theirs.until("closed")
            assert last.data == {"reason": "signed_out"}
            assert await theirs.frame() is None
            assert (await ours.next()).event == "api_key.revoked"
            await world.send()
            assert (await ours.next()).event == "send.requested"


async def test_a_stream_that_does_not_read_is_closed_and_loses_nothing(
    database_url: str, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "UNREAD_MAX_BYTES", 20_000)
    async with ApiWorld(database_url, nats_server) as world:
        async with listen(world) as stream:
            first = await stream.frame()
            assert first is not None
            wanted: list[str] = []
            hub = world.instances[0].context.extra["api"].live
            while hub.open:
                messages = [{"to": "+14155550100", "body": "x" * 1500} for _ in range(200)]
                answer = await world.post("/v1/sms/send/bulk", {"messages": messages})
                wanted += [one["message"]["id"] for one in answer.body["results"]]
                assert len(wanted) < 20_000
            *told, last = await stream.until("closed")
            assert last.data == {"reason": "slow_reader"}
        heard = [frame.data["data"]["message_id"] for frame in told]
        assert heard == wanted[: len(heard)]
        async with listen(world, last=stream.last_id) as again:
            while len(heard) < len(wanted):
                heard.append((await again.next()).data["data"]["message_id"])
        assert heard == wanted


async def test_streams_are_few_and_a_ping_keeps_the_place(
    database_url: str, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "STREAMS_OF_WORKSPACE_MAX", 1)
    monkeypatch.setattr(live, "PING_S", 1.0)
    async with (
        ApiWorld(database_url, nats_server) as world,
        listen(world, "?type=phone.*") as stream,
    ):
        first = await stream.frame()
        assert first is not None
        answer = await world.get("/v1/events/stream")
        assert (answer.status, answer.code) == (429, "too_many_streams")
        assert answer.headers["Retry-After"]
        await world.send()
        while True:
            frame = await stream.frame()
            assert frame is not None
            if frame.comment == "ping" and frame.id != first.id:
                break
        rest = (await world.get(f"/v1/events?after={frame.id}")).body
        assert rest["data"] == []


async def test_the_audit_list_says_who_did_what_with_which_request(
    database_url: str, nats_server: NatsServer
) -> None:
    async with ApiWorld(database_url, nats_server) as world:
        saved = await world.post(
            "/v1/contacts", {"phone": "+14155550142", "first_name": "Grace", "tags": ["vip"]}
        )
        assert saved.status == 201, saved.text
        contact_id = saved.body["id"]
        changed = await world.patch("/v1/workspace", {"name": "Renamed"})
        await world.append(e.PhoneOnline(phone_id=world.home.phone_id))
        message = await world.send()
        answer = await world.get("/v1/audit")
        assert [entry["type"] for entry in answer.body["data"]] == [
            "workspace.updated", "contact.saved", "phone.paired", "api_key.created",
            "workspace.created",
        ]  # fmt: skip
        first, second = answer.body["data"][:2]
        assert first["actor"] == {"kind": "api_key", "id": world.home.key_id}
        assert first["request_id"] == changed.headers["X-Request-Id"]
        told = (await world.get(f"/v1/messages/{message['id']}/timeline")).body["data"]
        assert told[0]["data"]["asked_by"] == world.home.key_id
        assert second["target"] == contact_id
        for secret in ("Grace", "5550142", "vip", "Renamed"):
            assert secret not in answer.text

        async def types(query: str) -> list[str]:
            found = await world.get(f"/v1/audit?{query}")
            assert found.status == 200, found.text
            return [entry["type"] for entry in found.body["data"]]

        assert await types(f"target={contact_id}") == ["contact.saved"]
        assert await types(f"actor={world.home.key_id}") == ["workspace.updated", "contact.saved"]
        assert await types("type=workspace.*") == ["workspace.updated", "workspace.created"]
        assert await types(f"until={first['at'].replace('+', '%2B')}&limit=1") == ["contact.saved"]
        assert await types(f"since={first['at'].replace('+', '%2B')}") == ["workspace.updated"]

        pages: list[Any] = []
        path = "/v1/audit?limit=2"
        while True:
            page = (await world.get(path)).body
            pages += page["data"]
            if not page["has_more"]:
                break
            path = f"/v1/audit?limit=2&cursor={page['next_cursor']}"
        assert pages == answer.body["data"]
        assert (await world.get("/v1/audit", key=world.other.key)).body["data"] != pages
