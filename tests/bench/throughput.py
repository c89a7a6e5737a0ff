"""End to end: from POST /v1/sms/send/bulk to sms.submitted in the log, phones without brakes.

Texts come in small calls at a fixed rate. What was asked for and what the log says was submitted
are counted every second: the rate is what came out in the window, the queue is the difference, and
a queue that grows means the rate asked for was not sustained.
"""

import asyncio
import contextlib
import time

from shared.log import Log
from tests.bench import load, texts
from tests.bench.account import Account
from tests.bench.handsets import Handsets
from tests.bench.readings import Finding, slope
from tests.bench.stack import Stack, shares

PER_S_MIN = 1_500
CALL_SIZE = 50
WARM_UP_S = 5.0
FLAT_SHARE = 0.01  # a queue that grows by less than this share of the rate is flat
SLOWER = 0.93  # what is tried next, of the rate that came out when the queue grew
TRIES = 3
CONNECTIONS = 16
FIRST = 50_000_000
DRAIN_TIMEOUT_S = 300.0
LOOK_S = 1.0

Point = tuple[float, int, int]
"""(perf_counter seconds, texts accepted so far, texts submitted so far)"""


async def measure(stack: Stack, account: Account, handsets: Handsets, seconds: float) -> Finding:
    """The highest of at most three rates that is sustained, beginning with the target."""
    finding = Finding("throughput")
    per_s, first, sustained = PER_S_MIN, FIRST, 0
    for _ in range(TRIES):
        before, cpu = stack.cpu_s(), await handsets.cpu_s()
        points, outcome = await _run(stack, account, per_s, seconds, first)
        used = shares(before, stack.cpu_s(), outcome.wall_s)
        phones = 100 * (await handsets.cpu_s() - cpu) / outcome.wall_s
        await _drain(stack, account)
        first += len(outcome.due) * CALL_SIZE
        out_per_s = slope([(at, submitted) for at, _, submitted in points])
        growth = slope([(at, asked - submitted) for at, asked, submitted in points])
        queue = points[-1][1] - points[-1][2]
        finding.add(
            f"asked for {per_s}/s over {seconds:.0f} s",
            f"{out_per_s:,.0f}/s submitted, queue {growth:+.0f}/s, {queue:,} at the end",
        )
        finding.remarks.append(
            f"at {per_s}/s, shares of a core: {used}, simulated phones {phones:.0f} %, "
            f"load generator {outcome.core_share():.0f} %"
        )
        if growth <= FLAT_SHARE * per_s:
            sustained = per_s
            break
        per_s = int(out_per_s * SLOWER)
    finding.add(
        "sustained, queue flat",
        f"{sustained:,}/s" if sustained else f"none of {TRIES} rates",
        "≥ 1,500/s on two cores",
        sustained >= PER_S_MIN,
    )
    return finding


async def stored(log: Log, subject: str) -> int:
    """How many events the log holds under `subject`."""
    async with contextlib.aclosing(log.read([subject], 0)) as batches:
        async for batch in batches:
            return batch.pending + len(batch.records)
    return 0


async def _run(
    stack: Stack, account: Account, per_s: int, seconds: float, first: int
) -> tuple[list[Point], load.Outcome]:
    requested_subject, submitted_subject = _subjects(account)
    feeding = asyncio.create_task(
        load.in_its_own_process(
            load.paced,
            stack.ports["api"],
            (texts.bulk, account.api_key, first, CALL_SIZE),
            per_s=per_s / CALL_SIZE,
            seconds=WARM_UP_S + seconds,
            connections=CONNECTIONS,
            expected_status=202,
        )
    )
    points: list[Point] = []
    while not feeding.done():
        asked = await stored(stack.log, requested_subject)
        points.append((time.perf_counter(), asked, await stored(stack.log, submitted_subject)))
        await asyncio.wait({feeding}, timeout=LOOK_S)
    outcome = await feeding
    outcome.insist()
    begin = outcome.due[0] + WARM_UP_S
    end = outcome.due[-1]
    return [point for point in points if begin <= point[0] <= end], outcome


async def _drain(stack: Stack, account: Account) -> None:
    """Wait until everything asked for is submitted: nothing may be lost on the way."""
    requested, submitted = _subjects(account)
    deadline = time.perf_counter() + DRAIN_TIMEOUT_S
    log = stack.log
    while (missing := await stored(log, requested) - await stored(log, submitted)) > 0:
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{missing} texts were accepted and never submitted")
        await asyncio.sleep(LOOK_S)


def _subjects(account: Account) -> tuple[str, str]:
    return f"send.requested.{account.workspace_id}.>", f"sms.submitted.{account.workspace_id}.>"
