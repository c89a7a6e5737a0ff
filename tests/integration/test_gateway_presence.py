"""Signs of life become phone.online, phone.late and phone.offline, and nothing flaps."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from cli.embedded import NatsServer
from shared import events as e
from tests.gateway import Gateways, Handset, until

ENV = {
    "EIGHTMS_GATEWAY_HEARTBEAT_S": "1",
    "EIGHTMS_GATEWAY_OFFLINE_AFTER_S": "4",
    "EIGHTMS_GATEWAY_STREAM_GONE_S": "1.5",
    "EIGHTMS_GATEWAY_PING_S": "0.5",
}


@pytest_asyncio.fixture
async def world(
    database_url: str, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[Gateways]:
    async with Gateways(database_url, nats_server, tmp_path, env=ENV) as world:
        yield world


async def states(world: Gateways) -> list[str]:
    """The phone's history of states, without its pairings."""
    types = await world.types("phone.online", "phone.late", "phone.offline")
    return [type_.removeprefix("phone.") for type_ in types]


async def reached(world: Gateways, *expected: str) -> None:
    async def are() -> bool:
        return await states(world) == list(expected)

    await until(are, f"states {expected}")


async def test_a_phone_is_online_with_its_stream_late_and_offline_with_its_silence(
    world: Gateways,
) -> None:
    phone = await world.pair()
    async with phone.streaming():
        await reached(world, "online")
        await reached(world, "online", "late")
        await reached(world, "online", "late", "offline")
        await phone.tell(phone.entry("health"))
        await reached(world, "online", "late", "offline", "online")
    (event, *_) = await world.events("phone.online")
    assert event.actor == e.Actor("system", "gateway")


async def test_a_phone_whose_stream_is_gone_is_offline_though_it_calls(world: Gateways) -> None:
    phone = await world.pair()
    async with phone.streaming():
        await reached(world, "online")
    for _ in range(12):
        await phone.tell(phone.entry("health"))
        await asyncio.sleep(0.3)
    assert await states(world) == ["online", "offline"]
    async with phone.streaming():
        await reached(world, "online", "offline", "online")


async def test_a_phone_that_calls_before_it_has_a_stream_is_online_at_once(
    world: Gateways,
) -> None:
    phone = await world.pair()
    await phone.tell(phone.entry("health"))
    await reached(world, "online")


async def test_heartbeats_keep_a_phone_online(world: Gateways) -> None:
    phone = await world.pair()
    async with phone.streaming():
        for _ in range(12):
            await phone.tell(phone.entry("health"))
            await asyncio.sleep(0.5)
    assert await states(world) == ["online"]


async def test_presence_tells_how_the_phone_is(world: Gateways) -> None:
    phone = await world.pair()

    async def shown(**values: object) -> bool:
        presence = await world.bus.presence(phone.phone_id) or {}
        return {name: presence.get(name) for name in values} == values

    async with phone.streaming():
        await phone.tell(phone.entry("health", battery=80, charging=False, network="wifi"))
        await until(
            lambda: shown(
                state="online", battery=80, charging=False, network="wifi", streaming=True
            )
        )
        await phone.tell(inventory={"battery": 79.4, "charging": True, "app_version": "9"})
        await until(lambda: shown(battery=79, charging=True, network="wifi", app_version="9"))
    await until(lambda: shown(streaming=False, battery=79))
    await until(lambda: shown(state="offline"))


async def test_a_restart_does_not_flap(world: Gateways) -> None:
    phone = await world.pair()
    async with phone.streaming():
        await reached(world, "online")
    (program,) = world.programs
    program.kill()
    program.start()
    await world.ready()
    async with phone.streaming():
        for _ in range(6):
            await phone.tell(phone.entry("health"))
            await asyncio.sleep(0.5)
        assert await states(world) == ["online"]


async def test_who_does_not_come_back_after_a_restart_is_offline(world: Gateways) -> None:
    phone = await world.pair()
    async with phone.streaming():
        await reached(world, "online")
    (program,) = world.programs
    program.kill()
    program.start()
    await reached(world, "online", "late", "offline")


async def test_presence_goes_on_after_the_log_server_restarted(world: Gateways) -> None:
    phone = await world.pair()
    async with phone.streaming():
        await reached(world, "online")
        world.nats.kill()
        await world.nats.start()
        await reached(world, "online", "late", "offline")
        for n in range(1, 4):
            await _told(phone, n)
        await reached(world, "online", "late", "offline", "online")


async def _told(phone: Handset, battery: int) -> None:
    entry = phone.entry("health", battery=battery)

    async def told() -> bool:
        return (await phone.post({"entries": [entry]}))[0] == 200

    await until(told)


async def test_an_unpaired_phone_has_no_more_states(world: Gateways) -> None:
    phone = await world.pair()
    async with phone.streaming():
        await reached(world, "online")
        await world.append(e.PhoneUnpaired(phone_id=phone.phone_id))
        await phone.frame("revoked")
    await asyncio.sleep(2.5)
    assert await states(world) == ["online"]


async def test_a_phone_paired_again_comes_online_again(world: Gateways) -> None:
    phone = await world.pair()
    async with phone.streaming():
        await reached(world, "online")
    again = await world.pair()
    async with again.streaming():
        await reached(world, "online", "online")
