"""Contacts from files of every kind, and into files that come back as they were."""

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from services.api.sheets import importing
from services.api.tasks import clerk
from shared import events as e
from shared import ids
from shared.errors import LogUnavailable
from tests.api import Answer, ApiWorld


@pytest_asyncio.fixture
async def world(
    database_url: str, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ApiWorld]:
    monkeypatch.setattr(clerk, "AGAIN_S", 0.01)
    monkeypatch.setattr(clerk, "LOOK_EVERY_S", 0.02)
    async with ApiWorld(database_url, nats_server) as world:
        yield world


async def upload(world: ApiWorld, file: str | bytes, query: str = "", **parts: Any) -> Answer:
    """A form with the file and further parts, as a browser sends it."""
    form = aiohttp.FormData()
    for name, value in parts.items():
        form.add_field(name, json.dumps(value))
    content = file.encode() if isinstance(file, str) else file
    form.add_field("file", io.BytesIO(content), filename="people.csv", content_type="text/csv")
    url = f"{world.instances[0].url}/v1/contacts/bulk{query}"
    headers = {"Authorization": f"Bearer {world.home.key}"}
    async with world.http.post(url, data=form, headers=headers) as response:
        text = await response.text()
        return Answer(response.status, msgspec.json.decode(text), response.headers, text)


async def imported(world: ApiWorld, file: str | bytes, query: str = "", **parts: Any) -> Any:
    """The task when it has ended."""
    answer = await upload(world, file, query, **parts)
    assert answer.status == 202, answer.text

    async def look() -> Any:
        shown = (await world.get(answer.headers["Location"])).body
        return shown if shown["finished_at"] else None

    return await world.until(look, "the import has ended")


async def contacts(world: ApiWorld, query: str = "") -> dict[str, Any]:
    data = (await world.get(f"/v1/contacts?limit=100{query}")).body["data"]
    return {contact["phone"]: contact for contact in data}


def counts(task: Any) -> tuple[int, ...]:
    return tuple(task["summary"][name] for name in importing.COUNTS)


async def test_a_file_becomes_contacts_that_are_found_by_what_it_says(world: ApiWorld) -> None:
    file = (
        "first_name,last_name,phone,email,company,tags,Boiler\n"
        'Ada,Lovelace,(415) 555-0101,ada@example.com,"Engines, Ltd","vip; west",Vitodens\n'
        "Grace,Hopper,+1 415 555 0102,,,,\n"
    )
    task = await imported(world, file)
    assert (task["kind"], task["status"], task["errors"]) == ("contacts.import", "done", [])
    assert (task["done"], task["total"], counts(task)) == (2, 2, (2, 0, 0, 0, 0))
    assert task["result_url"] is None
    assert (task["summary"]["delimiter"], task["summary"]["encoding"]) == (",", "utf-8")
    assert task["summary"]["columns"]["Boiler"] == "custom_fields.Boiler"
    found = await contacts(world, "&q=lovelace")
    ada = found["+14155550101"]
    assert (ada["company"], ada["email"]) == ("Engines, Ltd", "ada@example.com")
    assert (ada["tags"], ada["custom_fields"]) == (["vip", "west"], {"Boiler": "Vitodens"})
    assert list(await contacts(world, "&tag=vip")) == ["+14155550101"]
    assert not await world.rows("SELECT FROM vault_file")


async def test_a_dry_run_says_the_same_and_saves_nothing(world: ApiWorld) -> None:
    file = "phone;Vorname\n415 555 0101;Ada\nnobody;Bob\n4155550101;Augusta\n"
    told = await imported(world, file, "?dry_run=true")
    assert await contacts(world) == {}
    done = await imported(world, file)
    assert told["summary"] == {**done["summary"], "dry_run": True}
    assert counts(told) == counts(done) == (1, 1, 0, 0, 1)
    assert told["errors"] == done["errors"]
    assert (await contacts(world))["+14155550101"]["first_name"] == "Augusta"


