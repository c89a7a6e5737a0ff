"""Campaigns: write, look at what people would get, start, steer, and see what became of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from services.api import audience
from services.api.api import Decision
from services.api.decide import campaigns as decide
from services.api.decide import problem, schedule, zone_errors
from services.api.operation import Call, Operation, Reply
from services.api.page import Page, page
from services.api.routes.contacts import zone_names
from services.api.shapes import campaigns as shapes
from services.api.validation import FieldError
from shared import events as e
from shared.log import Guard
from shared.text import segments

PATH = "/v1/campaigns/{campaign_id}"
IDS = {"campaign_id": "cmp"}
NEW: Mapping[str, Any] = {
    "state": "draft",
    "recipients": 0,
    "test": False,
    "started_at": None,
    "finished_at": None,
    "by_state": None,
    "skipped": None,
}
FORECAST_S = 30.0  # a hundred thousand recipients take two seconds, on a busy machine more


# -- writing -------------------------------------------------------------------------------------


async def list_campaigns(call: Call) -> Reply:
    """GET /v1/campaigns."""
    return await page(call, call.api.sql.campaigns, (call.query.state,), shown)


async def create(call: Call) -> Reply:
    """POST /v1/campaigns."""
    body: shapes.CampaignRequest = call.body
    workspace = await call.api.workspace(call.workspace_id)
    fields = {name: getattr(body, name) for name in shapes.CampaignRequest.model_fields}
    await check(call, fields)
    campaign_id = call.new_id("cmp")
    data = e.CampaignCreated(campaign_id=campaign_id, **_state(fields, workspace["timezone"]))
    await call.api.append(call, data)
    # Out of what was stored: rows may be late, and this is in nobody's way.
    drafted = msgspec.to_builtins(data) | {"start_at": data.start_at} | NEW
    drafted |= {"id": campaign_id, "created_at": call.now, "updated_at": call.now}
    return Reply(shown(drafted), headers={"Location": f"/v1/campaigns/{campaign_id}"})


async def get(call: Call) -> Reply:
    """GET /v1/campaigns/{id}."""
    return Reply(shown(await row_of(call)))


async def change(call: Call) -> Reply:
    """PATCH /v1/campaigns/{id}: of a draft, or while paused."""
    body: shapes.CampaignPatch = call.body
    workspace = await call.api.workspace(call.workspace_id)
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    await check(call, changes)
    wanted = _state(changes, workspace["timezone"])

    async def save() -> Decision | None:
        row = await row_of(call)
        current = written(row)
        state = e.CampaignUpdated(
            campaign_id=row["id"], **{name: wanted.get(name, current[name]) for name in current}
        )
        changed = [name for name in wanted if wanted[name] != current[name]]
        if not changed:
            return None
        decide.editable(row["state"], changed)
        return Decision(state, guard(call, row))

    await call.api.decide(save, call)
    return await get(call)


async def delete(call: Call) -> Reply:
    """DELETE /v1/campaigns/{id}: of a draft."""

    async def remove() -> Decision:
        row = await row_of(call)
        decide.startable(row["state"])
        return Decision(e.CampaignDeleted(campaign_id=row["id"]), guard(call, row))

    await call.api.decide(remove, call)
    return Reply()


async def check(call: Call, fields: dict[str, Any]) -> None:
    """A 422 Problem with everything that is wrong by its meaning."""
    errors: list[FieldError] = []
    if "template" in fields:
        errors += decide.template_errors(fields["template"])
    window = fields.get("send_window")
    if window is not None:
        errors += [
            one | {"pointer": "#/send_window/timezone"}
            for one in zone_errors(window.timezone, zone_names())
        ]
    wrong_time = schedule(fields.get("start_at"), call.now)
    if wrong_time is not None:
        late = wrong_time["detail"].replace("send_at", "start_at")
        errors.append(wrong_time | {"pointer": "#/start_at", "detail": late})
    phone_ids = fields.get("phone_ids") or []
    if phone_ids:
        rows = await call.api.rows(call, call.api.sql.campaign_phones, phone_ids)
        there = {row["id"]: row["simulated"] for row in rows}
        errors += decide.phone_errors(phone_ids, there, test=call.caller.mode == "test")
    if errors:
        raise problem(errors)


def _state(fields: dict[str, Any], timezone: str) -> dict[str, Any]:
    """Fields of a request as they are kept in the log."""
    state = dict(fields)
    wanted: shapes.FilterRequest | None = fields.get("contact_filter")
    if wanted is not None:
        tags = wanted.tags or shapes.TagsFilter()
        state["contact_filter"] = e.ContactFilter(
            tags_any=tuple(dict.fromkeys(tags.any)),
            tags_all=tuple(dict.fromkeys(tags.all)),
            tags_none=tuple(dict.fromkeys(tags.none)),
            q=wanted.q,
            contact_ids=None if wanted.contact_ids is None else tuple(wanted.contact_ids),
            opted_in=wanted.opted_in,
            custom_fields=wanted.custom_fields,
        )
    window: shapes.WindowRequest | None = fields.get("send_window")
    if window is not None:
        state["send_window"] = e.SendWindow(
            days=tuple(sorted({shapes.DAYS.index(day) for day in window.days})),
            start=window.start,
            end=window.end,
            timezone=window.timezone or timezone,
        )
    if "phone_ids" in fields:
        state["phone_ids"] = tuple(dict.fromkeys(fields["phone_ids"]))
    return state


def written(row: Any) -> dict[str, Any]:
    """What was written of a campaign, out of its row."""
    return {
        "name": row["name"],
        "template": row["template"],
        "contact_filter": msgspec.convert(row["contact_filter"], e.ContactFilter),
        "send_window": msgspec.convert(row["send_window"], e.SendWindow | None),
        "phone_ids": tuple(row["phone_ids"]),
        "failover_s": row["failover_s"],
        "start_at": row["start_at"],
    }


# -- looking ahead -------------------------------------------------------------------------------


async def preview(call: Call) -> Reply:
    """POST /v1/campaigns/{id}/preview."""
    body: shapes.PreviewRequest | None = call.body
    row = await row_of(call)
    workspace = await call.api.workspace(call.workspace_id)
    template = decide.parsed(row["template"])
    census = decide.Census(shapes.EXAMPLES_MAX)
    wanted = list(dict.fromkeys(body.contact_ids)) if body and body.contact_ids else None
    texts: list[shapes.PreviewText] = []
    async for people in people_of(call, row):
        for person in people:
            found = decide.text_for(template, person, workspace["name"])
            census.add(person["id"], found)
            if wanted is None and len(texts) < shapes.PREVIEW_MAX:
                texts.append(_previewed(person, found))
    if wanted is not None:
        async for people in audience.these(call.api.db, call.api.sql, call.workspace_id, wanted):
            for person in people:
                found = decide.text_for(template, person, workspace["name"])
                texts.append(_previewed(person, found))
    return Reply(
        shapes.Preview(
            data=texts,
            recipients=census.recipients,
            segments=census.segments,
            skipped=_reasons(census.skipped),
            missing=[
                shapes.Missing(variable=name, count=n, contact_ids=census.lacking[name])
                for name, n in sorted(census.missing.items())
            ],
        )
    )


def _previewed(person: Any, found: decide.Text) -> shapes.PreviewText:
    return shapes.PreviewText(
        contact_id=person["id"],
        to=person["number"],
        body=found.body,
        segments=found.segments.parts,
        encoding=segments(found.body).encoding,
        missing=list(found.missing),
        skipped=found.skipped,
    )


async def forecast(call: Call) -> Reply:
    """POST /v1/campaigns/{id}/forecast: for whom it is now, or whose turn is still to come."""
    row = await row_of(call)
    workspace = await call.api.workspace(call.workspace_id)
    template = decide.parsed(row["template"])
    census, groups = decide.Census(0), audience.Groups()
    async for people in people_of(call, row):
        for person in people:
            found = decide.text_for(template, person, workspace["name"])
            census.add(person["id"], found)
            if found.skipped is None:
                groups.add(person, found)
    question = {
        "campaign": {
            "id": row["id"],
            "phone_ids": row["phone_ids"],
            "send_window": row["send_window"],
            "failover_s": row["failover_s"],
            "start_at": row["start_at"],
            "test": row["test"] or call.caller.mode == "test",
        },
        "clocks": groups.clocks,
        "groups": groups.listed(),
    }
    body = {"workspace_id": call.workspace_id, **question}
    answer = await call.api.bus.ask("scheduler", "forecast", body, FORECAST_S)
    skipped = dict(census.skipped)
    for reason, count in answer["skipped"].items():
        skipped[reason] = skipped.get(reason, 0) + count
    return Reply(
        shapes.Forecast(
            finish_at=answer["finish_at"],
            by_day=msgspec.convert(answer["by_day"], list[shapes.DayCount]),
            skipped=_reasons(skipped),
            segments=answer["segments"],
            recipients=census.recipients,
            messages=answer["messages"],
            waiting=answer["waiting"],
            computed_at=call.now,
        )
    )


async def people_of(call: Call, row: Any) -> AsyncGenerator[list[Any], None]:
    """Everybody a draft is for as of now; of a started campaign those whose turn is to come."""
    api = call.api
    if row["audience_id"] is None:
        workspace = await api.workspace(call.workspace_id)
        wanted, region = row["contact_filter"], workspace["region"]
        found = audience.people(api.db, api.sql, call.workspace_id, wanted, region)
    else:
        rows = await api.rows(call, api.sql.pending, row["id"], row["audience_id"])
        pending = [one["id"] for one in rows]
        found = audience.these(api.db, api.sql, call.workspace_id, pending)
    async for people in found:
        yield people


def _reasons(counts: dict[str, int]) -> list[shapes.Reason]:
    return [shapes.Reason(reason, n) for reason, n in sorted(counts.items())]


def shown(row: Any) -> shapes.Campaign:
    """A row of ``campaign`` as it is shown."""
    return shapes.campaign(row, list(decide.parsed(row["template"]).variables))


async def row_of(call: Call) -> Any:
    """The campaign the path names, with its counts; a 404 Problem if there is none."""
    return await call.api.row(call, call.api.sql.campaign, call.path["campaign_id"])


def guard(call: Call, row: Any) -> Guard:
    """Nothing newer about the campaign than ``row`` knows."""
    return Guard(f"campaign.*.{call.workspace_id}.{row['id']}", row["seq"])


OPERATIONS = (
    Operation(
        name="campaigns.list",
        method="GET",
        path="/v1/campaigns",
        tag="Campaigns",
        scope="campaigns:read",
        handle=list_campaigns,
        status=200,
        response=Page[shapes.Campaign],
        query=shapes.CampaignQuery,
        paged=True,
        summary="List campaigns",
        description="Newest first, each with its live totals.",
    ),
    Operation(
        name="campaigns.create",
        method="POST",
        path="/v1/campaigns",
        tag="Campaigns",
        scope="campaigns:write",
        handle=create,
        status=201,
        response=shapes.Campaign,
        request=shapes.CampaignRequest,
        problems=(
            "unclosed_variable",
            "unopened_variable",
            "empty_variable",
            "unknown_syntax",
            "too_many_variables",
            "unknown_timezone",
            "in_the_past",
            "too_far_ahead",
            "phone_not_found",
            "test_key_real_phone",
        ),
        located=True,
        summary="Write a campaign",
        description=(
            "A draft: nothing is sent before it is started. The template fills in a contact's "
            "fields, `{{first_name|there}}`, its custom fields, `{{birthday|soon}}`, and "
            "`{{workspace}}`."
        ),
    ),
    Operation(
        name="campaigns.get",
        method="GET",
        path=PATH,
        ids=IDS,
        tag="Campaigns",
        scope="campaigns:read",
        handle=get,
        status=200,
        response=shapes.Campaign,
        summary="Look at a campaign",
        description="With how many of its recipients are where, as of now.",
    ),
    Operation(
        name="campaigns.change",
        method="PATCH",
        path=PATH,
        ids=IDS,
        tag="Campaigns",
        scope="campaigns:write",
        handle=change,
        status=200,
        response=shapes.Campaign,
        request=shapes.CampaignPatch,
        problems=(
            "unclosed_variable",
            "unopened_variable",
            "empty_variable",
            "unknown_syntax",
            "too_many_variables",
            "unknown_timezone",
            "in_the_past",
            "too_far_ahead",
            "phone_not_found",
            "test_key_real_phone",
            "campaign_not_editable",
            "changed_meanwhile",
        ),
        summary="Change a campaign",
        description=(
            "Of a draft everything; while paused all but whom it is for and when it starts. "
            "Texts not yet asked for are written anew; those in a phone's queue stay as they are."
        ),
    ),
    Operation(
        name="campaigns.delete",
        method="DELETE",
        path=PATH,
        ids=IDS,
        tag="Campaigns",
        scope="campaigns:write",
        handle=delete,
        status=204,
        response=None,
        problems=("campaign_started", "changed_meanwhile"),
        summary="Delete a draft",
        description="What was started stays on record; it can be cancelled.",
    ),
    Operation(
        name="campaigns.preview",
        method="POST",
        path=PATH + "/preview",
        ids=IDS,
        tag="Campaigns",
        scope="campaigns:read",
        handle=preview,
        status=200,
        response=shapes.Preview,
        request=shapes.PreviewRequest,
        body_required=False,
        summary="See what people would get",
        description=(
            "The texts of real contacts, and of everybody counted: how many would be skipped and "
            "why, and who lacks which variable."
        ),
    ),
    Operation(
        name="campaigns.forecast",
        method="POST",
        path=PATH + "/forecast",
        ids=IDS,
        tag="Campaigns",
        scope="campaigns:read",
        handle=forecast,
        status=200,
        response=shapes.Forecast,
        summary="See when it would end",
        description=(
            "The scheduler's own rules on a virtual clock: daily caps and warm-up, gaps, quiet "
            "hours where people live, the send window, and what else is queued. Of a started "
            "campaign: what is still to come. Phones that are offline now do not count."
        ),
    ),
)
