"""The command stream of a real gateway: offered again until accepted, closed when it is time."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from shared import events as e
from tests.gateway import Gateways, Handset, until


@pytest_asyncio.fixture
async def world(
    database_url: str, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[Gateways]:
    async with Gateways(
        database_url, nats_server, tmp_path, env={"EIGHTMS_GATEWAY_PING_S": "0.5"}
    ) as world:
        yield world


async def accepted(phone: Handset, command: e.SendDispatched) -> None:
    await phone.tell(phone.entry("accepted", command_id=command.command_id))
    rows = phone.world.rows
    query = "SELECT 1 FROM command WHERE id = $1 AND facts <> 0"
    await until(lambda: rows(query, command.command_id), "accepted in the rows")


async def test_a_command_comes_down_the_live_stream(world: Gateways) -> None:
    phone = await world.pair()
    async with phone.streaming() as response:
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in response.headers
        assert (await phone.frame("config")).data == {"heartbeat_s": 60}
        command = await world.dispatch(phone, "Hello 👋")
        frame = await phone.frame("send")
        assert frame.data["expires_at"].startswith(f"{command.expires_at:%Y-%m-%dT%H:%M:%S}")
        assert {**frame.data, "expires_at": None} == {
            "command_id": command.command_id,
            "message_id": command.message_id,
            "to": "+14155551234",
            "body": "Hello 👋",
            "subscription_id": 1,
            "expires_at": None,
        }
        assert frame.id


async def test_pings_keep_coming(world: Gateways) -> None:
    phone = await world.pair()
    async with phone.streaming():
        await phone.frame("ping", 3)
    assert phone.of("ping")[0].data == {}
    assert phone.of("ping")[0].id is None


async def test_what_is_not_accepted_is_offered_again_with_its_own_numbers(world: Gateways) -> None:
    phone = await world.pair()
    commands = [await world.dispatch(phone, f"Text {n}") for n in range(3)]
    async with phone.streaming():
        await phone.frame("send", 3)
    first = phone.of("send")
    assert [frame.data["command_id"] for frame in first] == [c.command_id for c in commands]
    await accepted(phone, commands[1])
    phone.frames.clear()
    async with phone.streaming(headers={"Last-Event-ID": str(first[-1].id)}):
        await phone.frame("send", 2)
        await phone.frame("ping")
    assert phone.of("send") == [first[0], first[2]]


async def test_any_last_event_id_is_taken(world: Gateways) -> None:
    phone = await world.pair()
    await world.dispatch(phone)
    for n, last in enumerate(["", "nonsense", "-1", "9" * 400], 1):
        async with phone.streaming(headers={"Last-Event-ID": last}):
            await phone.frame("send", n)


async def test_frames_come_in_order_however_many_there_are(world: Gateways) -> None:
    phone = await world.pair()
    for n in range(250):
        await world.dispatch(phone, f"{n}", settle=False)
    async with phone.streaming():
        for n in range(250, 300):
            await world.dispatch(phone, f"{n}", settle=False)
        await phone.frame("send", 300)
        await phone.frame("ping", 2)
    assert [frame.data["body"] for frame in phone.of("send")] == [str(n) for n in range(300)]
    numbers = [frame.id or 0 for frame in phone.of("send")]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("by_command", [True, False])
async def test_a_cancel_comes_down_the_live_stream(world: Gateways, by_command: bool) -> None:
    phone = await world.pair()
    async with phone.streaming():
        command = await world.dispatch(phone)
        await phone.frame("send")
        await world.cancel(command, by_command=by_command)
        cancel = await phone.frame("cancel")
    assert cancel.data == {"command_id": command.command_id}
    assert cancel.id
    assert cancel.id > (phone.of("send")[0].id or 0)


async def test_a_command_wanted_back_is_offered_only_as_cancel(world: Gateways) -> None:
    phone = await world.pair()
    command = await world.dispatch(phone)
    await world.cancel(command)
    async with phone.streaming():
        cancel = await phone.frame("cancel")
        await phone.frame("ping")
    assert cancel.data == {"command_id": command.command_id}
    assert phone.of("send") == []
    # Also to a phone that had accepted it, until it says what became of it.
    await accepted(phone, command)
    phone.frames.clear()
    async with phone.streaming():
        assert await phone.frame("cancel") == cancel
        await phone.tell(phone.entry("cancelled", command_id=command.command_id))
    await until(lambda: world.rows("SELECT 1 WHERE NOT EXISTS (SELECT FROM offer)"))
    phone.frames.clear()
    async with phone.streaming():
        await phone.frame("ping")
    assert phone.of("cancel") == []


async def test_an_expired_command_is_not_offered_but_cancelled(world: Gateways) -> None:
    phone = await world.pair()
    past = datetime.now(UTC) - timedelta(seconds=1)
    command = await world.dispatch(phone, expires_at=past)
    async with phone.streaming():
        cancel = await phone.frame("cancel")
        await phone.frame("ping")
    assert cancel.data == {"command_id": command.command_id}
    assert cancel.id is None
    assert phone.of("send") == []


async def test_a_new_stream_closes_the_older_one(world: Gateways) -> None:
    phone = await world.pair()
    async with phone.streaming():
        await phone.frame("config")
        async with phone.streaming():
            await until(lambda: phone.closed == 1, "the older stream ends")
            await world.dispatch(phone)
            await phone.frame("send")
            await phone.frame("ping", 3)
            assert phone.closed == 1
    assert len(phone.of("send")) == 1


async def test_an_unpaired_phone_is_told_and_then_refused(world: Gateways) -> None:
    phone = await world.pair()
    await world.dispatch(phone)
    async with phone.streaming():
        await phone.frame("send")
        await world.append(e.PhoneUnpaired(phone_id=phone.phone_id))
        await phone.frame("revoked")
        await until(lambda: phone.closed == 1, "the stream ends")
    assert (await phone.post({"entries": []}))[0] == 401
    async with world.http.get(f"{phone.url}/phone/v1/stream", headers=phone.auth) as response:
        assert response.status == 401
    # Paired again it starts afresh: what it was to send is not its business any more.
    again = await world.pair()
    async with again.streaming():
        await again.frame("ping")
    assert again.of("send") == []


async def test_a_phone_paired_anew_loses_its_old_stream_but_not_its_new_credential(
    world: Gateways,
) -> None:
    old = await world.pair()
    async with old.streaming():
        await old.frame("config")
        await world.pair()
        await until(lambda: old.closed == 1, "the stream ends")
    assert old.of("revoked") == []


async def test_who_is_unknown_gets_401_and_how_to_sign_in(world: Gateways) -> None:
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "stream", {}),
        ("POST", "journal", {"json": {}}),
    ]
    unknown: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer cred_unknown"},
        {"Authorization": "Bearer " + "x" * 5000},
        {"Authorization": "Basic cred_unknown"},
        {"Authorization": "cred_unknown"},
    ]
    for headers, (method, path, more) in itertools.product(unknown, calls):
        url = f"{world.urls[0]}/phone/v1/{path}"
        async with world.http.request(method, url, headers=headers, **more) as response:
            problem = await response.json(content_type=None)
            assert response.status == 401
            assert response.content_type == "application/problem+json"
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert problem["code"] == "invalid_credential"


async def test_a_phone_behind_an_old_proxy_gets_a_plain_body(world: Gateways) -> None:
    phone = await world.pair()
    await world.dispatch(phone, "Old proxies speak HTTP/1.0")
    where = urlsplit(world.urls[0])
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        b"GET /phone/v1/stream HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer "
        + phone.credential.encode()
        + b"\r\n\r\n"
    )
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        frames = await reader.readuntil(b"event: ping\ndata: {}\n\n")
    writer.close()
    assert b"chunked" not in head.lower()
    assert b'HTTP/1.0"}\n\n' not in frames
    assert frames.startswith(b"event: config\n")
    assert b"Old proxies speak HTTP/1.0" in frames


async def test_a_phone_that_does_not_read_is_written_no_more_and_loses_nothing(
    world: Gateways,
) -> None:
    phone = await world.pair()
    where = urlsplit(world.urls[0])
    with socket.create_connection((where.hostname or "", where.port or 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(
            b"GET /phone/v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
            + phone.credential.encode()
            + b"\r\n\r\n"
        )
        await until(lambda: _streams(world, 1), "the stream is open")
        for _ in range(700):  # more than the socket's buffers and the gateway's bound hold
            await world.dispatch(phone, "x" * 10_000, settle=False)
        await asyncio.sleep(1)
    async with phone.streaming():
        await phone.frame("send", 700)
    assert len({frame.data["command_id"] for frame in phone.of("send")}) == 700


async def _streams(world: Gateways, count: int) -> bool:
    return await world.metric("streams") == count


async def test_a_stream_that_breaks_is_noticed(world: Gateways) -> None:
    phone = await world.pair()
    async with aiohttp.ClientSession() as session:
        response = await session.get(f"{phone.url}/phone/v1/stream", headers=phone.auth)
        await until(lambda: _streams(world, 1))
        response.close()
    await until(lambda: _streams(world, 0), "the stream is gone")


async def test_two_hundred_phones_each_get_their_own(world: Gateways) -> None:
    phones = await asyncio.gather(*[world.pair(f"device-{n}") for n in range(200)])
    readers = [asyncio.create_task(_one_send(phone)) for phone in phones]
    await until(lambda: _streams(world, 200), "200 streams")
    await asyncio.gather(*[world.dispatch(phone, phone.device_id) for phone in phones])
    assert await asyncio.gather(*readers) == [phone.device_id for phone in phones]


async def _one_send(phone: Handset) -> str:
    async with phone.streaming():
        return (await phone.frame("send")).data["body"]
