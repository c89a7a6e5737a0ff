"""The workspace and its API keys."""

from __future__ import annotations

from typing import Any

import phonenumbers

from services.api import decide
from services.api.api import Decision
from services.api.operation import Call, Operation, Reply
from services.api.page import Page, page
from services.api.routes.contacts import zone_names
from services.api.shapes import account as shapes
from shared import auth
from shared import events as e
from shared.log import Guard
from shared.problems import Problem

PROFILE = (
    "name",
    "timezone",
    "region",
    "failover_s",
    "campaign_failover_s",
    "resend_unknown",
    "help_text",
    "opt_out_text",
)


async def get_workspace(call: Call) -> Reply:
    """GET /v1/workspace."""
    return Reply(shapes.workspace(await call.api.row(call, call.api.sql.workspace)))


async def change_workspace(call: Call) -> Reply:
    """PATCH /v1/workspace: loosening quiet hours is confirmed first (design/policy.md)."""
    patch: shapes.WorkspacePatch = call.body
    changes = {name: getattr(patch, name) for name in patch.model_fields_set}
    errors = decide.zone_errors(changes.get("timezone"), zone_names())
    if "region" in changes and changes["region"] not in phonenumbers.SUPPORTED_REGIONS:
        errors.append(
            decide.field_error(
                "#/region", "unknown_region", "region must be a country as in ISO 3166, such as US."
            )
        )
    if errors:
        raise decide.problem(errors)
    changes.pop("acknowledge_risk", None)
    if patch.quiet_hours is not None:
        changes["quiet_hours"] = patch.quiet_hours.model_dump()

    async def change() -> Decision | None:
        row = await call.api.row(call, call.api.sql.workspace)
        current = {name: row[name] for name in PROFILE} | {"quiet_hours": _quiet(row)}
        wanted = decide.merged(current, changes)
        if wanted == current:
            return None
        acknowledged = tuple(row["acknowledged"] or ())
        if wanted["quiet_hours"] != current["quiet_hours"]:
            quiet = {
                "current": {"quiet_hours": current["quiet_hours"]},
                "wanted": {"quiet_hours": wanted["quiet_hours"]},
            }
            answer = await call.api.ask(call, "scheduler", "loosenings", {"workspace": quiet})
            acknowledged += decide.confirmed(answer["warnings"], patch.acknowledge_risk)
        hours = wanted.pop("quiet_hours")
        data = e.WorkspaceUpdated(
            workspace_id=call.workspace_id,
            quiet_hours=e.QuietHours(**hours) if hours else None,
            acknowledged=tuple(dict.fromkeys(acknowledged)),
            **wanted,
        )
        guard = Guard(f"workspace.*.{call.workspace_id}.{call.workspace_id}", row["seq"])
        return Decision(data, guard)

    await call.api.decide(change, call)
    return await get_workspace(call)


def _quiet(row: Any) -> dict[str, str] | None:
    start = row["quiet_start"]
    return None if start is None else {"start": start, "end": row["quiet_end"]}


async def list_keys(call: Call) -> Reply:
    """GET /v1/api-keys."""
    return await page(call, call.api.sql.keys, (), shapes.api_key)


async def create_key(call: Call) -> Reply:
    """POST /v1/api-keys. Its id and event are new each time, for so is the key: a repeat that is
    not answered from memory makes a second key, and the first is never shown to anybody."""
    body: shapes.ApiKeyRequest = call.body
    status, errors = decide.key_errors(
        call.caller.scopes,
        call.caller.mode,
        body.mode,
        list(body.scopes),
        body.expires_at,
        call.now,
    )
    if errors:
        raise Problem(status, errors[0]["code"], errors[0]["detail"], errors=errors)
    key = auth.new_api_key(body.mode)
    call.key = None
    data = e.ApiKeyCreated(
        key_id=call.new_id("key"),
        name=body.name,
        mode=body.mode,
        hash=key.hash,
        last_four=key.last_four,
        scopes=tuple(dict.fromkeys(body.scopes)),
        expires_at=body.expires_at,
    )
    await call.api.append(call, data)
    shown = shapes.NewApiKey(
        id=data.key_id,
        name=data.name,
        mode=body.mode,
        last_four=data.last_four,
        scopes=list(data.scopes),
        expires_at=data.expires_at,
        last_used_at=None,
        created_at=call.now,
        key=key.text,
    )
    return Reply(shown)


async def revoke_key(call: Call) -> Reply:
    """DELETE /v1/api-keys/{id}."""
    row = await call.api.row(call, call.api.sql.key, call.path["key_id"])
    await call.api.append(call, e.ApiKeyRevoked(key_id=row["id"]))
    return Reply()


OPERATIONS = (
    Operation(
        name="workspace.get",
        method="GET",
        path="/v1/workspace",
        tag="Workspace",
        scope="workspace:read",
        handle=get_workspace,
        status=200,
        response=shapes.Workspace,
        summary="Look at the workspace",
        description="Its profile and its sending rules.",
    ),
    Operation(
        name="workspace.change",
        method="PATCH",
        path="/v1/workspace",
        tag="Workspace",
        scope="workspace:write",
        handle=change_workspace,
        status=200,
        response=shapes.Workspace,
        request=shapes.WorkspacePatch,
        problems=(
            "confirmation_required",
            "unknown_timezone",
            "unknown_region",
            "changed_meanwhile",
        ),
        summary="Change the workspace",
        description=(
            "Names only what changes. Loosening quiet hours answers 409 with `warnings`, until it "
            "is repeated with `acknowledge_risk`."
        ),
    ),
    Operation(
        name="api_keys.list",
        method="GET",
        path="/v1/api-keys",
        tag="API keys",
        scope="keys:write",
        handle=list_keys,
        status=200,
        response=Page[shapes.ApiKey],
        query=shapes.ApiKeyQuery,
        paged=True,
        summary="List API keys",
        description="Those in use, newest first; never the keys themselves.",
    ),
    Operation(
        name="api_keys.create",
        method="POST",
        path="/v1/api-keys",
        tag="API keys",
        scope="keys:write",
        handle=create_key,
        status=201,
        response=shapes.NewApiKey,
        request=shapes.ApiKeyRequest,
        problems=("scope_exceeded", "in_the_past"),
        summary="Make an API key",
        description="The answer shows the key, once. It can do no more than the key that makes it.",
    ),
    Operation(
        name="api_keys.revoke",
        method="DELETE",
        path="/v1/api-keys/{key_id}",
        ids={"key_id": "key"},
        tag="API keys",
        scope="keys:write",
        handle=revoke_key,
        status=204,
        response=None,
        summary="Revoke an API key",
        description="At once, everywhere. A key may revoke itself.",
    ),
)
