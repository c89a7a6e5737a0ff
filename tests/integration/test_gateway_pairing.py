"""Pairing at a real gateway: a link becomes a credential once, and no crash loses it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from shared import events as e
from shared import ids
from shared.errors import Refused
from tests.gateway import SIM, Gateways, Handset, pair_body, until


@pytest_asyncio.fixture
async def world(
    database_url: str, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[Gateways]:
    async with Gateways(database_url, nats_server, tmp_path) as world:
        yield world


async def test_a_link_names_the_gateway_the_token_and_the_label(world: Gateways) -> None:
    link = await world.link("Front desk & more")
    assert ids.is_id("pair", link["id"])
    query = parse_qs(urlsplit(link["uri"]).query)
    assert link["uri"].startswith("eightms://pair?")
    assert query["e"] == [world.urls[0]]
    assert query["l"] == ["Front desk & more"]
    assert len(query["t"][0]) > 40


async def test_a_phone_gets_its_credential_and_is_in_the_log(world: Gateways) -> None:
    link = await world.link()
    status, answer = await world.post_pair(pair_body(link["uri"], simulated=True))
    assert status == 201
    assert set(answer) == {"phone_id", "credential", "stream_url", "config"}
    assert answer["stream_url"] == world.urls[0] + "/phone/v1/stream"
    assert answer["config"] == {"heartbeat_s": 60}
    (event,) = await world.events("phone.paired")
    assert event.data.phone_id == answer["phone_id"]
    assert event.data.generation == 1
    assert event.data.simulated
    assert event.data.label == "Front desk"
    assert event.data.sims[0].number == SIM["number"]
    assert event.actor == e.Actor("phone", answer["phone_id"])
    assert event.cause == link["id"]
    vault = str(await world.rows("SELECT * FROM vault_credential, vault_pairing"))
    assert answer["credential"] not in vault
    assert pair_body(link["uri"])["token"] not in vault


async def test_a_used_link_is_gone_for_another_device_and_for_the_same(world: Gateways) -> None:
    uri = (await world.link())["uri"]
    await world.pair("device-1", uri=uri)
    for device in ("device-2", "device-1"):
        status, problem = await world.post_pair(pair_body(uri, device))
        assert (status, problem["code"]) == (410, "pairing_expired")
    assert await world.types("phone.paired") == ["phone.paired"]


async def test_an_unknown_and_an_expired_link_get_the_same_answer(world: Gateways) -> None:
    uri = (await world.link())["uri"]
    await world.rows("UPDATE vault_pairing SET expires_at = now() - interval '1 second'")
    _, expired = await world.post_pair(pair_body(uri))
    _, unknown = await world.post_pair(pair_body("eightms://pair?t=reg_nonsense"))
    for problem in (expired, unknown):
        problem.pop("request_id")
    assert expired == unknown
    assert expired["status"] == 410
    assert await world.types("phone.paired") == []


async def test_one_of_many_devices_gets_a_link(world: Gateways) -> None:
    uri = (await world.link())["uri"]
    answers = await asyncio.gather(
        *[world.post_pair(pair_body(uri, f"device-{n}")) for n in range(20)]
    )
    assert sorted(status for status, _ in answers) == [201] + [410] * 19
    assert await world.types("phone.paired") == ["phone.paired"]


async def test_the_same_device_keeps_its_id_and_loses_its_old_credential(world: Gateways) -> None:
    old = await world.pair("device-1")
    await old.tell(old.entry("health"), old.entry("health"))
    new = await world.pair("device-1")
    assert new.phone_id == old.phone_id
    assert new.credential != old.credential
    assert [event.data.generation for event in await world.events("phone.paired")] == [1, 2]
    assert (await old.post({"entries": []}))[0] == 401
    # Its journal begins at 1 again.
    assert (await new.tell(new.entry("health")))["acked_seq"] == 1


async def test_a_device_paired_again_keeps_its_label_unless_it_gets_one(world: Gateways) -> None:
    for label in ("Front desk", "", "Back office", ""):
        await world.pair(uri=(await world.link(label))["uri"])
    labels = [event.data.label for event in await world.events("phone.paired")]
    assert labels == ["Front desk", "Front desk", "Back office", "Back office"]
    await world.pair("device-2", uri=(await world.link(""))["uri"])
    assert (await world.events("phone.paired"))[-1].data.label == "Acme One"


async def test_a_device_is_another_phone_in_another_workspace(world: Gateways) -> None:
    first = await world.pair("device-1")
    world.workspace_id = ids.new("ws")
    assert (await world.pair("device-1")).phone_id != first.phone_id


async def test_two_links_for_one_device_at_once_make_two_generations(world: Gateways) -> None:
    links = [(await world.link())["uri"] for _ in range(2)]
    answers = await asyncio.gather(*[world.post_pair(pair_body(uri)) for uri in links])
    assert {status for status, _ in answers} == {201}
    assert [event.data.generation for event in await world.events("phone.paired")] == [1, 2]
    (kept,) = await world.rows("SELECT generation FROM vault_credential")
    assert kept["generation"] == 2
    working: list[int] = []
    for _, answer in answers:
        phone = Handset(world, world.urls[0], "device-1", credential=answer["credential"])
        working.append((await phone.post({"entries": []}))[0])
    assert sorted(working) == [200, 401]


async def test_a_crash_before_the_event_lets_the_same_device_try_again(world: Gateways) -> None:
    uri = (await world.link())["uri"]
    # The token is taken, and nothing is stored: what a gateway that died there leaves.
    await world.pair("device-1", uri=(await world.link())["uri"])
    (phone,) = await world.rows("SELECT id, device_hash FROM phone")
    await world.rows(
        "UPDATE vault_pairing SET device_hash = $1, phone_id = $2 WHERE completed_at IS NULL",
        phone["device_hash"],
        phone["id"],
    )
    assert (await world.post_pair(pair_body(uri, "device-2")))[0] == 410
    assert (await world.post_pair(pair_body(uri, "device-1")))[0] == 201
    assert len(await world.events("phone.paired")) == 2


async def test_a_crash_after_the_event_lets_the_same_device_get_its_credential(
    world: Gateways,
) -> None:
    uri = (await world.link())["uri"]
    first = await world.pair("device-1", uri=uri)
    # The event is stored, the credential is not: what a gateway that died there leaves.
    await world.rows("UPDATE vault_pairing SET completed_at = NULL")
    await world.rows("DELETE FROM vault_credential")
    again = await world.pair("device-1", uri=uri)
    assert again.phone_id == first.phone_id
    assert await world.types("phone.paired") == ["phone.paired"]
    assert (await again.tell(again.entry("health")))["acked_seq"] == 1


async def test_pairing_tells_its_state(world: Gateways) -> None:
    link = await world.link()

    async def state() -> tuple[str, str | None]:
        body = {"workspace_id": world.workspace_id, "id": link["id"]}
        answer = await world.bus.ask("gateway", "pairing", body)
        return answer["state"], answer["phone_id"]

    assert await state() == ("open", None)
    phone = await world.pair(uri=link["uri"])
    assert await state() == ("used", phone.phone_id)
    await world.rows("UPDATE vault_pairing SET completed_at = NULL, expires_at = now()")
    assert await state() == ("expired", None)
    with pytest.raises(Refused) as refused:
        await world.bus.ask("gateway", "pairing", {"workspace_id": ids.new("ws"), "id": link["id"]})
    assert refused.value.problem["status"] == 404


async def test_a_wrong_body_is_told_where_and_uses_nothing_up(world: Gateways) -> None:
    uri = (await world.link())["uri"]
    for change, pointer in [
        ({"token": None}, "#/token"),
        ({"token": ""}, "#/token"),
        ({"device": None}, "#/device"),
        ({"device": {"device_id": "x"}}, "#/device/manufacturer"),
        ({"sims": None}, "#/sims"),
        ({"sims": [{"slot": 0}]}, "#/sims/0/subscription_id"),
        ({"sims": [{"slot": 0, "subscription_id": 2**40}]}, "#/sims/0/subscription_id"),
    ]:
        status, problem = await world.post_pair({**pair_body(uri), **change})
        assert status == 422
        assert pointer in [error["pointer"] for error in problem["errors"]]
    assert (await world.post_pair(pair_body(uri)))[0] == 201


async def test_odd_characters_of_a_device_are_stored_harmlessly(world: Gateways) -> None:
    uri = (await world.link("a\0b"))["uri"]
    body = pair_body(uri, "\0", model="One\0Two")
    assert (await world.post_pair(body))[0] == 201
    (phone,) = await world.rows("SELECT label FROM phone")
    assert phone["label"] == "a\ufffdb"


async def test_a_phone_that_pairs_while_the_log_is_away_is_asked_to_come_back(
    world: Gateways,
) -> None:
    uri = (await world.link())["uri"]
    world.nats.kill()
    status, problem = await world.post_pair(pair_body(uri))
    assert (status, problem["code"]) == (503, "unavailable")
    await world.nats.start()

    async def paired() -> bool:
        return (await world.post_pair(pair_body(uri)))[0] == 201

    await until(paired, "the same link works once the log is back")
    assert await world.types("phone.paired") == ["phone.paired"]


async def test_a_plan_with_room_for_two_lets_in_two_of_many_at_once(world: Gateways) -> None:
    links = [(await world.link(phones_max=2))["uri"] for _ in range(6)]
    answers = await asyncio.gather(
        *[world.post_pair(pair_body(uri, f"device-{n}")) for n, uri in enumerate(links)]
    )
    refused = [problem for status, problem in answers if status == 402]
    again = [status for status, _ in answers if status == 503]  # lost the race: repeats, and hears
    assert [status for status, _ in answers].count(201) == 2
    assert len(refused) + len(again) == 4
    for problem in refused:
        assert (problem["code"], problem["resource"]) == ("plan_limit_reached", "phones")
        assert (problem["limit"], problem["used"]) == (2, 2)
    assert await world.types("phone.paired") == ["phone.paired"] * 2


async def test_a_full_plan_takes_its_own_phones_and_simulated_ones_again(world: Gateways) -> None:
    await world.pair("device-1", uri=(await world.link(phones_max=1))["uri"])
    full = await world.link(phones_max=1)
    status, problem = await world.post_pair(pair_body(full["uri"], "device-2"))
    assert (status, problem["code"]) == (402, "plan_limit_reached")
    simulated = pair_body((await world.link(phones_max=1))["uri"], "device-3", simulated=True)
    assert (await world.post_pair(simulated))[0] == 201
    again = pair_body((await world.link(phones_max=1))["uri"], "device-1")
    assert (await world.post_pair(again))[0] == 201
