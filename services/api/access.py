"""The request log: what was asked and how it was answered, for who develops against the API.

Kept for a few days, in the vault, since a request is no fact of the log. Never a body, a number or
a query: the path with its ids, the status, the problem's code, who, when, how long, and from which
network. Of an address only the network stays (IPv4 /24, IPv6 /48).

Requests are noted in memory and written in batches beside the requests. A workspace that calls very
often is sampled: beyond ``PER_S_MAX`` a second of good answers, and as many of bad ones, they are
only counted (metric requests_not_logged_total).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.sql import Database
from shared.telemetry import Metrics

PER_S_MAX = 20
NOTED_MAX = 20_000  # while PostgreSQL is away; what is more is lost
WRITTEN_MAX = 2_000  # in one statement
BAD = 400


@dataclass(frozen=True, slots=True)
class Entry:
    """One request as it is noted."""

    id: str
    workspace_id: str
    created_at: datetime
    method: str
    path: str
    operation: str
    status: int
    code: str | None
    duration_ms: int
    actor_kind: str
    actor_id: str
    address: str
    replayed: bool


class AccessLog:
    """Notes requests; ``write`` puts them down."""

    def __init__(self, db: Database, sql: Any, metrics: Metrics, kept: timedelta) -> None:
        self._db, self._sql, self._metrics, self._kept = db, sql, metrics, kept
        self._noted: list[Entry] = []
        self._second = 0
        self._counts: dict[tuple[str, bool], int] = {}

    def wants(self, workspace_id: str, status: int, now_s: float) -> bool:
        """Whether a request of this workspace is to be noted now."""
        if not self._kept:
            return False
        if int(now_s) != self._second:
            self._second, self._counts = int(now_s), {}
        kind = (workspace_id, status >= BAD)
        count = self._counts.get(kind, 0)
        if count >= PER_S_MAX or len(self._noted) >= NOTED_MAX:
            self._metrics.count("requests_not_logged_total", "Requests beyond what is logged")
            return False
        self._counts[kind] = count + 1
        return True

    def note(self, entry: Entry) -> None:
        """Keep ``entry`` until it is written."""
        self._noted.append(entry)

    async def write(self) -> None:
        """Write what was noted; what fails is written the next time."""
        while self._noted:
            batch = self._noted[:WRITTEN_MAX]
            rows = [(*astuple(one)[:11], network(one.address), one.replayed) for one in batch]
            columns: Sequence[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
            await self._db.owner.execute(self._sql.log_requests, *columns)
            del self._noted[: len(batch)]


def network(address: str) -> str:
    """The network an address is in, as much as is kept of it; empty for what is none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    bits = 24 if found.version == 4 else 48
    return str(ipaddress.ip_network((found, bits), strict=False))
