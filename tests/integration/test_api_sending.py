"""Sending through the API: what is accepted, what is refused and how it is said."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from shared import events as e
from shared import ids
from shared.text import segments
from tests.api import PUBLIC_URL, ApiWorld, paired

TO = "+14155550100"


@pytest_asyncio.fixture
async def world(database_url: str, nats_server: NatsServer) -> AsyncIterator[ApiWorld]:
    async with ApiWorld(database_url, nats_server) as world:
        yield world


async def test_an_accepted_text_is_in_the_log_and_can_be_read_at_once(world: ApiWorld) -> None:
    answer = await world.post("/v1/sms/send", {"to": "(415) 555-0100", "body": "Hello"})
    assert answer.status == 202
    message = answer.body["message"]
    assert message["to"] == TO
    assert message["state"] == "queued"
    assert message["segments"] == 1
    assert answer.headers["Location"] == f"/v1/messages/{message['id']}"
    assert ids.is_id("req", answer.headers["X-Request-Id"])
    assert (await world.get(answer.headers["Location"])).body == message
    (event,) = await world.events("send.requested")
    assert event.workspace_id == world.home.id
    assert event.actor == e.Actor("api_key", world.home.key_id)
    assert event.cause == answer.headers["X-Request-Id"]
    assert event.data.source == "api"
    assert event.data.expires_at - event.at == timedelta(hours=72)
    key = world.keys.identity_key
    assert event.data.contact_id == ids.contact_id(key, world.home.id, TO, 0)
    assert message["conversation_id"] == ids.conversation_id(event.data.contact_id)


async def test_every_option_reaches_the_event(world: ApiWorld) -> None:
    at = (world.clock.now() + timedelta(days=2)).replace(microsecond=0)
    wish = {
        "to": TO,
        "body": "Hi 👋",
        "phone_id": world.home.phone_id,
        "subscription_id": 2,
        "send_at": at.isoformat(),
        "ttl": 3600,
        "category": "marketing",
        "client_ref": "order 4711",
    }
    message = (await world.post("/v1/sms/send", wish)).body["message"]
    (event,) = await world.events("send.requested")
    data = event.data
    assert (data.phone_id, data.subscription_id) == (world.home.phone_id, 2)
    assert (data.category, data.client_ref) == ("marketing", "order 4711")
    assert (data.send_at, data.expires_at) == (at, at + timedelta(hours=1))
    assert data.parts == segments("Hi 👋").parts
    shown = (await world.get(f"/v1/messages/{message['id']}")).body
    assert shown == message
    assert shown["from_phone_id"] == world.home.phone_id


BAD: list[tuple[dict[str, Any], set[str], str]] = [
    ({"to": "hello", "body": "x"}, {"#/to"}, "invalid_number"),
    ({"to": "911", "body": "x"}, {"#/to"}, "invalid_number"),
    ({"to": "12345", "body": "x"}, {"#/to"}, "invalid_number"),
    ({"to": TO}, {"#/body"}, "invalid_request"),
    ({"to": TO, "body": ""}, {"#/body"}, "invalid_request"),
    ({"to": TO, "body": "x", "boddy": 1}, {"#/boddy"}, "invalid_request"),
    ({"body": "x"}, {"#/to"}, "missing"),
    ({"to": TO, "contact_id": "con_" + "0" * 26, "body": "x"}, {"#/contact_id"}, "one_recipient"),
    ({"contact_id": "con_" + "0" * 26, "body": "x"}, {"#/contact_id"}, "contact_not_found"),
    ({"contact_id": "me", "body": "x"}, {"#/contact_id"}, "invalid_request"),
    ({"to": TO, "body": "й" * 1400}, {"#/body"}, "too_many_parts"),
    ({"to": TO, "body": "x" * 1531}, {"#/body"}, "invalid_request"),
    ({"to": TO, "body": "a\x00b"}, {"#/body"}, "invalid_request"),
    ({"to": TO, "body": "a\x1bb"}, {"#/body"}, "invalid_request"),
    ({"to": TO, "body": 5}, {"#/body"}, "invalid_request"),
    ({"to": TO, "body": "x", "ttl": 59}, {"#/ttl"}, "invalid_request"),
    ({"to": TO, "body": "x", "ttl": 1209601}, {"#/ttl"}, "invalid_request"),
    ({"to": TO, "body": "x", "ttl": "60"}, {"#/ttl"}, "invalid_request"),
    ({"to": TO, "body": "x", "send_at": "2026-01-01"}, {"#/send_at"}, "invalid_request"),
    ({"to": TO, "body": "x", "send_at": "2020-01-01T00:00:00Z"}, {"#/send_at"}, "in_the_past"),
    ({"to": TO, "body": "x", "send_at": "2999-01-01T00:00:00Z"}, {"#/send_at"}, "too_far_ahead"),
    ({"to": TO, "body": "x", "category": "spam"}, {"#/category"}, "invalid_request"),
    ({"to": TO, "body": "x", "client_ref": "r" * 129}, {"#/client_ref"}, "invalid_request"),
    ({"to": TO, "body": "x", "client_ref": "a\nb"}, {"#/client_ref"}, "invalid_request"),
    ({"to": TO, "body": "x", "subscription_id": -1}, {"#/subscription_id"}, "invalid_request"),
    ({"to": TO, "body": "x", "phone_id": "phn_1"}, {"#/phone_id"}, "invalid_request"),
    ({"to": TO, "body": "x", "phone_id": "phn_" + "0" * 26}, {"#/phone_id"}, "phone_not_found"),
    (
        {"to": "hello", "body": "", "boddy": 1, "ttl": 1},
        {"#/to", "#/body", "#/boddy", "#/ttl"},
        "invalid_request",
    ),
    (
        {"to": "hello", "body": "й" * 1400, "phone_id": "phn_" + "0" * 26},
        {"#/to", "#/body", "#/phone_id"},
        "invalid_number",
    ),
]


async def test_what_is_wrong_is_said_all_at_once_and_nothing_is_stored(world: ApiWorld) -> None:
    for body, pointers, code in BAD:
        answer = await world.post("/v1/sms/send", body)
        assert (answer.status, answer.code) == (422, code), (body, answer.text)
        assert answer.pointers == pointers, (body, answer.text)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.body["type"] == f"{PUBLIC_URL}/problems/{code}"
        assert answer.body["request_id"] == answer.headers["X-Request-Id"]
        for entry in answer.body["errors"]:
            assert entry["detail"][-1] == "."
            assert "pattern" not in entry["detail"]
    assert await world.events("send.requested") == []


@pytest.mark.parametrize(
    ("raw", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_json"),
        (b'{"to": "\xff"}', "application/json", 400, "malformed_json"),
        (b'{"to": "\\ud800", "body": "x"}', "application/json", 400, "malformed_json"),
        (b"[]", "application/json", 422, "invalid_request"),
        (b"null", "application/json", 422, "invalid_request"),
        (b"", "application/json", 422, "invalid_request"),
        (b"to=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b" " * (1024 * 1024 + 1), "application/json", 413, "body_too_large"),
    ],
)
async def test_a_body_that_is_no_request_is_a_problem(
    world: ApiWorld, raw: bytes, content_type: str, status: int, code: str
) -> None:
    answer = await world.post("/v1/sms/send", raw=raw, headers={"Content-Type": content_type})
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_number_that_opted_out_is_refused_until_it_opts_in(world: ApiWorld) -> None:
    contact_id = ids.contact_id(world.keys.identity_key, world.home.id, TO, 0)
    await world.append(e.ContactOptedOut(contact_id=contact_id, number=TO, source="keyword"))
    by_number = await world.post("/v1/sms/send", {"to": TO, "body": "again"})
    assert (by_number.status, by_number.code) == (422, "recipient_opted_out")
    assert by_number.pointers == {"#/to"}
    by_contact = await world.post("/v1/sms/send", {"contact_id": contact_id, "body": "again"})
    assert by_contact.pointers == {"#/contact_id"}
    elsewhere = await world.post("/v1/sms/send", {"to": TO, "body": "hi"}, key=world.other.key)
    assert elsewhere.status == 202
    await world.append(e.ContactOptedIn(contact_id=contact_id, number=TO, source="keyword"))
    assert (await world.send(TO))["state"] == "queued"


async def test_a_contact_can_be_written_to_by_its_id(world: ApiWorld) -> None:
    first = await world.send(TO)
    wish = {"contact_id": first["contact_id"], "body": "again"}
    second = (await world.post("/v1/sms/send", wish)).body["message"]
    assert (second["to"], second["contact_id"]) == (TO, first["contact_id"])
    foreign = await world.post("/v1/sms/send", wish, key=world.other.key)
    assert (foreign.status, foreign.code) == (422, "contact_not_found")


async def test_only_ones_own_paired_phones_can_be_asked_for(world: ApiWorld) -> None:
    foreign = {"to": TO, "body": "x", "phone_id": world.other.phone_id}
    assert (await world.post("/v1/sms/send", foreign)).code == "phone_not_found"
    await world.append(e.PhoneUnpaired(phone_id=world.home.phone_id))
    gone = {"to": TO, "body": "x", "phone_id": world.home.phone_id}
    assert (await world.post("/v1/sms/send", gone)).code == "phone_unpaired"


async def test_a_test_key_reaches_only_simulated_phones(world: ApiWorld) -> None:
    real = ids.new("phn")
    await world.append(paired(real))
    key, _ = await world.new_key(world.home.id, mode="test")
    wish = {"to": TO, "body": "x", "phone_id": real}
    assert (await world.post("/v1/sms/send", wish, key=key)).code == "test_key_real_phone"
    wish["phone_id"] = world.home.phone_id
    assert (await world.post("/v1/sms/send", wish, key=key)).body["message"]["test"]
    assert [event.data.test for event in await world.events("send.requested")] == [True]


async def test_a_dry_run_tells_and_stores_nothing(world: ApiWorld) -> None:
    wish = {"to": "415-555-0100", "body": "Hi 👋"}
    answer = await world.post("/v1/sms/send?dry_run=true", wish, headers={"Idempotency-Key": "k"})
    assert answer.status == 200
    assert answer.body["to"] == TO
    assert (answer.body["segments"], answer.body["encoding"]) == (1, "ucs2")
    assert answer.body["phone_id"] == world.home.phone_id
    assert answer.body["earliest_at"] == "2027-01-01T13:00:00Z"
    assert answer.body["waiting"]["reason"] == "quiet_hours"
    assert not answer.body["suppressed"]
    ((service, question, asked),) = world.asked
    assert (service, question) == ("scheduler", "preview")
    assert asked["parts"] == 1
    await world.append(
        e.ContactOptedOut(contact_id=answer.body["contact_id"], number=TO, source="keyword")
    )
    assert (await world.post("/v1/sms/send?dry_run=true", wish)).body["suppressed"]
    wrong = await world.post("/v1/sms/send?dry_run=true", {"to": "hello", "body": "x"})
    assert (wrong.status, wrong.code) == (422, "invalid_number")
    assert await world.events("send.requested") == []
    assert await world.rows("SELECT 1 FROM vault_idempotency") == []


async def test_a_dry_run_without_the_scheduler_is_a_503(world: ApiWorld) -> None:
    world.silence("scheduler.preview")
    answer = await world.post("/v1/sms/send?dry_run=true", {"to": TO, "body": "x"})
    assert (answer.status, answer.code) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


async def test_in_bulk_each_text_has_its_own_result(world: ApiWorld) -> None:
    contact_id = ids.contact_id(world.keys.identity_key, world.home.id, "+14155550199", 0)
    await world.append(
        e.ContactOptedOut(contact_id=contact_id, number="+14155550199", source="keyword")
    )
    wishes = [
        {"to": TO, "body": "one"},
        {"to": "hello", "body": "two"},
        {"to": "+14155550199", "body": "three"},
        {"to": "+14155550101", "body": ""},
        {"to": "+14155550102", "body": "five", "x": 1},
        7,
        {"to": "+14155550103", "body": "seven", "phone_id": world.other.phone_id},
        {"to": "+14155550104", "body": "eight"},
    ]
    answer = await world.post("/v1/sms/send/bulk", {"messages": wishes})
    assert answer.status == 202
    assert (answer.body["accepted"], answer.body["refused"]) == (2, 6)
    results = answer.body["results"]
    assert [result["status"] for result in results] == [
        "accepted", *["refused"] * 6, "accepted",
    ]  # fmt: skip
    codes = [result["problem"]["code"] for result in results[1:7]]
    assert codes == [
        "invalid_number", "recipient_opted_out", "invalid_request", "invalid_request",
        "invalid_request", "phone_not_found",
    ]  # fmt: skip
    assert results[1]["problem"]["errors"][0]["pointer"] == "#/to"
    assert results[4]["problem"]["errors"][0]["pointer"] == "#/x"
    sent = [event.data.body for event in await world.events("send.requested")]
    assert sent == ["one", "eight"]
    for result in (results[0], results[7]):
        shown = await world.get(f"/v1/messages/{result['message']['id']}")
        assert shown.body == result["message"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/messages"),
        ({"messages": []}, "#/messages"),
        ({"messages": {}}, "#/messages"),
        ({"messages": [{"to": TO, "body": "x"}] * 1001}, "#/messages"),
        ({"messages": [{"to": TO, "body": "x"}], "dry": 1}, "#/dry"),
    ],
)
async def test_a_bulk_request_that_is_none_is_refused_as_a_whole(
    world: ApiWorld, body: Any, pointer: str
) -> None:
    answer = await world.post("/v1/sms/send/bulk", body)
    assert answer.status == 422
    assert answer.pointers == {pointer}
    assert await world.events("send.requested") == []


async def test_a_thousand_texts_in_one_call_are_all_stored(world: ApiWorld) -> None:
    wishes = [{"to": f"+1415556{n:04}", "body": f"Number {n}"} for n in range(1000)]
    answer = await world.post("/v1/sms/send/bulk", {"messages": wishes})
    assert (answer.body["accepted"], answer.body["refused"]) == (1000, 0)
    events = await world.events("send.requested")
    assert [event.data.body for event in events] == [wish["body"] for wish in wishes]
    assert len({event.data.message_id for event in events}) == 1000


async def test_without_nats_a_send_is_a_503_and_nothing_is_stored_later(
    world: ApiWorld, nats_server: NatsServer
) -> None:
    await world.send(TO, "before")
    nats_server.kill()
    wish = {"to": TO, "body": "during"}
    for _ in range(3):
        answer = await world.post("/v1/sms/send", wish)
        assert (answer.status, answer.code) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    bulk = await world.post("/v1/sms/send/bulk", {"messages": [wish] * 3})
    assert bulk.status == 503
    await nats_server.start()

    async def sent() -> bool:
        return (await world.post("/v1/sms/send", {"to": TO, "body": "after"})).status == 202

    await world.until(sent, "the API sends again")
    bodies = [event.data.body for event in await world.events("send.requested")]
    assert bodies == ["before", "after"]
