"""What ops can see and decide: lag, trace, parked, a new workspace."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from shared import events as e
from shared import ids
from shared.log import Log
from tests.integration import ops_story as story


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[Log]:
    log = await Log.connect(nats_url, "test")
    await log.ensure_stream()
    yield log
    await log.close()


@pytest.fixture
def command(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> story.Command:
    return story.Command(database_url, monkeypatch, capfdbinary)


async def until(holds: Callable[[], Awaitable[Any]]) -> Any:
    """What ``holds`` gives once it gives something."""
    async with asyncio.timeout(story.PATIENCE_S):
        while not (found := await holds()):
            await asyncio.sleep(0.05)
    return found


async def test_lag_names_position_leader_and_what_is_left(
    log: Log, nats_url: str, nats_urls: dict[str, str], database_url: str, command: story.Command
) -> None:
    await story.append(log, list(story.beginning()))
    end = await story.tell(log, 0, 10)

    async def lag() -> dict[str, dict[str, Any]]:
        _, out, _ = await command(nats_url, "lag", "--json")
        return {one["service"]: one for one in json.loads(out)}

    async with story.service("scheduler", database_url, nats_urls["scheduler"]) as scheduler:

        async def caught_up() -> dict[str, Any] | None:
            found = (await lag())["scheduler"]
            return found if found["position"] == end else None

        found = await until(caught_up)
        assert found["pending"] == 0
        assert found["log_end"] == end + 1
        assert found["leader"].endswith(f":{scheduler.process.pid}")
        assert (await lag())["api"]["position"] is None
    await story.tell(log, 10, 12)
    behind = (await lag())["scheduler"]
    assert (behind["leader"], behind["pending"]) == (None, 10)  # six events each, one not its own

    code, out, _ = await command(nats_url, "lag")
    assert code == 0
    assert "nobody" in out


async def test_trace_tells_the_whole_way_of_one_message(
    log: Log, nats_url: str, command: story.Command
) -> None:
    await story.append(log, list(story.beginning()))
    await story.tell(log, 0, 120)
    wanted = story.message_id(60)

    _, out, _ = await command(nats_url, "trace", wanted, "--json")

    found = json.loads(out.splitlines()[-1])
    assert [one["type"] for one in found["events"]] == [
        "send.requested",
        "send.dispatched",
        "sms.accepted",
        "sms.submitted",
        "sms.sent",
        "sms.delivered",
    ]
    assert [one["service"] for one in found["events"]][:3] == ["api", "scheduler", "gateway"]
    assert (found["contact_id"], found["end"]) == (story.contact_id(60), "delivered")

    _, out, _ = await command(nats_url, "trace", wanted)
    assert "It is delivered." in out
    assert "bread" not in out
    assert story.number(60) not in out


async def test_trace_says_why_a_message_still_waits(
    log: Log, nats_url: str, nats_urls: dict[str, str], database_url: str, command: story.Command
) -> None:
    await story.append(log, [next(story.beginning())])  # a workspace without a phone
    await story.append(log, [next(story.message(1, expires_days=300))])
    async with story.service("scheduler", database_url, nats_urls["scheduler"]):

        async def waiting() -> dict[str, Any] | None:
            _, out, _ = await command(nats_url, "trace", story.message_id(1), "--json")
            return json.loads(out.splitlines()[-1])["waiting"]

        assert (await until(waiting))["reason"] in ("no_phone", "quiet_hours")
        _, out, _ = await command(nats_url, "trace", story.message_id(1))
        assert "It waits: " in out


async def test_trace_of_a_message_that_is_not_there_is_1(
    log: Log, nats_url: str, command: story.Command
) -> None:
    await story.tell(log, 0, 3)
    code, _, said = await command(nats_url, "trace", ids.new("msg"))
    assert (code, "There is no message" in said) == (1, True)


def unknown(n: int) -> list[e.Event]:
    """A message whose phone cannot tell whether it went out."""
    asked, went, accepted, submitted, *_ = story.message(n, expires_days=300)
    fact: e.SmsSubmitted = submitted.data
    lost = e.SmsUnknown(
        message_id=fact.message_id,
        contact_id=fact.contact_id,
        command_id=fact.command_id,
        phone_id=fact.phone_id,
        attempt=1,
        journal_seq=1000 + n,
        phone_at=fact.phone_at,
    )
    return [asked, went, accepted, submitted, story.make(lost, "lost", n)]


async def test_what_is_parked_is_listed_and_decided(
    log: Log, nats_url: str, nats_urls: dict[str, str], database_url: str, command: story.Command
) -> None:
    await story.append(log, list(story.beginning()))
    await story.append(log, unknown(1) + unknown(2))
    again, dropped = story.message_id(1), story.message_id(2)

    async def parked() -> list[str]:
        _, out, _ = await command(nats_url, "parked", "list", "--json")
        return [one["id"] for one in json.loads(out)] if out else []

    async with (
        story.service("scheduler", database_url, nats_urls["scheduler"]),
        story.service("webhooks", database_url, nats_urls["webhooks"]),
    ):

        async def both() -> bool:
            return set(await parked()) == {again, dropped}

        await until(both)
        _, out, _ = await command(nats_url, "parked", "list")
        assert "could not tell" in out

        code, out, _ = await command(nats_url, "parked", "retry", again)
        assert (code, f"{again}: is sent once more" in out) == (0, True)
        code, out, _ = await command(nats_url, "parked", "drop", dropped)
        assert (code, f"{dropped}: dropped" in out) == (0, True)

        assert await parked() == []
        code, _, said = await command(nats_url, "parked", "drop", dropped)
        assert (code, "Not parked" in said) == (1, True)
    decisions = [e.decode(r.data).data for r in await log.history(["send.resolved.>"])]
    assert {(d.message_id, d.decision) for d in decisions} == {(again, "retry"), (dropped, "drop")}


async def test_parked_without_its_services_says_so(
    log: Log, nats_url: str, command: story.Command
) -> None:
    code, _, said = await command(nats_url, "parked", "list")
    assert (code, "did not answer" in said, "Traceback" in said) == (1, True, False)


async def test_a_new_workspace_has_a_key_that_the_api_takes(
    log: Log, nats_url: str, nats_urls: dict[str, str], database_url: str, command: story.Command
) -> None:
    create = ("workspace", "create", "--email", "ann@example.com", "--timezone", "Europe/Berlin")
    async with story.service("api", database_url, nats_urls["api"]) as api:
        code, out, said = await command(nats_url, *create, "--json")
        made = json.loads(out)
        assert (code, "as soon as" in said) == (0, False)
        assert await asyncio.to_thread(api.get, "/v1/workspace", made["api_key"]) == 200
        path = made["sign_in_url"].removeprefix("http://127.0.0.1:8080")
        assert await asyncio.to_thread(api.get, path, "") == 200
        before = await asyncio.to_thread(api.get, "/auth/v1/.well-known/jwks.json", "")
        code, _, said = await command(nats_url, "keys", "rotate-sign-in")
        assert (before, code, "in 15 minutes" in said) == (200, 0, True)
    assert set(made) == {"workspace_id", "api_key", "sign_in_url"}
    invited = [e.decode(r.data).data for r in await log.history(["member.invited.>"])]
    assert [(m.email, m.role) for m in invited] == [("ann@example.com", "owner")]
    created = [e.decode(r.data).data for r in await log.history(["workspace.created.>"])]
    assert [(w.name, w.timezone, w.email) for w in created] == [
        ("ann", "Europe/Berlin", "ann@example.com")
    ]
    stored = b"".join(r.data for r in await log.history([">"]))
    assert made["api_key"].encode() not in stored


async def test_a_workspace_without_an_api_says_when_the_key_works(
    log: Log, nats_url: str, command: story.Command
) -> None:
    code, out, said = await command(nats_url, "workspace", "create", "--email", "a@b.co")
    assert (code, "8ms_live_" in out) == (0, True)
    assert "as soon as" in said


async def test_trace_works_from_the_log_alone_when_the_tables_are_gone(
    log: Log, nats_url: str, database_url: str, command: story.Command
) -> None:
    await story.append(log, list(story.beginning()))
    await story.tell(log, 0, 5)
    assert (await command(nats_url, "replay", "scheduler"))[0] == 0
    _, with_tables, _ = await command(nats_url, "trace", story.message_id(3))
    db = await asyncpg.connect(database_url)
    await db.execute("DROP SCHEMA scheduler CASCADE")
    await db.close()
    _, without, _ = await command(nats_url, "trace", story.message_id(3))
    assert without == with_tables