async def test_rows_are_merged_with_each_other_and_with_who_is_known(world: ApiWorld) -> None:
    known = {
        "phone": "+14155550101", "first_name": "Ada", "company": "Engines", "tags": ["old"],
        "custom_fields": {"boiler": "Vitodens"}, "timezone": "Europe/London",
    }  # fmt: skip
    made = (await world.post("/v1/contacts", known)).body
    await world.post(f"/v1/contacts/{made['id']}/opt-out")
    message = await world.send("+14155550102")  # exists by its message, with no name
    file = (
        "phone,first name,company,tags,pump\n"
        "4155550101,,Difference Ltd,new|old,\n"
        "4155550101,Augusta,,,Wilo\n"
        "4155550102,Grace,,,\n"
        "4155550102,Grace,,,\n"
    )
    task = await imported(world, file)
    assert counts(task) == (1, 3, 0, 0, 0)
    ada = (await world.get(f"/v1/contacts/{made['id']}")).body
    assert (ada["first_name"], ada["company"]) == ("Augusta", "Difference Ltd")
    assert (ada["tags"], ada["timezone"]) == (["old", "new"], "Europe/London")
    assert ada["custom_fields"] == {"boiler": "Vitodens", "pump": "Wilo"}
    assert ada["do_not_contact"]
    grace = (await world.get(f"/v1/contacts/{message['contact_id']}")).body
    assert grace["first_name"] == "Grace"
    again = await imported(world, file)
    assert counts(again) == (0, 0, 4, 0, 0)
    assert len(await world.events("contact.saved")) == 3


async def test_a_file_can_opt_out_and_never_in(world: ApiWorld) -> None:
    opted_out = (await world.post("/v1/contacts", {"phone": "+14155550101"})).body
    await world.post(f"/v1/contacts/{opted_out['id']}/opt-out")
    file = "phone,Do not contact\n4155550101,no\n4155550102,yes\n4155550103,\n"
    assert counts(await imported(world, file)) == (2, 0, 1, 1, 0)
    found = await contacts(world)
    assert [found[f"+1415555010{n}"]["do_not_contact"] for n in (1, 2, 3)] == [True, True, False]
    refused = await world.post("/v1/sms/send", {"to": "+14155550102", "body": "Hello"})
    assert refused.code == "recipient_opted_out"


async def test_what_is_wrong_can_be_mended_and_uploaded_again(world: ApiWorld) -> None:
    file = (
        "phone,first_name,email,timezone\n"
        "4155550101,Ada,ada@example.com,Mars/Base\n"
        "4.15556E+09,Grace,not an address,\n"
        ",Nobody,,\n"
        "4155550104,Fine,,\n"
        '4155550105,"Unclosed,,\n'
        "4155550106,Too,many,,cells\n"
    )
    task = await imported(world, file)
    assert counts(task) == (1, 0, 0, 0, 5)
    told = {(error["row"], error.get("field"), error["code"]) for error in task["errors"]}
    assert told == {
        (2, "timezone", "unknown_timezone"), (3, "phone", "shortened_number"),
        (3, "email", "invalid"), (4, "phone", "missing"), (6, None, "broken_row"),
        (7, None, "too_many_cells"),
    }  # fmt: skip
    report = (await world.get(task["result_url"])).text
    assert report.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(report.removeprefix("\ufeff"))))
    assert [row["error_row"] for row in rows] == ["2", "3", "4", "6", "7"]
    assert rows[1]["error_field"] == "phone; email"
    mended = report.replace("Mars/Base", "Europe/London").replace("4.15556E+09", "4155550102")
    again = await imported(world, mended.replace("not an address", "grace@example.com"))
    assert (again["summary"]["created"], again["summary"]["columns"]["error_row"]) == (2, "ignore")
    assert (await contacts(world))["+14155550101"]["timezone"] == "Europe/London"


@pytest.mark.parametrize(
    ("encoding", "delimiter"),
    [("utf-8", ","), ("utf-8-sig", "\t"), ("utf-16", ";"), ("cp1252", ";"), ("utf-16-le", "|")],
)
async def test_encoding_and_separator_are_found_out(
    world: ApiWorld, encoding: str, delimiter: str
) -> None:
    lines = [["Handy", "Name", "Bemerkung"], ["4155550101", "José Müller", "a,b;c\td|e"]]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(lines)
    task = await imported(world, out.getvalue().encode(encoding))
    assert task["summary"]["delimiter"] == delimiter
    (found,) = (await contacts(world, "&q=muller")).values()
    assert (found["first_name"], found["last_name"]) == ("José", "Müller")
    assert found["custom_fields"] == {"Bemerkung": " ".join(["a,b;c", "d|e"])}


