"""A file of contacts, from the first byte sent until the last row can be found."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.bench.account import Account, known, open_account
from tests.bench.readings import Finding
from tests.bench.stack import Stack, shares
from tests.bench.texts import recipient

ROWS, QUICK_ROWS = 100_000, 10_000
LIMIT_S = 60.0
# Of the api, whatever the file's length: most of it is what its projection keeps at hand, at most
# 50,000 rows of a table (shared/rows.py).
GROWTH_MAX_MB = 128
LOOK_EVERY_S = 0.1
GIVE_UP_S = 600.0
HEADER = "First Name,Last Name,Mobile,E-mail,Company,Tags,City,Birthday\n"


async def measure(directory: Path, *, quick: bool) -> Finding:
    """Time and memory of an import."""
    finding = Finding("imports")
    rows = QUICK_ROWS if quick else ROWS
    async with Stack(directory) as stack:
        account = await open_account(stack.log)
        await known(stack, account)
        await _import(stack, account, 1_000, "warm")  # everything has been loaded once
        api = stack.processes()["api"][0]
        bare, cpu = api.memory_info().rss, stack.cpu_s()
        began = time.perf_counter()
        peak = [bare]
        watch = asyncio.create_task(_watch(api, peak))
        task = await _import(stack, account, rows, "last")
        took_s = time.perf_counter() - began
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        grown_mb = (peak[0] - bare) / 1e6
        used = shares(cpu, stack.cpu_s(), took_s)
    if (task["summary"]["created"], task["summary"]["failed"]) != (rows, 0):
        raise RuntimeError(f"not everything was imported: {task['summary']}")
    finding.add(
        f"{rows:,} contacts, until the last one is found",
        f"{took_s:.1f} s, {rows / took_s:,.0f}/s",
        f"{ROWS:,} in ≤ 60 s",
        took_s <= LIMIT_S if rows == ROWS else None,
    )
    finding.add(
        "memory of the api (RSS)",
        f"{bare / 1e6:.0f} MB before, {grown_mb:+.0f} MB at most meanwhile",
        f"≤ {GROWTH_MAX_MB} MB more, whatever the file's length",
        grown_mb <= GROWTH_MAX_MB,
    )
    finding.remarks.append(f"shares of a core: {used}")
    return finding


async def _watch(process: psutil.Process, peak: list[int]) -> None:
    while True:
        peak[0] = max(peak[0], process.memory_info().rss)
        await asyncio.sleep(LOOK_EVERY_S)


async def _import(stack: Stack, account: Account, rows: int, mark: str) -> Any:
    """Upload so many rows, wait until the last one is found; the task."""
    headers = {"Authorization": f"Bearer {account.api_key}"}
    async with aiohttp.ClientSession(stack.url("api"), headers=headers) as session:
        kind = {"Content-Type": "text/csv"}
        body = _file(rows, mark)
        async with session.post("/v1/contacts/bulk", data=body, headers=kind) as response:
            task = await response.json()
            if response.status != 202:
                raise RuntimeError(f"{response.status} {task}")
        async with asyncio.timeout(GIVE_UP_S):
            while task["finished_at"] is None:
                await asyncio.sleep(LOOK_EVERY_S)
                async with session.get(f"/v1/tasks/{task['id']}") as response:
                    task = await response.json()
            while not await _is_found(session, f"{mark}{rows - 1}"):
                await asyncio.sleep(LOOK_EVERY_S)
    return task


async def _is_found(session: aiohttp.ClientSession, name: str) -> bool:
    async with session.get(f"/v1/contacts?q={name}") as response:
        return bool((await response.json())["data"])


async def _file(rows: int, mark: str) -> AsyncIterator[bytes]:
    """The file in pieces: whoever measures need not hold it either."""
    yield HEADER.encode()
    start = 0 if mark == "last" else ROWS
    for first in range(0, rows, 1_000):
        lines = (
            f"Ada,{mark}{n},{recipient(start + n)},ada{n}@example.com,Company {n % 500},vip;west,"
            f"Boston,10 December\n"
            for n in range(first, min(first + 1_000, rows))
        )
        yield "".join(lines).encode()
