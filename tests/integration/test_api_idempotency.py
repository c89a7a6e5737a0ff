"""Idempotency-Key: a repeated request is answered, not done, a second time."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from services.api.act import Sweeper
from shared import ids
from tests.api import Answer, ApiWorld

SEND = "/v1/sms/send"
WISH = {"to": "+14155550100", "body": "Hello"}


@pytest_asyncio.fixture
async def world(database_url: str, nats_server: NatsServer) -> AsyncIterator[ApiWorld]:
    async with ApiWorld(database_url, nats_server) as world:
        yield world


async def keyed(
    world: ApiWorld, name: str, body: Any = WISH, path: str = SEND, **more: Any
) -> Answer:
    return await world.post(path, body, headers={"Idempotency-Key": name}, **more)


async def sent(world: ApiWorld) -> list[str]:
    return [event.data.message_id for event in await world.events("send.requested")]


async def test_the_same_request_gets_the_same_answer_and_is_done_once(world: ApiWorld) -> None:
    first = await keyed(world, "k-1")
    again = await keyed(world, "k-1")
    quoted = await keyed(world, '"k-1"', {"body": "Hello", "to": "+14155550100"})
    assert "Idempotent-Replayed" not in first.headers
    for repeated in (again, quoted):
        assert (repeated.status, repeated.text) == (202, first.text)
        assert repeated.headers["Idempotent-Replayed"] == "true"
        assert repeated.headers["Location"] == first.headers["Location"]
        assert repeated.headers["Content-Type"] == first.headers["Content-Type"]
        assert repeated.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert await sent(world) == [first.body["message"]["id"]]


async def test_the_messages_id_is_derived_from_the_key(world: ApiWorld) -> None:
    message_id = (await keyed(world, "k-1")).body["message"]["id"]
    assert message_id == ids.message_id(world.keys.identity_key, world.home.id, "k-1")


async def test_the_same_key_with_another_request_is_refused(world: ApiWorld) -> None:
    await keyed(world, "k-1")
    for body in ({**WISH, "body": "Other"}, {**WISH, "ttl": 60}):
        other = await keyed(world, "k-1", body)
        assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert len(await sent(world)) == 1


async def test_a_key_belongs_to_its_workspace_and_its_operation(world: ApiWorld) -> None:
    first = await keyed(world, "k-1")
    elsewhere = await keyed(world, "k-1", key=world.other.key)
    bulk = await keyed(world, "k-1", {"messages": [WISH]}, SEND + "/bulk")
    contact = await keyed(world, "k-1", {"phone": "+14155550111"}, "/v1/contacts")
    assert (elsewhere.status, bulk.status, contact.status) == (202, 202, 201)
    made = {
        first.body["message"]["id"],
        elsewhere.body["message"]["id"],
        bulk.body["results"][0]["message"]["id"],
    }
    assert len(made) == 3
    assert len(await sent(world)) == 3


async def test_a_refusal_is_answered_again_as_well(world: ApiWorld) -> None:
    first = await keyed(world, "k-1", {"to": "hello", "body": "x"})
    again = await keyed(world, "k-1", {"to": "hello", "body": "x"})
    assert (first.status, again.status) == (422, 422)
    assert again.text == first.text
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Content-Type"] == "application/problem+json"


async def test_a_malformed_request_does_not_use_up_its_key(world: ApiWorld) -> None:
    assert (await keyed(world, "k-1", {"to": "+14155550100"})).status == 422
    assert (await keyed(world, "k-1")).status == 202


async def test_of_many_at_once_one_runs_and_the_others_wait_or_repeat(world: ApiWorld) -> None:
    answers = await asyncio.gather(*[keyed(world, "k-1") for _ in range(20)])
    assert {answer.status for answer in answers} <= {202, 409}
    running = [answer for answer in answers if answer.status == 409]
    for answer in running:
        assert answer.code == "request_in_progress"
        assert answer.headers["Retry-After"] == "1"
    assert len({a.body["message"]["id"] for a in answers if a.status == 202}) == 1
    assert len(await sent(world)) == 1
    assert (await keyed(world, "k-1")).headers["Idempotent-Replayed"] == "true"


async def test_a_failure_on_our_side_is_not_kept(world: ApiWorld, nats_server: NatsServer) -> None:
    nats_server.kill()
    assert (await keyed(world, "k-1")).status == 503
    await nats_server.start()

    async def accepted() -> Answer | None:
        answer = await keyed(world, "k-1")
        return answer if answer.status == 202 else None

    answer = await world.until(accepted, "the same request is done after all")
    assert answer is not None
    assert "Idempotent-Replayed" not in answer.headers
    assert await sent(world) == [answer.body["message"]["id"]]


async def test_a_crash_between_the_append_and_the_answer_sends_once(world: ApiWorld) -> None:
    first = await keyed(world, "k-1")
    await world.rows("DELETE FROM vault_idempotency")
    again = await keyed(world, "k-1")
    assert again.status == 202
    assert again.body["message"]["id"] == first.body["message"]["id"]
    assert len(await sent(world)) == 1
    await world.rows("DELETE FROM vault_idempotency")
    other = await keyed(world, "k-1", {**WISH, "body": "Other"})
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    bulk = {"messages": [WISH, {**WISH, "body": "two"}]}
    once = await keyed(world, "b-1", bulk, SEND + "/bulk")
    await world.rows("DELETE FROM vault_idempotency")
    twice = await keyed(world, "b-1", bulk, SEND + "/bulk")
    assert [r["message"]["id"] for r in once.body["results"]] == [
        r["message"]["id"] for r in twice.body["results"]
    ]
    assert len(await sent(world)) == 3


async def test_an_unfinished_request_may_be_taken_over_after_a_minute(world: ApiWorld) -> None:
    first = await keyed(world, "k-1")
    await world.rows("UPDATE vault_idempotency SET status = NULL, answer = NULL")
    assert (await keyed(world, "k-1")).status == 409
    world.clock.ahead = timedelta(seconds=61)
    assert (await keyed(world, "k-1", {**WISH, "body": "Other"})).status == 422
    again = await keyed(world, "k-1")
    assert again.body["message"]["id"] == first.body["message"]["id"]
    assert len(await sent(world)) == 1


async def test_after_a_day_a_key_is_free_again(world: ApiWorld) -> None:
    made: set[str] = set()
    for days in (0, 2, 4):
        world.clock.ahead = timedelta(days=days)
        answer = await keyed(world, "k-1", {**WISH, "body": f"Day {days}"})
        assert answer.status == 202, answer.text
        made.add(answer.body["message"]["id"])
        assert (await world.get(answer.headers["Location"])).status == 200
    assert len(made) == 3
    assert set(await sent(world)) == made


async def test_what_is_kept_is_sealed_and_swept_after_a_day(world: ApiWorld) -> None:
    await keyed(world, "k-1")
    ((kept,),) = await world.rows("SELECT answer FROM vault_idempotency")
    assert b"4155550100" not in kept
    assert b"Hello" not in kept
    world.clock.ahead = timedelta(days=1, minutes=1)

    sweeper = Sweeper(world.instances[0].context)
    await sweeper.start()
    assert await sweeper.step()
    assert await world.rows("SELECT 1 FROM vault_idempotency") == []


async def test_a_new_api_key_is_shown_again_only_to_its_own_request(world: ApiWorld) -> None:
    body = {"name": "Bookings", "scopes": ["messages:write"]}
    first = await keyed(world, "k-1", body, "/v1/api-keys")
    again = await keyed(world, "k-1", body, "/v1/api-keys")
    assert again.body["key"] == first.body["key"]
    ((kept,),) = await world.rows("SELECT answer FROM vault_idempotency")
    assert first.body["key"].encode() not in kept
    assert len(await world.events("api_key.created")) == 3


@pytest.mark.parametrize("key", ["", '""', "k" * 256, "kéy", "a\tb"])
async def test_a_key_that_is_none_is_refused(world: ApiWorld, key: str) -> None:
    answer = await keyed(world, key)
    assert (answer.status, answer.code) == (400, "invalid_idempotency_key")
    assert answer.body["errors"][0]["header"] == "Idempotency-Key"
    assert await sent(world) == []