async def test_columns_can_be_named_in_the_request(world: ApiWorld) -> None:
    file = "Main no.,Internal,Birthday,mobile\n4155550101,secret,10 December,4155550199\n"
    mapping = {"Main no.": "phone", "Internal": None, "Birthday": "custom_fields.born"}
    task = await imported(world, file, mapping=mapping)
    assert task["summary"]["columns"] == {
        "Main no.": "phone", "Internal": "ignore", "Birthday": "custom_fields.born",
        "mobile": "custom_fields.mobile",
    }  # fmt: skip
    (found,) = (await contacts(world)).values()
    assert found["phone"] == "+14155550101"
    assert found["custom_fields"] == {"born": "10 December", "mobile": "4155550199"}


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("name,email\nAda,ada@example.com\n", "no_phone_column"),
        (",".join(f"c{n}" for n in range(10_000)) + "\n", "too_many_columns"),
        ("\n\n\n", "empty_file"),
        ("x" * 2_000_000, "not_a_table"),
    ],
)
async def test_a_file_that_is_no_list_of_people_is_refused_with_a_word(
    world: ApiWorld, file: str, code: str
) -> None:
    task = await imported(world, file)
    assert (task["status"], task["errors"][-1]["code"]) == ("failed", code)


async def test_nasty_cells_break_no_other_row(world: ApiWorld) -> None:
    file = (
        b"phone,first_name,notes,tags\r\n"
        b'4155550101,"Ada ""the first""","two\r\nlines",vip\r\n'
        b"\r\n"
        b"4155550102,Nu\x00l,,\r\n"
        b'4155550103,5" pipe,=1+1,"[""a,b"",""c""]"\r\n'
        b"4155550104\r\n"
        b"4155550105," + b"x" * 200_000 + b",,\r\n"
        b"4155550106,\xff\xfe,,\r\n"
        b"  4155550107  ,'=cmd,,"
    )
    task = await imported(world, file)
    assert task["summary"]["failed"] == 2
    found = await contacts(world)
    ada, pipe = found["+14155550101"], found["+14155550103"]
    assert (ada["first_name"], ada["custom_fields"]) == ('Ada "the first"', {"notes": "two lines"})
    assert (pipe["first_name"], pipe["custom_fields"]) == ('5" pipe', {"notes": "=1+1"})
    assert pipe["tags"] == ["a,b", "c"]
    assert found["+14155550104"]["first_name"] is None
    assert found["+14155550107"]["first_name"] == "=cmd"
    assert {error["row"] for error in task["errors"]} == {4, 7}


async def test_what_is_exported_can_be_imported_elsewhere(world: ApiWorld) -> None:
    people = [
        {"phone": "+14155550101", "first_name": "=1+1", "tags": ["a,b", "c"], "company": "'@x",
         "custom_fields": {"mobile": "no number", "born": "+1815", "-x": "-2+3"}},
        {"phone": "+14155550102", "first_name": "Grace", "last_name": 'O"Hara, Jr.'},
    ]  # fmt: skip
    for one in people:
        assert (await world.post("/v1/contacts", one)).status == 201
    first = (await world.get("/v1/contacts")).body["data"][0]
    await world.post(f"/v1/contacts/{first['id']}/opt-out")
    exported = await world.get("/v1/contacts/export")
    assert exported.headers["Content-Type"] == "text/csv"
    for row in csv.reader(io.StringIO(exported.text.removeprefix("\ufeff"))):
        assert not [cell for cell in row if cell[:1] in "=@" and cell]
    before = await contacts(world)
    world.home, world.other = world.other, world.home
    task = await imported(world, exported.text)
    assert (counts(task), task["errors"]) == ((2, 0, 0, 1, 0), [])
    after = await contacts(world)
    same = ("first_name", "last_name", "company", "tags", "custom_fields", "do_not_contact")
    for number, contact in before.items():
        assert {n: after[number][n] for n in same} == {n: contact[n] for n in same}
    lines = (await world.get("/v1/contacts/export?format=jsonl&opted_out=true")).text.splitlines()
    assert [json.loads(line) for line in lines] == [after["+14155550102"]]


