"""Journals against a real gateway: stored once, acknowledged when stored, never blocked."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest_asyncio

from cli.embedded import NatsServer
from shared import events as e
from shared import ids
from tests.gateway import Gateways, Handset, until

OK = [{"n": 1, "result_code": -1}]
ARRIVED = [{"n": 1, "tp_status": 0}]
WHOLE_WAY = ["sms.accepted", "sms.submitted", "sms.sent", "sms.delivered"]


@pytest_asyncio.fixture
async def world(
    database_url: str, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[Gateways]:
    env = {"EIGHTMS_GATEWAY_INVENTORY_SETTLE_S": "0"}
    async with Gateways(database_url, nats_server, tmp_path, env=env) as world:
        yield world


def whole_way(phone: Handset, command_id: str) -> list[dict[str, Any]]:
    return [
        phone.entry("accepted", command_id=command_id),
        phone.entry("submitted", command_id=command_id, attempt=1, parts=1),
        phone.entry("sent", command_id=command_id, parts=OK),
        phone.entry("delivered", command_id=command_id, parts=ARRIVED),
    ]


def text(phone: Handset, **fields: Any) -> dict[str, Any]:
    whole = {
        "from": "+14155550123", "body": "Hi", "subscription_id": 1,
        "received_at": "2026-11-23T10:00:00Z", "provider_id": "7", "parts": 1,
    }  # fmt: skip
    return phone.entry("received", **{**whole, **fields})


async def test_the_whole_way_of_a_text(world: Gateways) -> None:
    phone = await world.pair()
    command = await world.dispatch(phone)
    answer = await phone.tell(*whole_way(phone, command.command_id))
    assert (answer["acked_seq"], answer["rejected"]) == (4, [])
    assert datetime.fromisoformat(answer["server_time"]) <= datetime.now(UTC)
    found = await world.events("sms")
    assert [event.type for event in found] == WHOLE_WAY
    dispatch = (await world.events("send.dispatched"))[0]
    assert {event.cause for event in found} == {dispatch.id}
    assert {event.data.contact_id for event in found} == {command.contact_id}
    await until(lambda: world.rows("SELECT 1 FROM phone WHERE journal_head = 4"))
    assert await world.rows("SELECT * FROM offer") == []


async def test_a_repeated_call_is_acknowledged_and_stored_once(world: Gateways) -> None:
    phone = await world.pair()
    command = await world.dispatch(phone)
    entries = whole_way(phone, command.command_id)
    answers = [await phone.tell(*entries) for _ in range(3)]
    assert [answer["acked_seq"] for answer in answers] == [4, 4, 4]
    answers = await asyncio.gather(*[phone.tell(*entries) for _ in range(4)])
    assert {answer["acked_seq"] for answer in answers} == {4}
    assert await world.types("sms") == WHOLE_WAY


async def test_a_journal_in_many_small_calls_at_once_is_in_order(world: Gateways) -> None:
    phone = await world.pair()
    commands = [await world.dispatch(phone) for _ in range(5)]
    entries = [one for c in commands for one in whole_way(phone, c.command_id)]
    for n in range(0, len(entries), 3):
        # Each call goes out twice, as after an answer that got lost.
        await asyncio.gather(*[phone.tell(*entries[n : n + 3]) for _ in range(2)])
    assert await world.types("sms") == WHOLE_WAY * 5


async def test_phones_that_call_at_once_do_not_mix(world: Gateways) -> None:
    phones = [await world.pair(f"device-{n}") for n in range(30)]
    commands = [await world.dispatch(phone) for phone in phones]
    calls = [
        phone.tell(*whole_way(phone, command.command_id), inventory={"open_commands": []})
        for phone, command in zip(phones, commands, strict=True)
    ]
    assert {answer["acked_seq"] for answer in await asyncio.gather(*calls)} == {4}
    owner = {c.command_id: p.phone_id for p, c in zip(phones, commands, strict=True)}
    found = await world.events("sms")
    assert len(found) == 120
    assert all(owner[event.data.command_id] == event.data.phone_id for event in found)


async def test_wrong_entries_are_told_and_the_rest_counts(world: Gateways) -> None:
    phone, other = await world.pair("device-1"), await world.pair("device-2")
    mine, foreign = await world.dispatch(phone), await world.dispatch(other)
    answer = await phone.tell(
        phone.entry("accepted", command_id=mine.command_id),
        phone.entry("teleported"),
        phone.entry("accepted"),
        phone.entry("accepted", command_id=foreign.command_id),
        phone.entry("accepted", command_id=ids.command_id("msg_unknown", 1)),
        phone.entry("accepted", command_id="' OR 1=1; --\0"),
        phone.entry("submitted", command_id=mine.command_id, parts="many"),
        phone.entry("submitted", command_id=mine.command_id, parts=1),
    )
    assert answer["acked_seq"] == 8
    assert [(one["seq"], one["code"]) for one in answer["rejected"]] == [
        (2, "unknown_type"),
        (3, "missing_field"),
        (4, "unknown_command"),
        (5, "unknown_command"),
        (6, "unknown_command"),
        (7, "invalid_entry"),
    ]
    assert all(one["detail"] for one in answer["rejected"])
    assert await world.types("sms") == ["sms.accepted", "sms.submitted"]


async def test_calls_that_are_none_change_nothing(world: Gateways) -> None:
    phone = await world.pair()
    command = await world.dispatch(phone)
    entry = phone.entry("accepted", command_id=command.command_id)
    for body, status, code in [
        (b"", 400, "malformed_json"),
        (b"{", 400, "malformed_json"),
        (b"[]", 422, "invalid"),
        ({"entries": 7}, 422, "invalid"),
        ({"entries": [entry], "inventory": {"battery": "full"}}, 422, "invalid"),
        ({"entries": [entry] * 501}, 422, "too_many_entries"),
        (b'{"entries": "' + b"x" * 1024 * 1024 + b'"}', 413, "body_too_large"),
    ]:
        found, problem = await phone.post(body)
        assert (found, problem["code"]) == (status, code)
    assert await world.types("sms") == []
    assert (await phone.tell(entry))["acked_seq"] == 1


async def test_heartbeats_make_no_event_and_keep_their_place_through_a_restart(
    world: Gateways,
) -> None:
    phone = await world.pair()
    for n in range(1, 4):
        assert (await phone.tell(phone.entry("health", battery=n)))["acked_seq"] == n
    (program,) = world.programs
    program.kill()
    program.start()
    await world.ready()
    assert (await phone.tell(phone.entry("health")))["acked_seq"] == 4
    assert await world.types("sms") == []


async def test_what_is_beyond_a_gap_waits_for_what_is_missing(world: Gateways) -> None:
    phone = await world.pair()
    command = await world.dispatch(phone)
    entries = whole_way(phone, command.command_id)
    answer = await phone.tell(entries[0], *entries[2:])
    assert answer["acked_seq"] == 1
    assert [(one["seq"], one["code"]) for one in answer["rejected"]] == [(3, "gap"), (4, "gap")]
    assert (await phone.tell(*entries[1:]))["acked_seq"] == 4
    assert await world.types("sms") == WHOLE_WAY


async def test_a_phone_whose_acknowledged_entries_we_lost_goes_on(world: Gateways) -> None:
    phone = await world.pair()
    command = await world.dispatch(phone)
    for _ in range(5):
        await phone.tell(phone.entry("health"))
    await world.rows("DELETE FROM vault_journal")  # restored from an older copy
    entry = phone.entry("accepted", command_id=command.command_id)
    assert (await phone.tell(entry))["acked_seq"] == 0

    async def taken() -> bool:
        await asyncio.sleep(0.3)  # as a phone that backs off
        return (await phone.tell(entry))["acked_seq"] == 6

    await until(taken, "what the phone insists on is taken")
    assert await world.types("sms") == ["sms.accepted"]


async def test_parts_reported_one_by_one_add_up_through_a_crash(world: Gateways) -> None:
    phone = await world.pair()
    command = await world.dispatch(phone, parts=2)
    c = command.command_id
    await phone.tell(
        phone.entry("accepted", command_id=c),
        phone.entry("submitted", command_id=c, parts=3),
        phone.entry("sent", command_id=c, parts=[{"n": 1, "result_code": -1}]),
    )
    (program,) = world.programs
    program.kill()
    program.start()
    await world.ready()
    second = phone.entry("sent", command_id=c, parts=[{"n": 3, "result_code": -1}])
    await phone.tell(second)
    assert "sms.sent" not in await world.types("sms")
    await phone.tell(phone.entry("sent", command_id=c, parts=[{"n": 2, "result_code": -1}]))
    for n in (2, 1, 3):
        await phone.tell(phone.entry("delivered", command_id=c, parts=[{"n": n, "tp_status": 0}]))
    assert await world.types("sms") == WHOLE_WAY


async def test_failures_carry_their_class(world: Gateways) -> None:
    phone = await world.pair()
    for result_code, error_class in [(4, "transient"), (5, "throttled"), (6, "permanent")]:
        command = await world.dispatch(phone)
        await phone.tell(
            phone.entry("failed", command_id=command.command_id, result_code=result_code, part=1)
        )
        assert (await world.events("sms.failed"))[-1].data.error_class == error_class


async def test_a_text_comes_in_once_however_often_it_is_swept(world: Gateways) -> None:
    phone = await world.pair()
    await phone.tell(text(phone), text(phone))
    await until(lambda: world.rows("SELECT 1 FROM received"))
    assert (await phone.tell(text(phone)))["acked_seq"] == 3
    (received,) = await world.events("sms.received")
    assert received.data.sender == "+14155550123"
    assert received.data.phone_id == phone.phone_id
    # Paired again the journal begins anew, and the phone sweeps its inbox again.
    again = await world.pair()
    assert (await again.tell(text(again), text(again, provider_id="8")))["acked_seq"] == 2
    assert len(await world.events("sms.received")) == 2


async def test_half_an_emoji_and_nul_come_in(world: Gateways) -> None:
    phone = await world.pair()
    entry = json.dumps(text(phone, body="half \ud83d and \0")).encode()
    status, answer = await phone.post(b'{"entries":[' + entry + b"]}")
    assert (status, answer["acked_seq"], answer["rejected"]) == (200, 1, [])
    (received,) = await world.events("sms.received")
    assert received.data.body == "half \ufffd and \ufffd"
    await until(lambda: world.rows("SELECT 1 FROM received"), "it is projected")


async def test_other_sims_are_recorded_once(world: Gateways) -> None:
    phone = await world.pair()
    sims = [{"slot": 1, "subscription_id": 9, "carrier": "New", "iccid_hash": "ff"}]
    for _ in range(3):
        await phone.tell(inventory={"sims": sims})
    (event,) = await world.events("phone.sims_changed")
    assert event.data.sims[0].iccid_hash == "ff"

    async def saved() -> bool:
        (row,) = await world.rows("SELECT sims::text FROM phone")
        return '"ff"' in row["sims"]

    await until(saved)


async def test_a_command_the_phone_confirms_not_to_hold_is_cancelled(world: Gateways) -> None:
    phone = await world.pair()
    command = await world.dispatch(phone)
    async with phone.streaming():
        await phone.frame("send")
        await world.cancel(command)
        await phone.frame("cancel")
        # This stream carried the text: it may be on its way still, the inventory says nothing.
        await phone.tell(inventory={"open_commands": [], "journal_head": 0})
        assert await world.types("sms") == []
    async with phone.streaming():
        await phone.frame("cancel", 2)
        await phone.tell(inventory={"open_commands": [command.command_id], "journal_head": 0})
        assert await world.types("sms") == []
        await phone.tell(inventory={"open_commands": [], "journal_head": 0})
        await phone.tell(inventory={"open_commands": [], "journal_head": 0})
    (event,) = await world.events("sms")
    assert (event.type, event.data.proof) == ("sms.cancelled", "inventory")
    await until(lambda: world.rows("SELECT 1 WHERE NOT EXISTS (SELECT FROM offer)"))


async def test_without_a_stream_an_inventory_proves_nothing(world: Gateways) -> None:
    phone = await world.pair()
    await world.cancel(await world.dispatch(phone))
    await until(lambda: world.rows("SELECT 1 FROM offer WHERE cancel_wanted"))
    await phone.tell(inventory={"open_commands": [], "journal_head": 0})
    assert await world.types("sms") == []


async def test_a_crash_between_storing_and_answering_is_harmless(world: Gateways) -> None:
    phone = await world.pair()
    (program,) = world.programs
    for round_ in range(4):
        command = await world.dispatch(phone)
        entries = whole_way(phone, command.command_id)
        call = asyncio.create_task(phone.post({"entries": entries}))
        await until(functools.partial(_stored, world, len(WHOLE_WAY) * round_ + 1))
        program.kill()
        await asyncio.gather(call, return_exceptions=True)
        program.start()
        await world.ready()
        assert (await phone.tell(*entries))["acked_seq"] == phone.seq
    assert await world.types("sms") == WHOLE_WAY * 4


async def _stored(world: Gateways, count: int) -> bool:
    return len(await world.events("sms")) >= count


async def test_without_the_log_nothing_is_acknowledged_and_then_all_is(world: Gateways) -> None:
    phone = await world.pair()
    command = await world.dispatch(phone)
    await until(lambda: world.rows("SELECT 1 FROM command"))
    entries = whole_way(phone, command.command_id)
    world.nats.kill()
    status, problem = await phone.post({"entries": entries})
    assert (status, problem["code"]) == (503, "unavailable")
    await world.nats.start()

    async def told() -> bool:
        status, answer = await phone.post({"entries": entries})
        return status == 200 and answer["acked_seq"] == 4

    await until(told, "the same call once the log is back")
    assert await world.types("sms") == WHOLE_WAY
    assert world.programs[0].alive
    assert world.programs[0].starts == 1


async def test_a_call_of_an_unpaired_phone_is_refused(world: Gateways) -> None:
    phone = await world.pair()
    await phone.tell(phone.entry("health"))
    await world.append(e.PhoneUnpaired(phone_id=phone.phone_id))

    async def refused() -> bool:
        return (await phone.post({"entries": []}))[0] == 401

    await until(refused)
    assert (await phone.post({"entries": [phone.entry("health")]}))[0] == 401


async def test_no_number_no_text_and_no_credential_is_logged(world: Gateways) -> None:
    phone = await world.pair()
    command = await world.dispatch(phone, "A secret body")
    await phone.tell(*whole_way(phone, command.command_id), text(phone, body="A secret reply"))
    await phone.tell(phone.entry("accepted", command_id="A secret id"))
    await phone.post(b"A secret mess")
    logged = world.programs[0].log()
    for private in ("secret", phone.credential, "4155551234", "4155550123"):
        assert private not in logged
