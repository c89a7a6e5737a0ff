"""Where tasks are opened, looked at and cancelled: what routes use."""

from __future__ import annotations

import asyncio
from typing import Any

from services.api.operation import Call, Reply
from services.api.shapes import tasks as shapes
from services.api.tasks.files import too_many
from services.api.tasks.job import Kind
from shared.sql import Database

OPEN_MAX = 10  # unfinished tasks of one workspace


class Desk:
    """Opens tasks; ``nudged`` tells the clerk of this process; others look every second."""

    def __init__(self, db: Database, sql: Any) -> None:
        self._db, self._sql = db, sql
        self.nudged = asyncio.Event()

    async def open(
        self,
        call: Call,
        kind: Kind,
        asked: dict[str, Any],
        *,
        upload: str | None = None,
        total: int | None = None,
        task_id: str | None = None,
    ) -> Reply:
        """Open a task of ``kind``: 202 with where to look. Problem: 429 with too many open.

        ``upload`` is the file it will read, from here on the task's own. Without ``task_id`` the id
        is derived from the Idempotency-Key, if there is one.
        """
        task_id, sql = task_id or call.new_id("tsk"), self._sql
        actor = {"kind": call.caller.actor.kind, "id": call.caller.actor.id}
        async with self._db.tenant(call.workspace_id) as db:
            if await db.fetchval(sql.tasks_open) >= OPEN_MAX:
                raise too_many(f"{OPEN_MAX} tasks are under way. Wait for one of them to end.")
            task = (task_id, call.workspace_id, kind.name, actor, call.request_id, asked)
            opened = await db.execute(sql.task_open, *task, upload, total, call.now)
            if upload is not None and opened == "INSERT 0 1":
                await db.execute(sql.file_claim, upload, task_id)
            row = await db.fetchrow(sql.task, task_id)
        self.nudged.set()
        return Reply(shapes.task(row), headers={"Location": f"/v1/tasks/{task_id}"})

    async def cancel(self, call: Call, task_id: str, kind: Kind) -> None:
        """End it, if it has not ended; what it did stays done."""
        async with self._db.tenant(call.workspace_id) as db:
            ended = await db.fetchrow(
                self._sql.task_cancel, task_id, call.now, call.now + kind.kept
            )
            if ended is not None and ended["upload_id"] is not None:
                await db.execute(self._sql.file_drop, ended["upload_id"])
