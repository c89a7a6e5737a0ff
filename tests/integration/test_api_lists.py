"""Lists go by an index whatever they hold, and what a message goes through touches few indexes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from services.api import finding, page
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
        assert pages == (3 if "contact_id" in path else 1)
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


# -- finding people and texts --------------------------------------------------------------------

PEOPLE = [
    {"phone": "+14155550101", "first_name": "Ada", "last_name": "Lovelace", "tags": ["vip", "x"]},
    {"phone": "+14155550102", "first_name": "Adam", "last_name": "Smith", "tags": ["vip"]},
    {"phone": "+14155550103", "first_name": "Grace", "last_name": "Adams"},
    {"phone": "+12125550104", "first_name": "Ada", "last_name": "Smith"},
]


@pytest.mark.parametrize("few", [4_000, 0], ids=["few have it", "many have it"])
async def test_people_are_found_by_everything_typed_and_every_filter(
    world: ApiWorld, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "FEW_MAX", few)
    made = [(await world.post("/v1/contacts", person)).body["id"] for person in PEOPLE]
    await world.post(f"/v1/contacts/{made[1]}/opt-out")

    async def found(query: str) -> list[int]:
        one_by_one, pages = await everything(world, f"/v1/contacts?limit=1{query}")
        assert pages == max(1, len(one_by_one))
        return [made.index(contact_id) for contact_id in one_by_one]

    assert await found("&q=ada") == [3, 2, 1, 0]
    assert await found("&q=smith ad") == [3, 1]
    assert await found("&q=(415) 555") == [2, 1, 0]
    assert await found("&q=+1212") == [3]
    assert await found("&q=ada&tag=vip") == [1, 0]
    assert await found("&q=ada&opted_out=true") == [1]
    assert await found("&q=ada&opted_out=false&tag=vip") == [0]
    assert await found("&q=415&tag=x") == [0]
    assert await found("&tag=vip&opted_out=true") == [1]
    assert await found("&opted_out=false") == [3, 2, 0]
    assert await found("&q=nobody") == []
    assert await found("&q=%21%21") == []


@pytest.mark.parametrize("few", [4_000, 0], ids=["few have it", "many have it"])
async def test_texts_and_their_conversations_are_found_by_their_words(
    world: ApiWorld, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "FEW_MAX", few)
    await world.post("/v1/contacts", PEOPLE[0])
    sent = await world.send("+14155550101", "Your boiler is repaired.")
    other = await world.send("+14155550102", "Something else")
    replies = [
        reply(world, "+14155550101", "Great, the BOILER works"),
        reply(world, "+14155550102", "Refund please"),
        reply(world, "+14155550101", "Can I have a refund of the boiler?"),
    ]
    for one in replies:
        await world.append(one)
    ids_of = [one.message_id for one in replies]

    async def found(path: str) -> list[str]:
        return (await everything(world, path))[0]

    assert await found("/v1/messages?limit=1&q=boiler") == [ids_of[2], ids_of[0], sent["id"]]
    assert await found("/v1/messages?q=refund") == [ids_of[2], ids_of[1]]
    assert await found("/v1/messages?q=boiler refund") == [ids_of[2]]
    assert await found("/v1/messages?q=boiler&direction=outbound") == [sent["id"]]
    assert await found("/v1/messages?q=boiler&direction=inbound") == [ids_of[2], ids_of[0]]
    of_ada = f"&contact_id={sent['contact_id']}"
    assert await found(f"/v1/messages?limit=1&q=boiler{of_ada}") == [
        ids_of[2], ids_of[0], sent["id"],
    ]  # fmt: skip
    thread = f"/v1/conversations/{sent['conversation_id']}/messages?q=repaired"
    assert await found(thread) == [sent["id"]]
    ada, adam = sent["conversation_id"], other["conversation_id"]
    for q, conversations in (
        ("refund", [ada, adam]), ("repaired", [ada]), ("lovelace", [ada]), ("something", [adam]),
        ("555", []), ("4155550102", [adam]), ("refund&status=unread", [ada, adam]),
        ("refund&status=closed", []),
    ):  # fmt: skip
        assert await found(f"/v1/conversations?limit=1&q={q}") == conversations, q
    wrong = await world.get("/v1/messages?q=x&state=sent")
    assert (wrong.status, wrong.code) == (422, "not_combinable")


async def test_a_thread_is_read_both_ways_from_any_of_its_texts(world: ApiWorld) -> None:
    sent = [(await world.send(body=f"{n}")) for n in range(9)]
    texts = [message["id"] for message in sent]
    path = f"/v1/conversations/{sent[0]['conversation_id']}/messages?limit=3"

    async def part(query: str) -> tuple[list[int], bool, bool, str | None]:
        body = (await world.get(path + query)).body
        shown = [texts.index(one["id"]) for one in body["data"]]
        return shown, body["has_more"], body["has_newer"], body["next_cursor"]

    assert (await part(""))[:3] == ([8, 7, 6], True, False)
    shown, *_, cursor = await part(f"&before={texts[5]}")
    assert shown == [4, 3, 2]
    assert (await part(f"&cursor={cursor}"))[:3] == ([1, 0], False, True)
    assert (await part(f"&after={texts[4]}"))[:3] == ([7, 6, 5], True, True)
    assert (await part(f"&after={texts[6]}"))[:3] == ([8, 7], True, False)
    assert (await part(f"&after={texts[8]}"))[:3] == ([], False, False)
    assert (await part(f"&around={texts[4]}"))[:3] == ([5, 4, 3], True, True)
    assert (await part(f"&around={texts[8]}"))[:3] == ([8, 7], True, False)
    assert (await part(f"&before={texts[0]}"))[:3] == ([], False, True)
    stranger = await world.send("+14155550199")
    wrong = await world.get(path + f"&around={stranger['id']}")
    assert (wrong.status, wrong.code, wrong.pointers) == (422, "unknown_message", {"#/around"})
    both = await world.get(path + f"&before={texts[1]}&after={texts[1]}")
    assert (both.status, both.code) == (422, "not_combinable")


async def test_what_is_unread_is_counted_over_the_workspace(world: ApiWorld) -> None:
    first = reply(world, "+14155550101", "one")
    for one in (first, reply(world, "+14155550101", "two"), reply(world, "+14155550102", "three")):
        await world.append(one)
    path = "/v1/conversations/counts"
    assert (await world.get(path)).body == {"unread_conversations": 2, "unread_messages": 3}
    await world.post(f"/v1/conversations/{first.conversation_id}/read")
    assert (await world.get(path)).body == {"unread_conversations": 1, "unread_messages": 1}
    none = (await world.get(path, key=world.other.key)).body
    assert none == {"unread_conversations": 0, "unread_messages": 0}


async def test_tags_and_custom_fields_in_use_are_listed(world: ApiWorld) -> None:
    for n, person in enumerate(PEOPLE):
        await world.post("/v1/contacts", {**person, "custom_fields": {f"field {n % 2}": "x"}})
    first = (await world.get("/v1/contacts/tags?limit=1")).body
    assert first["data"] == [{"tag": "vip", "contacts": 2}]
    second = (await world.get(f"/v1/contacts/tags?limit=1&cursor={first['next_cursor']}")).body
    assert (second["data"], second["has_more"]) == ([{"tag": "x", "contacts": 1}], False)
    assert (await world.get("/v1/contacts/fields")).body == {"data": ["field 0", "field 1"]}
    assert (await world.get("/v1/contacts/tags", key=world.other.key)).body["data"] == []


def reply(world: ApiWorld, number: str, body: str) -> e.ReplyReceived:
    contact_id = ids.contact_id(world.keys.identity_key, world.home.id, number, 0)
    return e.ReplyReceived(
        message_id=ids.new("msg"),
        contact_id=contact_id,
        conversation_id=ids.conversation_id(contact_id),
        phone_id=world.home.phone_id,
        sender=number,
        sender_kind="number",
        body=body,
        parts=1,
        received_at=datetime.now(UTC),
    )
