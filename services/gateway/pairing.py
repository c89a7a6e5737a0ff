"""Pairing: a link with a token for a new phone, and the token turned into a credential.

The token is single use, decided by one UPDATE in the vault. It is taken for one device first and
used up last, in the transaction that stores the credential, so that a crash in between loses
nothing: the same device may ask again with it until it has its answer. The phone's id comes from
(workspace, device), so the same device keeps it, whoever pairs it and however often.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, Field

from services.gateway.credentials import PREFIX
from services.gateway.entries import SIMS_MAX, clean
from shared import auth, ids, sql
from shared import events as e
from shared.errors import Conflict, NotReady
from shared.log import Guard
from shared.problems import Problem
from shared.service import Context

LINK_PREFIX = "reg"  # shared/logs.py blots out what begins so
VALID_S = 600  # the phone protocol: ten minutes
PASS_S = 5.0  # how long a phone waits for its own row before it is asked to come back
TRIES = 3  # decisions on fresh rows when the same device is paired twice at the same moment
LABEL_MAX_CHARS = 100

Q = sql.queries("services.gateway")

Text = Annotated[str, Field(max_length=100), AfterValidator(clean)]
Int32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]


class Device(BaseModel):
    """The handset, as it describes itself. ``device_id`` stays the same when it is paired again."""

    device_id: Annotated[str, Field(min_length=1, max_length=200)]
    manufacturer: Text
    model: Text
    android: Text
    app_version: Text
    simulated: bool = False


class SimCard(BaseModel):
    """A SIM in the handset."""

    slot: Int32
    subscription_id: Int32
    carrier: Text | None = None
    number: Text | None = None
    iccid_hash: Annotated[str, Field(max_length=200), AfterValidator(clean)] | None = None


class PairRequest(BaseModel):
    """The body of POST /phone/v1/pair; fields of newer phones are ignored."""

    token: Annotated[str, Field(min_length=1, max_length=200)]
    device: Device
    sims: Annotated[list[SimCard], Field(max_length=SIMS_MAX)]


@dataclass(frozen=True)
class Paired:
    """A phone's side of a pairing; the credential is shown this once."""

    phone_id: str
    credential: str


def expired() -> Problem:
    """410, the same for used, expired and unknown tokens: it tells nobody which."""
    return Problem(
        410,
        "pairing_expired",
        "This pairing link was used, has expired or is unknown. Open a new one and use its link.",
    )


# -- a link ------------------------------------------------------------------------------------


async def open_link(
    context: Context, workspace_id: str, label: str, phones_max: int | None = None
) -> dict[str, Any]:
    """A new pairing: id, link, and when it expires. The token is nowhere but in the link, which is
    good for another real phone only while the workspace has fewer than ``phones_max``."""
    token = auth.new_secret_token(LINK_PREFIX)
    pairing_id = ids.new("pair")
    expires_at = context.clock.now() + timedelta(seconds=VALID_S)
    label = clean(label).strip()[:LABEL_MAX_CHARS]
    async with context.db.tenant(workspace_id) as db:
        token_hash = auth.hash_token(token)
        await db.execute(
            Q.open_pairing, pairing_id, workspace_id, token_hash, label, expires_at, phones_max
        )
    uri = f"eightms://pair?e={quote(context.settings.gateway_url, safe='')}&t={token}"
    if label:
        uri += f"&l={quote(label, safe='')}"
    return {"id": pairing_id, "uri": uri, "expires_at": expires_at}


async def state_of(context: Context, workspace_id: str, pairing_id: str) -> dict[str, Any]:
    """What became of a pairing: open, used or expired. Problem 404."""
    async with context.db.tenant(workspace_id) as db:
        row = await db.fetchrow(Q.pairing, pairing_id)
    if row is None:
        raise Problem(404, "not_found", "There is no such pairing.")
    if row["completed_at"] is not None:
        state = "used"
    else:
        state = "open" if row["expires_at"] > context.clock.now() else "expired"
    phone_id = row["phone_id"] if state == "used" else None
    return {"id": pairing_id, "state": state, "phone_id": phone_id, "expires_at": row["expires_at"]}


# -- a phone -----------------------------------------------------------------------------------


