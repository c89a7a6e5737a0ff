"""Erasure through every store: plant what cannot be mistaken, erase, and search for it everywhere.

The tables of every schema, the files of the log, the answers kept for repeated requests, payloads
of webhooks, and what the services logged. Then the rows are made again from what the log has left.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.stack import Stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.stack(env={"EIGHTMS_ERASURE_SETTLE_S": "1"}),
]

NUMBER, OTHER = "+14155550123", "+14155550199"
NAME, SAID, REPLIED = "Zebedee-Quux", "qzvx-outgoing-marker", "wkjy-incoming-marker"
MARKERS = (NAME, SAID, REPLIED, NUMBER, NUMBER[1:])


async def rows_with(stack: Stack, *markers: str) -> list[str]:
    """Tables, vaults too, in which a row says one of ``markers``, in any column."""
    db = await asyncpg.connect(stack.postgres.url())
    try:
        tables = await db.fetch(
            "SELECT format('%I.%I', table_schema, table_name) AS name"
            "  FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
            "   AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        return [
            f"{table['name']}: {marker}"
            for table in tables
            for marker in markers
            if await db.fetchval(
                f"SELECT EXISTS (SELECT FROM {table['name']} t WHERE t::text LIKE $1)",
                f"%{marker}%",
            )
        ]
    finally:
        await db.close()


def files_with(folder: Path, *markers: str) -> list[str]:
    """Files under ``folder`` whose bytes hold one of ``markers``."""
    return [
        f"{path.name}: {marker}"
        for path in folder.rglob("*")
        if path.is_file()
        for marker in markers
        if marker.encode() in path.read_bytes()
    ]


async def erased(stack: Stack, request_id: str) -> dict[str, Any]:
    """The request, when it is done."""

    async def done() -> dict[str, Any] | None:
        answer = await stack.api("GET", f"/v1/privacy/requests/{request_id}")
        assert answer.status == 200, answer.body
        return answer.body if answer.body["state"] == "done" else None

    return await stack.until("the erasure is done", done)


async def talk(
    stack: Stack, phone: str, number: str, said: str = SAID, replied: str = REPLIED
) -> list[str]:
    """Three texts to a number, delivered, and as many replies; the texts' ids."""
    texts = 3
    sent = [(await stack.send(number, f"{said} {n}"))["id"] for n in range(texts)]

    def delivered() -> bool:
        return {e.data.message_id for e in stack.events("sms.delivered")} >= set(sent)

    await stack.until("all are delivered", delivered)
    known = stack.count["reply.received"]
    for n in range(texts):
        await stack.receive(phone, number, f"{replied} {n}")
    await stack.until(
        "the replies are threaded", lambda: stack.count["reply.received"] >= known + texts
    )
    return sent


