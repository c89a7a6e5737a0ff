"""A list's page: run the statement, cut it, and say how to go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from msgspec import Struct

from services.api import paging
from services.api.operation import Call, Reply

T = TypeVar("T")


class Page(Struct, Generic[T], kw_only=True):
    """One page of a list. Go on with ``next_cursor``, or follow the Link header."""

    data: list[T]
    has_more: bool
    next_cursor: str | None


async def page(
    call: Call,
    statement: str,
    args: tuple[Any, ...],
    show: Callable[[Any], T],
    *,
    by: tuple[str, str] = ("created_at", "id"),
) -> Reply:
    """The page ``call`` asks for: ``statement`` takes ``args``, a position and how many.

    ``by`` names the columns the list is ordered by. A Problem for a cursor of another list.
    """
    cursors, position = begin(call)
    rows = await call.api.rows(
        call, statement, *args, position.at, position.id, call.query.limit + 1
    )
    return finish(call, cursors, rows, [show(row) for row in rows[: call.query.limit]], by=by)


def begin(call: Call) -> tuple[paging.Cursors, paging.Position]:
    """The cursors of this list with these filters, and where to begin."""
    scope = paging.scope(call.operation.name, call.workspace_id, filters(call))
    cursors = paging.Cursors(call.api.identity_key, scope + "".join(call.path.values()))
    return cursors, cursors.read(call.query.cursor)


def finish(
    call: Call,
    cursors: paging.Cursors,
    rows: list[Any],
    shown: list[Any],
    *,
    by: tuple[str, str] = ("created_at", "id"),
) -> Reply:
    """The reply with what is shown of up to one row more than asked for."""
    kept, more = paging.cut(rows, call.query.limit)
    if not more:
        return Reply(Page(data=shown, has_more=False, next_cursor=None))
    last = kept[-1]
    cursor = cursors.write(paging.Position(last[by[0]], last[by[1]]))
    url = call.api.public_url + call.operation.path.format(**call.path)
    asked = filters(call) | {"limit": call.query.limit}
    link = paging.next_link(url, asked, cursor)
    return Reply(Page(data=shown, has_more=True, next_cursor=cursor), headers={"Link": link})


def filters(call: Call) -> dict[str, Any]:
    """The query's filters: everything but where the page begins and how long it is."""
    return call.query.model_dump(exclude={"limit", "cursor"}, exclude_none=True)
