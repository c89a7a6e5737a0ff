"""Files in the vault: what was uploaded for a task, and what a task made.

In pieces of ``CHUNK_BYTES``, each sealed for its place. So no file is ever whole in memory, every
instance can read it, and a database's backup alone tells nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shared import ids
from shared.clock import Clock
from shared.problems import Problem
from shared.sql import Database
from shared.vault import KeyRing

CHUNK_BYTES = 256 * 1024
UNCLAIMED = timedelta(hours=1)  # an upload that no task has taken by then was given up
UNCLAIMED_MAX = 20  # of one workspace: bounds what uploads without tasks can fill


@dataclass(frozen=True, slots=True)
class Received:
    """An upload that is whole."""

    id: str
    size: int
    digest: str  # SHA-256 of its content, in hex


class Files:
    """The files of all workspaces."""

    def __init__(self, db: Database, sql: Any, keys: KeyRing, clock: Clock) -> None:
        self._db, self._sql, self._keys, self._clock = db, sql, keys, clock

    async def receive(
        self, workspace_id: str, content: AsyncIterator[bytes], name: str, max_bytes: int
    ) -> Received:
        """Store what comes; Problems: 413 beyond ``max_bytes``, 429 when too many lie about."""
        file_id, now, sql = ids.new("fil"), self._clock.now(), self._sql
        async with self._db.tenant(workspace_id) as db:
            if await db.fetchval(sql.files_held) >= UNCLAIMED_MAX:
                raise too_many("Too many uploads wait to be used. Try again in an hour.")
            kind = "application/octet-stream"
            await db.execute(
                sql.file_open, file_id, workspace_id, name, kind, now, now + UNCLAIMED, None
            )
        digest, size, n, buffer = hashlib.sha256(), 0, 0, bytearray()
        async for piece in content:
            size += len(piece)
            if size > max_bytes:
                await self.drop(workspace_id, file_id)
                raise too_large(max_bytes)
            digest.update(piece)
            buffer += piece
            while len(buffer) >= CHUNK_BYTES:
                await self._add(workspace_id, file_id, n, bytes(buffer[:CHUNK_BYTES]))
                del buffer[:CHUNK_BYTES]
                n += 1
        await self._add(workspace_id, file_id, n, bytes(buffer), durable=True)
        return Received(file_id, size, digest.hexdigest())

    async def _add(
        self, workspace_id: str, file_id: str, n: int, data: bytes, *, durable: bool = False
    ) -> None:
        """One piece. Only the last one waits for the disk: it takes all before it along."""
        async with self._db.tenant(workspace_id, durable=durable) as db:
            await self.put(db, workspace_id, file_id, n, data)

    async def put(self, db: Any, workspace_id: str, file_id: str, n: int, data: bytes) -> None:
        """One piece, within the caller's transaction."""
        sealed = self._keys.seal(data, _context(file_id, n))
        await db.execute(self._sql.file_chunk, workspace_id, file_id, n, sealed)
        await db.execute(self._sql.file_grow, file_id, len(data))

    async def read(self, workspace_id: str, file_id: str) -> AsyncIterator[bytes]:
        """Its content in pieces; nothing if there is no such file."""
        n = 0
        while True:
            async with self._db.tenant(workspace_id) as db:
                sealed = await db.fetchval(self._sql.file_read, file_id, n)
            if sealed is None:
                return
            yield self._keys.open(sealed, _context(file_id, n))
            n += 1

    async def drop(self, workspace_id: str, file_id: str) -> None:
        """Delete it."""
        async with self._db.tenant(workspace_id) as db:
            await db.execute(self._sql.file_drop, file_id)


def too_large(max_bytes: int) -> Problem:
    """413: nothing of it is kept."""
    return Problem(413, "body_too_large", f"The file is larger than {max_bytes >> 20} MiB.")


def too_many(detail: str) -> Problem:
    """429: something must end first."""
    return Problem(429, "too_many_tasks", detail, headers={"Retry-After": "30"})


def _context(file_id: str, n: int) -> str:
    return f"api.file:{file_id}:{n}"
