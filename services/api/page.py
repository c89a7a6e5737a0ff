"""A list's page: run the statement, cut it, and say how to go on.

Every page costs the same, however long the list is: an index gives its rows in order. A filter that
no index serves sieves what an index gives, and looks at ``SIEVED_MAX`` rows at most; then the page
may hold fewer than asked for, or nothing, and still say that there is more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from msgspec import Struct

from services.api import paging
from services.api.operation import Call, Reply

T = TypeVar("T")
SIEVED_MAX = 5_000  # rows a page looks at, some 10 ms
CLOSELY_MAX = 2_000  # the same where the text or the words of each are read


class Page(Struct, Generic[T], kw_only=True):
    """One page of a list. Go on with ``next_cursor``, or follow the Link header.

    ``has_more`` alone says whether there is more: filtered pages may hold fewer than ``limit``.
    """

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


async def sieved(
    call: Call,
    statement: str,
    args: tuple[Any, ...],
    show: Callable[[Any], T],
    end: tuple[str, tuple[Any, ...]],
    *,
    by: tuple[str, str] = ("created_at", "id"),
    closely: bool = False,
) -> Reply:
    """As ``page`` for filters no index serves; ``end`` says where the looking ended."""
    most = CLOSELY_MAX if closely else SIEVED_MAX
    cursors, position = begin(call)
    limit = call.query.limit
    async with call.api.db.tenant(call.workspace_id) as db:
        at = (position.at, position.id)
        rows: list[Any] = await db.fetch(statement, *args, *at, limit + 1, most)
        ended: Any = None
        if len(rows) <= limit:
            ended = await db.fetchrow(end[0], *end[1], *at, most - 1)
    shown = [show(row) for row in rows[:limit]]
    if ended is None:
        return finish(call, cursors, rows, shown, by=by)
    return going_on(call, cursors, shown, paging.Position(ended[by[0]], ended[by[1]]))


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
    return going_on(call, cursors, shown, paging.Position(last[by[0]], last[by[1]]))


def going_on(call: Call, cursors: paging.Cursors, shown: list[Any], end: paging.Position) -> Reply:
    """The reply with a page that ended at ``end``, behind which there is more."""
    cursor = cursors.write(end)
    url = call.api.public_url + call.operation.path.format(**call.path)
    asked = filters(call) | {"limit": call.query.limit}
    link = paging.next_link(url, asked, cursor)
    return Reply(Page(data=shown, has_more=True, next_cursor=cursor), headers={"Link": link})


def filters(call: Call) -> dict[str, Any]:
    """The query's filters: everything but where the page begins and how long it is."""
    return call.query.model_dump(exclude={"limit", "cursor"}, exclude_none=True)
