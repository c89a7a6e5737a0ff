"""The whole stack as `eightms up` starts it: how soon it is there, what it takes to do nothing."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import psutil

from cli.embedded import FIRST_PORT, LAST_PORT, free_port
from tests.bench.machine import ROOT
from tests.bench.readings import Finding

START_MAX_S = 5.0
MEMORY_MAX_MB = 600
CORE_SHARE_MAX = 2.0
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
SETTLE_S = 5.0
PORTS = 6  # api, gateway, scheduler, inbound, webhooks, ghl_sync
SERVED = 5  # of these, the ones that must be ready


async def measure(directory: Path, seconds: float) -> Finding:
    """Start on an empty folder, stop, start again on what is there, then do nothing for a while."""
    finding = Finding("idle")
    data = directory / "up"
    first_s = await _first_start(data)
    port = _port_base()
    begin = time.perf_counter()
    child = _spawn(data, port)
    try:
        await _ready(child, data, port)
        start_s = time.perf_counter() - begin
        await asyncio.sleep(SETTLE_S)
        processes = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
        used_s = await _cpu_over(processes, seconds)
        sizes = sorted(((_pss(p), _name(p)) for p in processes), reverse=True)
    finally:
        _end(child)
    total_mb = sum(size for size, _ in sizes) / 1e6
    share = 100 * used_s / seconds
    finding.add("first start, on an empty folder", f"{first_s:.1f} s")
    finding.add("start on existing data", f"{start_s:.1f} s", "≤ 5 s", start_s <= START_MAX_S)
    finding.add(
        "memory of all processes (PSS)",
        f"{total_mb:.0f} MB in {len(sizes)} processes",
        "≤ 600 MB",
        total_mb <= MEMORY_MAX_MB,
    )
    finding.add(
        f"processor over {seconds:.0f} s",
        f"{share:.1f} % of a core",
        "≤ 2 %",
        share <= CORE_SHARE_MAX,
    )
    finding.remarks.append(
        "PSS, MB: " + ", ".join(f"{n} {s / 1e6:.0f}" for s, n in _grouped(sizes))
    )
    return finding


async def _first_start(data: Path) -> float:
    port = _port_base()
    begin = time.perf_counter()
    child = _spawn(data, port)
    try:
        await _ready(child, data, port)
        return time.perf_counter() - begin
    finally:
        await asyncio.to_thread(_end, child)


def _spawn(data: Path, port: int) -> subprocess.Popen[bytes]:
    data.mkdir(mode=0o711, parents=True, exist_ok=True)
    with data.with_name("up.log").open("ab") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "cli", "up"),
                *("--data", str(data), "--port-base", str(port)),
            ],
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(data)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


async def _ready(child: subprocess.Popen[bytes], data: Path, port: int) -> None:
    """Wait until every service says that it leads and is at the end of the log."""
    deadline = time.perf_counter() + START_TIMEOUT_S
    waiting = list(range(port, port + SERVED))
    async with aiohttp.ClientSession() as session:
        while waiting:
            if child.poll() is not None or time.perf_counter() > deadline:
                tail = data.with_name("up.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"eightms up did not come up:\n{tail}")
            try:
                async with session.get(f"http://127.0.0.1:{waiting[0]}/readyz") as response:
                    if (await response.json()).get("why") == "leading":
                        waiting.pop(0)
                        continue
            except (aiohttp.ClientError, OSError):
                pass
            await asyncio.sleep(0.02)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            for process in psutil.Process(child.pid).children(recursive=True):
                process.kill()
            child.kill()
            child.wait()


async def _cpu_over(processes: list[psutil.Process], seconds: float) -> float:
    def used() -> float:
        return sum(p.cpu_times().user + p.cpu_times().system for p in processes if p.is_running())

    before = used()
    await asyncio.sleep(seconds)
    return used() - before


def _pss(process: psutil.Process) -> int:
    """Proportional set size: shared pages are counted once among those who share them."""
    return process.memory_full_info().pss


def _name(process: psutil.Process) -> str:
    command = process.cmdline()
    modules = [part for part in command if part.startswith("services.")]
    if modules:
        return modules[0].removeprefix("services.")
    if any("postgres" in part for part in command[:1]):
        return "PostgreSQL"
    if any("nats-server" in part for part in command[:1]):
        return "NATS"
    return "eightms up"


def _grouped(sizes: list[tuple[int, str]]) -> list[tuple[int, str]]:
    out: dict[str, int] = {}
    for size, name in sizes:
        out[name] = out.get(name, 0) + size
    return sorted(((size, name) for name, size in out.items()), reverse=True)


def _port_base() -> int:
    """The first of a row of free ports."""
    for _ in range(50):
        base = free_port()
        if base + PORTS <= LAST_PORT and base >= FIRST_PORT:
            return base
    raise RuntimeError("no row of free ports")
