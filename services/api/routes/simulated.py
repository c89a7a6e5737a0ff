"""Simulated phones: a handset on our side that sends and receives like a real one, at no cost."""

from __future__ import annotations

from typing import Any

from services.api.operation import Call, Operation, Reply
from services.api.routes import phones
from services.api.shapes import phones as shapes
from shared.problems import Problem

PROJECTED_S = 5.0  # how long the answer waits for the new phone to be in our rows
PATH = "/v1/phones/{phone_id}"
IDS = {"phone_id": "phn"}
LABEL = "Simulated phone"


async def create(call: Call) -> Reply:
    """POST /v1/phones/simulated: invite a phone, and let a simulated one take the invitation."""
    call.api.simulator.check()
    body: shapes.PairingRequest | None = call.body
    pairing = await phones.invite(call, (body.label if body else None) or LABEL)
    phone_id = await call.api.simulator.pair(pairing["uri"])

    async def look() -> Any:
        rows = await call.api.rows(call, call.api.sql.phone, phone_id)
        return rows[0] if rows else None

    row = await call.api.until(look, PROJECTED_S)
    if row is None:
        raise Problem(
            503,
            "not_there_yet",
            "The phone was made, but is not in the list yet. Look there in a moment.",
            headers={"Retry-After": "1"},
        )
    return Reply(await phones.shown(call, row), headers={"Location": f"/v1/phones/{phone_id}"})


async def simulate_reply(call: Call) -> Reply:
    """POST /v1/phones/{id}/simulate-reply: the handset receives a text."""
    row = await _simulated(call)
    body: shapes.SimulateReplyRequest = call.body
    provider_id = await call.api.simulator.receive(
        row["id"], body.from_, body.body, body.subscription_id
    )
    return Reply(shapes.SimulatedArrival(provider_id))


async def texts(call: Call) -> Reply:
    """GET /v1/phones/{id}/simulated-texts: what the handset shows."""
    row = await _simulated(call)
    found = await call.api.simulator.texts(row["id"], call.query.limit)
    return Reply(
        shapes.SimulatedTexts(
            [
                shapes.SimulatedText(
                    **{name: text[name] for name in shapes.SimulatedText.__struct_fields__}
                )
                for text in found
            ]
        )
    )


async def _simulated(call: Call) -> Any:
    row = await phones.paired(call)
    if not row["simulated"]:
        raise Problem(
            409, "not_simulated", "This is a real phone; only a simulated one can do that."
        )
    return row


OPERATIONS = (
    Operation(
        name="phones.simulate",
        method="POST",
        path="/v1/phones/simulated",
        tag="Simulated phones",
        scope="phones:write",
        handle=create,
        status=201,
        response=shapes.Phone,
        request=shapes.PairingRequest,
        body_required=False,
        problems=("simulator_off", "simulator_refused", "not_there_yet"),
        located=True,
        summary="Add a simulated phone",
        description=(
            "It pairs, sends and receives like a real one, but nothing leaves this installation."
        ),
    ),
    Operation(
        name="phones.simulate_reply",
        method="POST",
        path=PATH + "/simulate-reply",
        ids=IDS,
        tag="Simulated phones",
        scope="phones:write",
        handle=simulate_reply,
        status=202,
        response=shapes.SimulatedArrival,
        request=shapes.SimulateReplyRequest,
        problems=("not_simulated", "not_simulated_here", "simulator_off", "simulator_refused"),
        summary="Let a simulated phone receive a text",
        description="As if somebody had texted it: opt-out words, inbox and webhooks included.",
    ),
    Operation(
        name="phones.simulated_texts",
        method="GET",
        path=PATH + "/simulated-texts",
        ids=IDS,
        tag="Simulated phones",
        scope="phones:read",
        handle=texts,
        status=200,
        response=shapes.SimulatedTexts,
        query=shapes.TextsQuery,
        problems=("not_simulated", "not_simulated_here", "simulator_off"),
        summary="See what a simulated phone shows",
        description="The newest texts on the handset, sent and received.",
    ),
)
