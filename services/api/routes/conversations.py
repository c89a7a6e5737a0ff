"""Conversations: the inbox's list, its threads, and their state."""

from __future__ import annotations

from typing import Any

from services.api import finding
from services.api.operation import Call, Operation, Reply
from services.api.page import Page, begin, going_on, page, sieved
from services.api.paging import Position
from services.api.shapes import contacts as shapes
from services.api.shapes.messages import Message, message
from shared import events as e
from shared.problems import Problem

PATH = "/v1/conversations/{conversation_id}"
IDS = {"conversation_id": "cnv"}
COUNTED_MAX = 1_000  # conversations counted; a badge shows no more
BY = ("last_at", "contact_id")


async def list_conversations(call: Call) -> Reply:
    """GET /v1/conversations."""
    q: shapes.ConversationQuery = call.query
    sql, show, unread = call.api.sql, shapes.conversation, q.status == "unread"
    state = q.status if q.status in ("open", "closed") else None
    if q.q is not None:
        found, people = await finding.contacts(call, q.q), await finding.written_to(call, q.q)
        if not found.broad:
            args: tuple[Any, ...] = (*found.few, people, state, unread)
            return await page(call, sql.conversations_found, args, show, by=BY)
        args, end = (*found.many, people, state, unread), (sql.conversations_end, (unread,))
        statement = sql.conversations_sieved
        return await sieved(call, statement, args, show, end, by=BY, closely=True)
    if unread:
        return await page(call, sql.conversations_unread, (), show, by=BY)
    if state is not None:
        return await page(call, sql.conversations_in_state, (state,), show, by=BY)
    return await page(call, sql.conversations, (), show, by=BY)


async def counts(call: Call) -> Reply:
    """GET /v1/conversations/counts."""
    (row,) = await call.api.rows(call, call.api.sql.conversation_counts, COUNTED_MAX)
    return Reply(shapes.ConversationCounts(row["conversations"], row["messages"]))


async def get(call: Call) -> Reply:
    """GET /v1/conversations/{id}."""
    return Reply(shapes.conversation(await _row(call)))


async def messages(call: Call) -> Reply:
    """GET /v1/conversations/{id}/messages: a page, or the part before, after or around a text."""
    row = await _row(call)
    q: shapes.ThreadQuery = call.query
    sql, contact_id = call.api.sql, row["contact_id"]
    given = [n for n in ("cursor", "before", "after", "around") if getattr(q, n) is not None]
    if len(given) > 1 or (q.q is not None and set(given) - {"cursor"}):
        detail = f"{' and '.join(given + ['q'] * (q.q is not None))} cannot be used together."
        raise Problem.at(f"#/{given[0]}", "not_combinable", detail)
    if q.q is not None:
        args, end = (contact_id, finding.in_body(q.q)), (sql.messages_of_contact_end, (contact_id,))
        statement = sql.messages_of_contact_found
        reply = await sieved(call, statement, args, message, end, closely=True)
        return _shown(reply.data, newer=q.cursor is not None, headers=reply.headers)
    if not given or q.cursor is not None:
        reply = await page(call, sql.messages_of_contact, (contact_id,), message)
        return _shown(reply.data, newer=q.cursor is not None, headers=reply.headers)
    async with call.api.db.tenant(call.workspace_id) as db:
        (at,) = await db.fetch(sql.messages_by_id, [getattr(q, given[0])]) or [None]
        if at is None or at["contact_id"] != contact_id:
            raise Problem.at(f"#/{given[0]}", "unknown_message", "It is not of this conversation.")
        return await _part(call, db, at)


async def _part(call: Call, db: Any, at: Any) -> Reply:
    """The texts older than one, or newer, or on both sides of it and itself."""
    q: shapes.ThreadQuery = call.query
    sql, place = call.api.sql, (at["contact_id"], at["created_at"], at["id"])
    newer_max = 0 if q.before else q.limit if q.after else (q.limit - 1) // 2
    older_max = 0 if q.after else q.limit if q.before else q.limit - 1 - newer_max
    older = await db.fetch(sql.messages_of_contact, *place, older_max + 1)
    newer = await db.fetch(sql.messages_of_contact_after, *place, newer_max + 1)
    itself = [at] if q.around else []
    rows = [*reversed(newer[:newer_max]), *itself, *older[:older_max]]
    more = bool(rows) and (len(older) > older_max or bool(q.after))
    # Going on is going on with the whole conversation.
    call.query = q.model_copy(update=dict.fromkeys(("before", "after", "around")))
    cursors, _ = begin(call)
    shown = [message(row) for row in rows]
    reply = Reply(Page(data=shown, has_more=False, next_cursor=None))
    if more:
        end = Position(rows[-1]["created_at"], rows[-1]["id"])
        reply = going_on(call, cursors, shown, end)
    return _shown(reply.data, newer=len(newer) > newer_max or bool(q.before), headers=reply.headers)


