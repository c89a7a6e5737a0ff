"""Simulated phones through crashes of gateway, log and database: each text once, each fact once."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest_asyncio

from cli.embedded import NatsServer, PostgresServer
from clients.simphone import Carrier, SimHost
from shared import events as e
from shared import ids
from shared.errors import LogUnavailable
from tests.gateway import Gateways, Handset, until

WHOLE_WAY = {"sms.accepted": 1, "sms.submitted": 1, "sms.sent": 1, "sms.delivered": 1}
PHONES, ROUNDS = 10, 6


@pytest_asyncio.fixture
async def world(
    postgres_server: PostgresServer, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[Gateways]:
    async with Gateways(postgres_server.url(), nats_server, tmp_path) as world:
        yield world


@pytest_asyncio.fixture
async def host(world: Gateways, tmp_path: Path) -> AsyncIterator[SimHost]:
    host = SimHost(tmp_path / "simphone", carrier=Carrier(delay_ms=1), fsync=False, control=False)
    await host.start()
    for _ in range(PHONES):
        await host.pair((await world.link())["uri"])
    yield host
    await host.stop()


async def exchange(world: Gateways, host: SimHost, crash: Callable[[], Awaitable[None]]) -> None:
    """Texts to and from every phone, with crashes in between; then everything is there once."""
    wanted: list[str] = []
    for round_ in range(ROUNDS):
        crashing = asyncio.create_task(_crash(crash) if round_ % 2 else asyncio.sleep(0))
        for phone_id in host.phones:
            wanted.append(await _dispatch(world, phone_id))
            await host.receive(phone_id, "+14155550177", "Hello")
        await crashing
    expected = PHONES * ROUNDS

    async def everything() -> bool:
        found = Counter(event.type for event in await _events(world))
        return found["sms.delivered"] >= expected and found["sms.received"] >= expected

    await until(everything, "everything is told")
    told: dict[str, Counter[str]] = {command_id: Counter() for command_id in wanted}
    texts: Counter[str] = Counter()
    for event in await world.events("sms"):
        if isinstance(event.data, e.SmsReceived):
            texts[event.data.message_id] += 1
        else:
            told[event.data.command_id][event.type] += 1
    assert {c: dict(counts) for c, counts in told.items()} == dict.fromkeys(wanted, WHOLE_WAY)
    assert (len(texts), set(texts.values())) == (expected, {1})
    assert host.counters.rejected == 0
    assert _went_out(host) == Counter(wanted)


async def _crash(crash: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(0.05)
    await crash()


async def _dispatch(world: Gateways, phone_id: str) -> str:
    """A dispatch, repeated until the log has it."""
    phone, message_id = Handset(world, "", "", phone_id), ids.new("msg")
    while True:
        try:
            command = await world.dispatch(phone, settle=False, message_id=message_id)
            return command.command_id
        except LogUnavailable:
            await asyncio.sleep(0.05)


async def _events(world: Gateways) -> list[e.Event]:
    async with asyncio.timeout(20):
        return await world.events("sms")


def _went_out(host: SimHost) -> Counter[str]:
    """How often each command reached the simulated radio."""
    radio = sqlite3.connect(host.state_dir / "phones.db")
    try:
        return Counter(row[0] for row in radio.execute("SELECT command_id FROM radio"))
    finally:
        radio.close()


async def test_nothing_is_lost_or_doubled_when_the_gateway_dies(
    world: Gateways, host: SimHost
) -> None:
    async def crash() -> None:
        world.programs[0].kill()
        world.programs[0].start()

    await exchange(world, host, crash)


async def test_nothing_is_lost_or_doubled_when_the_log_dies(world: Gateways, host: SimHost) -> None:
    async def crash() -> None:
        world.nats.kill()
        await world.nats.start()

    await exchange(world, host, crash)
    assert world.programs[0].starts == 1
    assert world.programs[0].alive


async def test_nothing_is_lost_or_doubled_when_the_database_dies(
    world: Gateways, host: SimHost, postgres_server: PostgresServer
) -> None:
    async def crash() -> None:
        postgres_server.kill()
        await postgres_server.start()

    await exchange(world, host, crash)
    assert world.programs[0].starts == 1
    assert world.programs[0].alive
