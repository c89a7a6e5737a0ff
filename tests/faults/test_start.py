"""Starting beside a leader at work: a second instance waits for nothing and is in nobody's way."""

from __future__ import annotations

import asyncio

import asyncpg

from shared import sql

SERVICE = "scheduler"
BOUND_S = 20.0


async def test_an_instance_starts_while_the_leader_is_in_a_transaction(database_url: str) -> None:
    """A leader's batch may be open for long; what locks whole tables would wait for its end, and
    two tables locked in another order than the leader's are a deadlock."""
    first = await asyncpg.connect(database_url)
    second = await asyncpg.connect(database_url)
    try:
        await sql.migrate(first, SERVICE)
        async with first.transaction():
            await first.execute(
                f"INSERT INTO {SERVICE}.contact (id, workspace_id, opted_out, seq)"
                " VALUES ('con_1', 'ws_1', false, 1)"
            )
            await asyncio.wait_for(sql.migrate(second, SERVICE), BOUND_S)
    finally:
        await first.close()
        await second.close()
