"""Migrations, roles, row-level security and pools on a real database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from shared import ids, sql
from shared.errors import NewerSchema
from shared.sql import Database
from tests.fakes import tiny_service

tiny_service.register()
OURS, THEIRS = ids.derive("ws", "ours"), ids.derive("ws", "theirs")
INSERT = """INSERT INTO note (id, workspace_id, person_id, body, state, seen, tags, seq)
            VALUES ($1, $2, 'con_1', 'Hi', 'open', 1, '["x"]', 1)"""
SECRET = "INSERT INTO vault_secret VALUES ($1, $2, 'word')"


@pytest_asyncio.fixture
async def admin(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await sql.migrate(connection, "tiny")
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def db(database_url: str, admin: asyncpg.Connection) -> AsyncIterator[Database]:
    made = await Database.open(database_url, "tiny")
    await made.owner.execute(INSERT, "msg_ours", OURS)
    await made.owner.execute(INSERT, "msg_theirs", THEIRS)
    await made.owner.execute(SECRET, "key_ours", OURS)
    await made.owner.execute(SECRET, "key_theirs", THEIRS)
    yield made
    await made.close()


# -- migrations ------------------------------------------------------------------------------------


async def test_migrating_again_changes_nothing(admin: asyncpg.Connection, db: Database) -> None:
    said: list[str] = []
    await sql.migrate(admin, "tiny", say=said.append)
    assert said == []
    assert await db.owner.fetchval("SELECT count(*) FROM note") == 2


async def test_many_instances_migrate_at_once(database_url: str) -> None:
    async def one() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await sql.migrate(connection, "tiny")
        finally:
            await connection.close()

    await asyncio.gather(*(one() for _ in range(6)))


async def test_a_schema_from_a_newer_version_is_refused(admin: asyncpg.Connection) -> None:
    await admin.execute("INSERT INTO tiny.migration (name) VALUES ('999_future.sql')")
    with pytest.raises(NewerSchema, match="999_future"):
        await sql.migrate(admin, "tiny")


async def test_a_migration_that_fails_leaves_nothing_behind(
    admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sql.migrations

    def with_a_broken_one(service: str, folder: str) -> list[tuple[str, str]]:
        broken = "CREATE TABLE half (id text); SELECT 1/0;"
        return [
            *real(service, folder),
            *([("002_broken.sql", broken)] if folder == "schema" else []),
        ]

    monkeypatch.setattr(sql, "migrations", with_a_broken_one)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await sql.migrate(admin, "tiny")
    monkeypatch.undo()
    assert await admin.fetchval("SELECT to_regclass('tiny.half')") is None
    await sql.migrate(admin, "tiny")


async def test_a_rebuild_beside_the_live_tables_shares_only_the_vault(
    database_url: str, admin: asyncpg.Connection, db: Database
) -> None:
    await sql.migrate(admin, "tiny", schema="tiny_aside")
    aside = await Database.open(database_url, "tiny", schema="tiny_aside")
    assert await aside.owner.fetchval("SELECT count(*) FROM note") == 0
    assert await aside.owner.fetchval("SELECT seq FROM position") == 0
    assert await aside.owner.fetchval("SELECT count(*) FROM vault_secret") == 2
    await aside.owner.execute("TRUNCATE note")
    assert await db.owner.fetchval("SELECT count(*) FROM note") == 2
    await aside.close()


# -- row-level security ----------------------------------------------------------------------------


async def test_a_request_sees_its_own_workspace_only(db: Database) -> None:
    for workspace, note in ((OURS, "msg_ours"), (THEIRS, "msg_theirs")):
        async with db.tenant(workspace) as tenant:
            assert [r["id"] for r in await tenant.fetch("SELECT id FROM note")] == [note]
            assert await tenant.fetchval("SELECT count(*) FROM vault_secret") == 1


async def test_without_a_workspace_nothing_is_seen(database_url: str, db: Database) -> None:
    connection = await asyncpg.connect(
        database_url,
        server_settings={"role": "eightms_tiny_tenant", "search_path": "tiny, tiny_vault"},
    )
    assert await connection.fetchval("SELECT count(*) FROM note") == 0
    assert await connection.fetchval("SELECT count(*) FROM vault_secret") == 0
    await connection.close()


async def test_a_request_cannot_write_projected_rows(db: Database) -> None:
    statements = (
        "UPDATE note SET body = 'x'",
        "DELETE FROM note",
        "TRUNCATE note",
        "UPDATE position SET seq = 5",
        "DROP TABLE note",
        "CREATE TABLE mine (id text)",
    )
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with db.tenant(OURS) as tenant:
                await tenant.execute(statement)


async def test_a_request_touches_no_vault_row_of_another_workspace(db: Database) -> None:
    async with db.tenant(OURS) as tenant:
        assert await tenant.execute("UPDATE vault_secret SET word = 'x'") == "UPDATE 1"
        assert (
            await tenant.execute("DELETE FROM vault_secret WHERE id = 'key_theirs'") == "DELETE 0"
        )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with db.tenant(OURS) as tenant:
            await tenant.execute(SECRET, "key_new", THEIRS)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with db.tenant(OURS) as tenant:
            await tenant.execute("UPDATE vault_secret SET workspace_id = $1", THEIRS)
    rows = await db.owner.fetch("SELECT id, word FROM vault_secret ORDER BY id")
    assert [tuple(row) for row in rows] == [("key_ours", "x"), ("key_theirs", "word")]


@pytest.mark.parametrize("text", ["", "ws'; DROP TABLE note; --", "ws_1\n", "x" * 65, "wß"])
async def test_only_an_id_names_a_workspace(db: Database, text: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        async with db.tenant(text):
            pass


# -- transactions of requests ----------------------------------------------------------------------


async def test_a_request_that_fails_changes_nothing(db: Database) -> None:
    with pytest.raises(RuntimeError):
        async with db.tenant(OURS) as tenant:
            await tenant.execute("UPDATE vault_secret SET word = 'x'")
            raise RuntimeError
    assert await db.owner.fetchval("SELECT count(*) FROM vault_secret WHERE word = 'x'") == 0


async def test_cancelled_and_failed_requests_leave_the_pool_clean(db: Database) -> None:
    """Whatever happens to a request, the next one on its connection sees its own rows only."""

    async def request(n: int) -> int:
        workspace = OURS if n % 2 else THEIRS
        async with db.tenant(workspace) as tenant:
            if n % 3 == 0:
                await tenant.execute("SELECT pg_sleep(0.02)")
            if n % 5 == 0:
                await tenant.execute("SELECT 1/0")
            if n % 7 == 0:
                await tenant.execute("UPDATE vault_secret SET word = 'y'")
                await tenant.execute("SELECT pg_sleep(0.02)")
            ids_ = [row["id"] for row in await tenant.fetch("SELECT id FROM note")]
        assert ids_ == ["msg_ours" if n % 2 else "msg_theirs"]
        return n

    for start in range(0, 300, 60):
        tasks = [asyncio.create_task(request(start + n)) for n in range(60)]
        for n, task in enumerate(tasks):
            await asyncio.sleep(0)
            if n % 4 == 0:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = {type(r) for r in results}
        assert kinds <= {int, asyncio.CancelledError, asyncpg.DivisionByZeroError}, kinds
    for n in range(1, 60, 2):
        if n % 5:
            assert await request(n) == n


async def test_a_transaction_left_open_ends_when_its_connection_goes_back(db: Database) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        async with db.tenant(OURS) as tenant:
            await tenant.execute("UPDATE vault_secret SET word = 'z'")
            await tenant.execute("COMMIT; BEGIN; UPDATE vault_secret SET word = 'lost'")
            await tenant.execute("SAVEPOINT a")
            raise asyncio.CancelledError
    async with db.tenant(OURS) as tenant:
        assert await tenant.fetchval("SELECT word FROM vault_secret") == "z"


# -- statements ------------------------------------------------------------------------------------


def test_statements_are_found_by_their_names() -> None:
    statements = sql.queries("services.tiny")
    assert set(vars(statements)) == {"to_reject", "count_notes"}
    assert statements.count_notes.endswith("SELECT count(*) FROM note;")


def test_a_service_without_a_folder_has_no_migrations(tmp_path: Path) -> None:
    assert sql.migrations("tiny", "nothing") == []
    assert [name for name, _ in sql.migrations("tiny", "vault")] == ["001_tiny.sql"]
