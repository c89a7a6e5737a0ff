"""A kind of task, and one run of a task as its ``run`` sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from services.api.tasks.files import CHUNK_BYTES
from shared import events as e
from shared import ids
from shared.auth import Scope

if TYPE_CHECKING:
    from services.api.api import Api

ERRORS_SHOWN_MAX = 100  # of a task; a kind that finds more writes all of them into its result
SLICE_S = 0.002  # how long a task keeps the loop from others, of the 8 ms a text may take
KEPT = timedelta(days=7)


class TaskFailed(Exception):
    """It cannot be done. ``code`` is stable, ``detail`` is for the person who asked for it."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


class Superseded(Exception):
    """Another run of this task has begun, or it was cancelled: stop, and touch nothing."""


@dataclass(frozen=True)
class Kind:
    """A kind of task (see the package). ``result`` names its file, ``{id}`` in it the task."""

    name: str
    scope: Scope
    run: Callable[[Job], Awaitable[None]]
    result: str = ""
    media_type: str = "application/octet-stream"
    cancellable: bool = True
    kept: timedelta = KEPT


@dataclass(slots=True)
class Job:
    """One run of a task. Change its fields as it gets on; ``save`` makes them durable."""

    api: Api
    kind: Kind
    id: str
    workspace_id: str
    actor: e.Actor
    cause: str | None
    token: str
    asked: Mapping[str, Any]
    upload_id: str | None
    state: Any
    done: int
    total: int | None
    errors: list[dict[str, Any]]
    errors_total: int
    summary: dict[str, Any]
    result_id: str | None
    result_chunks: int
    _unsaved: bytearray = field(default_factory=bytearray)
    _slice_ends: float = 0.0

    @classmethod
    def of(cls, api: Api, kind: Kind, row: Any) -> Job:
        """The run that ``task_begin`` has just begun."""
        return cls(
            api=api,
            kind=kind,
            id=row["id"],
            workspace_id=row["workspace_id"],
            actor=msgspec.convert(row["actor"], e.Actor),
            cause=row["cause"],
            token=row["token"],
            asked=row["asked"],
            upload_id=row["upload_id"],
            state=row["state"],
            done=row["done"],
            total=row["total"],
            errors=row["errors"],
            errors_total=row["errors_total"],
            summary=row["summary"],
            result_id=row["result_id"],
            result_chunks=row["result_chunks"],
        )

    def event(self, data: e.Data, *about: str) -> e.Event:
        """``data`` as an event of this task; ``about`` names what of it, and so its id."""
        return e.make(
            data,
            id=ids.derive("evt", self.id, data.TYPE, *about),
            workspace_id=self.workspace_id,
            at=self.api.clock.now(),
            actor=self.actor,
            cause=self.cause,
        )

    def upload(self) -> AsyncIterator[bytes]:
        """The content of the file it was given, in pieces."""
        if self.upload_id is None:
            raise ValueError("no file was given")
        return self.api.files.read(self.workspace_id, self.upload_id)

    def error(self, code: str, detail: str, **where: Any) -> None:
        """Something could not be done; ``where`` is ``row`` and ``field`` as far as they apply."""
        self.errors_total += 1
        if len(self.errors) < ERRORS_SHOWN_MAX:
            self.errors.append({"code": code, "detail": detail, **where})

    def write(self, data: bytes) -> None:
        """Append to the result file."""
        self._unsaved += data

    async def breathe(self) -> None:
        """Let others run, if it is time."""
        now = time.monotonic()
        if now >= self._slice_ends:
            await asyncio.sleep(0)
            self._slice_ends = time.monotonic() + SLICE_S

    async def restart(self) -> None:
        """Begin anew: forget what earlier runs saved."""
        if self.result_id is not None:
            await self.api.files.drop(self.workspace_id, self.result_id)
        self.state, self.done, self.errors, self.errors_total = None, 0, [], 0
        self.summary, self.result_id, self.result_chunks = {}, None, 0
        self._unsaved.clear()

    async def save(self) -> None:
        """All of the above, durably and at once; Superseded if this run is no longer the one."""
        api, sql = self.api, self.api.sql
        async with api.db.tenant(self.workspace_id) as db:
            if self._unsaved and self.result_id is None:
                self.result_id = ids.new("fil")
                name = self.kind.result.format(id=self.id)
                file = (self.result_id, self.workspace_id, name, self.kind.media_type)
                await db.execute(sql.file_open, *file, api.clock.now(), None, self.id)
            n = self.result_chunks
            for start in range(0, len(self._unsaved), CHUNK_BYTES):
                piece = bytes(self._unsaved[start : start + CHUNK_BYTES])
                await api.files.put(db, self.workspace_id, self.result_id or "", n, piece)
                n += 1
            saved = await db.fetchval(
                sql.task_save,
                self.id,
                self.token,
                self.done,
                self.total,
                self.state,
                self.errors,
                self.errors_total,
                self.summary,
                self.result_id,
                n,
            )
            if saved is None:
                raise Superseded
        self._unsaved.clear()
        self.result_chunks = n

    async def finish(self, status: str) -> None:
        """Save for the last time: it has ended. Its upload goes, its result stays for a while."""
        await self.save()
        api, sql, now = self.api, self.api.sql, self.api.clock.now()
        until = now + self.kind.kept
        async with api.db.tenant(self.workspace_id) as db:
            if await db.fetchval(sql.task_finish, self.id, self.token, status, now, until) is None:
                raise Superseded
            if self.upload_id is not None:
                await db.execute(sql.file_drop, self.upload_id)
            if self.result_id is not None:
                await db.execute(sql.file_keep, self.result_id, until)
