"""Two instances of every service: one leads, the other takes over, nothing doubles.

A leader is killed, told to stop, or hangs while PostgreSQL gives its lock away and believes, when
it wakes, that it still leads.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import asyncpg
import pytest

from tests.faults.storm import Storm, seeded
from tests.stack import SERVICES, Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PHONES = 40
RATE = 20.0
TAKEOVER_BOUND_S = 20.0  # five seconds are promised; a loaded machine is given some more
HANGS_S = 1.0
# The session that holds the advisory lock of a service's schema: its leader's.
END_LEADERS_SESSION = """
SELECT pg_terminate_backend(pid) FROM pg_locks
 WHERE locktype = 'advisory' AND granted AND classid = (hashtext($1)::bigint & 4294967295)
   AND objid = (hashtext($1)::bigint & 4294967295)
"""


async def has_leader(stack: Stack, service: str) -> str:
    return await stack.until(f"{service} has a leader", lambda: stack.leader(service))


async def end_leaders_session(stack: Stack, service: str) -> None:
    database = await asyncpg.connect(stack.postgres.url())
    try:
        ended = await database.fetchval(END_LEADERS_SESSION, service)
    finally:
        await database.close()
    assert ended, f"nobody held the lock of {service}"


async def leader_but(stack: Stack, service: str, old: str) -> str | None:
    now = await stack.leader(service)
    return None if now == old else now


async def test_the_other_instance_takes_over_when_a_leader_is_killed(tmp_path: Path) -> None:
    rng, seed = seeded()
    async with Stack(tmp_path, instances=2) as stack:
        storm = Storm(stack, rng, seed, rate=RATE)
        await storm.prepare(PHONES)
        async with storm.under_load():
            for service in SERVICES:
                leader = await has_leader(stack, service)
                stack.take_down(leader)
                storm.kills.append(leader)
                began = time.monotonic()
                await stack.until(
                    f"the other instance of {service} leads",
                    lambda s=service, old=leader: leader_but(stack, s, old),
                    TAKEOVER_BOUND_S,
                )
                print(f"{service}: taken over after {time.monotonic() - began:.2f} s")
                await stack.bring_up(leader)
        await storm.settle()
        await storm.count()
        await stack.verify()


async def test_a_leader_that_hung_and_wakes_finds_itself_replaced(tmp_path: Path) -> None:
    rng, seed = seeded()
    async with Stack(tmp_path, instances=2) as stack:
        storm = Storm(stack, rng, seed, rate=RATE)
        await storm.prepare(PHONES)
        async with storm.under_load():
            for service in ("gateway", "scheduler", "inbound", "webhooks"):
                leader = await has_leader(stack, service)
                stack.programs[leader].pause()
                storm.kills.append(f"{leader} hangs")
                await end_leaders_session(stack, service)
                await stack.until(
                    f"the other instance of {service} leads",
                    lambda s=service, old=leader: leader_but(stack, s, old),
                )
                await asyncio.sleep(HANGS_S)
                stack.programs[leader].resume()
                await stack.all_ready()
        await storm.settle()
        await storm.count()
        await stack.verify()


async def test_services_told_to_stop_lose_nothing(tmp_path: Path) -> None:
    """SIGTERM to each in turn, with phones connected and requests under way: it ends by itself,
    well and in time, whatever is open."""
    rng, seed = seeded()
    async with Stack(tmp_path) as stack:
        storm = Storm(stack, rng, seed, rate=RATE)
        await storm.prepare(PHONES)
        async with storm.under_load():
            for name in stack.ports:
                await asyncio.sleep(rng.uniform(0.1, 0.5))
                began = time.monotonic()
                await stack.stop(name)
                storm.kills.append(f"{name} stopped in {time.monotonic() - began:.1f} s")
                await stack.bring_up(name)
        print(storm.kills)
        # A request that was under way was ended, not dropped: nobody's key is left running.
        assert storm.load.answers[409] == 0, storm.message(["a drained request was left running"])
        await storm.settle()
        await storm.count()
        await stack.verify()
