"""Every table that holds a workspace's rows shows them to that workspace alone."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from shared import sql
from tests.shape.test_shape import SERVICES

TABLES = """
SELECT c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced,
       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'workspace_id')
           AS has_workspace,
       (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')
"""
RIGHTS = "SELECT has_table_privilege($1, $2, $3)"
WITHOUT_WORKSPACE = {"position", "migration", "pruned"}  # how far a service has come, no rows


@pytest.mark.parametrize("service", SERVICES)
async def test_no_table_is_open_to_another_workspace(service: str, database_url: str) -> None:
    admin: asyncpg.Connection[Any] = await asyncpg.connect(database_url)
    try:
        await sql.migrate(admin, service)
        looked_at = 0
        for schema in (service, f"{service}_vault"):
            for table in await admin.fetch(TABLES, schema):
                if not table["has_workspace"]:
                    tenant = (f"eightms_{service}_tenant", f"{schema}.{table['name']}")
                    shown = await admin.fetchval(RIGHTS, *tenant, "SELECT")
                    written = await admin.fetchval(RIGHTS, *tenant, "INSERT, UPDATE, DELETE")
                    assert table["name"] in WITHOUT_WORKSPACE or not shown, table["name"]
                    assert table["name"] == "migration" or not written, table["name"]
                    continue
                looked_at += 1
                assert table["forced"], table["name"]
                assert table["policies"] == 2, table["name"]
                await _sees_nothing(admin, service, f"{schema}.{table['name']}")
        assert looked_at
    finally:
        await admin.close()


async def _sees_nothing(admin: Any, service: str, table: str) -> None:
    """A row of workspace A, put in by force, is neither there for B nor in its reach."""
    async with admin.transaction():
        await admin.execute("SET LOCAL session_replication_role = replica")
        columns = await admin.fetch(
            "SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
            " WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped"
            " AND attgenerated = ''",
            table,
        )
        checks = await admin.fetch(
            "SELECT conname FROM pg_constraint WHERE conrelid = $1::text::regclass"
            " AND contype = 'c'",
            table,
        )
        for check in checks:
            await admin.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{check["conname"]}"')
        values = ", ".join(_value(c["attname"], c["type"]) for c in columns)
        await admin.execute(f"INSERT INTO {table} VALUES ({values})")
        await admin.execute(f"SET LOCAL ROLE eightms_{service}_tenant")
        for workspace, seen in (("ws_a", 1), ("ws_b", 0), ("", 0)):
            await admin.execute("SELECT set_config('app.workspace_id', $1, true)", workspace)
            count = await admin.fetchval(f"SELECT count(*) FROM {table}")
            assert count == seen, f"{table} for {workspace or 'nobody'}"
        await admin.execute("SELECT set_config('app.workspace_id', 'ws_b', true)")
        for statement in (
            f"UPDATE {table} SET workspace_id = workspace_id",
            f"UPDATE {table} SET workspace_id = 'ws_b'",
            f"DELETE FROM {table}",
        ):
            assert await _attempt(admin, statement) in ("refused", "UPDATE 0", "DELETE 0"), table
        theirs = f"INSERT INTO {table} VALUES ({values})"
        assert await _attempt(admin, theirs) == "refused", table
        assert await _attempt(admin, f"TRUNCATE {table}") == "refused", table
        await admin.execute("SELECT set_config('app.workspace_id', 'ws_a', true)")
        stolen = f"UPDATE {table} SET workspace_id = 'ws_b'"  # given away is as bad as taken
        assert await _attempt(admin, stolen) == "refused", table
        assert await admin.fetchval(f"SELECT count(*) FROM {table}") == 1
        await admin.execute("RESET ROLE")
        await admin.execute(f"DELETE FROM {table}")


async def _attempt(admin: Any, statement: str) -> str:
    """What came of it: PostgreSQL's word, or "refused"."""
    try:
        async with admin.transaction():
            return await admin.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return "refused"


def _value(name: str, kind: str) -> str:
    if name == "workspace_id":
        return "'ws_a'"
    match kind.split("(", maxsplit=1)[0]:
        case "text":
            return "'x'"
        case "boolean":
            return "true"
        case "json" | "jsonb":
            return "'{}'"
        case "bytea":
            return "'\\x00'"
        case kind if kind.startswith("timestamp"):
            return "now()"
        case kind if kind.endswith("[]"):
            return "'{}'"
        case _:
            return "1"
