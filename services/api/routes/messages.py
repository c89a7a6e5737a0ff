"""Messages: list, look, timeline, take back, decide about."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from services.api import decide, finding, words
from services.api.api import READ_BACK_S, not_found
from services.api.operation import Call, Operation, Reply
from services.api.page import Page, page, sieved
from services.api.shapes import messages as shapes
from shared import numbers
from shared.problems import Problem

EXPLAIN_S = 0.3  # how long a look at a message waits for the live reason; then the stored one
PATH = "/v1/messages/{message_id}"
# States few messages are in at a time: listed by an index (the column listed_as).
LISTED_AS = frozenset({"queued", "failed", "unknown", "rejected", "cancelled", "expired"})
NO_STATE = ""  # an inbound message that was delivered: there is none
IDS = {"message_id": "msg"}


async def list_messages(call: Call) -> Reply:
    """GET /v1/messages: by the narrowest filter's index; what it gives, the others sieve."""
    q: shapes.MessageQuery = call.query
    sql = call.api.sql
    show = shapes.message
    if q.q is not None:
        return await _found(call, q)
    if q.campaign_id is not None:
        if (q.state, q.contact_id, q.phone_id, q.direction) != (None, None, None, None):
            detail = "campaign_id can be combined with no other filter."
            raise Problem.at("#/campaign_id", "not_combinable", detail)
        return await page(call, sql.messages_of_campaign, (q.campaign_id,), show)
    if q.contact_id is not None:
        if (q.state, q.phone_id, q.direction) == (None, None, None):
            return await page(call, sql.messages_of_contact, (q.contact_id,), show)
        args: tuple[Any, ...] = (q.contact_id, q.state, q.phone_id, q.direction)
        end = (sql.messages_of_contact_end, (q.contact_id,))
        return await sieved(call, sql.messages_of_contact_sieved, args, show, end)
    if q.phone_id is not None:
        if (q.state, q.direction) == (None, None):
            return await page(call, sql.messages_of_phone, (q.phone_id,), show)
        args, end = (q.phone_id, q.state, q.direction), (sql.messages_of_phone_end, (q.phone_id,))
        return await sieved(call, sql.messages_of_phone_sieved, args, show, end)
    if q.state is None and q.direction is None:
        return await page(call, sql.messages, (), show)
    direction = direction_of(q.state)
    if q.direction is not None and direction not in (None, q.direction):
        return await page(call, sql.messages_listed_as, (NO_STATE,), show)
    if q.state in LISTED_AS:
        return await page(call, sql.messages_listed_as, (q.state,), show)
    if q.state is None or q.state == "received":
        outbound = q.direction == "outbound"
        return await page(
            call, sql.messages_outbound if outbound else sql.messages_inbound, (), show
        )
    return await sieved(
        call, sql.messages_in_state, (q.state,), show, (sql.messages_in_state_end, ())
    )


async def _found(call: Call, q: shapes.MessageQuery) -> Reply:
    """Texts by their words; of one contact, those in its history."""
    sql, show, typed = call.api.sql, shapes.message, finding.in_body(q.q or "")
    others = q.state is not None or q.phone_id is not None or q.campaign_id is not None
    if others or (q.contact_id and q.direction):
        detail = "q can be combined with direction, or with contact_id."
        raise Problem.at("#/q", "not_combinable", detail)
    if q.contact_id is not None:
        end = (sql.messages_of_contact_end, (q.contact_id,))
        args: tuple[Any, ...] = (q.contact_id, typed)
        return await sieved(call, sql.messages_of_contact_found, args, show, end, closely=True)
    found = await finding.texts(call, q.q or "")
    if found.broad:
        end = (sql.messages_sieved_end, (q.direction,))
        args = (typed, q.direction)
        return await sieved(call, sql.messages_sieved, args, show, end, closely=True)
    args = (*found.few[:4], typed, finding.NEWEST_TEXTS, q.direction)
    return await page(call, sql.messages_found, args, show)


def direction_of(state: str | None) -> str | None:
    """Which way a message in ``state`` goes, None for any."""
    if state is None:
        return None
    return "inbound" if state == "received" else "outbound"


async def get(call: Call) -> Reply:
    """GET /v1/messages/{id}, with the wait explained live."""
    row = await _row(call)
    message = shapes.message(row)
    message.waiting = await _waiting(call, row)
    return Reply(message)


async def timeline(call: Call) -> Reply:
    """GET /v1/messages/{id}/timeline."""
    row = await _row(call)
    workspace = await call.api.workspace(call.workspace_id)
    async with call.api.db.tenant(call.workspace_id) as db:
        facts = await db.fetch(call.api.sql.timeline, row["id"])
        phones = {phone_id for fact in facts if (phone_id := _phone_id(fact)) is not None}
        contact: Any = await db.fetchrow(call.api.sql.contact, row["contact_id"])
        named = await db.fetch(call.api.sql.labels, list(phones)) if phones else []
    labels = {phone["id"]: phone["label"] for phone in named}
    contact_zone = contact["timezone"] if contact else None
    zone = clock(contact_zone, row["number"], workspace["timezone"])
    entries = [_entry(fact, labels, zone) for fact in facts]
    return Reply(shapes.TimelineAnswer(entries, await _waiting(call, row)))


