"""Lists go by an index whatever they hold, and what a message goes through touches few indexes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from services.api import page
from shared import events as e
from shared import ids
from tests.api import ApiWorld

# What changes between the dispatch and the end: an index that names one of these, be it in its
# condition, would be written to each time.
CHANGING = {"state", "seen", "updated_at", "waiting_reason", "waiting_until", "error_class"}
NAMED = """
SELECT DISTINCT attname FROM pg_index i
  JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
  JOIN pg_attribute a ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
                     AND d.refobjsubid = a.attnum
 WHERE i.indrelid = 'api.message'::regclass
"""


@pytest_asyncio.fixture
async def world(database_url: str, nats_server: NatsServer) -> AsyncIterator[ApiWorld]:
    async with ApiWorld(database_url, nats_server) as world:
        yield world


async def test_no_index_of_messages_names_what_their_facts_change(world: ApiWorld) -> None:
    named = {row["attname"] for row in await world.rows(NAMED)}
    assert "created_at" in named
    assert not named & CHANGING


async def test_a_filter_that_hardly_anything_passes_gives_short_pages_and_goes_on(
    world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "SIEVED_MAX", 4)
    wishes = [{"to": "+14155550100", "body": f"{n}"} for n in range(10)]
    sent = (await world.post("/v1/sms/send/bulk", {"messages": wishes})).body["results"]
    first = min((one["message"] for one in sent), key=lambda m: (m["created_at"], m["id"]))
    await world.append(dispatched(world, first))
    for path in (
        "/v1/messages?state=dispatched",
        f"/v1/messages?contact_id={first['contact_id']}&state=dispatched",
        f"/v1/messages?phone_id={world.home.phone_id}&state=dispatched",
    ):
        found, pages = await everything(world, path)
        assert found == [first["id"]]
        assert pages == (1 if "phone_id" in path else 3)
    assert await everything(world, "/v1/messages?state=dispatched&direction=inbound") == ([], 1)
    assert len((await everything(world, "/v1/messages?state=queued&direction=outbound"))[0]) == 9


async def everything(world: ApiWorld, path: str) -> tuple[list[str], int]:
    """All there is on all pages, and how many pages there are."""
    found: list[str] = []
    cursor, pages = "", 0
    while True:
        answer = await world.get(path + cursor)
        assert answer.status == 200, answer.body
        pages += 1
        found += [one["id"] for one in answer.body["data"]]
        assert answer.body["has_more"] == (answer.body["next_cursor"] is not None)
        if not answer.body["has_more"]:
            return found, pages
        cursor = f"&cursor={answer.body['next_cursor']}"


def dispatched(world: ApiWorld, message: Any) -> e.SendDispatched:
    return e.SendDispatched(
        message_id=message["id"],
        contact_id=message["contact_id"],
        command_id=ids.command_id(message["id"], 1),
        phone_id=world.home.phone_id,
        attempt=1,
        to=message["to"],
        body=message["body"],
        parts=1,
        source="api",
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )
