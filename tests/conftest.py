"""Real servers for the tests: PostgreSQL and NATS in temporary folders, on free ports.

    database_url     a fresh, empty database; dropped afterwards
    nats_url         a fresh NATS server, as ops;  nats_urls  the same for every service
    nats_server      that server itself: kill() it, start() it again on its port
    postgres_server  a PostgreSQL of the test's own, to kill() and start(): slower

PostgreSQL runs once per session: DATABASE_URL if set (its user must be a superuser), else a
container where a Docker engine answers, else the embedded server.
"""

import os
import secrets
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import settings

from cli.embedded import NatsServer, PostgresServer, free_port, generated_passwords

# A machine that is busy with something else is no failure: nothing here judges by time.
settings.register_profile("8ms", deadline=None)
settings.load_profile("8ms")

POSTGRES_IMAGE = "postgres:18"
POSTGRES_INITDB = "--encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A PostgreSQL server for the session, as its superuser."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield given
        return
    async with AsyncExitStack() as stack:
        url = _container_url(stack)
        if url is None:
            directory = tmp_path_factory.mktemp("postgres")
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            server = new_postgres(directory)
            stack.push_async_callback(server.stop)
            await server.start()
            url = server.url()
        yield url


def _container_url(stack: AsyncExitStack) -> str | None:
    """A PostgreSQL container's URL, or None without a Docker engine."""
    if not _docker_answers():
        return None
    from testcontainers.community.postgres import PostgresContainer

    container = PostgresContainer(POSTGRES_IMAGE, username="eightms", driver=None)
    container.with_env("POSTGRES_INITDB_ARGS", POSTGRES_INITDB)
    container.with_command("postgres -c fsync=off -c max_connections=200")
    stack.enter_context(container)
    return container.get_connection_url()


def _docker_answers() -> bool:
    host = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    if host.scheme != "unix":
        return True  # somebody named an engine: should it be away, that is to be seen
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(host.path) == 0


@pytest_asyncio.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """A fresh, empty database."""
    name = f"test_{secrets.token_hex(8)}"
    await execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE template0")
    yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_database_url(postgres_url: str) -> AsyncIterator[str]:
    """A fresh, empty database for all tests of a module."""
    name = f"test_{secrets.token_hex(8)}"
    await execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE template0")
    yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest_asyncio.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A running NATS server of this test's own, with no stream."""
    server = new_nats(tmp_path / "nats")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def nats_url(nats_server: NatsServer) -> str:
    """The test's NATS server as ops, who may do everything."""
    return nats_server.url()


@pytest.fixture
def nats_urls(nats_server: NatsServer) -> dict[str, str]:
    """The test's NATS server for every service, each as itself, and ops."""
    return nats_server.urls


@pytest_asyncio.fixture
async def postgres_server(tmp_path: Path) -> AsyncIterator[PostgresServer]:
    """A running PostgreSQL server of this test's own."""
    server = new_postgres(tmp_path / "postgres")
    await server.start()
    yield server
    await server.stop()


def new_postgres(directory: Path) -> PostgresServer:
    """A PostgreSQL server on a free port, not started, that need not survive a power cut."""
    return PostgresServer(directory, free_port(), secrets.token_urlsafe(12), durable=False)


def new_nats(directory: Path) -> NatsServer:
    """A NATS server on a free port, not started, that need not survive a power cut."""
    return NatsServer(directory, free_port(), generated_passwords(), durable=False)