async def cancel(call: Call) -> Reply:
    """POST /v1/messages/{id}/cancel."""
    row = await _row(call)
    data = decide.cancel(
        row["id"], row["contact_id"], row["direction"], row["state"], bool(row["cancel_requested"])
    )
    if data is not None:
        await call.api.append(call, data)
        row = await _row(call)
    return Reply(shapes.SendAnswer(shapes.message(row)))


async def resolve(call: Call) -> Reply:
    """POST /v1/messages/{id}/resolve."""
    row = await _row(call)
    decision: str = call.body.decision
    data = decide.resolve(row["id"], row["contact_id"], row["waiting_reason"], decision)
    await call.api.append(call, data)
    return Reply(shapes.SendAnswer(shapes.message(await _row(call))))


def clock(contact_zone: str | None, number: str, workspace_zone: str) -> ZoneInfo:
    """The clock to tell times by: the recipient's if it is known for sure, else the workspace's."""
    if contact_zone:
        return ZoneInfo(contact_zone)
    zones = numbers.timezones(number) if number.startswith("+") else ()
    return zones[0] if len(zones) == 1 else ZoneInfo(workspace_zone)


async def _row(call: Call) -> Any:
    """The message; one that another instance accepted a moment ago may still be on its way here."""

    async def look() -> Any:
        rows = await call.api.rows(call, call.api.sql.messages_by_id, [call.path["message_id"]])
        return rows[0] if rows else None

    row = await call.api.until(look, READ_BACK_S)
    if row is None:
        raise not_found()
    return row


async def _waiting(call: Call, row: Any) -> shapes.Waiting | None:
    stored = shapes.message(row).waiting
    if row["state"] == "queued" or stored is not None:
        body = {"message_id": row["id"]}
        live = await call.api.ask_if_there(call, "scheduler", "explain", body, EXPLAIN_S)
        if live is not None and live["waiting"] is not None:
            return msgspec.convert(live["waiting"], shapes.Waiting)
    return stored


def _phone_id(fact: Any) -> str | None:
    return (fact["detail"] or {}).get("phone_id")


def _entry(fact: Any, labels: dict[str, str], zone: ZoneInfo) -> shapes.TimelineEntry:
    detail = fact["detail"] or {}
    at: datetime = fact["at"]
    return shapes.TimelineEntry(
        at=at,
        type=fact["type"],
        service=words.service(fact["type"], detail),
        detail=words.sentence(fact["type"], detail, labels, zone),
        data={name: value for name, value in detail.items() if value is not None},
    )


OPERATIONS = (
    Operation(
        name="messages.list",
        method="GET",
        path="/v1/messages",
        tag="Messages",
        scope="messages:read",
        handle=list_messages,
        status=200,
        response=Page[shapes.Message],
        query=shapes.MessageQuery,
        paged=True,
        problems=("not_combinable",),
        summary="List messages",
        description=(
            "Newest first, out and in. Filters narrow each other down; a page may hold fewer than "
            "`limit` messages and still have more behind it."
        ),
    ),
    Operation(
        name="messages.get",
        method="GET",
        path=PATH,
        ids=IDS,
        tag="Messages",
        scope="messages:read",
        handle=get,
        status=200,
        response=shapes.Message,
        summary="Look at a message",
        description="How far it is and, while it waits, why and until when as of this moment.",
    ),
    Operation(
        name="messages.timeline",
        method="GET",
        path=PATH + "/timeline",
        ids=IDS,
        tag="Messages",
        scope="messages:read",
        handle=timeline,
        status=200,
        response=shapes.TimelineAnswer,
        summary="Tell a message's story",
        description="Every fact on record, oldest first, each with a sentence.",
    ),
    Operation(
        name="messages.cancel",
        method="POST",
        path=PATH + "/cancel",
        ids=IDS,
        tag="Messages",
        scope="messages:write",
        handle=cancel,
        status=202,
        response=shapes.SendAnswer,
        problems=("not_cancellable",),
        summary="Take a message back",
        description=(
            "Possible until a phone gave it to the network. The answer says that it was asked for; "
            "the message becomes `cancelled` once no phone can send it any more."
        ),
    ),
    Operation(
        name="messages.resolve",
        method="POST",
        path=PATH + "/resolve",
        ids=IDS,
        tag="Messages",
        scope="messages:write",
        handle=resolve,
        status=202,
        response=shapes.SendAnswer,
        request=shapes.ResolveRequest,
        problems=("not_quarantined",),
        summary="Decide about a quarantined message",
        description=(
            "A message whose phone cannot tell whether it went out waits with the reason "
            "`quarantined` and is never sent again on its own."
        ),
    ),
)
