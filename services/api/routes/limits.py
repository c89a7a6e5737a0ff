"""What is limited, and the log of requests."""

from __future__ import annotations

import time
from typing import Any

from services.api import live
from services.api.idempotency import KEPT
from services.api.operation import Call, Operation, Reply
from services.api.page import Page, sieved
from services.api.shapes import limits as shapes
from services.api.shapes.fields import PAGE_MAX
from services.api.shapes.messages import BODY_MAX_CHARS, BULK_MAX
from shared import text
from shared.http import BODY_MAX_BYTES

ASK_TIMEOUT_S = 1.0
LAST_OF_CLASS = 99


async def get_limits(call: Call) -> Reply:
    """GET /v1/limits."""
    api = call.api
    standing = api.answering.rates.look(call.caller, time.monotonic())
    rate = [
        shapes.RateLimit(
            policy=one.policy,
            requests=one.quota,
            window_s=one.window_s,
            remaining=one.left,
            resets_in_s=round(one.full_in_s, 3),
        )
        for one in standing
    ]
    sizes = shapes.Sizes(
        body_bytes=BODY_MAX_BYTES,
        messages_per_call=BULK_MAX,
        characters_per_message=BODY_MAX_CHARS,
        parts_per_message=text.MAX_PARTS,
        items_per_page=PAGE_MAX,
        event_streams=live.STREAMS_OF_WORKSPACE_MAX,
        idempotency_key_hours=int(KEPT.total_seconds() // 3600),
        requests_kept_days=api.context.settings.requests_kept_days,
    )
    said = await api.ask_if_there(call, "scheduler", "limits", {}, ASK_TIMEOUT_S)
    plan = (await api.billing.standing(call.workspace_id, call.now)).plan
    used = await api.billing.usage(call)
    planned = [
        shapes.PlanLimit(what=what, limit=plan.limit(what), used=count)
        for what, count in used.items()
    ]
    return Reply(shapes.LimitsAnswer(rate=rate, sizes=sizes, sending=_sending(said), plan=planned))


def _sending(said: dict[str, Any] | None) -> shapes.Sending | None:
    if said is None:
        return None
    return shapes.Sending(
        min_gap_s=said["min_gap_s"],
        daily_cap=said["daily_cap"],
        warmup=[shapes.WarmUp(one["days"], one["cap"]) for one in said["warmup"]],
        parts_per_minute=said["parts_per_minute"],
        attempts=said["attempts"],
        message_ttl_s=said["message_ttl_s"],
    )


async def list_requests(call: Call) -> Reply:
    """GET /v1/requests."""
    query: shapes.RequestQuery = call.query
    lowest, highest = _statuses(query.status)
    sql = call.api.sql
    statement, end = sql.requests, sql.requests_end
    if lowest is not None and lowest >= 400:
        statement, end = sql.refused_requests, sql.refused_requests_end
    args = (lowest, highest, query.actor, query.path, query.method)
    return await sieved(call, statement, args, shapes.logged, (end, ()))


def _statuses(wanted: str | None) -> tuple[int | None, int | None]:
    if wanted is None:
        return None, None
    if wanted.endswith("xx"):
        lowest = int(wanted[0]) * 100
        return lowest, lowest + LAST_OF_CLASS
    return int(wanted), int(wanted)


async def get_request(call: Call) -> Reply:
    """GET /v1/requests/{id}."""
    row = await call.api.row(call, call.api.sql.request, call.path["request_id"])
    return Reply(shapes.logged(row))


OPERATIONS = (
    Operation(
        name="limits.get",
        method="GET",
        path="/v1/limits",
        tag="Developers",
        scope="workspace:read",
        handle=get_limits,
        status=200,
        response=shapes.LimitsAnswer,
        summary="Look at the limits",
        description=(
            "How often you may call and what is left of it, how large things may be, how fast a "
            "phone sends unless you change it, and what your plan allows."
        ),
    ),
    Operation(
        name="requests.list",
        method="GET",
        path="/v1/requests",
        tag="Developers",
        scope="workspace:read",
        handle=list_requests,
        status=200,
        response=Page[shapes.RequestEntry],
        query=shapes.RequestQuery,
        paged=True,
        summary="List requests",
        description=(
            "The requests of the last days and how they were answered, newest first, within a "
            "second or two of the answer. Never a body, a number or a query; of an address only "
            "the network. Of a workspace that calls more than 20 times a second some are left out."
        ),
    ),
    Operation(
        name="requests.get",
        method="GET",
        path="/v1/requests/{request_id}",
        ids={"request_id": "req"},
        tag="Developers",
        scope="workspace:read",
        handle=get_request,
        status=200,
        response=shapes.RequestEntry,
        summary="Look at a request",
        description="By the `X-Request-Id` of its answer.",
    ),
)
