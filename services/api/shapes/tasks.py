"""Long tasks as they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, convert

from services.api.shapes.fields import ULID


class TaskError(Struct, kw_only=True, omit_defaults=True):
    """Something that could not be done."""

    code: str
    detail: str
    row: Annotated[int | None, Meta(description="Of the file, the first line being 1.")] = None
    field: str | None = None


class Task(Struct, kw_only=True):
    """Work that takes long. Look again until `status` is `done`, `failed` or `cancelled`."""

    id: Annotated[str, Meta(pattern=f"^tsk_{ULID}$")]
    kind: Annotated[str, Meta(examples=["contacts.import"])]
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    done: Annotated[int, Meta(description="How much is done, of `total`.")]
    total: Annotated[int | None, Meta(description="How much there is, once that is known.")]
    errors: Annotated[list[TaskError], Meta(description="The first hundred.")]
    errors_total: int
    summary: Annotated[dict[str, Any], Meta(description="What came of it; see its endpoint.")]
    result_url: Annotated[
        str | None, Meta(description="Where its file can be downloaded until `expires_at`.")
    ]
    created_at: datetime
    finished_at: datetime | None
    expires_at: Annotated[datetime | None, Meta(description="When task and file are deleted.")]


def task(row: Any) -> Task:
    """A row of ``vault_task`` as it is shown."""
    ended = row["finished_at"] is not None
    return Task(
        id=row["id"],
        kind=row["kind"],
        status=row["status"],
        done=row["done"],
        total=row["total"],
        errors=convert(row["errors"], list[TaskError]),
        errors_total=row["errors_total"],
        summary=row["summary"],
        result_url=f"/v1/tasks/{row['id']}/result" if ended and row["result_id"] else None,
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        expires_at=row["expires_at"],
    )
