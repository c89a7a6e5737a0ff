"""Erasure: of a person, of a conversation. Asked for here, carried out by erasure.py."""

from __future__ import annotations

from typing import Any

from services.api import decide
from services.api.operation import Call, Operation, Reply
from services.api.page import Page, page
from services.api.routes.contacts import whose
from services.api.shapes import privacy as shapes
from services.api.shapes.fields import Paged
from shared import events as e

PATH = "/v1/privacy/requests"
EFFECT_S = 2.0  # how long an answer waits for the erasure to take effect
ERASED = (
    "Asked for is done: from the answer on nobody sees it. Its bytes are deleted in the background;"
    " the request says how far that is, and at the end how much of what there was."
)


async def ask(call: Call) -> Reply:
    """POST /v1/privacy/requests."""
    body: shapes.PrivacyRequestBody = call.body
    contact_id = body.subject.contact_id
    if contact_id is None:
        workspace = await call.api.workspace(call.workspace_id)
        number = decide.number(body.subject.phone or "", workspace["region"], "#/subject/phone")
        if isinstance(number, dict):
            raise decide.problem([number])
        contact_id, _ = await whose(call, number)
    if not await call.api.rows(call, call.api.sql.contact, contact_id):
        pointer = "#/subject/phone" if body.subject.contact_id is None else "#/subject/contact_id"
        detail = "There is no such contact."
        raise decide.problem([decide.field_error(pointer, "contact_not_found", detail)])
    return await erase(call, "contact", contact_id)


async def erase_contact(call: Call) -> Reply:
    """DELETE /v1/contacts/{id}."""
    row = await call.api.row(call, call.api.sql.contact, call.path["contact_id"])
    return await erase(call, "contact", row["id"])


async def erase_conversation(call: Call) -> Reply:
    """DELETE /v1/conversations/{id}."""
    contact_id = "con_" + call.path["conversation_id"].removeprefix("cnv_")
    row = await call.api.row(call, call.api.sql.conversation, contact_id)
    return await erase(call, "conversation", row["contact_id"])


async def erase(call: Call, scope: str, contact_id: str) -> Reply:
    """Put the wish on record and wait, within bounds, until it has taken effect."""
    api = call.api
    request_id = call.new_id("prv")
    data = e.PrivacyRequested(
        request_id=request_id, kind="erasure", scope=scope, contact_id=contact_id
    )
    await api.append(call, data)

    async def in_effect() -> Any:
        row = await api.row(call, api.sql.privacy_request, request_id)
        return None if row["state"] == "requested" else row

    row = await api.until(in_effect, EFFECT_S)
    if row is None:  # nobody leads at the moment: it takes effect when somebody does
        row = await api.row(call, api.sql.privacy_request, request_id)
    return Reply(shapes.request(row), headers={"Location": f"{PATH}/{request_id}"})


async def list_requests(call: Call) -> Reply:
    """GET /v1/privacy/requests."""
    return await page(call, call.api.sql.privacy_requests, (), shapes.request)


async def get(call: Call) -> Reply:
    """GET /v1/privacy/requests/{id}."""
    row = await call.api.row(call, call.api.sql.privacy_request, call.path["request_id"])
    return Reply(shapes.request(row))


OPERATIONS = (
    Operation(
        name="privacy.list",
        method="GET",
        path=PATH,
        tag="Privacy",
        scope="privacy:write",
        handle=list_requests,
        status=200,
        response=Page[shapes.PrivacyRequest],
        query=Paged,
        paged=True,
        summary="List erasures",
        description="With how far each is, and what there was; newest first.",
    ),
    Operation(
        name="privacy.request",
        method="POST",
        path=PATH,
        tag="Privacy",
        scope="privacy:write",
        handle=ask,
        status=202,
        response=shapes.PrivacyRequest,
        request=shapes.PrivacyRequestBody,
        problems=("contact_not_found", "invalid_number"),
        located=True,
        summary="Erase a person",
        description=(
            "By contact or by number. " + ERASED + " A number that opted out stays opted out: a "
            "keyed hash of it is all that is kept. Whoever has the number afterwards is a new "
            "contact."
        ),
    ),
    Operation(
        name="privacy.get",
        method="GET",
        path=PATH + "/{request_id}",
        ids={"request_id": "prv"},
        tag="Privacy",
        scope="privacy:write",
        handle=get,
        status=200,
        response=shapes.PrivacyRequest,
        summary="Look at an erasure",
        description="How far it is, and how much of what there was in every store.",
    ),
    Operation(
        name="contacts.erase",
        method="DELETE",
        path="/v1/contacts/{contact_id}",
        ids={"contact_id": "con"},
        tag="Contacts",
        scope="privacy:write",
        handle=erase_contact,
        status=202,
        response=shapes.PrivacyRequest,
        located=True,
        summary="Erase a contact",
        description="The person with all their messages. " + ERASED,
    ),
    Operation(
        name="conversations.erase",
        method="DELETE",
        path="/v1/conversations/{conversation_id}",
        ids={"conversation_id": "cnv"},
        tag="Conversations",
        scope="privacy:write",
        handle=erase_conversation,
        status=202,
        response=shapes.PrivacyRequest,
        located=True,
        summary="Erase a conversation",
        description="All its messages; the contact and its consent stay. " + ERASED,
    ),
)
