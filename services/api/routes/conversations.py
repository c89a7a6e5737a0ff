"""Conversations: the inbox's list, its threads, and their state."""

from __future__ import annotations

from typing import Any

from services.api.operation import Call, Operation, Reply
from services.api.page import Page, page
from services.api.routes.contacts import ranges
from services.api.shapes import contacts as shapes
from services.api.shapes.fields import Paged
from services.api.shapes.messages import Message, message
from shared import events as e

PATH = "/v1/conversations/{conversation_id}"
IDS = {"conversation_id": "cnv"}
BY = ("last_at", "contact_id")


async def list_conversations(call: Call) -> Reply:
    """GET /v1/conversations."""
    q: shapes.ConversationQuery = call.query
    sql = call.api.sql
    state = q.status if q.status in ("open", "closed") else None
    args: tuple[Any, ...]
    if q.q is not None:
        args = (*await ranges(call, q.q), state, q.status == "unread")
        statement = sql.conversations_found
    elif q.status == "unread":
        statement, args = sql.conversations_unread, ()
    elif state is not None:
        statement, args = sql.conversations_in_state, (state,)
    else:
        statement, args = sql.conversations, ()
    return await page(call, statement, args, shapes.conversation, by=BY)


async def get(call: Call) -> Reply:
    """GET /v1/conversations/{id}."""
    return Reply(shapes.conversation(await _row(call)))


async def messages(call: Call) -> Reply:
    """GET /v1/conversations/{id}/messages."""
    row = await _row(call)
    return await page(call, call.api.sql.messages_of_contact, (row["contact_id"],), message)


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
        description="The one with the newest message first.",
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
        response=Page[Message],
        query=Paged,
        paged=True,
        summary="Read a conversation",
        description="Its messages, newest first.",
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
