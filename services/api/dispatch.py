"""From an HTTP request to a handler's call and back: who, may they, what, again?, do, answer.

One function for every operation, so that no endpoint can forget a rule. The path is short because
sending is measured (docs/benchmarks.md): no task, no context variable, no second parse.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import msgspec
import pydantic
import structlog
from aiohttp import hdrs, web

from services.api.api import Api, not_found
from services.api.callers import Caller
from services.api.idempotency import Answer, Claim, fingerprint, read_key
from services.api.operation import Call, Download, Operation, Reply, Streamed
from services.api.shapes.fields import Query
from services.api.validation import FieldError, field_errors, read_query, refusal
from shared import ids
from shared.errors import Refused
from shared.http import BODY_MAX_BYTES, REQUEST_ID
from shared.problems import Problem
from shared.sql import UNREACHABLE

JSON, PROBLEM = "application/json", "application/problem+json"
KEY_HEADER = "Idempotency-Key"
NOT_KEPT = frozenset({402, 429})  # what a repeat of the same request gets past: room, or time
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_encode = msgspec.json.Encoder().encode


class EmptyBody(pydantic.BaseModel):
    """The body of an operation that takes none: ``{}`` is let through."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


def handler(api: Api, operation: Operation) -> Handler:
    """The aiohttp handler of ``operation``."""
    no_query = operation.query.model_construct() if not _required(operation.query) else None

    async def serve(request: web.Request) -> web.StreamResponse:
        now = api.clock.now()
        caller = await _identified(api, operation, request, now)
        path: Mapping[str, str] = request.match_info
        call = Call(api, operation, caller, path, no_query, None, request[REQUEST_ID], now)
        if operation.scope is not None:
            call.insist(operation.scope)
        for name, prefix in operation.ids.items():
            if not ids.is_id(prefix, path[name]):
                raise not_found()
        if operation.reads_own:
            await api.read_own(caller.workspace_id)
        raw = None if operation.receive else await _read(request, operation)
        errors: list[FieldError] = []
        if request.query_string or no_query is None:
            call.query, errors = read_query(operation.query, request.query)
        if raw is not None:
            errors = await _parse(call, raw, errors)
        if errors:
            raise refusal(errors)
        if operation.receive:
            raw = await operation.receive(call, request)
        header = request.headers.get(KEY_HEADER) if operation.repeatable else None
        key = None if header is None else read_key(header)
        if key is None or getattr(call.query, "dry_run", False):  # a dry run does nothing twice
            reply = await operation.handle(call)
            if isinstance(reply.data, Download | Streamed):
                return await _sent(request, reply.data)
            return _response(operation, reply)
        return await _once(call, key, request, raw or b"")

    return serve


async def _identified(
    api: Api, operation: Operation, request: web.Request, now: datetime
) -> Caller:
    """Who calls, and counted. 401 and 429 Problems."""
    try:
        headers = request.headers
        caller = await api.callers.identify(headers.get(hdrs.AUTHORIZATION), now, headers)
    except Problem:
        api.answering.count_stranger(request)
        raise
    api.answering.count(request, operation, caller)
    return caller


def _required(query: type[Query]) -> bool:
    return any(field.is_required() for field in query.model_fields.values())


async def _read(request: web.Request, operation: Operation) -> bytes | None:
    """The body, None where there is none to parse. 413 and 415 Problems."""
    if not request.can_read_body:
        if operation.request is None or not operation.body_required:
            return None
        return b""
    if (request.content_length or 0) > BODY_MAX_BYTES:
        raise web.HTTPRequestEntityTooLarge(BODY_MAX_BYTES, request.content_length or 0)
    if request.content_type not in (JSON, "application/octet-stream"):
        raise Problem(415, "unsupported_media_type", "Send application/json.")
    raw = await request.read()
    if not raw and not (operation.request and operation.body_required):
        return None
    return raw


