"""Webhook endpoints and their deliveries: read here, changed by asking services/webhooks."""

from __future__ import annotations

from typing import Any

import msgspec

from services.api.operation import Call, Operation, Reply
from services.api.page import Page, page
from services.api.shapes import webhooks as shapes

PROJECTED_S = 2.0  # how long an answer waits for the change to be in our own rows
PATH = "/v1/webhooks/{endpoint_id}"
IDS = {"endpoint_id": "whk"}
URL_PROBLEMS = (
    "url_malformed",
    "scheme_not_allowed",
    "userinfo_not_allowed",
    "fragment_not_allowed",
    "host_malformed",
    "host_odd_spelling",
    "port_not_allowed",
    "address_blocked",
    "name_blocked",
)
SHOWN = ("url", "types", "enabled", "ordered", "description")


async def list_endpoints(call: Call) -> Reply:
    """GET /v1/webhooks."""
    return await page(call, call.api.sql.endpoints, (), shapes.endpoint)


async def get(call: Call) -> Reply:
    """GET /v1/webhooks/{id}."""
    return Reply(shapes.endpoint(await _row(call)))


async def create(call: Call) -> Reply:
    """POST /v1/webhooks."""
    body: shapes.EndpointRequest = call.body
    answer = await _ask(call, "save_endpoint", body.model_dump())
    saved = answer["endpoint"]
    await _projected(call, saved["id"], saved)
    shown = msgspec.convert({**saved, "secret": answer["secret"]}, shapes.NewEndpoint)
    return Reply(shown, headers={"Location": f"/v1/webhooks/{shown.id}"})


async def change(call: Call) -> Reply:
    """PATCH /v1/webhooks/{id}."""
    row = await _row(call)
    body: shapes.EndpointPatch = call.body
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    if not changes:
        return Reply(shapes.endpoint(row))
    answer = await _ask(call, "save_endpoint", {"endpoint_id": row["id"], **changes})
    saved = answer["endpoint"]
    await _projected(call, row["id"], saved)
    return Reply(msgspec.convert(saved, shapes.Endpoint))


async def remove(call: Call) -> Reply:
    """DELETE /v1/webhooks/{id}."""
    row = await _row(call)
    await _ask(call, "remove_endpoint", {"endpoint_id": row["id"]})
    await _projected(call, row["id"], None)
    return Reply()


async def rotate(call: Call) -> Reply:
    """POST /v1/webhooks/{id}/rotate-secret."""
    row = await _row(call)
    body: shapes.RotateRequest | None = call.body
    grace = {} if body is None or body.grace_s is None else {"grace_s": body.grace_s}
    answer = await _ask(call, "rotate_secret", {"endpoint_id": row["id"], **grace})
    return Reply(shapes.NewSecret(answer["secret"]))


async def test(call: Call) -> Reply:
    """POST /v1/webhooks/{id}/test."""
    row = await _row(call)
    body: shapes.TestRequest = call.body or shapes.TestRequest()
    answer = await _ask(call, "test", {"endpoint_id": row["id"], "type": body.type})
    return Reply(shapes.Begun(answer["delivery_id"]))


async def attempts(call: Call) -> Reply:
    """GET /v1/webhooks/{id}/attempts."""
    row = await _row(call)
    return await page(call, call.api.sql.attempts, (row["id"],), shapes.attempt, by=("at", "id"))


async def replay(call: Call) -> Reply:
    """POST /v1/webhooks/{id}/replay."""
    row = await _row(call)
    body: shapes.ReplayRequest = call.body
    asked = {"since": body.since, "types": body.types, "only_failed": body.only_failed}
    answer = await _ask(call, "replay", {"endpoint_id": row["id"], **asked})
    return Reply(shapes.Deliveries(answer["deliveries"]))


async def resend(call: Call) -> Reply:
    """POST /v1/webhooks/attempts/{id}/resend."""
    row = await call.api.row(call, call.api.sql.attempt, call.path["attempt_id"])
    answer = await _ask(call, "resend", {"attempt_id": row["id"]})
    return Reply(shapes.Begun(answer["delivery_id"]))


async def _ask(call: Call, question: str, body: dict[str, Any]) -> Any:
    actor = {"kind": call.caller.actor.kind, "id": call.caller.actor.id}
    return await call.api.ask(call, "webhooks", question, {"actor": actor, **body})


async def _row(call: Call) -> Any:
    return await call.api.row(call, call.api.sql.endpoint, call.path["endpoint_id"])


