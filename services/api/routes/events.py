"""The workspace's own event log, pulled page by page or streamed live, and its audit list."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import hdrs, web

from services.api import feed, live
from services.api.operation import Call, Operation, Reply, Streamed
from services.api.page import Page, begin, finish
from services.api.paging import START
from services.api.shapes import events as shapes
from shared import events as e
from shared import reader, sse
from shared.http import REQUEST_ID
from shared.log import STREAM

LOOKED_AT_MAX = 5_000  # facts a page goes through to find those of the types asked for
HISTORY_MAX = 500  # events read at once for a stream that catches up
STALLED_S = 30.0  # a stream that reads nothing for so long while it catches up
SEQ_MAX = 2**63 - 1
LAST_EVENT_ID = "Last-Event-ID"


# -- events --------------------------------------------------------------------------------------


async def list_events(call: Call) -> Reply:
    """GET /v1/events."""
    query: shapes.EventQuery = call.query
    places = _places(call)
    after = _begin(call, places, query.after, "after", 0)
    types = feed.types_asked(query.type)
    events, reached, more = await _history(call, after, types, query.limit)
    rows = await live.rows_of(call.api, events)
    found = [
        feed.shown(event, rows[seq], places.write(seq)) for seq, event in events if seq in rows
    ]
    data = [event for event in found if event is not None]
    return Reply(shapes.Events(data=data, has_more=more, next_cursor=places.write(reached)))


async def stream_events(call: Call) -> Reply:
    """GET /v1/events/stream."""
    query: shapes.StreamQuery = call.query
    types = feed.types_asked(query.type)
    now = call.api.projector.status.position
    after = _begin(call, _places(call), query.after, "after", now)
    return Reply(Streamed(lambda request: _stream(call, request, types, after)))


async def _stream(
    call: Call, request: web.Request, types: frozenset[str] | None, after: int
) -> web.StreamResponse:
    places = _places(call)
    if last := request.headers.get(LAST_EVENT_ID):
        after = places.read(last, LAST_EVENT_ID)
    response = web.StreamResponse(headers={**sse.HEADERS, "X-Request-Id": request[REQUEST_ID]})
    response.force_close()
    chunked = request.version >= (1, 1)
    if chunked:
        response.enable_chunked_encoding()
    transport = request.transport
    if transport is None:
        return response
    stream = live.Stream(call.caller, places, types, after, transport, chunked=chunked)
    stream.identify = lambda now: call.api.callers.identify(
        request.headers.get(hdrs.AUTHORIZATION), now, request.headers
    )
    hub: live.Live = call.api.live
    hub.enter(stream)
    try:
        await response.prepare(request)
        sse.give_up_early(transport)
        await response.write(f"retry: 2000\nid: {places.write(after)}\n\n".encode())
        if await _caught_up(call, stream, response):
            await stream.done
    except (ConnectionError, TimeoutError):
        transport.abort()
    finally:
        hub.leave(stream)
    return response


async def _caught_up(call: Call, stream: live.Stream, response: web.StreamResponse) -> bool:
    """Write what the stream missed; True once it is live, False if it was closed before."""
    while not stream.done.done():
        stream.gather()
        more = True
        while more and not stream.done.done():
            events, reached, more = await _history(call, stream.after, stream.types, HISTORY_MAX)
            framed = live.frames(events, await live.rows_of(call.api, events), stream.places)
            if framed:
                async with asyncio.timeout(STALLED_S):
                    await response.write(b"".join(frame for _, frame in framed))
            stream.after = max(stream.after, reached)
        if stream.go_live():
            return True
    return False


async def _history(
    call: Call, after: int, types: frozenset[str] | None, limit: int
) -> tuple[list[tuple[int, e.Event]], int, bool]:
    """The next events, how far that got, and whether there is more."""
    looked = limit + 1 if types is None else max(LOOKED_AT_MAX, limit + 1)
    rows: Sequence[Any] = await call.api.rows(
        call, call.api.sql.feed, after, looked, feed.wanted(types)
    )
    if not rows:
        return [], after, False
    wanted = [row["seq"] for row in rows if types is None or row["type"] in types]
    kept = wanted[:limit]
    cut = len(wanted) > limit
    more = cut or rows[0]["looked"] == looked
    reached = kept[-1] if cut else rows[-1]["seq"]
    found = await reader.pick(call.api.log, STREAM, kept)
    return [(seq, e.decode(found[seq])) for seq in kept if seq in found], reached, more


def _places(call: Call) -> feed.Places:
    return feed.Places(call.api.identity_key, call.workspace_id)


def _begin(call: Call, places: feed.Places, after: str | None, name: str, otherwise: int) -> int:
    if after is None:
        return otherwise
    if after == feed.LATEST:
        return call.api.projector.status.position
    return places.read(after, name)


# -- audit ---------------------------------------------------------------------------------------


async def list_audit(call: Call) -> Reply:
    """GET /v1/audit."""
    query: shapes.AuditQuery = call.query
    cursors, position = begin(call)
    before = SEQ_MAX if position == START else int(position.id)
    types = feed.wanted(feed.types_asked(query.type))
    rows = await call.api.rows(
        call,
        call.api.sql.audit_list,
        before,
        query.actor,
        query.target,
        types,
        query.since,
        query.until,
        query.limit + 1,
    )
    shown = [shapes.audit_entry(row) for row in rows[: query.limit]]
    return finish(call, cursors, rows, shown, by=("at", "place"))


OPERATIONS = (
    Operation(
        name="events.list",
        method="GET",
        path="/v1/events",
        tag="Events",
        scope="events:read",
        handle=list_events,
        status=200,
        response=shapes.Events,
        query=shapes.EventQuery,
        problems=("invalid_cursor", "unknown_type"),
        summary="Pull events",
        description=(
            "The workspace's own event log, oldest first. Keep `next_cursor` and ask again with "
            "`after`, whenever you like: nothing is missed, and nothing needs to be reachable from "
            "outside. An event comes at least once; tell repeats by their `id`. People who were "
            "erased, and what was said with them, are gone from here too."
        ),
    ),
    Operation(
        name="events.stream",
        method="GET",
        path="/v1/events/stream",
        tag="Events",
        scope="events:read",
        handle=stream_events,
        status=200,
        response=Streamed,
        query=shapes.StreamQuery,
        problems=("invalid_cursor", "unknown_type", "too_many_streams"),
        summary="Stream events",
        description=(
            "The same as server-sent events, as they happen: `event` is the type, `data` the "
            "event, `id` its cursor. A client that comes back with `Last-Event-ID` misses nothing. "
            "A comment comes every 15 seconds. Before the server ends a stream it says `event: "
            "closed` with a `reason`: `slow_reader` (too much is unread), `signed_out` (the key "
            "was revoked or has expired) or `restarting`."
        ),
    ),
    Operation(
        name="audit.list",
        method="GET",
        path="/v1/audit",
        tag="Events",
        scope="workspace:read",
        handle=list_audit,
        status=200,
        response=Page[shapes.AuditEntry],
        query=shapes.AuditQuery,
        paged=True,
        problems=("unknown_type",),
        summary="List what was done",
        description=(
            "Who did what, when, to what and with which request, newest first: settings, keys, "
            "members, phones, contacts, campaigns, webhooks. Ids only, never a text or a number. "
            "Who asked for a text, and what became of it, is on its timeline."
        ),
    ),
)
