"""The embedded stack: what is stored stays, what dies comes back, who may do what."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig

from cli.embedded import (
    DataFolderInUse,
    Embedded,
    NatsServer,
    PostgresServer,
    free_port,
    generated_passwords,
)
from cli.nats_permissions import SERVICES, deployment_config

PATIENCE_S = 60
FORBIDDEN = "permissions violation for publish"
REPOSITORY = Path(__file__).parents[2]


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Waits until `holds` is true; TimeoutError after PATIENCE_S."""
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A NATS connection whose refusals reach the caller, not the log."""

    async def ignored(_: Exception) -> None: ...

    client = await nats.connect(url, error_cb=ignored, max_reconnect_attempts=-1)
    try:
        yield client
    finally:
        await client.close()


async def refusal(url: str, subject: str, payload: bytes = b"") -> str:
    """What the server says to a publish it forbids; TimeoutError if it says nothing."""
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def heard(error: Exception) -> None:
        if not said.done():
            said.set_result(str(error))

    client = await nats.connect(url, error_cb=heard)
    try:
        await client.publish(subject, payload)
        return await asyncio.wait_for(said, PATIENCE_S)
    finally:
        await client.close()


async def store(stack: Embedded) -> None:
    """One row and one event."""
    database = await asyncpg.connect(stack.database_url)
    await database.execute("CREATE TABLE kept (text text); INSERT INTO kept VALUES ('row')")
    await database.close()
    async with connected(stack.nats_url) as client:
        await client.jetstream().add_stream(StreamConfig(name="EVENTS", subjects=["send.>"]))
        await client.jetstream().publish("send.requested.ws_1.con_1", b"event")


async def stored(stack: Embedded) -> tuple[str, bytes | None]:
    """The row and the event of `store`."""
    database = await asyncpg.connect(stack.database_url)
    row = await database.fetchval("SELECT text FROM kept")
    await database.close()
    async with connected(stack.nats_url) as client:
        event = await client.jetstream().get_msg("EVENTS", 1)
    return row, event.data


async def test_data_and_addresses_survive_a_restart(tmp_path: Path) -> None:
    async with Embedded(tmp_path / "data") as stack:
        await store(stack)
        addresses = (stack.database_url, stack.nats_urls)
    async with Embedded(tmp_path / "data", durable=False) as stack:
        assert await stored(stack) == ("row", b"event")
        assert (stack.database_url, stack.nats_urls) == addresses


async def test_killed_servers_come_back_on_their_ports_with_their_data(tmp_path: Path) -> None:
    said: list[str] = []
    async with Embedded(tmp_path / "data", durable=False) as stack:
        supervision = asyncio.create_task(stack.supervise(said.append))
        await store(stack)
        addresses = (stack.database_url, stack.nats_url)
        for server in (stack.postgres, stack.nats):
            victim = server.pid
            assert victim is not None
            os.kill(victim, signal.SIGKILL)

            async def is_back(server: PostgresServer | NatsServer = server) -> bool:
                return f"{server.name} is back on port {server.port}" in said

            await eventually(is_back)
            assert server.pid != victim
        assert (stack.database_url, stack.nats_url) == addresses
        assert await stored(stack) == ("row", b"event")
    await asyncio.wait_for(supervision, PATIENCE_S)
    assert "NATS ended (SIGKILL); starting it again" in said


async def test_a_nats_client_reconnects_to_a_restarted_server(nats_server: NatsServer) -> None:
    back = asyncio.Event()

    async def reconnected() -> None:
        back.set()

    async def ignored(_: Exception) -> None: ...

    client = await nats.connect(
        nats_server.url("api"),
        reconnected_cb=reconnected,
        error_cb=ignored,
        reconnect_time_wait=0.05,
        max_reconnect_attempts=-1,
    )
    nats_server.kill()
    await nats_server.start()
    await asyncio.wait_for(back.wait(), PATIENCE_S)
    await client.close()


async def test_postgresql_restarts_while_a_killed_one_has_left_processes_behind(
    postgres_server: PostgresServer,
) -> None:
    busy = await asyncpg.connect(postgres_server.url())
    query = asyncio.create_task(busy.fetchval("SELECT pg_sleep(600)"))

    async def is_running() -> bool:
        watcher = await asyncpg.connect(postgres_server.url())
        found = await watcher.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%(600)'"
            " AND pid <> pg_backend_pid()"
        )
        await watcher.close()
        return found == 1

    await eventually(is_running)
    postgres_server.kill()
    await postgres_server.start()
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await query
    again = await asyncpg.connect(postgres_server.url())
    assert await again.fetchval("SELECT 1") == 1
    await again.close()


async def test_a_recycled_process_id_in_postmaster_pid_does_not_hinder_a_start(
    postgres_server: PostgresServer,
) -> None:
    await postgres_server.stop()
    # Somebody else's process now has the id the last server noted; as after a reboot.
    pid_file = postgres_server.directory / "data" / "postmaster.pid"
    with subprocess.Popen(["/bin/sleep", "600"]) as other:  # noqa: ASYNC220 - returns at once
        pid_file.write_text(f"{other.pid}\n{pid_file.parent}\n1\n1\n\n\n\nready   \n")
        try:
            await postgres_server.start()
            assert other.poll() is None
        finally:
            other.kill()
    connection = await asyncpg.connect(postgres_server.url())
    await connection.close()


PARENT = """
import asyncio, pathlib, sys
from cli.embedded import Embedded
async def run():
    async with Embedded(pathlib.Path(sys.argv[1]), durable=False) as stack:
        print(stack.postgres.pid, stack.nats.pid, flush=True)
        await asyncio.sleep(600)
