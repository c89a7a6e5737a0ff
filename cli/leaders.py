"""Which process leads each service: who holds the lock that elects the projecting instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# As shared/projector.py takes it: two keys, the hashes of the service and of its schema.
_HOLDERS = """
FROM pg_locks l
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid = (hashtext($1)::bigint & 4294967295)::oid
  AND l.objid = (hashtext($1)::bigint & 4294967295)::oid
"""
LEADER = f"""
SELECT a.pid, a.application_name, a.backend_start
  FROM pg_stat_activity a WHERE a.pid IN (SELECT l.pid {_HOLDERS})
"""  # noqa: S608 - our own text
END_TERM = f"SELECT pg_terminate_backend(l.pid) {_HOLDERS}"
"""Takes the lock from whoever leads ``$1``: it begins again, with nothing in memory."""


@dataclass(frozen=True, slots=True)
class Leader:
    """A leading instance: host and process id as it names itself, and since when it leads."""

    instance: str
    since: datetime


async def leader_of(db: Any, service: str) -> Leader | None:
    """Who leads ``service``; None: nobody."""
    row = await db.fetchrow(LEADER, service)
    if row is None:
        return None
    name = row["application_name"].removeprefix(f"{service}@")
    return Leader(name or f"PostgreSQL session {row['pid']}", row["backend_start"])


async def leading(db: Any, services: Sequence[str]) -> list[str]:
    """Those of ``services`` that somebody leads."""
    return [name for name in services if await leader_of(db, name) is not None]