async def _parse(call: Call, raw: bytes, errors: list[FieldError]) -> list[FieldError]:
    """The body into the call; what is wrong with it behind what is wrong already."""
    operation = call.operation
    try:
        if operation.lenient is not None:
            call.body = operation.lenient(raw)
        else:
            call.body = (operation.request or EmptyBody).model_validate_json(raw or b"null")
        return errors
    except pydantic.ValidationError as error:
        found = field_errors(error)
    if found[0]["code"] == "malformed_json":
        return found
    errors = errors + found
    if operation.further is not None:
        wrong = frozenset(entry["pointer"] for entry in found)
        errors += await operation.further(call, msgspec.json.decode(raw or b"null"), wrong)
    return errors


async def _once(call: Call, key: str, request: web.Request, raw: bytes) -> web.StreamResponse:
    """Do it unless it was done, and keep what was answered."""
    desk, workspace_id, operation = call.api.idempotency, call.workspace_id, call.operation
    print_ = fingerprint(request.method, request.path_qs, raw)
    claim = await desk.begin(workspace_id, operation.name, key, print_)
    if isinstance(claim, Answer):
        return web.Response(
            body=claim.body,
            status=claim.status,
            headers={**claim.headers, "Idempotent-Replayed": "true"},
            content_type=claim.content_type or None,
        )
    call.key, call.claimed_at = key, claim.at
    try:
        answer = await _answer(call)
    except BaseException:
        await _settle(call, claim, None)
        raise
    await _settle(call, claim, answer)
    return web.Response(
        body=answer.body,
        status=answer.status,
        headers=answer.headers,
        content_type=answer.content_type or None,
    )


async def _answer(call: Call) -> Answer:
    """The handler's answer or what it refuses; failures on our side come through."""
    try:
        reply = await call.operation.handle(call)
    except (Problem, Refused) as refused:
        problem = refused if isinstance(refused, Problem) else _passed_on(refused)
        document = problem.document(call.api.public_url, call.request_id)
        return Answer(problem.status, PROBLEM, problem.headers, _encode(document))
    body = b"" if reply.data is None else _encode(reply.data)
    status = reply.status or call.operation.status
    return Answer(status, JSON if body else "", reply.headers or {}, body)


def _passed_on(refused: Refused) -> Problem:
    return Problem.from_document(refused.problem)


async def _settle(call: Call, claim: Claim, answer: Answer | None) -> None:
    """Keep the answer, or give the key free. What was done is done and what failed has failed,
    also if that cannot be written down: then a repeat hears "still running" for a minute."""
    desk = call.api.idempotency
    keep = answer is not None and answer.status < 500 and answer.status not in NOT_KEPT
    try:
        await desk.settle(call.workspace_id, claim, answer if keep else None)
    except UNREACHABLE as error:
        structlog.get_logger().warning("answer not kept", error=type(error).__name__)


async def _sent(request: web.Request, file: Download | Streamed) -> web.StreamResponse:
    """What sees to itself; or a file, piece by piece. What fails before the first piece is answered
    as ever; after it the connection is cut, so that nobody takes half a file for the whole."""
    if isinstance(file, Streamed):
        return await file.run(request)
    first = await anext(file.content, b"")
    response = web.StreamResponse(
        headers={
            "Content-Disposition": f'attachment; filename="{file.name}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Request-Id": request[REQUEST_ID],
        }
    )
    response.content_type = file.media_type
    await response.prepare(request)
    try:
        await response.write(first)
        async for piece in file.content:
            await response.write(piece)
        await response.write_eof()
    except ConnectionError:
        pass  # the client has gone
    except Exception:  # noqa: BLE001 - whatever it is, the client must see that the file is not whole
        structlog.get_logger().exception("download broken off", request_id=request[REQUEST_ID])
        if request.transport is not None:
            request.transport.abort()
    return response


def _response(operation: Operation, reply: Reply) -> web.Response:
    if reply.data is None:
        return web.Response(status=reply.status or operation.status, headers=reply.headers)
    return web.Response(
        body=_encode(reply.data),
        status=reply.status or operation.status,
        headers=reply.headers,
        content_type=JSON,
    )
