"""Phones: list, look, configure, unpair, and invite another one."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import Any

import segno

from services.api import decide
from services.api.api import Decision, not_found
from services.api.operation import Call, Operation, Reply
from services.api.page import Page, begin, finish
from services.api.paging import cut
from services.api.shapes import phones as shapes
from shared import events as e
from shared.log import Guard

PACE_S = 1.0  # how long a list waits for the scheduler's part; then it is shown without
PATH = "/v1/phones/{phone_id}"
IDS = {"phone_id": "phn"}
QR_SCALE = 4
LIMITS = ("min_gap_s", "daily_cap", "warmup")


async def list_phones(call: Call) -> Reply:
    """GET /v1/phones."""
    cursors, position = begin(call)
    rows = await call.api.rows(
        call, call.api.sql.phones, position.at, position.id, call.query.limit + 1
    )
    kept, _ = cut(rows, call.query.limit)
    return finish(call, cursors, rows, await _shown(call, kept))


async def get(call: Call) -> Reply:
    """GET /v1/phones/{id}."""
    return Reply((await _shown(call, [await paired(call)]))[0])


async def health(call: Call) -> Reply:
    """GET /v1/phones/{id}/health."""
    row = await paired(call)
    pace = await _pace(call, [row["id"]])
    presence = await call.api.bus.presence(row["id"])
    return Reply(shapes.health(row, presence, pace.get(row["id"])))


async def configure(call: Call) -> Reply:
    """PATCH /v1/phones/{id}: loosening a limit is confirmed first (design/policy.md)."""
    patch: shapes.PhonePatch = call.body
    changes = {name: getattr(patch, name) for name in patch.model_fields_set - {"acknowledge_risk"}}
    if "warmup" in changes:
        changes["warmup"] = changes["warmup"] == "on"

    async def change() -> Decision | None:
        row = await paired(call)
        names = ("label", *LIMITS, "jitter_s")
        current = {name: row[name] for name in names}
        wanted = decide.merged(current, changes)
        if wanted == current:
            return None
        acknowledged = tuple(row["acknowledged"] or ())
        if any(wanted[name] != current[name] for name in LIMITS):
            limits = {
                "current": {name: current[name] for name in LIMITS},
                "wanted": {name: wanted[name] for name in LIMITS},
            }
            answer = await call.api.ask(call, "scheduler", "loosenings", {"phone": limits})
            acknowledged += decide.confirmed(answer["warnings"], patch.acknowledge_risk)
        data = e.PhoneConfigured(
            phone_id=row["id"], **wanted, acknowledged=tuple(dict.fromkeys(acknowledged))
        )
        return Decision(data, Guard(f"phone.*.{call.workspace_id}.{row['id']}", row["seq"]))

    await call.api.decide(change, call)
    return await get(call)


async def unpair(call: Call) -> Reply:
    """DELETE /v1/phones/{id}."""

    async def remove() -> Decision:
        row = await paired(call)
        return Decision(
            e.PhoneUnpaired(phone_id=row["id"]),
            Guard(f"phone.*.{call.workspace_id}.{row['id']}", row["seq"]),
        )

    await call.api.decide(remove, call)
    return Reply()


async def open_pairing(call: Call) -> Reply:
    """POST /v1/phones/pairings."""
    body: shapes.PairingRequest | None = call.body
    phones_max = await call.api.billing.allow(call, "phones")
    pairing = await invite(call, body.label if body else None, phones_max)
    svg = io.BytesIO()
    segno.make(pairing["uri"], error="m").save(svg, kind="svg", scale=QR_SCALE, xmldecl=False)
    return Reply(
        shapes.Pairing(
            id=pairing["id"],
            uri=pairing["uri"],
            qr_svg=svg.getvalue().decode(),
            expires_at=pairing["expires_at"],
        ),
        headers={"Location": f"/v1/phones/pairings/{pairing['id']}"},
    )


async def pairing(call: Call) -> Reply:
    """GET /v1/phones/pairings/{id}."""
    body = {"id": call.path["pairing_id"]}
    answer = await call.api.ask(call, "gateway", "pairing", body)
    return Reply(
        shapes.PairingState(
            id=answer["id"],
            state=answer["state"],
            phone_id=answer["phone_id"],
            expires_at=answer["expires_at"],
        )
    )


async def invite(call: Call, label: str | None, phones_max: int | None = None) -> dict[str, Any]:
    """A new pairing from gateway: {id, uri, expires_at}. It is good for a real phone only while
    the workspace has fewer than ``phones_max``: several invitations may be open at once."""
    actor = {"kind": call.caller.actor.kind, "id": call.caller.actor.id}
    question = {"label": label or "", "actor": actor, "phones_max": phones_max}
    return await call.api.ask(call, "gateway", "open_pairing", question)


async def paired(call: Call) -> Any:
    """The phone of the path, if it is paired; a 404 Problem otherwise."""
    row = await call.api.row(call, call.api.sql.phone, call.path["phone_id"])
    if not row["paired"]:
        raise not_found()
    return row


async def shown(call: Call, row: Any) -> shapes.Phone:
    """One phone as it is shown."""
    return (await _shown(call, [row]))[0]


async def _shown(call: Call, rows: Sequence[Any]) -> list[shapes.Phone]:
    """Rows with each phone's last sign of life and the scheduler's part, asked for all at once."""
    if not rows:
        return []
    phone_ids = [row["id"] for row in rows]
    asked = asyncio.gather(*map(call.api.bus.presence, phone_ids))
    pace = await _pace(call, phone_ids)
    presences = await asked
    return [
        shapes.phone(row, presence, pace.get(row["id"]))
        for row, presence in zip(rows, presences, strict=True)
    ]


async def _pace(call: Call, phone_ids: list[str]) -> dict[str, Any]:
    body = {"phone_ids": phone_ids}
    answer = await call.api.ask_if_there(call, "scheduler", "phones", body, PACE_S)
    return answer["phones"] if answer else {}


OPERATIONS = (
    Operation(
        name="phones.list",
        method="GET",
        path="/v1/phones",
        tag="Phones",
        scope="phones:read",
        handle=list_phones,
        status=200,
        response=Page[shapes.Phone],
        query=shapes.PhoneQuery,
        paged=True,
        summary="List phones",
        description="Paired phones, newest first, each with its live state and today's pace.",
    ),
    Operation(
        name="phones.get",
        method="GET",
        path=PATH,
        ids=IDS,
        tag="Phones",
        scope="phones:read",
        handle=get,
        status=200,
        response=shapes.Phone,
        summary="Look at a phone",
        description="Its settings, live state and today's pace.",
    ),
    Operation(
        name="phones.health",
        method="GET",
        path=PATH + "/health",
        ids=IDS,
        tag="Phones",
        scope="phones:read",
        handle=health,
        status=200,
        response=shapes.Health,
        summary="Check a phone's health",
        description="Battery, network, last sign of life, and what it may still send today.",
    ),
    Operation(
        name="phones.configure",
        method="PATCH",
        path=PATH,
        ids=IDS,
        tag="Phones",
        scope="phones:write",
        handle=configure,
        status=200,
        response=shapes.Phone,
        request=shapes.PhonePatch,
        problems=("confirmation_required", "changed_meanwhile"),
        summary="Configure a phone",
        description=(
            "Limits protect the SIM and may be tightened freely. What loosens one answers 409 with "
            "`warnings`, until it is repeated with `acknowledge_risk`."
        ),
    ),
    Operation(
        name="phones.unpair",
        method="DELETE",
        path=PATH,
        ids=IDS,
        tag="Phones",
        scope="phones:write",
        handle=unpair,
        status=204,
        response=None,
        problems=("changed_meanwhile",),
        summary="Unpair a phone",
        description="It forgets its credential. Messages that waited for it go to other phones.",
    ),
    Operation(
        name="phones.open_pairing",
        method="POST",
        path="/v1/phones/pairings",
        tag="Phones",
        scope="phones:write",
        handle=open_pairing,
        status=201,
        response=shapes.Pairing,
        request=shapes.PairingRequest,
        body_required=False,
        problems=("plan_limit_reached",),
        located=True,
        summary="Invite a phone",
        description=(
            "Show the QR code to the app, or open the link on the phone. Works once and only for "
            "minutes; the link is a secret."
        ),
    ),
    Operation(
        name="phones.pairing",
        method="GET",
        path="/v1/phones/pairings/{pairing_id}",
        ids={"pairing_id": "pair"},
        tag="Phones",
        scope="phones:read",
        handle=pairing,
        status=200,
        response=shapes.PairingState,
        summary="See what became of an invitation",
        description="Open, used by a phone, or expired.",
    ),
)