async def test_an_erased_person_is_nowhere_and_the_rows_can_be_made_again(stack: Stack) -> None:
    await stack.new_workspace()
    phones = await stack.pair(2)
    await stack.endpoint("/hook", ["*"])
    await stack.endpoint("/dead", ["*"])
    stack.receiver.answers["/dead"] = [500] * 100
    made = await stack.api(
        "POST",
        "/v1/contacts",
        {"phone": NUMBER, "first_name": NAME, "tags": ["vip"]},
        idempotency_key="made",
    )
    assert made.status == 201, made.body
    contact_id = made.body["id"]
    sent = await talk(stack, phones[0], NUMBER)
    others = await talk(stack, phones[1], OTHER, "a word to others", "a word of others")
    once = await stack.api(
        "POST", "/v1/sms/send", {"to": NUMBER, "body": SAID}, idempotency_key="once"
    )
    await stack.until(
        "the last is delivered",
        lambda: (
            once.body["message"]["id"] in {e.data.message_id for e in stack.events("sms.delivered")}
        ),
    )
    assert await rows_with(stack, NAME, SAID, REPLIED, NUMBER)
    assert files_with(stack.directory / "nats", NAME, SAID, REPLIED)

    answer = await stack.api("DELETE", f"/v1/contacts/{contact_id}")
    assert answer.status == 202, answer.body
    assert answer.body["state"] == "effective"
    for path in (
        f"/v1/contacts/{contact_id}",
        f"/v1/conversations/cnv_{contact_id[4:]}",
        f"/v1/messages/{sent[0]}",
        f"/v1/messages/{sent[0]}/timeline",
    ):
        assert (await stack.api("GET", path)).status == 404, path
    listed = (await stack.api("GET", "/v1/messages?limit=100")).body["data"]
    assert {m["to"] for m in listed if m["direction"] == "outbound"} == {OTHER}

    report = await erased(stack, answer.body["id"])
    assert report["counts"]["api"]["messages"] == 7
    assert report["counts"]["scheduler"]["messages"] == 4
    assert report["counts"]["gateway"]["commands"] == 4
    assert report["counts"]["webhooks"]["payloads"] >= 11
    assert report["progress"]["done"] == report["progress"]["total"]
    assert report["counts"]["log"]["events"] == report["progress"]["total"]

    assert await rows_with(stack, *MARKERS) == []
    assert files_with(stack.directory / "nats", *MARKERS) == []
    assert files_with(stack.directory / "logs", *MARKERS) == []
    log = await stack.log.history([f"*.*.*.{contact_id}"])
    assert {r.subject.rsplit(".", 2)[0] for r in log} == {
        "contact.erased", "message.forgotten", "message.restated",
    }  # fmt: skip

    again = await stack.api(
        "POST", "/v1/sms/send", {"to": NUMBER, "body": SAID}, idempotency_key="once"
    )
    assert (again.status, again.body["code"]) == (410, "erased")
    assert (await stack.api("GET", f"/v1/messages/{others[0]}")).status == 200
    await stack.verify()
    code, _, errors = await stack.command("replay", "--all")
    assert code == 0, errors
    await stack.verify()
    assert await rows_with(stack, *MARKERS) == []
    fresh = await stack.send(NUMBER, "hello again")
    assert fresh["contact_id"] != contact_id
    await stack.receive(phones[0], NUMBER, "who is this?")
    replies = await stack.until(
        "the reply is threaded",
        lambda: [e for e in stack.events("reply.received") if e.data.body == "who is this?"],
    )
    assert replies[0].data.contact_id == fresh["contact_id"]
    await stack.verify()


async def test_a_stop_outlives_its_sender_and_a_killed_eraser_goes_on(stack: Stack) -> None:
    await stack.new_workspace()
    (phone,) = await stack.pair(1)
    await talk(stack, phone, NUMBER)
    await talk(stack, phone, OTHER, "a word to others", "a word of others")
    await stack.receive(phone, NUMBER, "STOP")
    await stack.until("the STOP is heard", lambda: stack.count["contact.opted_out"] == 1)

    async def opted_out() -> dict[str, Any] | None:
        listed = (await stack.api("GET", "/v1/contacts?opted_out=true")).body["data"]
        return listed[0] if listed else None

    contact = await stack.until("the contact is opted out", opted_out)
    asked = {"type": "erasure", "subject": {"phone": NUMBER}}
    answer = await stack.api("POST", "/v1/privacy/requests", asked, idempotency_key="erase")
    assert (answer.status, answer.body["contact_id"]) == (202, contact["id"]), answer.body
    await stack.receive(phone, NUMBER, f"{REPLIED} at the same moment")
    for _ in range(4):  # wherever it was
        stack.kill("api.1")
        await stack.until("it came back", lambda: stack.programs["api.1"].alive)
        await stack.all_ready()
    report = await erased(stack, answer.body["id"])
    assert report["counts"]["log"]["events"] > 0

    again = await stack.api("POST", "/v1/sms/send", {"to": NUMBER, "body": "please?"})
    assert (again.status, again.body["code"]) == (422, "recipient_opted_out")
    await stack.until(
        "the reply of that moment is somebody's",
        lambda: [e for e in stack.events("reply.received") if "moment" in e.data.body],
    )
    known = await stack.log.history([f"*.*.*.{contact['id']}"])
    assert {r.subject.rsplit(".", 2)[0] for r in known} <= {
        "contact.erased", "message.forgotten", "message.restated",
    }  # fmt: skip
    assert await rows_with(stack, SAID) == []
    assert files_with(stack.directory / "nats", SAID) == []
    repeated = await stack.api("POST", "/v1/privacy/requests", asked, idempotency_key="erase")
    assert repeated.body["id"] == answer.body["id"]

    conversation = (await stack.api("GET", "/v1/conversations")).body["data"][-1]
    gone = await stack.api("DELETE", f"/v1/conversations/{conversation['id']}")
    assert gone.status == 202, gone.body
    await erased(stack, gone.body["id"])
    assert (await stack.api("GET", f"/v1/conversations/{conversation['id']}")).status == 404
    assert (await stack.api("GET", f"/v1/contacts/con_{conversation['id'][4:]}")).status == 200
    await stack.verify()
