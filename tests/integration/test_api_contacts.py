"""Contacts through the API: saved, found, changed, tagged, and asked whether they want texts."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from shared import events as e
from shared import ids
from tests.api import ApiWorld

TO = "+14155550100"


@pytest_asyncio.fixture
async def world(database_url: str, nats_server: NatsServer) -> AsyncIterator[ApiWorld]:
    async with ApiWorld(database_url, nats_server) as world:
        yield world


async def test_a_contact_is_saved_and_shown(world: ApiWorld) -> None:
    body = {
        "phone": "(415) 555-0100",
        "first_name": "José",
        "last_name": "García-López",
        "email": "jose@example.com",
        "company": "Acme",
        "tags": ["vip", "lead", "vip"],
        "custom_fields": {"plan": "gold"},
        "timezone": "America/Los_Angeles",
    }
    made = await world.post("/v1/contacts", body)
    assert made.status == 201
    shown = made.body
    assert shown["phone"] == TO
    assert shown["tags"] == ["vip", "lead"]
    assert shown["custom_fields"] == {"plan": "gold"}
    assert shown["do_not_contact"] is False
    assert shown["consent"] == {
        "state": "unknown", "source": None, "at": None, "message_id": None,
    }  # fmt: skip
    assert made.headers["Location"] == f"/v1/contacts/{shown['id']}"
    assert (await world.get(made.headers["Location"])).body == shown
    assert shown["id"] == ids.contact_id(world.keys.identity_key, world.home.id, TO, 0)
    again = await world.post("/v1/contacts", {"phone": TO})
    assert (again.status, again.code, again.body["contact_id"]) == (
        409, "contact_exists", shown["id"],
    )  # fmt: skip
    assert (await world.post("/v1/contacts", body, key=world.other.key)).status == 201


async def test_somebody_who_was_only_written_to_can_be_given_a_name(world: ApiWorld) -> None:
    message = await world.send(TO)
    unnamed = (await world.get(f"/v1/contacts/{message['contact_id']}")).body
    assert (unnamed["phone"], unnamed["first_name"]) == (TO, None)
    made = await world.post("/v1/contacts", {"phone": TO, "first_name": "Ada"})
    assert (made.status, made.body["id"]) == (201, message["contact_id"])
    assert made.body["created_at"] == unnamed["created_at"]


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"#/phone"}),
        ({"phone": "hello"}, {"#/phone"}),
        ({"phone": TO, "first_name": ""}, {"#/first_name"}),
        ({"phone": TO, "first_name": "a\x00"}, {"#/first_name"}),
        ({"phone": TO, "email": "nobody"}, {"#/email"}),
        ({"phone": TO, "timezone": "Mars/Olympus"}, {"#/timezone"}),
        ({"phone": TO, "tags": ["a\nb"]}, {"#/tags/0"}),
        ({"phone": TO, "tags": [f"t{n}" for n in range(51)]}, {"#/tags"}),
        ({"phone": TO, "custom_fields": {"a": 1}}, {"#/custom_fields/a"}),
        ({"phone": TO, "custom_fields": {"a/b": "\x00"}}, {"#/custom_fields/a~1b"}),
        ({"phone": TO, "id": "con_1"}, {"#/id"}),
        ({"phone": "hello", "timezone": "Mars/Olympus"}, {"#/phone", "#/timezone"}),
    ],
)
async def test_a_contact_that_is_wrong_says_where(
    world: ApiWorld, body: Any, pointers: set[str]
) -> None:
    answer = await world.post("/v1/contacts", body)
    assert (answer.status, answer.pointers) == (422, pointers)
    assert await world.events("contact") == []


async def test_a_change_names_only_what_changes(world: ApiWorld) -> None:
    made = await world.post(
        "/v1/contacts", {"phone": TO, "first_name": "Ada", "company": "Acme", "tags": ["a"]}
    )
    path = f"/v1/contacts/{made.body['id']}"
    changed = await world.patch(path, {"last_name": "Lovelace", "company": None})
    assert changed.status == 200
    assert (changed.body["first_name"], changed.body["last_name"]) == ("Ada", "Lovelace")
    assert (changed.body["company"], changed.body["tags"]) == (None, ["a"])
    before = len(await world.events("contact.saved"))
    assert (await world.patch(path, {"last_name": "Lovelace"})).status == 200
    assert (await world.patch(path, {})).status == 200
    assert len(await world.events("contact.saved")) == before
    for wrong, pointer in (
        ({"tags": None}, "#/tags"),
        ({"phone": TO}, "#/phone"),
        ({"timezone": "x"}, "#/timezone"),
    ):
        answer = await world.patch(path, wrong)
        assert (answer.status, answer.pointers) == (422, {pointer})


async def test_tags_are_added_and_taken_away(world: ApiWorld) -> None:
    made = await world.post("/v1/contacts", {"phone": TO, "tags": ["a", "b"]})
    path = f"/v1/contacts/{made.body['id']}/tags"
    answer = await world.post(path, {"add": ["c", "a"], "remove": ["b"]})
    assert (answer.status, answer.body["tags"]) == (200, ["a", "c"])
    many = await world.post(path, {"add": [f"t{n}" for n in range(50)]})
    assert (many.status, many.code) == (422, "too_long")


async def test_changes_at_the_same_time_all_count(world: ApiWorld) -> None:
    made = await world.post("/v1/contacts", {"phone": TO})
    path = f"/v1/contacts/{made.body['id']}/tags"
    answers = await asyncio.gather(*[world.post(path, {"add": [f"t{n}"]}) for n in range(3)])
    assert [answer.status for answer in answers] == [200] * 3
    shown = (await world.get(f"/v1/contacts/{made.body['id']}")).body
    assert sorted(shown["tags"]) == ["t0", "t1", "t2"]


async def test_opting_out_stops_sending_and_opting_in_allows_it_again(world: ApiWorld) -> None:
    message = await world.send(TO)
    path = f"/v1/contacts/{message['contact_id']}"
    out = await world.post(path + "/opt-out", {"note": "Asked on the phone."})
    assert (out.status, out.body["do_not_contact"]) == (200, True)
    assert out.body["consent"]["state"] == "opted_out"
    assert out.body["consent"]["source"] == "api"
    assert (await world.post(path + "/opt-out")).body == out.body
    (event,) = await world.events("contact.opted_out")
    assert (event.data.text, event.data.number) == ("Asked on the phone.", TO)
    refused = await world.post("/v1/sms/send", {"to": TO, "body": "x"})
    assert refused.code == "recipient_opted_out"
    back = await world.post(path + "/opt-in")
    assert (back.body["do_not_contact"], back.body["consent"]["state"]) == (False, "opted_in")
    assert (await world.post("/v1/sms/send", {"to": TO, "body": "x"})).status == 202
    assert (await world.post(path + "/opt-out", {"note": ""})).pointers == {"#/note"}


async def test_contacts_are_found_by_words_number_tag_and_consent(world: ApiWorld) -> None:
    people = [
        ("+14155550101", "José", "García-López", "Acme", ["vip"]),
        ("+14155550102", "Ada", "Lovelace", "Analytical Engines", ["vip", "lead"]),
        ("+442079460000", "Grace", "Hopper", None, ["lead"]),
        ("+14155550104", "Jo", "Garfield", "24 Hours", []),
    ]
    for phone, first, last, company, tags in people:
        body = {"phone": phone, "first_name": first, "last_name": last, "tags": tags}
        if company:
            body["company"] = company
        assert (await world.post("/v1/contacts", body)).status == 201
    await world.send("+14155550199")

    async def found(query: str) -> list[str | None]:
        answer = await world.get(f"/v1/contacts?{query}")
        assert answer.status == 200, answer.text
        return [contact["first_name"] for contact in answer.body["data"]]

    assert await found("") == [None, "Jo", "Grace", "Ada", "José"]
    assert await found("q=jos") == ["José"]
    assert await found("q=GARC%C3%8DA") == ["José"]
    assert await found("q=gar") == ["Jo", "José"]
    assert await found("q=gar%20acm") == ["José"]
    assert await found("q=lopez") == ["José"]
    assert await found("q=%2B44") == ["Grace"]
    assert await found("q=41555501") == [None, "Jo", "Ada", "José"]
    assert await found("q=24") == ["Jo"]
    assert await found("q=nobody") == []
    assert await found("q=!!") == []
    assert await found("tag=vip") == ["Ada", "José"]
    assert await found("tag=vi") == []
    assert await found("tag=lead&q=ada") == ["Ada"]
    assert await found("tag=lead&q=jos") == []
    contact_id = ids.contact_id(world.keys.identity_key, world.home.id, "+14155550102", 0)
    await world.append(
        e.ContactOptedOut(contact_id=contact_id, number="+14155550102", source="keyword")
    )
    assert await found("opted_out=true") == ["Ada"]
    assert await found("opted_out=false") == [None, "Jo", "Grace", "José"]
    assert await found("opted_out=false&tag=vip") == ["José"]
    assert await found("opted_out=true&q=ada") == ["Ada"]
    await world.patch(f"/v1/contacts/{contact_id}", {"first_name": "Augusta", "tags": []})
    assert await found("q=ada") == []
    assert await found("q=augusta") == ["Augusta"]
    assert await found("tag=vip") == ["José"]
    for wrong in ("opted_out=maybe", "q=", "tag=", "q=a%00b"):
        assert (await world.get(f"/v1/contacts?{wrong}")).status == 422


async def test_found_contacts_come_in_pages(world: ApiWorld) -> None:
    for n in range(5):
        body = {"phone": f"+1415555010{n}", "first_name": f"Ann{n}", "tags": ["x"]}
        await world.post("/v1/contacts", body)
    for query in ("q=ann", "tag=x", "q=415555", "opted_out=false"):
        names: list[str] = []
        path = f"/v1/contacts?limit=2&{query}"
        cursor = ""
        while True:
            page = (await world.get(path + cursor)).body
            names += [contact["first_name"] for contact in page["data"]]
            if not page["has_more"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert names == ["Ann4", "Ann3", "Ann2", "Ann1", "Ann0"], query