def _shown(found: Page[Message], *, newer: bool, headers: dict[str, str] | None) -> Reply:
    thread = shapes.Thread(
        data=found.data, has_more=found.has_more, next_cursor=found.next_cursor, has_newer=newer
    )
    return Reply(thread, headers=headers)


async def read(call: Call) -> Reply:
    """POST /v1/conversations/{id}/read."""
    row = await _row(call)
    return await _move(call, row, e.ConversationRead if row["unread"] else None)


async def close(call: Call) -> Reply:
    """POST /v1/conversations/{id}/close."""
    row = await _row(call)
    return await _move(call, row, e.ConversationClosed if row["state"] == "open" else None)


async def reopen(call: Call) -> Reply:
    """POST /v1/conversations/{id}/reopen."""
    row = await _row(call)
    return await _move(call, row, e.ConversationReopened if row["state"] == "closed" else None)


async def _move(call: Call, row: Any, kind: Any) -> Reply:
    """Put the change on record; None: it is so already."""
    if kind is not None:
        data = kind(contact_id=row["contact_id"], conversation_id=call.path["conversation_id"])
        await call.api.append(call, data)
    return await get(call)


async def _row(call: Call) -> Any:
    contact_id = "con_" + call.path["conversation_id"].removeprefix("cnv_")
    return await call.api.row(call, call.api.sql.conversation, contact_id)


OPERATIONS = (
    Operation(
        name="conversations.list",
        method="GET",
        path="/v1/conversations",
        tag="Conversations",
        scope="conversations:read",
        handle=list_conversations,
        status=200,
        response=Page[shapes.Conversation],
        query=shapes.ConversationQuery,
        paged=True,
        summary="List conversations",
        description=(
            "The one with the newest message first. A page may hold fewer than `limit` and still "
            "have more behind it."
        ),
    ),
    Operation(
        name="conversations.counts",
        method="GET",
        path="/v1/conversations/counts",
        tag="Conversations",
        scope="conversations:read",
        handle=counts,
        status=200,
        response=shapes.ConversationCounts,
        summary="Count what is unread",
        description="In the whole workspace, for a badge.",
    ),
    Operation(
        name="conversations.get",
        method="GET",
        path=PATH,
        ids=IDS,
        tag="Conversations",
        scope="conversations:read",
        handle=get,
        status=200,
        response=shapes.Conversation,
        summary="Look at a conversation",
        description="There is one per contact, from the first message on.",
    ),
    Operation(
        name="conversations.messages",
        method="GET",
        path=PATH + "/messages",
        ids=IDS,
        tag="Conversations",
        scope="conversations:read",
        handle=messages,
        status=200,
        response=shapes.Thread,
        query=shapes.ThreadQuery,
        paged=True,
        problems=("not_combinable", "unknown_message"),
        summary="Read a conversation",
        description=(
            "Its messages, newest first. Begin anywhere with `before`, `after` or `around` a "
            "message; `next_cursor` goes on towards the older ones."
        ),
    ),
    Operation(
        name="conversations.read",
        method="POST",
        path=PATH + "/read",
        ids=IDS,
        tag="Conversations",
        scope="conversations:write",
        handle=read,
        status=200,
        response=shapes.Conversation,
        summary="Mark a conversation as read",
        description="Its unread count becomes 0.",
    ),
    Operation(
        name="conversations.close",
        method="POST",
        path=PATH + "/close",
        ids=IDS,
        tag="Conversations",
        scope="conversations:write",
        handle=close,
        status=200,
        response=shapes.Conversation,
        summary="Close a conversation",
        description="The next reply opens it again.",
    ),
    Operation(
        name="conversations.reopen",
        method="POST",
        path=PATH + "/reopen",
        ids=IDS,
        tag="Conversations",
        scope="conversations:write",
        handle=reopen,
        status=200,
        response=shapes.Conversation,
        summary="Reopen a conversation",
        description="Puts it back among the open ones.",
    ),
)
