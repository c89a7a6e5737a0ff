"""How many sends the API accepts: one by one and in bulk, each on disk before it is answered.

One api process, as fast as it goes, against a bare aiohttp echo and bare JetStream batches of the
same payloads on the same machine in the same minute.
"""

import asyncio
import time

from tests.bench import load, raw, texts
from tests.bench.account import Account
from tests.bench.readings import Finding, percentile, spread
from tests.bench.stack import Stack, shares

CONNECTIONS = 64
ECHO_RATIO_MIN = 0.35
SINGLE_P99_MAX_S = 0.060
BULK_PER_S_MIN = 20_000
BULK_RATIO_MIN = 0.60
BULK_SIZE = 1000  # the most one call may carry
BULK_CONNECTIONS = 4
SINGLE_FIRST, KEYED_FIRST, BULK_FIRST = 20_000_000, 30_000_000, 40_000_000
DRAIN_TIMEOUT_S = 120.0


async def single(stack: Stack, account: Account, seconds: float) -> Finding:
    """Accepted single sends a second over 64 connections."""
    finding = Finding("single")
    async with raw.echo_server() as port:
        echo = await _flat_out(port, (texts.single, "", 0), seconds, CONNECTIONS, 200)
    bare = _rate(echo)
    before = stack.cpu_s()
    outcome = await _flat_out(
        stack.ports["api"], (texts.single, account.api_key, SINGLE_FIRST), seconds, CONNECTIONS, 202
    )
    used = shares(before, stack.cpu_s(), outcome.wall_s)
    rate, p99 = _rate(outcome), percentile(outcome.waits(), 99)
    finding.add("bare aiohttp JSON echo", f"{bare:,.0f}/s, {spread(echo.waits())}")
    finding.add(
        "accepted single sends",
        f"{rate:,.0f}/s = {100 * rate / bare:.0f} % of the echo",
        "≥ 35 % of the echo",
        rate >= ECHO_RATIO_MIN * bare,
    )
    finding.add("time to the 202", spread(outcome.waits()), "p99 ≤ 60 ms", p99 <= SINGLE_P99_MAX_S)
    keyed = await _flat_out(
        stack.ports["api"],
        (texts.single, account.api_key, KEYED_FIRST, "bench"),
        seconds / 2,
        CONNECTIONS,
        202,
    )
    finding.add(
        "the same, each with an Idempotency-Key", f"{_rate(keyed):,.0f}/s, {spread(keyed.waits())}"
    )
    finding.remarks.append(
        f"shares of a core: {used}, load generator {outcome.core_share():.0f} % "
        f"(echo: {echo.core_share():.0f} %)"
    )
    return finding


async def bulk(stack: Stack, account: Account, seconds: float) -> Finding:
    """Accepted sends a second through calls of 1,000."""
    finding = Finding("bulk")
    alone, bare = await raw.jetstream(stack.servers.nats_url, seconds / 2)
    before = stack.cpu_s()
    outcome = await _flat_out(
        stack.ports["api"],
        (texts.bulk, account.api_key, BULK_FIRST, BULK_SIZE),
        seconds,
        BULK_CONNECTIONS,
        202,
    )
    used = shares(before, stack.cpu_s(), outcome.wall_s)
    rate = _rate(outcome) * BULK_SIZE
    finding.add("bare JetStream, one by one, 64 in flight", f"{alone:,.0f}/s")
    finding.add("bare JetStream, atomic batches of 1,000", f"{bare:,.0f}/s")
    finding.add(
        "accepted sends in bulk",
        f"{rate:,.0f}/s = {100 * rate / bare:.0f} % of bare batches",
        "≥ 20,000/s or ≥ 60 %",
        rate >= BULK_PER_S_MIN or rate >= BULK_RATIO_MIN * bare,
    )
    finding.add("time of a call of 1,000", spread(outcome.waits()))
    finding.remarks.append(f"shares of a core: {used}, load generator {outcome.core_share():.0f} %")
    return finding


async def drained(stack: Stack, timeout_s: float = DRAIN_TIMEOUT_S) -> None:
    """Wait until every service has caught up with what a load left behind."""
    async with asyncio.timeout(timeout_s):
        for name in stack.children:
            await stack.ready(name)


def _rate(outcome: load.Outcome) -> float:
    outcome.insist()
    begin = min(outcome.due)
    return len(outcome.due) / (max(outcome.answered) - begin)


async def _flat_out(
    port: int, requests: load.Source, seconds: float, connections: int, status: int
) -> load.Outcome:
    begin = time.perf_counter()
    outcome = await load.in_its_own_process(
        load.flat_out,
        port,
        requests,
        seconds=seconds,
        connections=connections,
        expected_status=status,
    )
    assert time.perf_counter() - begin >= seconds
    return outcome
