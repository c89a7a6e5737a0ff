"""Contacts from a file, and into one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import BodyPartReader, web

from services.api import paging, search
from services.api.operation import Call, Download, Operation, Reply
from services.api.shapes import contacts as people
from services.api.shapes import sheets as shapes
from services.api.shapes.tasks import Task
from services.api.sheets import write
from services.api.sheets.columns import CUSTOM, FIELDS, IGNORE, ranks
from services.api.sheets.importing import IMPORT
from services.api.sheets.read import Census
from services.api.tasks.files import Received, too_large
from services.api.validation import FieldError, refusal
from shared.problems import Problem

UPLOAD_MAX_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 64 * 1024
EXPORT_ROWS = 200  # made at a time: 2 ms, in which nobody else is served
_encode = msgspec.json.Encoder().encode


async def receive(call: Call, request: web.Request) -> bytes:
    """The form, or the bare file, while it comes in; leaves what the task is asked in the call."""
    if (request.content_length or 0) > UPLOAD_MAX_BYTES + PIECE_BYTES:
        raise too_large(UPLOAD_MAX_BYTES)
    census, mapping = Census(), dict[str, str | None]()
    received: Received | None = None
    if request.content_type == "text/csv":
        pieces = request.content.iter_chunked(PIECE_BYTES)
        received = await _store(call, census, pieces, "contacts.csv")
    elif request.content_type == "multipart/form-data":
        try:
            async for part in await request.multipart():
                name = part.name if isinstance(part, BodyPartReader) else None
                if isinstance(part, BodyPartReader) and name == "file" and received is None:
                    received = await _store(call, census, _pieces(part), "contacts.csv")
                elif isinstance(part, BodyPartReader) and name == "mapping":
                    mapping = await _mapping(part)
                else:
                    raise refusal(
                        [
                            _error(
                                name or "",
                                "unknown_field",
                                "is not a part of it, or is there twice",
                            )
                        ]
                    )
        except (ValueError, web.HTTPBadRequest, web.HTTPRequestEntityTooLarge) as error:
            raise Problem(
                400, "malformed_form", "The body is not a proper multipart form."
            ) from error
    else:
        detail = "Send the file as multipart/form-data, or by itself as text/csv."
        raise Problem(415, "unsupported_media_type", detail)
    if received is None:
        raise refusal([_error("file", "missing", "is required")])
    if not received.size:
        raise refusal([_error("file", "empty_file", "is empty")])
    query: shapes.ImportQuery = call.query
    call.body = {
        "upload": received.id,
        "lines": census.lines,
        "dry_run": query.dry_run,
        "encoding": query.encoding or census.encoding,
        "delimiter": query.delimiter,
        "mapping": mapping,
    }
    return _encode([received.digest, mapping])


async def _store(call: Call, census: Census, pieces: AsyncIterator[bytes], name: str) -> Received:
    async def looked_at() -> AsyncIterator[bytes]:
        async for piece in pieces:
            census.feed(piece)
            yield piece

    return await call.api.files.receive(call.workspace_id, looked_at(), name, UPLOAD_MAX_BYTES)


async def _pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(PIECE_BYTES):
        yield piece


async def _mapping(part: BodyPartReader) -> dict[str, str | None]:
    raw = bytearray()
    async for piece in _pieces(part):
        raw += piece
        if len(raw) > shapes.MAPPING_MAX_BYTES:
            raise refusal([_error("mapping", "too_long", "has more than 64 KiB")])
    try:
        mapping = msgspec.json.decode(raw, type=dict[str, str | None])
    except msgspec.DecodeError:
        detail = "must be a JSON object of column names to fields"
        raise refusal([_error("mapping", "invalid", detail)]) from None
    for field in mapping.values():
        named = field is None or field in (*FIELDS, IGNORE)
        if not named and not (field or "").removeprefix(CUSTOM).strip():
            raise refusal([_error("mapping", "unknown_field", "names an empty custom field")])
        if not named and not (field or "").startswith(CUSTOM):
            detail = f"names a field that contacts do not have; write {CUSTOM}… for one of yours"
            raise refusal([_error("mapping", "unknown_field", detail)])
    return mapping


def _error(name: str, code: str, detail: str) -> FieldError:
    return {"pointer": f"#/{name}", "code": code, "detail": f"{name or 'A part'} {detail}."}


async def import_contacts(call: Call) -> Reply:
    """POST /v1/contacts/bulk."""
    asked = dict(call.body)
    upload, lines = asked.pop("upload"), asked.pop("lines")
    return await call.api.tasks.open(call, IMPORT, asked, upload=upload, total=max(lines - 1, 0))


async def export(call: Call) -> Reply:
    """GET /v1/contacts/export."""
    q: shapes.ExportQuery = call.query
    name = f"contacts-{call.now:%Y-%m-%d}.{q.format}"
    if q.format == "jsonl":
        return Reply(Download(_json_lines(call), "application/jsonl", name))
    return Reply(Download(_csv(call), "text/csv", name))


async def _json_lines(call: Call) -> AsyncIterator[bytes]:
    async for rows in _pages(call):
        yield b"".join(_encode(people.contact(row)) + b"\n" for row in rows)


async def _csv(call: Call) -> AsyncIterator[bytes]:
    fields = [row["name"] for row in await call.api.rows(call, call.api.sql.contact_fields)]
    yield (write.BOM + write.line(write.header(fields, frozenset(ranks())))).encode()
    async for rows in _pages(call):
        yield "".join(write.line(write.row(row, fields)) for row in rows).encode()


async def _pages(call: Call) -> AsyncIterator[list[Any]]:
    """All contacts the query asks for, newest first."""
    q: shapes.ExportQuery = call.query
    sql, end = call.api.sql, paging.START
    tag = search.tag_word(q.tag) if q.tag is not None else None
    while True:
        at = (end.at, end.id)
        if tag is not None:
            args: tuple[Any, ...] = (tag, None, *at, EXPORT_ROWS, EXPORT_ROWS)
            rows = await call.api.rows(call, sql.contacts_tagged, *args)
        elif q.opted_out:
            rows = await call.api.rows(call, sql.contacts_opted_out, *at, EXPORT_ROWS)
        else:
            rows = await call.api.rows(call, sql.contacts, *at, EXPORT_ROWS)
        kept = [row for row in rows if q.opted_out in (None, row["opted_out"])]
        if kept:
            yield kept
        if len(rows) < EXPORT_ROWS:
            return
        end = paging.Position(rows[-1]["created_at"], rows[-1]["id"])


OPERATIONS = (
    Operation(
        name="contacts.import",
        method="POST",
        path="/v1/contacts/bulk",
        tag="Contacts",
        scope="contacts:write",
        handle=import_contacts,
        status=202,
        response=Task,
        query=shapes.ImportQuery,
        receive=receive,
        form=shapes.FORM,
        located=True,
        problems=("malformed_form", "too_many_tasks"),
        summary="Import contacts from a CSV file",
        description=(
            "The answer is a task. Separator and encoding are found out, columns are known by many "
            "names, and any other column becomes a custom field. Rows are merged by number with "
            "each other and with contacts there are; an empty cell erases nothing, and nobody is "
            "opted in. Rows that cannot be taken, or that the plan has no room for, are listed in "
            "the task's file, which can be mended and uploaded as it is. The `summary` counts "
            "`rows`, `created`, `updated`, `unchanged`, `opted_out` and `failed`, and tells the "
            "`encoding`, the `delimiter` and what each of the `columns` was taken for. The file "
            "may also be sent by itself as `text/csv`."
        ),
    ),
    Operation(
        name="contacts.export",
        method="GET",
        path="/v1/contacts/export",
        tag="Contacts",
        scope="contacts:read",
        handle=export,
        status=200,
        response=Download,
        media=("text/csv", "application/jsonl"),
        query=shapes.ExportQuery,
        summary="Export contacts",
        description=(
            "Everybody, newest first, as CSV that can be imported again or as JSON lines. Cells "
            "that a spreadsheet would run begin with an apostrophe."
        ),
    ),
)
