"""Runs tasks: on the leading instance, several at a time, again after a crash.

Leading is the lease. Should an instance that lost it not know yet, its saves are refused by the
token of the run that has taken over, and what it puts into the log has the same ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

import structlog

from services.api.api import Api
from services.api.tasks.job import Job, Kind, Superseded, TaskFailed
from shared import ids
from shared.errors import EightMsError
from shared.sql import UNREACHABLE

RUNNING_MAX = 4  # at a time; and one of a kind for each workspace, so that nobody waits for another
DUE_MAX = 200
LOOK_EVERY_S = 1.0  # for what other instances opened
STARTS_MAX = 5  # without getting on: then it is the task that is at fault
AGAIN_S = 2.0  # after a failure


class Clerk:
    """The actor that runs tasks."""

    def __init__(self, api: Api, kinds: Mapping[str, Kind]) -> None:
        self._api, self._kinds = api, kinds
        self._running: dict[str, tuple[tuple[str, str], asyncio.Task[None]]] = {}
        self._not_before: dict[str, float] = {}

    async def start(self) -> None:
        """A term begins: whatever an earlier one ran is taken up again."""
        self._not_before.clear()

    async def step(self) -> float | None:
        """Begin what is due and may run; then wait to be nudged, or a second."""
        self._api.tasks.nudged.clear()
        self._running = {k: v for k, v in self._running.items() if not v[1].done()}
        due = await self._api.db.owner.fetch(self._api.sql.tasks_due, DUE_MAX)
        open_ids = {row["id"] for row in due}
        self._not_before = {k: v for k, v in self._not_before.items() if k in open_ids}
        taken = {line for line, _ in self._running.values()}
        for row in due:
            if len(self._running) >= RUNNING_MAX:
                break
            kind, line = self._kinds.get(row["kind"]), (row["workspace_id"], row["kind"])
            if kind is None or line in taken:  # a newer version's kind waits for that version
                continue
            if self._not_before.get(row["id"], 0.0) > time.monotonic():
                continue
            taken.add(line)
            running = asyncio.create_task(self._run(row["workspace_id"], row["id"], kind))
            self._running[row["id"]] = (line, running)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._api.tasks.nudged.wait()
        return 0.0

    async def stop(self) -> None:
        """The term ends: runs are broken off, and go on elsewhere from where they saved."""
        running = [task for _, task in self._running.values()]
        self._running.clear()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, workspace_id: str, task_id: str, kind: Kind) -> None:
        log = structlog.get_logger().bind(task=task_id, kind=kind.name)
        token = ids.new("evt")
        try:
            async with self._api.db.tenant(workspace_id) as db:
                row: Any = await db.fetchrow(self._api.sql.task_begin, task_id, token)
            if row is None:
                return
            await self._attempt(Job.of(self._api, kind, row), row["starts"], log)
        except Superseded:
            log.info("task left alone: cancelled, or another run has begun")
        except (EightMsError, *UNREACHABLE) as error:
            log.warning("task interrupted", error=type(error).__name__)
            self._not_before[task_id] = time.monotonic() + AGAIN_S
        finally:
            self._api.tasks.nudged.set()  # the next one may begin

    async def _attempt(self, job: Job, starts: int, log: Any) -> None:
        if starts > STARTS_MAX:  # each time the process died, or it failed below
            job.error("internal_error", "It failed several times. We have been told.")
            await job.finish("failed")
            return
        try:
            await job.kind.run(job)
            await job.finish("done")
        except (Superseded, asyncio.CancelledError):
            raise
        except TaskFailed as why:
            job.error(why.code, why.detail)
            await job.finish("failed")
        except (EightMsError, *UNREACHABLE):
            with contextlib.suppress(*UNREACHABLE):  # an outage is no fault of the task's
                async with self._api.db.tenant(job.workspace_id) as db:
                    await db.execute(self._api.sql.task_forgive, job.id, job.token)
            raise
        except Exception:
            log.exception("task failed", starts=starts)
            self._not_before[job.id] = time.monotonic() + AGAIN_S
