"""Campaigns in the API: written, looked at, started, steered, counted. The scheduler is a fake."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest_asyncio

from cli.embedded import NatsServer
from services.api import answers
from shared import events as e
from shared import ids
from tests.api import ApiWorld

DRAFT: dict[str, Any] = {
    "name": "Spring",
    "template": "Hi {{first_name|there}}, {{birthday}} is near.",
    "contact_filter": {"tags": {"any": ["vip", "old"], "none": ["no"]}},
    "send_window": {"days": ["friday", "monday"], "start": "09:00", "end": "17:00"},
}
FORECAST: dict[str, Any] = {
    "finish_at": "2027-01-04T15:00:00Z",
    "by_day": [{"date": "2027-01-04", "phone_id": ids.derive("phn", "x"), "messages": 2}],
    "skipped": {"never_in_window": 1},
    "segments": 2,
    "messages": 2,
    "waiting": None,
}


@pytest_asyncio.fixture
async def world(database_url: str, nats_server: NatsServer) -> AsyncIterator[ApiWorld]:
    async with ApiWorld(database_url, nats_server) as made:
        yield made


async def contact(world: ApiWorld, number: str, **fields: Any) -> str:
    answer = await world.post("/v1/contacts", {"phone": number, **fields})
    assert answer.status == 201, answer.text
    return answer.body["id"]


async def draft(world: ApiWorld, **fields: Any) -> dict[str, Any]:
    answer = await world.post("/v1/campaigns", DRAFT | fields)
    assert answer.status == 201, answer.text
    return answer.body


async def people(world: ApiWorld) -> dict[str, str]:
    """Ada lacks nothing, Bob lacks his birthday, Cyd said no, Dan has a tag that keeps him out."""
    birthday = {"birthday": "May"}
    ada = await contact(
        world, "+14155550101", first_name="Ada", tags=["vip"], custom_fields=birthday
    )
    bob = await contact(world, "+14155550102", tags=["old", "vip"])
    cyd = await contact(world, "+14155550103", tags=["old"], custom_fields=birthday)
    dan = await contact(world, "+14155550104", tags=["old", "no"])
    assert (await world.post(f"/v1/contacts/{cyd}/opt-out")).status == 200
    return {"ada": ada, "bob": bob, "cyd": cyd, "dan": dan}


async def test_a_campaign_is_written_changed_listed_and_deleted(world: ApiWorld) -> None:
    made = await draft(world)
    assert made["state"] == "draft"
    assert made["variables"] == ["first_name", "custom.birthday"]
    assert made["send_window"] == {
        "days": ["monday", "friday"],
        "start": "09:00",
        "end": "17:00",
        "timezone": "America/New_York",
    }
    path = f"/v1/campaigns/{made['id']}"
    changed = await world.patch(path, {"name": "Summer", "send_window": None})
    assert changed.status == 200, changed.text
    assert (changed.body["name"], changed.body["send_window"]) == ("Summer", None)
    assert changed.body["template"] == DRAFT["template"]
    listed = await world.get("/v1/campaigns?state=draft")
    assert [one["id"] for one in listed.body["data"]] == [made["id"]]
    assert (await world.get("/v1/campaigns?state=running")).body["data"] == []
    assert (await world.get(path, key=world.other.key)).status == 404
    assert (await world.delete(path, key=world.other.key)).status == 404
    assert (await world.delete(path)).status == 204
    assert (await world.get(path)).status == 404


async def test_everything_wrong_with_a_campaign_is_said_at_once(world: ApiWorld) -> None:
    answer = await world.post(
        "/v1/campaigns",
        DRAFT
        | {
            "template": "Hi {{first_name",
            "send_window": DRAFT["send_window"] | {"timezone": "Mars/Base"},
            "phone_ids": [ids.new("phn")],
            "start_at": "2020-01-01T00:00:00Z",
        },
    )
    assert answer.status == 422
    assert answer.pointers == {
        "#/template",
        "#/send_window/timezone",
        "#/phone_ids/0",
        "#/start_at",
    }
    error = next(one for one in answer.body["errors"] if one["pointer"] == "#/template")
    assert (error["code"], error["position"]) == ("unclosed_variable", "3")


async def test_a_preview_shows_real_texts_and_counts_everybody(world: ApiWorld) -> None:
    who = await people(world)
    made = await draft(world)
    answer = await world.post(f"/v1/campaigns/{made['id']}/preview")
    assert answer.status == 200, answer.text
    assert answer.body["recipients"] == 3
    assert answer.body["skipped"] == [{"reason": "opted_out", "count": 1}]
    assert answer.body["missing"] == [
        {"variable": "custom.birthday", "count": 1, "contact_ids": [who["bob"]]}
    ]
    texts = {one["contact_id"]: one for one in answer.body["data"]}
    assert texts[who["ada"]]["body"] == "Hi Ada, May is near."
    assert texts[who["bob"]]["missing"] == ["custom.birthday"]
    assert texts[who["cyd"]]["skipped"] == "opted_out"
    one = await world.post(
        f"/v1/campaigns/{made['id']}/preview", {"contact_ids": [who["dan"], ids.new("con")]}
    )
    assert [(t["contact_id"], t["body"]) for t in one.body["data"]] == [
        (who["dan"], "Hi there,  is near.")
    ]


async def test_a_filter_finds_by_every_condition(world: ApiWorld) -> None:
    who = await people(world)
    for wanted, found in (
        ({}, {"ada", "bob", "cyd", "dan"}),
        ({"tags": {"all": ["old", "vip"]}}, {"bob"}),
        ({"tags": {"any": ["old"]}, "custom_fields": {"birthday": "May"}}, {"cyd"}),
        ({"contact_ids": [who["ada"], who["dan"]], "tags": {"none": ["no"]}}, {"ada"}),
        ({"q": "ada"}, {"ada"}),
        ({"q": "ada", "tags": {"any": ["old"]}}, set[str]()),
        ({"q": "+1415555010"}, {"ada", "bob", "cyd", "dan"}),
        ({"opted_in": True}, set[str]()),
    ):
        made = await draft(world, contact_filter=wanted)
        answer = await world.post(f"/v1/campaigns/{made['id']}/preview")
        shown = {text["contact_id"] for text in answer.body["data"]}
        assert shown == {who[name] for name in found}, wanted


async def test_a_forecast_asks_the_scheduler_about_groups_of_people(world: ApiWorld) -> None:
    await people(world)
    asked: list[dict[str, Any]] = []

    def says(body: dict[str, Any]) -> dict[str, Any]:
        asked.append(body)
        return FORECAST

    world.says["scheduler.forecast"] = says
    made = await draft(world)
    answer = await world.post(f"/v1/campaigns/{made['id']}/forecast")
    assert answer.status == 200, answer.text
    assert answer.body["by_day"] == FORECAST["by_day"]
    assert answer.body["skipped"] == [
        {"reason": "never_in_window", "count": 1},
        {"reason": "opted_out", "count": 1},
    ]
    assert answer.body["recipients"] == 3
    assert asked[0]["clocks"] == [["America/Los_Angeles"]]
    assert asked[0]["groups"] == [[0, None, 1, 2]]


async def test_a_start_with_missing_variables_needs_them_acknowledged(world: ApiWorld) -> None:
    who = await people(world)
    made = await draft(world)
    path = f"/v1/campaigns/{made['id']}"
    refused = await world.post(f"{path}/start")
    assert (refused.status, refused.code) == (422, "missing_variables")
    assert refused.body["missing"] == [
        {"variable": "custom.birthday", "count": 1, "contact_ids": [who["bob"]]}
    ]
    wrong = await world.post(f"{path}/start", {"acknowledge_missing": ["first_name"]})
    assert wrong.code == "missing_variables"
    started = await world.post(f"{path}/start", {"acknowledge_missing": ["birthday"]})
    assert started.status == 200, started.text
    assert (started.body["state"], started.body["recipients"]) == ("running", 3)
    assert started.body["totals"]["pending"] == 3
    audience = (await world.events("campaign.audience"))[-1].data
    assert set(audience.contact_ids) == {who["ada"], who["bob"], who["cyd"]}
    begun = (await world.events("campaign.started"))[0].data
    assert begun.audience_id == audience.audience_id
    assert begun.acknowledged == ("custom.birthday",)
    again = await world.post(f"{path}/start", {"acknowledge_missing": ["birthday"]})
    assert (again.status, again.code) == (409, "campaign_started")
    assert (await world.delete(path)).code == "campaign_started"


async def test_nobody_and_the_other_workspaces_people_are_no_audience(world: ApiWorld) -> None:
    who = await people(world)
    foreign = await world.post("/v1/campaigns", DRAFT, key=world.other.key)
    path = f"/v1/campaigns/{foreign.body['id']}"
    assert (await world.post(f"{path}/start", key=world.other.key)).code == "no_recipients"
    named = await world.patch(
        path, {"contact_filter": {"contact_ids": [who["ada"]]}}, key=world.other.key
    )
    assert named.status == 200
    assert (await world.post(f"{path}/start", key=world.other.key)).code == "no_recipients"
    assert (await world.post(f"{path}/start")).status == 404


async def started(world: ApiWorld) -> tuple[str, dict[str, str]]:
    who = await people(world)
    made = await draft(world, template="Hi {{first_name|there}}")
    path = f"/v1/campaigns/{made['id']}"
    answer = await world.post(f"{path}/start")
    assert answer.status == 200, answer.text
    return made["id"], who


async def test_a_campaign_is_edited_only_while_paused(world: ApiWorld) -> None:
    campaign_id, _ = await started(world)
    path = f"/v1/campaigns/{campaign_id}"
    running = await world.patch(path, {"template": "Ho"})
    assert (running.status, running.code) == (409, "campaign_not_editable")
    assert (await world.post(f"{path}/resume")).body["state"] == "running"  # as it was
    assert (await world.post(f"{path}/pause")).body["state"] == "paused"
    assert (await world.post(f"{path}/pause")).body["state"] == "paused"
    assert (await world.patch(path, {"template": "Ho"})).body["template"] == "Ho"
    fixed = await world.patch(path, {"contact_filter": {}})
    assert (fixed.status, fixed.code) == (409, "campaign_not_editable")
    assert (await world.post(f"{path}/resume")).body["state"] == "running"
    over = await world.post(f"{path}/cancel")
    assert over.body["state"] == "cancelled"
    assert over.body["finished_at"] is not None
    assert (await world.post(f"{path}/resume")).code == "campaign_not_paused"
    assert (await world.post(f"{path}/pause")).code == "campaign_not_running"


async def test_recipients_are_told_to_the_scheduler_as_of_now(world: ApiWorld) -> None:
    campaign_id, who = await started(world)
    ask = answers.answers(world.instances[0].context)["recipients"]
    row = (await world.rows("SELECT seq FROM campaign WHERE id = $1", campaign_id))[0]
    await world.patch(f"/v1/contacts/{who['ada']}", {"first_name": "Countess"})
    gone = ids.new("con")
    told = await ask(
        {
            "workspace_id": world.home.id,
            "campaign_id": campaign_id,
            "seq": row["seq"],
            "contact_ids": [who["ada"], who["cyd"], gone],
        }
    )
    by_id = {one["contact_id"]: one for one in told}
    assert by_id[who["ada"]] == {
        "contact_id": who["ada"],
        "to": "+14155550101",
        "timezone": None,
        "body": "Hi Countess",
        "parts": 1,
    }
    assert by_id[who["cyd"]]["skipped"] == "opted_out"
    assert by_id[gone]["skipped"] == "erased"


async def test_totals_and_report_count_what_becomes_of_the_texts(world: ApiWorld) -> None:
    campaign_id, who = await started(world)
    path = f"/v1/campaigns/{campaign_id}"
    numbers = {"ada": "+14155550101", "bob": "+14155550102"}
    messages = {name: ids.derive("msg", campaign_id, who[name]) for name in numbers}
    for name, number in numbers.items():
        await world.append(
            e.SendRequested(
                message_id=messages[name],
                contact_id=who[name],
                to=number,
                body="Hi",
                parts=1,
                source="campaign",
                campaign_id=campaign_id,
                expires_at=world.clock.now() + timedelta(days=1),
            )
        )
    await world.append(
        e.CampaignSkipped(campaign_id=campaign_id, contact_id=who["cyd"], reason="opted_out")
    )
    totals = (await world.get(path)).body["totals"]
    assert {k: v for k, v in totals.items() if v} == {"queued": 2, "skipped": 1}
    texts = await world.get(f"/v1/messages?campaign_id={campaign_id}")
    assert {text["id"] for text in texts.body["data"]} == set(messages.values())
    mixed = await world.get(f"/v1/messages?campaign_id={campaign_id}&direction=outbound")
    assert (mixed.status, mixed.pointers) == (422, {"#/campaign_id"})
    for name, number in numbers.items():
        fact = {
            "message_id": messages[name],
            "contact_id": who[name],
            "command_id": ids.command_id(messages[name], 1),
            "phone_id": world.home.phone_id,
            "attempt": 1,
        }
        await world.append(
            e.SendDispatched(
                **fact,
                to=number,
                body="Hi",
                parts=1,
                source="campaign",
                expires_at=world.clock.now() + timedelta(days=1),
            )
        )
        told = fact | {"journal_seq": 1, "phone_at": world.clock.now()}
        if name == "ada":
            await world.append(e.SmsSent(**told))
            await world.append(e.SmsSent(**told))
        else:
            await world.append(
                e.SmsFailed(**told, error_class="permanent", code="no_service", detail="None.")
            )
    reply = ids.new("msg")
    await world.append(
        e.ReplyReceived(
            message_id=reply,
            contact_id=who["ada"],
            conversation_id=ids.conversation_id(who["ada"]),
            phone_id=world.home.phone_id,
            sender=numbers["ada"],
            sender_kind="number",
            body="STOP",
            parts=1,
            received_at=world.clock.now(),
        )
    )
    await world.append(
        e.ContactOptedOut(
            contact_id=who["ada"], number=numbers["ada"], source="keyword", message_id=reply
        )
    )
    await world.append(
        e.CampaignCompleted(campaign_id=campaign_id, recipients=3, messages=2, skipped=1)
    )
    report = (await world.get(f"{path}/report")).body
    assert report["state"] == "completed"
    assert {k: v for k, v in report["totals"].items() if v} == {
        "sent": 1,
        "failed": 1,
        "skipped": 1,
    }
    assert report["by_phone"] == {world.home.phone_id: 2}
    assert sum(day["messages"] for day in report["by_day"]) == 2
    assert report["failures"] == [{"reason": "no_service", "count": 1}]
    assert report["skipped"] == [{"reason": "opted_out", "count": 1}]
    assert (report["replies"], report["replied"], report["opted_out"]) == (1, 1, 1)
