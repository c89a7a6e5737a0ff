"""The HTTP frame of every service: problems, request ids, health, metrics.

One middleware does it all: gives the request its id, turns every failure (the framework's own too)
into problem+json, counts and times. Handlers raise Problem, or let EightMsError come through.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import pydantic
import structlog
from aiohttp import web

from shared import ids
from shared.errors import LogUnavailable, NoAnswer, NotReady, Refused
from shared.problems import Problem, unavailable
from shared.sql import REBUILT, UNREACHABLE
from shared.telemetry import Metrics

BODY_MAX_BYTES = 1024 * 1024
RETRY_AFTER_S = 1
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
M = TypeVar("M", bound=pydantic.BaseModel)
REQUEST_ID = web.RequestKey("REQUEST_ID", str)  # of every request inside the frame
_encode = msgspec.json.Encoder().encode


@dataclass
class Frame:
    """What the frame needs to know of its service."""

    metrics: Metrics
    problem_base: str  # where pages of problem types are served
    ready: Callable[[], dict[str, Any]]  # {"ready": bool, "why": str, …}
    answered: Callable[[web.Request, web.StreamResponse, float], None] | None = None
    """Told of every request, its answer and the seconds it took."""


FRAME = web.AppKey("FRAME", Frame)


def json_response(
    data: Any, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """``data`` (structs, dicts, lists) as JSON."""
    return web.Response(
        body=_encode(data), status=status, headers=headers, content_type="application/json"
    )


def problem_response(problem: Problem, request: web.Request) -> web.Response:
    """The problem as application/problem+json, with the request's id."""
    document = problem.document(request.app[FRAME].problem_base, request.get(REQUEST_ID))
    return web.Response(
        body=_encode(document),
        status=problem.status,
        headers=problem.headers,
        content_type="application/problem+json",
    )


@web.middleware
async def _frame(request: web.Request, handler: Handler) -> web.StreamResponse:
    started = time.perf_counter()
    request_id = request[REQUEST_ID] = ids.new("req")
    try:
        response = await handler(request)
    except Problem as problem:
        response = problem_response(problem, request)
    except web.HTTPException as error:
        response = problem_response(_from_http(error), request)
    except (LogUnavailable, NoAnswer, NotReady, *UNREACHABLE, *REBUILT) as error:
        structlog.get_logger().warning("answered 503", error=type(error).__name__)
        response = problem_response(
            unavailable("Storage is not reachable right now. Nothing was changed.", RETRY_AFTER_S),
            request,
        )
    except Refused as refused:
        response = problem_response(Problem.from_document(refused.problem), request)
    except Exception:  # noqa: BLE001 - a failed request is logged and answered, never dropped
        structlog.get_logger().exception("request failed", request_id=request_id)
        response = problem_response(
            Problem(500, "internal_error", "We broke something. The request id helps us find it."),
            request,
        )
    if not response.prepared:
        response.headers["X-Request-Id"] = request_id
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "unmatched"
    frame, seconds = request.app[FRAME], time.perf_counter() - started
    metrics = frame.metrics
    metrics.count(
        "http_requests_total", "Requests answered", route=route, status=str(response.status)
    )
    metrics.observe("http_seconds", "Time to answer", seconds, route=route)
    if frame.answered is not None:
        frame.answered(request, response, seconds)
    return response


def _from_http(error: web.HTTPException) -> Problem:
    code, detail = {
        404: ("not_found", "There is nothing at this path."),
        405: ("method_not_allowed", "This path does not know that method."),
        413: ("body_too_large", f"The body is larger than {BODY_MAX_BYTES} bytes."),
        415: ("unsupported_media_type", "Send application/json."),
    }.get(error.status, ("http_error", error.reason))
    headers = {k: error.headers[k] for k in ("Allow",) if k in error.headers}
    return Problem(error.status, code, detail, headers=headers)


def make_app(frame: Frame) -> web.Application:
    """An application with the frame, ``/healthz``, ``/readyz`` and ``/metrics``."""
    app = web.Application(middlewares=[_frame], client_max_size=BODY_MAX_BYTES)
    app[FRAME] = frame
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/metrics", _metrics)
    return app


def waiting_app(frame: Frame) -> web.Application:
    """For the time before a service is up: health and metrics as later, everything else is 503."""
    app = make_app(frame)
    app.router.add_route("*", "/{path:.*}", _not_yet)
    return app


async def _not_yet(request: web.Request) -> web.Response:
    why = request.app[FRAME].ready()["why"]
    raise unavailable(f"The service is starting: {why}.", RETRY_AFTER_S)


async def _healthz(_: web.Request) -> web.Response:
    return json_response({"ok": True})


async def _readyz(request: web.Request) -> web.Response:
    state = request.app[FRAME].ready()
    return json_response(state, 200 if state["ready"] else 503)


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(text=request.app[FRAME].metrics.render())


async def read_body(request: web.Request) -> bytes:
    """The body; a Problem when it is not JSON by its type or too large."""
    if request.content_type not in ("application/json", "application/octet-stream"):
        raise Problem(415, "unsupported_media_type", "Send application/json.")
    return await request.read()


def parse(model: type[M], raw: bytes) -> M:
    """``raw`` as ``model``; a Problem that names every wrong field at once."""
    try:
        return model.model_validate_json(raw or b"null")
    except pydantic.ValidationError as error:
        raise invalid(error) from None


def invalid(error: pydantic.ValidationError) -> Problem:
    """The 422 for a failed validation: a pointer, a code and a sentence per field."""
    errors = [
        {"pointer": _pointer(e["loc"]), "code": _code(e["type"]), "detail": _sentence(e)}
        for e in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    if errors[0]["code"] == "malformed_json":
        return Problem(400, "malformed_json", "The body is not valid JSON.", errors=errors)
    return Problem(422, "invalid_request", errors[0]["detail"], errors=errors)


def _pointer(loc: tuple[int | str, ...]) -> str:
    parts = [str(p).replace("~", "~0").replace("/", "~1") for p in loc]
    return "#" + "".join(f"/{p}" for p in parts)


def _code(kind: str) -> str:
    return {
        "missing": "missing",
        "extra_forbidden": "unknown_field",
        "json_invalid": "malformed_json",
        "string_too_long": "too_long",
        "string_too_short": "too_short",
        "too_long": "too_long",
        "too_short": "too_short",
    }.get(kind, "invalid")


def _sentence(error: Any) -> str:
    name = ".".join(str(p) for p in error["loc"]) or "body"
    match error["type"]:
        case "missing":
            return f"{name} is required."
        case "extra_forbidden":
            return f"{name} is not a field of this request."
        case "json_invalid":
            return "The body is not valid JSON."
        case "value_error":
            return f"{name}: {error['msg'].removeprefix('Value error, ')}"
        case _:
            return f"{name}: {error['msg'][:1].lower()}{error['msg'][1:]}."
