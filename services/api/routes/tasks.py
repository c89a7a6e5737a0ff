"""Long tasks: look, list, cancel, download what they made."""

from __future__ import annotations

from typing import Any

from services.api.operation import Call, Download, Operation, Reply
from services.api.page import Page, page
from services.api.shapes import tasks as shapes
from services.api.shapes.fields import Paged
from services.api.tasks.job import Kind
from services.api.tasks.kinds import KINDS
from shared.problems import Problem

PATH = "/v1/tasks/{task_id}"
IDS = {"task_id": "tsk"}


async def list_tasks(call: Call) -> Reply:
    """GET /v1/tasks."""
    return await page(call, call.api.sql.tasks, (), shapes.task)


async def get(call: Call) -> Reply:
    """GET /v1/tasks/{id}."""
    row, _ = await _row(call)
    return Reply(shapes.task(row))


async def cancel(call: Call) -> Reply:
    """POST /v1/tasks/{id}/cancel."""
    row, kind = await _row(call)
    if row["finished_at"] is None:
        if not kind.cancellable:
            raise Problem(409, "not_cancellable", "A task of this kind cannot be taken back.")
        await call.api.tasks.cancel(call, row["id"], kind)
    return await get(call)


async def result(call: Call) -> Reply:
    """GET /v1/tasks/{id}/result."""
    row, _ = await _row(call)
    if row["finished_at"] is None or row["result_id"] is None:
        raise Problem(404, "no_result", "This task has no file: it has not ended, or makes none.")
    content = call.api.files.read(call.workspace_id, row["result_id"])
    return Reply(Download(content, row["result_type"], row["result_name"]))


async def _row(call: Call) -> tuple[Any, Kind]:
    """The task and its kind; a 403 Problem for who may not see what it is about."""
    row = await call.api.row(call, call.api.sql.task, call.path["task_id"])
    kind = KINDS.get(row["kind"])
    if kind is None:
        raise Problem(409, "conflict", "This task belongs to another version of 8ms.")
    call.insist(kind.scope)
    return row, kind


OPERATIONS = (
    Operation(
        name="tasks.list",
        method="GET",
        path="/v1/tasks",
        tag="Tasks",
        scope="workspace:read",
        handle=list_tasks,
        status=200,
        response=Page[shapes.Task],
        query=Paged,
        paged=True,
        summary="List tasks",
        description="Newest first; ended ones are kept for a week.",
    ),
    Operation(
        name="tasks.get",
        method="GET",
        path=PATH,
        ids=IDS,
        tag="Tasks",
        scope=None,
        handle=get,
        status=200,
        response=shapes.Task,
        summary="Look at a task",
        description="How far it is. The scope it needs is that of reading what it is about.",
    ),
    Operation(
        name="tasks.cancel",
        method="POST",
        path=PATH + "/cancel",
        ids=IDS,
        tag="Tasks",
        scope=None,
        handle=cancel,
        status=200,
        response=shapes.Task,
        problems=("not_cancellable",),
        summary="Cancel a task",
        description="What it did by then stays done. One that has ended stays as it is.",
    ),
    Operation(
        name="tasks.result",
        method="GET",
        path=PATH + "/result",
        ids=IDS,
        tag="Tasks",
        scope=None,
        handle=result,
        status=200,
        response=Download,
        problems=("no_result",),
        summary="Download a task's file",
        description="What it made: rows that could not be imported, or what was exported.",
    ),
)