async def test_an_upload_is_checked_before_it_becomes_a_task(world: ApiWorld) -> None:
    good = "phone\n4155550101\n"
    for mapping in ({"phone": "fone"}, ["phone"], {"phone": "custom_fields."}):
        answer = await upload(world, good, mapping=mapping)
        assert (answer.status, answer.pointers) == (422, {"#/mapping"})
    assert (await upload(world, "")).pointers == {"#/file"}
    assert (await upload(world, good, extra="x")).pointers == {"#/extra"}
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    broken = await world.post("/v1/contacts/bulk", raw=b"--y\r\nno form", headers=headers)
    assert (broken.status, broken.code) == (400, "malformed_form")
    as_json = await world.post("/v1/contacts/bulk", {"file": good})
    assert (as_json.status, as_json.code) == (415, "unsupported_media_type")
    wrong = await upload(world, good, "?encoding=klingon")
    assert (wrong.status, wrong.code) == (422, "invalid_request")


async def test_an_upload_repeated_with_its_key_is_one_task(world: ApiWorld) -> None:
    headers = {"Content-Type": "text/csv", "Idempotency-Key": "k"}
    first = await world.post("/v1/contacts/bulk", raw=b"phone\n4155550101\n", headers=headers)
    again = await world.post("/v1/contacts/bulk", raw=b"phone\n4155550101\n", headers=headers)
    assert (first.status, first.body["id"]) == (202, again.body["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await world.post("/v1/contacts/bulk", raw=b"phone\n4155550102\n", headers=headers)
    assert (other.status, other.code) == (422, "idempotency_key_reused")


async def test_an_import_that_breaks_off_anywhere_counts_and_saves_everything_once(
    world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_ROWS", 4)
    api = world.instances[0].context.extra["api"]
    plain, calls = api.log.append_many, 0

    async def failing(events: Any, guards: Any = None) -> Any:
        nonlocal calls
        calls += 1
        if calls % 3 == 1:
            raise LogUnavailable("before anything is stored")
        if calls % 3 == 2:
            await plain(events[:2], guards[:2])
            raise LogUnavailable("in the middle")
        return await plain(events, guards)

    monkeypatch.setattr(api.log, "append_many", failing)
    rows = [f"415555{n:04}," for n in range(1000, 1010)] + ["nobody,", "4155551000,Ada"]
    task = await imported(world, "phone,name\n" + "\n".join(rows))
    assert (task["status"], counts(task), task["done"]) == ("done", (10, 1, 0, 0, 1), 12)
    report = (await world.get(task["result_url"])).text
    assert report.count("nobody") == report.count("error_row") == 1
    saved = [event.data.number for event in await world.events("contact.saved")]
    assert len(saved) == 11
    assert len(await contacts(world)) == 10


async def test_an_edit_in_the_middle_of_an_import_is_kept(
    world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    contact = (await world.post("/v1/contacts", {"phone": "+14155550101"})).body
    api = world.instances[0].context.extra["api"]
    plain, first = api.log.append_many, True

    async def overtaken(events: Any, guards: Any = None) -> Any:
        nonlocal first
        if first:
            first = False
            answer = await world.patch(f"/v1/contacts/{contact['id']}", {"company": "Engines"})
            assert answer.status == 200
        return await plain(events, guards)

    monkeypatch.setattr(api.log, "append_many", overtaken)
    assert counts(await imported(world, "phone,name\n4155550101,Ada\n")) == (0, 1, 0, 0, 0)
    shown = (await world.get(f"/v1/contacts/{contact['id']}")).body
    assert (shown["first_name"], shown["company"]) == ("Ada", "Engines")


async def test_a_long_number_alone_is_a_list_of_numbers(world: ApiWorld) -> None:
    task = await imported(world, "+14155550101\n4155550102\n")
    assert counts(task) == (2, 0, 0, 0, 0)
    assert set(await contacts(world)) == {"+14155550101", "+14155550102"}


async def test_another_workspace_sees_nothing_of_it(world: ApiWorld) -> None:
    task = await imported(world, "phone\n4155550101\n")
    assert (await world.get(f"/v1/tasks/{task['id']}", key=world.other.key)).status == 404
    exported = await world.get("/v1/contacts/export?format=jsonl", key=world.other.key)
    assert (exported.status, exported.text) == (200, "")
    assert not (await world.get("/v1/contacts", key=world.other.key)).body["data"]
    assert e.ContactSaved.TYPE == "contact.saved"
    assert ids.is_id("tsk", task["id"])
