"""kill -9 at random moments of everything there is, under load; then peace; then the count.

Nothing accepted is lost, nothing is sent twice, nothing is told that did not happen, a STOP holds,
and every table is what the log makes of it. By default one storm with 200 phones that hits every
part; with EIGHTMS_FAULTS=full also a storm for each part, a longer one, and one with two instances
of every service. EIGHTMS_FAULTS_SEED repeats a run's order and load.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.storm import FULL, Storm, seeded
from tests.stack import SERVICES, Stack

PHONES = 200
RATE = 25.0  # requests a second: enough to be hit everywhere, little enough for two cores
SERVERS = ("nats", "postgres", "simphone")
full_only = pytest.mark.skipif(not FULL, reason="EIGHTMS_FAULTS=full runs it")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200 if FULL else 300)]


async def weather(
    stack: Stack,
    victims: tuple[str, ...],
    *,
    phones: int = PHONES,
    kills_each: int,
    pause_s: tuple[float, float],
) -> None:
    """One storm from the clear sky before to the count afterwards."""
    rng, seed = seeded()
    storm = Storm(stack, rng, seed, rate=RATE)
    steps = {
        "prepared": lambda: storm.prepare(phones),
        "raged": lambda: storm.rage(victims, kills_each, pause_s),
        "settled": storm.settle,
        "restarted": storm.restart_everything,
        "counted": storm.count,
        "compared": storm.compare_api,
        "verified": stack.verify,
    }
    for done, step in steps.items():
        began = time.monotonic()
        await step()
        print(f"{done} in {time.monotonic() - began:.1f} s; {len(storm.load.wishes)} wishes")


async def test_nothing_is_lost_or_doubled_when_everything_is_killed(tmp_path: Path) -> None:
    async with Stack(tmp_path, durable=True) as stack:
        victims = (*stack.ports, *SERVERS)
        kills_each, pause_s = (12, (0.2, 4.0)) if FULL else (3, (0.2, 1.5))
        await weather(stack, victims, kills_each=kills_each, pause_s=pause_s)


@full_only
@pytest.mark.parametrize("victim", [*(f"{service}.1" for service in SERVICES), *SERVERS])
async def test_nothing_is_lost_or_doubled_when_one_part_is_killed(
    tmp_path: Path, victim: str
) -> None:
    async with Stack(tmp_path, durable=True) as stack:
        await weather(stack, (victim,), kills_each=20, pause_s=(0.5, 3.0))


@full_only
async def test_nothing_is_lost_or_doubled_with_two_instances(tmp_path: Path) -> None:
    async with Stack(tmp_path, instances=2, durable=True) as stack:
        victims = (*stack.ports, *SERVERS)
        await weather(stack, victims, kills_each=6, pause_s=(0.2, 3.0))
