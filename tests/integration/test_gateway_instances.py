"""Two gateways on one log: any of them serves any phone, one of them leads."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from cli.embedded import NatsServer
from shared import events as e
from tests.gateway import Gateways, Handset, until

ENV = {"EIGHTMS_GATEWAY_PING_S": "2", "EIGHTMS_GATEWAY_INVENTORY_SETTLE_S": "0"}
LEADER, STANDBY = 0, 1


@pytest_asyncio.fixture
async def world(
    database_url: str, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[Gateways]:
    async with Gateways(database_url, nats_server, tmp_path, instances=2, env=ENV) as world:
        assert (await world.status(LEADER))["leading"]
        assert not (await world.status(STANDBY))["leading"]
        yield world


async def test_a_standby_hands_its_phones_their_commands(world: Gateways) -> None:
    phone = await world.pair(n=STANDBY)
    async with phone.streaming():
        await phone.frame("config")
        command = await world.dispatch(phone)
        await phone.frame("send")
        await world.cancel(command)
        await phone.frame("cancel")
        await world.append(e.PhoneUnpaired(phone_id=phone.phone_id))
        await phone.frame("revoked")


async def test_a_journal_may_go_to_another_instance_than_the_stream(world: Gateways) -> None:
    phone = await world.pair()
    async with phone.streaming(world.urls[STANDBY]):
        command = await world.dispatch(phone)
        await phone.frame("send")
        for n, entry in enumerate(
            [
                phone.entry("accepted", command_id=command.command_id),
                phone.entry("submitted", command_id=command.command_id, parts=1),
                phone.entry("unknown", command_id=command.command_id),
            ]
        ):
            body = {"entries": [entry]}
            for url in (world.urls[n % 2], world.urls[1 - n % 2]):  # and the repeat elsewhere
                status, answer = await phone.post(body, url)
                assert (status, answer["acked_seq"]) == (200, n + 1)
    assert await world.types("sms") == ["sms.accepted", "sms.submitted", "sms.unknown"]


async def test_an_unknown_command_is_rejected_by_a_standby_too(world: Gateways) -> None:
    phone = await world.pair(n=STANDBY)
    command = await world.dispatch(await world.pair("device-2"))
    answer = await phone.tell(phone.entry("accepted", command_id=command.command_id))
    assert [one["code"] for one in answer["rejected"]] == ["unknown_command"]


async def test_a_stream_elsewhere_closes_the_older_one(world: Gateways) -> None:
    phone = await world.pair()
    async with phone.streaming(world.urls[LEADER]):
        await phone.frame("config")
        async with phone.streaming(world.urls[STANDBY]):
            await until(lambda: phone.closed == 1, "the older stream ends")
            async with phone.streaming(world.urls[LEADER]):
                await until(lambda: phone.closed == 2, "the older stream ends")
                await world.dispatch(phone)
                await phone.frame("send")

                async def held_by_leader() -> bool:
                    found = await world.bus.presence(phone.phone_id)
                    return bool(found and found["streaming"])

                await until(held_by_leader)
    assert len(phone.of("send")) == 1


async def test_an_inventory_counts_wherever_the_stream_is(world: Gateways) -> None:
    phone = await world.pair()
    await world.cancel(await world.dispatch(phone))
    await until(lambda: world.rows("SELECT 1 FROM offer WHERE cancel_wanted"))
    async with phone.streaming(world.urls[STANDBY]):
        await phone.frame("cancel")

        async def cancelled() -> bool:
            await phone.tell(inventory={"open_commands": [], "journal_head": 0})
            return await world.types("sms") == ["sms.cancelled"]

        await until(cancelled)


async def test_the_standby_takes_over_and_loses_nothing(world: Gateways) -> None:
    phone = await world.pair(n=STANDBY)
    async with phone.streaming():
        await phone.frame("config")
        world.programs[LEADER].kill()
        command = await world.dispatch(phone)
        frame = await phone.frame("send")
        assert frame.data["command_id"] == command.command_id
        await phone.tell(phone.entry("accepted", command_id=command.command_id))
        await until(lambda: world.status(STANDBY), "it answers")
        assert (await world.status(STANDBY))["leading"]
    assert await world.types("sms") == ["sms.accepted"]
    assert (await world.types("phone"))[:2] == ["phone.paired", "phone.online"]


async def test_a_gateway_that_drains_sends_its_phones_away(world: Gateways) -> None:
    phone = await world.pair()
    async with phone.streaming(world.urls[LEADER]):
        await phone.frame("config")
        assert await world.programs[LEADER].stop() == 0
        await until(lambda: phone.closed == 1, "the stream ends")
    async with phone.streaming(world.urls[STANDBY]):
        await world.dispatch(phone)
        await phone.frame("send")


def _sends(phone: Handset) -> set[str]:
    return {frame.data["command_id"] for frame in phone.of("send")}


async def test_phones_that_move_back_and_forth_get_every_command(world: Gateways) -> None:
    phone = await world.pair()
    wanted: list[str] = []
    for n in range(12):
        async with phone.streaming(world.urls[n % 2]):
            command = await world.dispatch(phone, f"{n}")
            wanted.append(command.command_id)
            await until(lambda: wanted[-1] in _sends(phone), "the command")
            await phone.tell(phone.entry("accepted", command_id=command.command_id))
            await asyncio.sleep(0.01 * n)
    assert await world.types("sms") == ["sms.accepted"] * 12