async def pair(context: Context, request: PairRequest) -> Paired:
    """The token of ``request`` becomes a credential. Problem 410; NotReady where a retry helps."""
    db, now = context.db.owner, context.clock.now()
    pairing = await db.fetchrow(Q.pairing_of_token, auth.hash_token(request.token), now)
    if pairing is None:
        raise expired()
    workspace_id, key = pairing["workspace_id"], context.keys.identity_key
    phone_id = ids.derive_keyed(key, "phn", workspace_id, request.device.device_id)
    device_hash = ids.derive_keyed(key, "dev", workspace_id, request.device.device_id)
    if not await db.fetchval(Q.take_pairing, pairing["id"], device_hash, phone_id, now):
        raise expired()
    generation = await _record(context, request, pairing, phone_id, device_hash)
    credential = auth.new_secret_token(PREFIX)
    async with db.acquire() as connection, connection.transaction():
        if not await connection.fetchval(Q.complete_pairing, pairing["id"], now):
            raise expired()
        await connection.execute(
            Q.save_credential, phone_id, workspace_id, auth.hash_token(credential), generation
        )
    return Paired(phone_id, credential)


async def _record(
    context: Context, request: PairRequest, pairing: Any, phone_id: str, device_hash: str
) -> int:
    """Store phone.paired, or find it stored, and wait for its row; the phone's generation."""
    for _ in range(TRIES):
        row = await context.db.owner.fetchrow(Q.paired_phone, phone_id)
        if row is not None and row["pairing_id"] == pairing["id"]:
            return row["generation"]  # an earlier request of the same device came that far
        event = _paired(context.clock.now(), request, pairing, phone_id, device_hash, row)
        guard = await _room(context, request, pairing, row)
        if guard is None:
            # No two pairings may take the same generation: the journal of each starts at 1.
            guard = Guard(
                f"phone.paired.{pairing['workspace_id']}.{phone_id}",
                row["paired_seq"] if row else 0,
            )
        try:
            seq = await context.log.append(event, guard)
        except Conflict as conflict:
            seq = conflict.last_seq
        if not await context.projector.passed(seq, PASS_S):
            raise NotReady("the phone's row is not there yet")
    raise NotReady("this device is being paired by somebody else at the moment")


async def _room(context: Context, request: PairRequest, pairing: Any, row: Any) -> Guard | None:
    """A guard against any other pairing of the workspace, where its plan limits real phones and
    this is one more; None where it is not. A 402 Problem when the plan has no room."""
    most: int | None = pairing["phones_max"]
    in_use = row is not None and not row["unpaired"] and not row["simulated"]
    if most is None or request.device.simulated or in_use:
        return None
    workspace_id = pairing["workspace_id"]
    phones: Any = await context.db.owner.fetchrow(Q.phones_in_use, workspace_id)
    if phones["used"] >= most:
        raise Problem(
            402,
            "plan_limit_reached",
            f"The plan has room for {most} phones, and {phones['used']} are in use. Unpair one, or "
            "take a larger plan, and open a new pairing.",
            resource="phones",
            limit=most,
            used=phones["used"],
        )
    return Guard(f"phone.paired.{workspace_id}.*", phones["seq"])


def _paired(
    now: datetime,
    request: PairRequest,
    pairing: Any,
    phone_id: str,
    device_hash: str,
    known: Any,
) -> e.Event:
    """``known`` is the row of a device paired before: it keeps its label if none is given."""
    device = request.device
    generation = known["generation"] + 1 if known else 1
    label = pairing["label"] or (known["label"] if known else "")
    data = e.PhonePaired(
        phone_id=phone_id,
        generation=generation,
        device_hash=device_hash,
        label=label or f"{device.manufacturer} {device.model}".strip(),
        manufacturer=device.manufacturer,
        model=device.model,
        android=device.android,
        app_version=device.app_version,
        sims=tuple(
            e.Sim(
                subscription_id=card.subscription_id,
                slot=card.slot,
                carrier=card.carrier or "",
                number=card.number,
                iccid_hash=card.iccid_hash,
            )
            for card in request.sims
        ),
        simulated=device.simulated,
    )
    return e.make(
        data,
        id=ids.derive("evt", pairing["id"], str(generation)),
        workspace_id=pairing["workspace_id"],
        at=now,
        actor=e.Actor("phone", phone_id),
        cause=pairing["id"],
    )