async def _projected(call: Call, endpoint_id: str, saved: dict[str, Any] | None) -> None:
    """Wait, within bounds, until our rows show what webhooks stored (None: that it is gone)."""

    async def look() -> bool | None:
        rows = await call.api.rows(call, call.api.sql.endpoint, endpoint_id)
        if saved is None or not rows:
            return True if saved is None and not rows else None
        return all(rows[0][name] == saved[name] for name in SHOWN) or None

    await call.api.until(look, PROJECTED_S)


OPERATIONS = (
    Operation(
        name="webhooks.list",
        method="GET",
        path="/v1/webhooks",
        tag="Webhooks",
        scope="webhooks:read",
        handle=list_endpoints,
        status=200,
        response=Page[shapes.Endpoint],
        query=shapes.EndpointQuery,
        paged=True,
        summary="List webhook endpoints",
        description="Newest first. Secrets are never shown again.",
    ),
    Operation(
        name="webhooks.create",
        method="POST",
        path="/v1/webhooks",
        tag="Webhooks",
        scope="webhooks:write",
        handle=create,
        status=201,
        response=shapes.NewEndpoint,
        request=shapes.EndpointRequest,
        problems=(*URL_PROBLEMS, "limit_reached"),
        located=True,
        summary="Add a webhook endpoint",
        description="The answer shows its secret, once. Keep it: every delivery is signed with it.",
    ),
    Operation(
        name="webhooks.get",
        method="GET",
        path=PATH,
        ids=IDS,
        tag="Webhooks",
        scope="webhooks:read",
        handle=get,
        status=200,
        response=shapes.Endpoint,
        summary="Look at a webhook endpoint",
        description="Whether it is told, of what, and if not, why not.",
    ),
    Operation(
        name="webhooks.change",
        method="PATCH",
        path=PATH,
        ids=IDS,
        tag="Webhooks",
        scope="webhooks:write",
        handle=change,
        status=200,
        response=shapes.Endpoint,
        request=shapes.EndpointPatch,
        problems=(*URL_PROBLEMS, "limit_reached"),
        summary="Change a webhook endpoint",
        description="Names only what changes. `enabled: true` switches a disabled one on again.",
    ),
    Operation(
        name="webhooks.remove",
        method="DELETE",
        path=PATH,
        ids=IDS,
        tag="Webhooks",
        scope="webhooks:write",
        handle=remove,
        status=204,
        response=None,
        summary="Remove a webhook endpoint",
        description="With its secret, its open deliveries and its list of attempts.",
    ),
    Operation(
        name="webhooks.rotate_secret",
        method="POST",
        path=PATH + "/rotate-secret",
        ids=IDS,
        tag="Webhooks",
        scope="webhooks:write",
        handle=rotate,
        status=200,
        response=shapes.NewSecret,
        request=shapes.RotateRequest,
        body_required=False,
        problems=("conflict", "limit_reached"),
        summary="Replace a webhook endpoint's secret",
        description="For a time of grace deliveries carry signatures of both secrets.",
    ),
    Operation(
        name="webhooks.test",
        method="POST",
        path=PATH + "/test",
        ids=IDS,
        tag="Webhooks",
        scope="webhooks:write",
        handle=test,
        status=202,
        response=shapes.Begun,
        request=shapes.TestRequest,
        body_required=False,
        summary="Send an example event",
        description="Signed like a real one; also to an endpoint that is disabled.",
    ),
    Operation(
        name="webhooks.attempts",
        method="GET",
        path=PATH + "/attempts",
        ids=IDS,
        tag="Webhooks",
        scope="webhooks:read",
        handle=attempts,
        status=200,
        response=Page[shapes.Attempt],
        query=shapes.AttemptQuery,
        paged=True,
        summary="List delivery attempts",
        description="Every try to deliver to this endpoint, newest first.",
    ),
    Operation(
        name="webhooks.replay",
        method="POST",
        path=PATH + "/replay",
        ids=IDS,
        tag="Webhooks",
        scope="webhooks:write",
        handle=replay,
        status=202,
        response=shapes.Deliveries,
        request=shapes.ReplayRequest,
        problems=("endpoint_disabled",),
        summary="Deliver again what happened since a time",
        description="Every event, or only what failed; each keeps its webhook-id.",
    ),
    Operation(
        name="webhooks.resend",
        method="POST",
        path="/v1/webhooks/attempts/{attempt_id}/resend",
        ids={"attempt_id": "att"},
        tag="Webhooks",
        scope="webhooks:write",
        handle=resend,
        status=202,
        response=shapes.Begun,
        problems=("endpoint_disabled",),
        summary="Make one delivery again",
        description="With the same body and webhook-id, whatever came of it.",
    ),
)
