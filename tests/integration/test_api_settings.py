"""Phones, webhooks and the workspace through the API, and what happens when nobody answers us."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from services.api.catalogue import CATALOGUE
from shared import events as e
from shared import ids
from shared.problems import Problem
from tests.api import PUBLIC_URL, ApiWorld, FakeSimulator, paired

HOOK = {"url": "https://example.com/hook", "types": ["sms.sent", "reply.received"]}


@pytest_asyncio.fixture
async def world(database_url: str, nats_server: NatsServer) -> AsyncIterator[ApiWorld]:
    async with ApiWorld(database_url, nats_server) as world:
        yield world


# -- phones --------------------------------------------------------------------------------------


async def test_a_phone_shows_its_rows_its_signs_of_life_and_its_pace(world: ApiWorld) -> None:
    path = f"/v1/phones/{world.home.phone_id}"
    before = (await world.get(path)).body
    assert (before["state"], before["battery"], before["last_heartbeat_at"]) == (
        "offline", None, None,
    )  # fmt: skip
    await world.append(e.PhoneOnline(phone_id=world.home.phone_id))
    at = datetime.now(UTC)
    sign = {"state": "online", "at": at, "battery": 80, "charging": False, "network": "wifi",
            "app_version": "1.1", "streaming": True}  # fmt: skip
    await world.bus.put_presence(world.home.phone_id, sign)

    async def seen() -> Any:
        shown = (await world.get(path)).body
        return shown if shown["battery"] == 80 else None

    shown = await world.until(seen, "the heartbeat shows")
    assert (shown["state"], shown["network"], shown["charging"]) == ("online", "wifi", False)
    assert datetime.fromisoformat(shown["last_heartbeat_at"]) == at
    assert (shown["min_gap_s"], shown["daily_cap"], shown["warmup"]) == (240, 200, "on")
    assert (shown["effective_daily_cap"], shown["sent_today"]) == (50, 3)
    assert shown["sims"][0]["number"] == "+14155550199"
    listed = (await world.get("/v1/phones")).body
    assert listed["data"] == [shown]
    health = (await world.get(path + "/health")).body
    assert health["streaming"] is True
    assert {name: health[name] for name in ("state", "battery", "sent_today")} == {
        "state": "online", "battery": 80, "sent_today": 3,
    }  # fmt: skip
    await world.append(e.PhoneLate(phone_id=world.home.phone_id))
    assert (await world.get(path)).body["state"] == "late"


async def test_phones_are_shown_without_the_scheduler_as_well(world: ApiWorld) -> None:
    world.silence("scheduler.phones")
    listed = await world.get("/v1/phones")
    assert listed.status == 200
    assert listed.body["data"][0]["effective_daily_cap"] is None


async def test_tightening_is_free_and_loosening_is_confirmed(world: ApiWorld) -> None:
    path = f"/v1/phones/{world.home.phone_id}"
    tighter = await world.patch(path, {"daily_cap": 100, "label": "Desk"})
    assert (tighter.status, tighter.body["daily_cap"], tighter.body["label"]) == (200, 100, "Desk")
    looser = {"min_gap_s": 0, "daily_cap": 5000, "warmup": "off"}
    refused = await world.patch(path, looser)
    assert (refused.status, refused.code) == (409, "confirmation_required")
    assert len(refused.body["warnings"]) == 3
    assert (await world.get(path)).body["daily_cap"] == 100
    done = await world.patch(path, {**looser, "acknowledge_risk": True})
    assert done.status == 200
    assert (done.body["min_gap_s"], done.body["daily_cap"], done.body["warmup"]) == (0, 5000, "off")
    (first, second) = await world.events("phone.configured")
    assert first.data.acknowledged == ()
    assert list(second.data.acknowledged) == refused.body["warnings"]
    assert (await world.patch(path, looser)).status == 200  # it is so already
    assert len(await world.events("phone.configured")) == 2


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"min_gap_s": -1}, "#/min_gap_s"),
        ({"min_gap_s": 1.5}, "#/min_gap_s"),
        ({"min_gap_s": None}, "#/min_gap_s"),
        ({"daily_cap": "many"}, "#/daily_cap"),
        ({"warmup": True}, "#/warmup"),
        ({"label": ""}, "#/label"),
        ({"label": "x" * 81}, "#/label"),
        ({"state": "online"}, "#/state"),
    ],
)
async def test_a_phone_setting_that_is_wrong_says_where(
    world: ApiWorld, body: Any, pointer: str
) -> None:
    answer = await world.patch(f"/v1/phones/{world.home.phone_id}", body)
    assert (answer.status, answer.pointers) == (422, {pointer})


async def test_settings_changed_at_the_same_time_all_count(world: ApiWorld) -> None:
    path = f"/v1/phones/{world.home.phone_id}"
    changes = [{"label": "Desk"}, {"daily_cap": 90}, {"min_gap_s": 300}]
    answers = await asyncio.gather(*[world.patch(path, change) for change in changes])
    assert [answer.status for answer in answers] == [200] * 3
    shown = (await world.get(path)).body
    assert (shown["label"], shown["daily_cap"], shown["min_gap_s"]) == ("Desk", 90, 300)


async def test_an_unpaired_phone_is_gone_and_can_come_back(world: ApiWorld) -> None:
    path = f"/v1/phones/{world.home.phone_id}"
    await world.patch(path, {"daily_cap": 90})
    assert (await world.delete(path)).status == 204
    for method in ("GET", "DELETE"):
        assert (await world.call(method, path)).status == 404
    assert (await world.patch(path, {"label": "x"})).status == 404
    assert (await world.get("/v1/phones")).body["data"] == []
    await world.append(paired(world.home.phone_id))
    assert (await world.get(path)).body["daily_cap"] == 90


async def test_a_pairing_is_opened_with_its_code_and_followed(world: ApiWorld) -> None:
    answer = await world.post("/v1/phones/pairings", {"label": "Front desk"})
    assert answer.status == 201
    assert answer.body["uri"].startswith("eightms://pair?")
    assert answer.body["qr_svg"].startswith("<svg")
    assert world.asked[-1][2] == {
        "workspace_id": world.home.id,
        "label": "Front desk",
        "actor": {"kind": "api_key", "id": world.home.key_id},
        "phones_max": None,
    }
    state = await world.get(answer.headers["Location"])
    assert (state.status, state.body["state"]) == (200, "open")
    assert (await world.post("/v1/phones/pairings")).status == 201

    def unknown(_: dict[str, Any]) -> None:
        raise Problem(404, "not_found", "There is no such pairing.")

    world.says["gateway.pairing"] = unknown
    assert (await world.get(answer.headers["Location"])).code == "not_found"
    world.silence("gateway.open_pairing")
    silent = await world.post("/v1/phones/pairings")
    assert (silent.status, silent.code) == (503, "unavailable")
    assert "Retry-After" in silent.headers


async def test_a_simulated_phone_is_made_and_receives(
    database_url: str, nats_server: NatsServer
) -> None:
    simulator = FakeSimulator()
    async with (
        simulator.serve() as url,
        ApiWorld(database_url, nats_server, simulator_url=url) as world,
    ):
        simulator.world = world
        made = await world.post("/v1/phones/simulated", {"label": "Sim"})
        assert (made.status, made.body["simulated"], made.body["label"]) == (201, True, "Sim")
        path = f"/v1/phones/{made.body['id']}"
        arrived = await world.post(
            path + "/simulate-reply", {"from": "+14155550123", "body": "Yes"}
        )
        assert (arrived.status, arrived.body) == (202, {"provider_id": "7"})
        assert simulator.received == [
            {"from": "+14155550123", "body": "Yes", "subscription_id": None}
        ]
        text = {
            "direction": "in",
            "id": "7",
            "number": "+14155550123",
            "body": "Yes",
            "at": "2026-11-23T10:00:00Z",
            "subscription_id": 1,
            "state": "received",
        }
        simulator.texts = [text]
        shown = await world.get(path + "/simulated-texts")
        assert shown.body == {"data": [text]}
        real = ids.new("phn")
        await world.append(paired(real))
        refused = await world.get(f"/v1/phones/{real}/simulated-texts")
        assert (refused.status, refused.code) == (409, "not_simulated")


async def test_without_a_host_there_are_no_simulated_phones(world: ApiWorld) -> None:
    for answer in (
        await world.post("/v1/phones/simulated"),
        await world.get(f"/v1/phones/{world.home.phone_id}/simulated-texts"),
    ):
        assert (answer.status, answer.code) == (503, "simulator_off")
        assert "Retry-After" in answer.headers
    assert world.asked == []


# -- webhooks ------------------------------------------------------------------------------------


async def test_an_endpoint_is_made_changed_and_removed(world: ApiWorld) -> None:
    made = await world.post("/v1/webhooks", HOOK)
    assert made.status == 201
    assert made.body["secret"].startswith("whsec_")
    assert (made.body["url"], made.body["types"]) == (HOOK["url"], HOOK["types"])
    path = f"/v1/webhooks/{made.body['id']}"
    shown = (await world.get(path)).body
    assert shown["state"] == "enabled"
    assert "secret" not in shown
    assert (await world.get("/v1/webhooks")).body["data"] == [shown]
    off = await world.patch(path, {"enabled": False})
    assert (off.body["state"], off.body["disabled_reason"]) == ("disabled", "user")
    assert (await world.get(path)).body["state"] == "disabled"
    assert (await world.patch(path, {})).status == 200
    rotated = await world.post(path + "/rotate-secret", {"grace_s": 60})
    assert rotated.body == {"secret": "whsec_bmV3"}
    assert world.asked[-1][2]["grace_s"] == 60
    tested = await world.post(path + "/test", {"type": "sms.sent"})
    assert (tested.status, tested.body) == (202, {"delivery_id": "dlv_1"})
    assert world.asked[-1][2]["type"] == "sms.sent"
    replayed = await world.post(path + "/replay", {"since": "2026-11-23T00:00:00Z"})
    assert replayed.body == {"deliveries": 2}
    assert (await world.delete(path)).status == 204
    assert (await world.get(path)).status == 404


async def test_attempts_are_listed_and_sent_again(world: ApiWorld) -> None:
    endpoint_id = (await world.post("/v1/webhooks", HOOK)).body["id"]
    attempt_ids = [ids.new("att") for _ in range(3)]
    for n, attempt_id in enumerate(attempt_ids):
        await world.append(
            e.WebhookAttempted(
                endpoint_id=endpoint_id,
                attempt_id=attempt_id,
                delivery_id="dlv_1",
                event_id="evt_1",
                event_type="sms.sent",
                attempt=n + 1,
                trigger="event",
                outcome="failed",
                url=str(HOOK["url"]),
                duration_ms=12,
                status=500,
                error="The endpoint answered 500.",
            )
        )
    path = f"/v1/webhooks/{endpoint_id}/attempts"
    first = (await world.get(path + "?limit=2")).body
    rest = (await world.get(f"{path}?limit=2&cursor={first['next_cursor']}")).body
    assert [a["id"] for a in first["data"] + rest["data"]] == attempt_ids[::-1]
    assert first["data"][0]["status"] == 500
    again = await world.post(f"/v1/webhooks/attempts/{attempt_ids[0]}/resend")
    assert (again.status, again.body) == (202, {"delivery_id": "dlv_1"})
    foreign = await world.post(
        f"/v1/webhooks/attempts/{attempt_ids[0]}/resend", key=world.other.key
    )
    assert foreign.status == 404
    gone = e.WebhookEndpointDisabled(endpoint_id=endpoint_id, reason="gone")
    await world.append(gone)
    shown = (await world.get(f"/v1/webhooks/{endpoint_id}")).body
    assert (shown["state"], shown["disabled_reason"]) == ("disabled", "gone")
    await world.delete(f"/v1/webhooks/{endpoint_id}")
    assert await world.rows("SELECT 1 FROM attempt") == []


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"#/url", "#/types"}),
        ({**HOOK, "url": "ftp://example.com"}, {"#/url"}),
        ({**HOOK, "types": []}, {"#/types"}),
        ({**HOOK, "types": ["sms.lost"]}, {"#/types/0"}),
        ({**HOOK, "secret": "mine"}, {"#/secret"}),
    ],
)
async def test_an_endpoint_that_is_wrong_says_where(
    world: ApiWorld, body: Any, pointers: set[str]
) -> None:
    answer = await world.post("/v1/webhooks", body)
    assert (answer.status, answer.pointers) == (422, pointers)
    assert world.asked == []


async def test_what_webhooks_refuses_is_passed_on_and_its_silence_is_a_503(
    world: ApiWorld,
) -> None:
    def refuse(_: dict[str, Any]) -> None:
        raise Problem.at("#/url", "address_blocked", "This address is private.")

    world.says["webhooks.save_endpoint"] = refuse
    refused = await world.post("/v1/webhooks", HOOK)
    assert (refused.status, refused.code) == (422, "address_blocked")
    assert refused.pointers == {"#/url"}
    assert refused.body["type"] == f"{PUBLIC_URL}/problems/address_blocked"
    assert refused.body["request_id"] == refused.headers["X-Request-Id"]
    world.silence("webhooks.save_endpoint")
    silent = await world.post("/v1/webhooks", HOOK)
    assert (silent.status, silent.code) == (503, "unavailable")


# -- the workspace -------------------------------------------------------------------------------


async def test_the_workspace_is_shown_and_changed(world: ApiWorld) -> None:
    shown = (await world.get("/v1/workspace")).body
    assert (shown["id"], shown["name"], shown["region"]) == (world.home.id, "Home", "US")
    assert shown["quiet_hours"] == {"start": "21:00", "end": "08:00"}
    changed = await world.patch(
        "/v1/workspace",
        {"name": "New", "timezone": "Europe/London", "region": "GB", "help_text": "Call us."},
    )
    assert changed.status == 200
    assert (changed.body["region"], changed.body["help_text"]) == ("GB", "Call us.")
    assert (await world.send("020 7946 0000"))["to"] == "+442079460000"
    cleared = await world.patch("/v1/workspace", {"help_text": None})
    assert (cleared.body["help_text"], cleared.body["name"]) == (None, "New")


async def test_quiet_hours_are_loosened_only_when_acknowledged(world: ApiWorld) -> None:
    refused = await world.patch("/v1/workspace", {"quiet_hours": None})
    assert (refused.status, refused.code) == (409, "confirmation_required")
    assert refused.body["warnings"] == ["quiet_hours is looser"]
    done = await world.patch("/v1/workspace", {"quiet_hours": None, "acknowledge_risk": True})
    assert (done.status, done.body["quiet_hours"]) == (200, None)
    hours = {"start": "20:00", "end": "09:30"}
    assert (await world.patch("/v1/workspace", {"quiet_hours": hours})).body["quiet_hours"] == hours
    acknowledged = [event.data.acknowledged for event in await world.events("workspace.updated")]
    assert acknowledged == [("quiet_hours is looser",)] * 2
    world.silence("scheduler.loosenings")
    silent = await world.patch("/v1/workspace", {"quiet_hours": None, "acknowledge_risk": True})
    assert silent.status == 503
    assert (await world.get("/v1/workspace")).body["quiet_hours"] == hours


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"name": None}, {"#/name"}),
        ({"timezone": "Mars"}, {"#/timezone"}),
        ({"region": "us"}, {"#/region"}),
        ({"region": "XX"}, {"#/region"}),
        ({"quiet_hours": {"start": "24:00", "end": "08:00"}}, {"#/quiet_hours/start"}),
        ({"quiet_hours": {"start": "21:00"}}, {"#/quiet_hours/end"}),
        ({"failover_s": 59}, {"#/failover_s"}),
        ({"plan": "gold"}, {"#/plan"}),
        ({"timezone": "Mars", "region": "XX"}, {"#/timezone", "#/region"}),
    ],
)
async def test_a_workspace_setting_that_is_wrong_says_where(
    world: ApiWorld, body: Any, pointers: set[str]
) -> None:
    answer = await world.patch("/v1/workspace", body)
    assert (answer.status, answer.pointers) == (422, pointers)


# -- pages for people ----------------------------------------------------------------------------


async def test_every_problem_has_a_page_that_needs_nothing_from_elsewhere(world: ApiWorld) -> None:
    for code in CATALOGUE:
        page = await world.get(f"/problems/{code}", key="")
        assert page.status == 200
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert f"<code>{code}</code>" in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "://" not in page.text
        assert "<script" not in page.text
    for path in ("/", "/problems"):
        page = await world.get(path, key="")
        assert (page.status, page.headers["X-Content-Type-Options"]) == (200, "nosniff")
    nothing = await world.get("/problems/%3Cscript%3E", key="")
    assert (nothing.status, nothing.code) == (404, "not_found")


async def test_the_openapi_document_is_public(world: ApiWorld) -> None:
    answer = await world.get("/v1/openapi.json", key="")
    assert answer.status == 200
    assert answer.body["openapi"] == "3.1.0"
    assert [server["url"] for server in answer.body["servers"]] == [PUBLIC_URL]


async def test_times_are_utc(world: ApiWorld) -> None:
    message = await world.send()
    for name in ("created_at", "updated_at", "expires_at"):
        assert message[name].endswith("Z")