asyncio.run(run())
"""


def run_and_kill_a_parent(data: Path) -> list[int]:
    """Another process runs the stack on `data` and is killed; its servers' process ids."""
    command = [sys.executable, "-c", PARENT, str(data)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(_is_alive(pid) for pid in pids)
        parent.kill()
    return pids


async def test_a_start_takes_over_from_a_parent_that_was_killed(tmp_path: Path) -> None:
    async with Embedded(tmp_path / "data", durable=False) as stack:
        await store(stack)
        database_url = stack.database_url
    pids = await asyncio.to_thread(run_and_kill_a_parent, tmp_path / "data")
    async with Embedded(tmp_path / "data", durable=False) as stack:
        assert stack.database_url == database_url
        assert await stored(stack) == ("row", b"event")
        assert not any(_is_alive(pid) for pid in pids)


async def test_a_server_that_outlived_its_parent_is_ended_by_the_next_start(tmp_path: Path) -> None:
    passwords = generated_passwords()
    for make in (
        lambda: NatsServer(tmp_path / "nats", free_port(), passwords, durable=False),
        lambda: PostgresServer(tmp_path / "postgres", free_port(), "password", durable=False),
    ):
        left_over, successor = make(), make()
        await left_over.start()
        await successor.start()
        assert left_over.pid is None
        assert successor.pid is not None
        await successor.stop()


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells children on Linux only")
async def test_servers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    pids = await asyncio.to_thread(run_and_kill_a_parent, tmp_path / "data")

    async def have_ended() -> bool:
        return not any(_is_alive(pid) for pid in pids)

    await eventually(have_ended)


async def test_a_data_folder_is_refused_to_a_second_stack(tmp_path: Path) -> None:
    async with Embedded(tmp_path / "data", durable=False):
        with pytest.raises(DataFolderInUse, match=str(os.getpid())):
            async with Embedded(tmp_path / "data", durable=False):
                pass


async def test_a_port_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    async with Embedded(tmp_path / "data", durable=False) as stack:
        port = stack.nats.port
    occupant = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)
    async with (
        occupant,
        Embedded(tmp_path / "data", durable=False) as stack,
        connected(stack.nats_url),
    ):
        assert stack.nats.port != port


async def test_given_ports_are_used(tmp_path: Path) -> None:
    base = free_port()
    async with Embedded(tmp_path / "data", ports=base, durable=False) as stack:
        assert (stack.nats.port, stack.postgres.port) == (base, base + 1)


async def test_passwords_are_for_their_owner_only(tmp_path: Path) -> None:
    async with Embedded(tmp_path / "data", durable=False) as stack:
        holders = [tmp_path / "data" / "credentials.json", stack.nats.directory / "nats.conf"]
        assert [path.stat().st_mode & 0o077 for path in holders] == [0, 0]
        for path in (tmp_path / "data").rglob("server.log"):
            assert stack.postgres.password not in path.read_text()


