"""Campaigns under way: start, pause, resume, cancel, and what became of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from services.api.api import Decision
from services.api.decide import campaigns as decide
from services.api.operation import Call, Handle, Operation, Reply
from services.api.report import report
from services.api.routes.campaigns import (
    IDS,
    PATH,
    check,
    get,
    guard,
    people_of,
    row_of,
    written,
)
from services.api.shapes import campaigns as shapes
from shared import events as e
from shared import ids
from shared.events.campaign import AUDIENCE_MAX
from shared.problems import Problem

STARTED_S = 30.0  # until the audience, which was just stored, is also in the rows
ANSWER_DAYS = 7  # what somebody writes later answers something else


async def start(call: Call) -> Reply:
    """POST /v1/campaigns/{id}/start: whom it is for is settled here, once."""
    body: shapes.StartRequest | None = call.body
    row = await row_of(call)
    decide.startable(row["state"])
    workspace = await call.api.workspace(call.workspace_id)
    template = decide.parsed(row["template"])
    census = decide.Census(shapes.EXAMPLES_MAX)
    contact_ids: list[str] = []
    async for people in people_of(call, row):
        for person in people:
            census.add(person["id"], decide.text_for(template, person, workspace["name"]))
            contact_ids.append(person["id"])
    audience_id = call.new_id("aud")
    data = decide.start(
        row["id"],
        audience_id,
        census,
        body.acknowledge_missing if body else (),
        test=call.caller.mode == "test",
    )
    draft = written(row)
    await check(call, {"phone_ids": row["phone_ids"]})
    seq = await _settle(call, row["id"], audience_id, contact_ids)
    await call.api.projector.passed(seq, STARTED_S)

    async def begin() -> Decision | None:
        now = await row_of(call)
        decide.startable(now["state"])
        if written(now) != draft:
            raise Problem(
                409, "changed_meanwhile", "The campaign was edited at this moment. Look again."
            )
        return Decision(data, guard(call, now))

    await call.api.decide(begin, call)
    return await get(call)


async def _settle(call: Call, campaign_id: str, audience_id: str, contact_ids: list[str]) -> int:
    """Put the audience into the log; its last sequence. ``campaign.started`` makes it count."""
    seq = 0
    for part, first in enumerate(range(0, len(contact_ids), AUDIENCE_MAX)):
        data = e.CampaignAudience(
            campaign_id=campaign_id,
            audience_id=audience_id,
            part=part,
            contact_ids=tuple(contact_ids[first : first + AUDIENCE_MAX]),
        )
        event = call.event(data, id=ids.derive("evt", audience_id, str(part)))
        seq = await call.api.log.append(event)
    return seq


def _mover(wish: str) -> Handle:
    async def move(call: Call) -> Reply:
        async def decided() -> Decision | None:
            row = await row_of(call)
            data = decide.move(wish, row["id"], row["state"])
            return None if data is None else Decision(data, guard(call, row))

        await call.api.decide(decided, call)
        return await get(call)

    move.__doc__ = f"POST /v1/campaigns/{{id}}/{wish}."
    return move


async def get_report(call: Call) -> Reply:
    """GET /v1/campaigns/{id}/report."""
    row = await row_of(call)
    workspace = await call.api.workspace(call.workspace_id)
    counts = await call.api.rows(call, call.api.sql.campaign_counts, row["id"])
    answered: Any = {"replies": 0, "replied": 0, "opted_out": 0}
    if row["started_at"] is not None:
        until = (row["finished_at"] or call.now) + timedelta(days=ANSWER_DAYS)
        sql = call.api.sql.campaign_replies
        answered = await call.api.row(call, sql, row["id"], row["started_at"], until)
    return Reply(report(row, counts, answered, ZoneInfo(workspace["timezone"])))


OPERATIONS = (
    Operation(
        name="campaigns.start",
        method="POST",
        path=PATH + "/start",
        ids=IDS,
        tag="Campaigns",
        scope="campaigns:write",
        handle=start,
        status=200,
        response=shapes.Campaign,
        request=shapes.StartRequest,
        body_required=False,
        problems=(
            "campaign_started",
            "no_recipients",
            "too_many_recipients",
            "missing_variables",
            "phone_not_found",
            "test_key_real_phone",
            "changed_meanwhile",
        ),
        summary="Start a campaign",
        description=(
            "Settles whom it is for: who matches the filter at this moment. Variables that people "
            "lack and no fallback stands in for must be acknowledged by name. Texts are written "
            "when a phone has room for them, so what changes or opts out meanwhile counts."
        ),
    ),
    Operation(
        name="campaigns.pause",
        method="POST",
        path=PATH + "/pause",
        ids=IDS,
        tag="Campaigns",
        scope="campaigns:write",
        handle=_mover("pause"),
        status=200,
        response=shapes.Campaign,
        problems=("campaign_not_running", "changed_meanwhile"),
        summary="Pause a campaign",
        description="Holds at once what no phone has yet, and writes nothing more.",
    ),
    Operation(
        name="campaigns.resume",
        method="POST",
        path=PATH + "/resume",
        ids=IDS,
        tag="Campaigns",
        scope="campaigns:write",
        handle=_mover("resume"),
        status=200,
        response=shapes.Campaign,
        problems=("campaign_not_paused", "changed_meanwhile"),
        summary="Resume a campaign",
        description="Goes on where it was; texts not written yet use what was edited meanwhile.",
    ),
    Operation(
        name="campaigns.cancel",
        method="POST",
        path=PATH + "/cancel",
        ids=IDS,
        tag="Campaigns",
        scope="campaigns:write",
        handle=_mover("cancel"),
        status=200,
        response=shapes.Campaign,
        problems=("campaign_not_running", "changed_meanwhile"),
        summary="Cancel a campaign",
        description="For good. What waits in a queue is taken back; what a phone has sent is sent.",
    ),
    Operation(
        name="campaigns.report",
        method="GET",
        path=PATH + "/report",
        ids=IDS,
        tag="Campaigns",
        scope="campaigns:read",
        handle=get_report,
        status=200,
        response=shapes.Report,
        summary="See what became of it",
        description=(
            "By phone and day, failures and skipped recipients by reason, the answers of up to "
            "seven days, and the opt-outs among them."
        ),
    ),
)
