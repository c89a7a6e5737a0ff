"""`eightms keys` and `eightms doctor`: secrets under a new key, and what is found wrong."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from cli import identity
from cli.errors import CommandError
from cli.keys import SEALED, reseal_all, usage
from cli.stack import installed_services
from services.api import idempotency
from services.webhooks import secrets
from shared import sql
from shared.bus import Bus
from shared.clock import SystemClock
from shared.log import Log
from shared.vault import KeyRing, UnknownKey
from tests.integration import ops_story as story

HASHES = {  # bytea columns that hold no secret: one-way, or nothing to hide
    ("api_vault.vault_idempotency", "fingerprint"),
}


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[Log]:
    log = await Log.connect(nats_url, "test")
    await log.ensure_stream()
    yield log
    await log.close()


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A database with the vaults of every service."""
    connection = await asyncpg.connect(database_url)
    for service in installed_services():
        await sql.migrate(connection, service)
    yield connection
    await connection.close()


@pytest.fixture
def command(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> story.Command:
    return story.Command(database_url, monkeypatch, capfdbinary)


async def hooks(database_url: str) -> sql.Database:
    """The vault of webhooks, as the service has it."""
    return await sql.Database.open(database_url, "webhooks")


async def store_secret(database_url: str, keys: KeyRing, endpoint_id: str) -> str:
    """A signing secret, sealed as webhooks seals it."""
    database = await hooks(database_url)
    async with database.tenant(story.WORKSPACE) as db:
        secret = await secrets.add(db, keys, story.WORKSPACE, endpoint_id, SystemClock().now())
    await database.close()
    return secret


async def read_secrets(database_url: str, keys: KeyRing, endpoint_id: str) -> list[str]:
    """Opened as webhooks opens them."""
    database = await hooks(database_url)
    async with database.owner.acquire() as db:
        sealed = [
            row[0]
            for row in await db.fetch(
                "SELECT sealed FROM vault_secret WHERE endpoint_id = $1", endpoint_id
            )
        ]
    await database.close()
    return secrets.opened(keys, endpoint_id, sealed)


async def test_every_sealed_column_of_every_vault_is_known(db: asyncpg.Connection) -> None:
    rows = await db.fetch(
        "SELECT n.nspname || '.' || c.relname AS place, a.attname FROM pg_attribute a"
        "  JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname LIKE '%\\_vault' AND c.relkind = 'r' AND a.attnum > 0"
        "   AND NOT a.attisdropped AND a.atttypid = 'bytea'::regtype"
    )
    found = {(row["place"], row["attname"]) for row in rows}
    assert found - HASHES == {(one.table, one.column) for one in SEALED}


async def test_after_a_rotation_the_new_key_alone_opens_everything(
    db: asyncpg.Connection, database_url: str
) -> None:
    old, new = KeyRing.generate_key(), KeyRing.generate_key()
    before = KeyRing.parse(old)
    given = {name: await store_secret(database_url, before, name) for name in ("whk_1", "whk_2")}

    done, _ = await reseal_all(db, KeyRing.parse(f"{new},{old}"))

    only_new = KeyRing.parse(new)
    assert done == 2
    assert await usage(db) == {only_new.key_ids[0]: 2}
    for name, secret in given.items():
        assert await read_secrets(database_url, only_new, name) == [secret]
        with pytest.raises(UnknownKey):
            await read_secrets(database_url, before, name)


async def test_a_stored_answer_is_opened_after_a_rotation(
    db: asyncpg.Connection, database_url: str
) -> None:
    """The context of every sealed column is the one its service seals for."""
    old, new = KeyRing.generate_key(), KeyRing.generate_key()
    claim = idempotency.Claim("send_sms", "key-1", b"f" * 32, story.BEGAN)
    context = idempotency._context(story.WORKSPACE, claim)
    await db.execute(
        "INSERT INTO api_vault.vault_idempotency (workspace_id, operation, key, fingerprint,"
        " claimed_at, running_until, expires_at, status, answer)"
        " VALUES ($1, $2, $3, $4, now(), now(), now(), 202, $5)",
        story.WORKSPACE,
        claim.operation,
        claim.key,
        claim.fingerprint,
        KeyRing.parse(old).seal(b"answer", context),
    )
    await reseal_all(db, KeyRing.parse(f"{new},{old}"))
    sealed = await db.fetchval("SELECT answer FROM api_vault.vault_idempotency")
    assert KeyRing.parse(new).open(sealed, context) == b"answer"


async def test_a_rotation_run_twice_changes_nothing_the_second_time(
    db: asyncpg.Connection, database_url: str
) -> None:
    old, new = KeyRing.generate_key(), KeyRing.generate_key()
    await store_secret(database_url, KeyRing.parse(old), "whk_1")
    ring = KeyRing.parse(f"{new},{old}")
    assert (await reseal_all(db, ring))[0] == 1
    assert (await reseal_all(db, ring))[0] == 0


async def test_a_missing_key_stops_the_rotation_and_is_named(
    db: asyncpg.Connection, database_url: str
) -> None:
    lost = KeyRing.parse(KeyRing.generate_key())
    await store_secret(database_url, lost, "whk_1")
    ring = KeyRing.parse(f"{KeyRing.generate_key()},{KeyRing.generate_key()}")
    with pytest.raises(CommandError, match=lost.key_ids[0]):
        await reseal_all(db, ring)
    assert await usage(db) == {lost.key_ids[0]: 1}


async def test_with_keys_in_the_environment_a_rotation_takes_two_runs(
    log: Log, db: asyncpg.Connection, database_url: str, nats_url: str, command: story.Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    await store_secret(database_url, KeyRing.parse(story.KEY_TEXT), "whk_1")

    code, out, _ = await command(nats_url, "keys", "rotate")
    both = out.strip()
    assert code == 0
    assert both.endswith("," + story.KEY_TEXT)
    assert len(await usage(db)) == 1  # nothing is sealed under what no service knows

    monkeypatch.setattr(story, "KEY_TEXT", both)
    code, _, said = await command(nats_url, "keys", "rotate")
    assert (code, "1 secret encrypted" in said) == (0, True)
    assert await usage(db) == {KeyRing.parse(both).key_ids[0]: 1}

    _, out, _ = await command(nats_url, "keys", "list", "--json")
    assert [one["secrets"] for one in json.loads(out)] == [1, 0]


async def test_another_oldest_key_is_refused_and_the_right_one_is_not(log: Log) -> None:
    first = KeyRing.generate_key()
    await identity.confirm(log, KeyRing.parse(first))
    await identity.confirm(log, KeyRing.parse(f"{KeyRing.generate_key()},{first}"))
    with pytest.raises(CommandError, match="not the one this log began with"):
        await identity.confirm(log, KeyRing.parse(KeyRing.generate_key()))


async def test_the_record_of_the_key_outlives_a_new_start(log: Log) -> None:
    ring = KeyRing.parse(KeyRing.generate_key())
    await identity.confirm(log, ring)
    await log.ensure_stream()
    assert await identity.stored(log) == ring.identity_check


async def findings(command: story.Command, nats_url: str, *more: str) -> dict[str, dict[str, str]]:
    """What the doctor says, by what it is about."""
    _, out, _ = await command(nats_url, "doctor", "--json", *more)
    return {one["what"]: one for one in json.loads(out.splitlines()[-1])}


async def test_the_doctor_is_content_with_a_sound_system(
    log: Log, db: asyncpg.Connection, nats_url: str, command: story.Command, tmp_path: Path
) -> None:
    await Bus(log).ensure_presence()
    found = await findings(command, nats_url, "--data", str(tmp_path))
    assert {one["state"] for one in found.values()} <= {"ok", "warning"}
    assert {"python", "disk", "postgresql", "nats", "event log", "clock"} <= found.keys()
    code, out, said = await command(nats_url, "doctor", "--data", str(tmp_path))
    assert (code, "Nothing needs you" in said) == (0, True)
    assert "agrees with both servers" in out


async def test_the_doctor_finds_a_file_that_others_can_read(
    log: Log, db: asyncpg.Connection, nats_url: str, command: story.Command, tmp_path: Path
) -> None:
    (tmp_path / "secret_key").write_text("x")
    os.chmod(tmp_path / "secret_key", 0o644)
    found = (await findings(command, nats_url, "--data", str(tmp_path)))["permissions"]
    assert found["state"] == "bad"
    assert "chmod 600" in found["next_step"]


async def test_the_doctor_finds_a_wrong_key_a_missing_bucket_and_a_newer_schema(
    log: Log, db: asyncpg.Connection, nats_url: str, command: story.Command, tmp_path: Path
) -> None:
    await identity.confirm(log, KeyRing.parse(KeyRing.generate_key()))
    await db.execute("INSERT INTO scheduler.migration (name) VALUES ('999_future.sql')")
    found = await findings(command, nats_url, "--data", str(tmp_path))
    assert found["secret key"]["state"] == "bad"
    assert found["presence"]["state"] == "bad"
    assert "newer version" in found["tables"]["detail"]
    assert (await command(nats_url, "doctor", "--data", str(tmp_path)))[0] == 1


async def test_the_doctor_finds_a_stream_configured_otherwise(
    log: Log, db: asyncpg.Connection, nats_url: str, command: story.Command, tmp_path: Path
) -> None:
    info = await log.api("STREAM.INFO.EVENTS")
    await log.api("STREAM.UPDATE.EVENTS", info["config"] | {"discard": "old"})
    found = (await findings(command, nats_url, "--data", str(tmp_path)))["event log"]
    assert (found["state"], "discard" in found["detail"]) == ("bad", True)


async def test_the_doctor_says_which_server_is_away(
    nats_url: str, command: story.Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("cli.stack.CONNECT_TIMEOUT_S", 0.5)
    found = await findings(command, "nats://ops:x@127.0.0.1:1", "--data", str(tmp_path))
    assert "NATS at 127.0.0.1:1 does not answer" in found["servers"]["detail"]
    assert found["servers"]["state"] == "bad"
