"""From POST /v1/sms/send to the frame on the phone's stream, gap and caps off.

Counted from the moment the request was due in an open loop, so a stall delays nobody's clock, to
the moment the simulated phone's process read the bytes of the frame.
"""

import asyncio

from tests.bench import load, texts
from tests.bench.account import Account
from tests.bench.handsets import Handsets
from tests.bench.readings import Finding, percentile, spread
from tests.bench.stack import Stack, shares

P50_MAX_S, P99_MAX_S, BUSY_P99_MAX_S = 0.005, 0.008, 0.025
SLOW_PER_S, BUSY_PER_S = 100, 600
WARM_UP_S = 3.0
CONNECTIONS = 64
SETTLE_S = 2.0  # what is still under way when the load ends
FIRST = 10_000_000  # numbers of this measure's texts


async def measure(stack: Stack, account: Account, handsets: Handsets, seconds: float) -> Finding:
    """Frames at 100 and at 600 requests a second."""
    finding = Finding("latency")
    first = FIRST
    for per_s in (SLOW_PER_S, BUSY_PER_S):
        await _run(stack, account, handsets, per_s, WARM_UP_S, first)
        first += int(per_s * WARM_UP_S)
        before, cpu = stack.cpu_s(), await handsets.cpu_s()
        outcome, waits = await _run(stack, account, handsets, per_s, seconds, first)
        used = shares(before, stack.cpu_s(), outcome.wall_s + SETTLE_S)
        phones = 100 * (await handsets.cpu_s() - cpu) / (outcome.wall_s + SETTLE_S)
        first += len(outcome.due)
        _judge(finding, per_s, waits, len(outcome.due))
        finding.add(f"202 at {per_s}/s", spread(outcome.waits()))
        finding.remarks += [
            f"at {per_s}/s, shares of a core: {used}, simulated phones {phones:.0f} %, "
            f"load generator {outcome.core_share():.0f} %",
            f"at {per_s}/s, the load generator late by: {spread(outcome.lateness())}",
        ]
    return finding


def _judge(finding: Finding, per_s: int, waits: list[float], asked: int) -> None:
    p50, p99 = percentile(waits, 50), percentile(waits, 99)
    if per_s == SLOW_PER_S:
        target, reached = "p50 ≤ 5 ms, p99 ≤ 8 ms", p50 <= P50_MAX_S and p99 <= P99_MAX_S
    else:
        target, reached = "p99 ≤ 25 ms", p99 <= BUSY_P99_MAX_S
    whole = len(waits) == asked
    arrived = "" if whole else f", {asked - len(waits)} frames did not come"
    finding.add(f"POST → frame at {per_s}/s", spread(waits) + arrived, target, reached and whole)


async def _run(
    stack: Stack, account: Account, handsets: Handsets, per_s: int, seconds: float, first: int
) -> tuple[load.Outcome, list[float]]:
    await handsets.frames()
    outcome = await load.in_its_own_process(
        load.paced,
        stack.ports["api"],
        (texts.single, account.api_key, first),
        per_s=per_s,
        seconds=seconds,
        connections=CONNECTIONS,
        expected_status=202,
    )
    outcome.insist()
    await asyncio.sleep(SETTLE_S)
    frames = await handsets.frames()
    waits = [frames[first + n] - due for n, due in enumerate(outcome.due) if first + n in frames]
    return outcome, waits