async def test_a_wrong_password_is_refused(postgres_server: PostgresServer) -> None:
    for url in (postgres_server.url(), postgres_server.socket_url()):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url.replace(postgres_server.password, "wrong"))


async def test_the_socket_works_in_a_folder_with_a_long_name(tmp_path: Path) -> None:
    async with Embedded(tmp_path / ("long" * 30), durable=False) as stack:
        connection = await asyncpg.connect(stack.database_socket_url)
        assert await connection.fetchval("SELECT inet_client_addr() IS NULL")
        await connection.close()


async def test_texts_of_people_do_not_reach_the_database_log(
    postgres_server: PostgresServer,
) -> None:
    connection = await asyncpg.connect(postgres_server.url())
    await connection.execute("CREATE TABLE message (body text CHECK (length(body) < 5))")
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("INSERT INTO message VALUES ($1)", "a private text")
    await connection.close()
    log = postgres_server.log_path.read_text()
    assert "violates check constraint" in log
    assert "private" not in log


# --- who may do what ------------------------------------------------------------------------


async def logged(server: NatsServer, messages: int) -> None:
    """Makes the stream EVENTS with so many messages in it."""
    async with connected(server.url()) as ops:
        await ops.jetstream().add_stream(StreamConfig(name="EVENTS", subjects=["send.>"]))
        for _ in range(messages):
            await ops.jetstream().publish("send.requested.ws_1.con_1", b"event")


async def left_in_log(server: NatsServer) -> int:
    """How many messages the stream holds."""
    async with connected(server.url()) as ops:
        return (await ops.jetstream().stream_info("EVENTS")).state.messages


async def test_a_service_publishes_its_own_events_only(nats_server: NatsServer) -> None:
    await logged(nats_server, messages=0)
    async with connected(nats_server.url("api")) as api:
        assert (await api.jetstream().publish("send.requested.ws_1.con_1", b"event")).seq == 1
    forged = await refusal(nats_server.url("webhooks"), "send.requested.ws_1.con_1", b"event")
    assert FORBIDDEN in forged.lower()
    assert await left_in_log(nats_server) == 1


@pytest.mark.parametrize("user", [user for user in SERVICES if user != "api"])
async def test_nobody_but_the_eraser_deletes(nats_server: NatsServer, user: str) -> None:
    await logged(nats_server, messages=2)
    for request in ("STREAM.MSG.DELETE", "STREAM.PURGE", "STREAM.DELETE", "STREAM.UPDATE"):
        said = await refusal(nats_server.url(user), f"$JS.API.{request}.EVENTS", b'{"seq":1}')
        assert FORBIDDEN in said.lower()
    assert await left_in_log(nats_server) == 2


async def test_the_eraser_deletes_messages_and_does_not_change_the_stream(
    nats_server: NatsServer,
) -> None:
    await logged(nats_server, messages=2)
    async with connected(nats_server.url("api")) as api:
        assert await api.jetstream().delete_msg("EVENTS", 1)
    for request in ("STREAM.DELETE", "STREAM.UPDATE"):
        said = await refusal(nats_server.url("api"), f"$JS.API.{request}.EVENTS")
        assert FORBIDDEN in said.lower()
    assert await left_in_log(nats_server) == 1


@pytest.mark.parametrize("user", SERVICES)
async def test_every_service_reads_the_log(nats_server: NatsServer, user: str) -> None:
    await logged(nats_server, messages=1)
    async with connected(nats_server.url(user)) as service:
        reader = await service.jetstream().pull_subscribe("send.>", stream="EVENTS")
        (message,) = await reader.fetch(1, timeout=PATIENCE_S)
        assert message.data == b"event"


async def test_each_test_has_an_empty_database_of_its_own(
    database_url: str, postgres_url: str
) -> None:
    assert database_url != postgres_url
    connection = await asyncpg.connect(database_url)
    assert (
        await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname='public'") == 0
    )
    assert await connection.fetchval("SHOW server_version_num") >= "180000"
    await connection.close()


def test_the_deployed_configuration_is_the_permission_table() -> None:
    assert (REPOSITORY / "deploy" / "nats.conf").read_text() == deployment_config()
