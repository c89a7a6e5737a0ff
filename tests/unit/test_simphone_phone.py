"""One simulated handset without a network: frames in, journal and radio out."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from clients.simphone import Carrier, Sim, storage
from clients.simphone.journal import Journal
from clients.simphone.phone import Phone
from clients.simphone.protocol import Frame, Paired, PairingLink
from clients.simphone.surroundings import Surroundings
from clients.simphone.uplink import next_call

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class Handset:
    """A phone on a real journal, with a clock that stands still."""

    path: Path
    carrier: Carrier
    now: datetime = NOW
    dismissed: list[str] = field(default_factory=list)

    async def switch_on(self) -> None:
        self.journal = Journal(self.path / "phones.db", fsync=True)
        self.journal.open()
        self.around = Surroundings(
            journal=self.journal,
            carrier=self.carrier,
            loop=asyncio.get_running_loop(),
            next_provider_id=storage.last_provider_id(self.journal.reader) + 1,
            mark=lambda _: None,
            dismiss=lambda phone: self.dismissed.append(phone.phone_id),
            now=lambda: self.now,
        )
        stored = next(storage.load(self.journal.reader), None)
        if stored is None:
            answer = Paired("phn_1", "cred")
            save = partial(
                storage.save_pairing,
                device_id="dev_1",
                link=PairingLink("https://a.example", "token", "Front desk"),
                paired=answer,
                sims=[Sim(0, 1, "Test"), Sim(1, 2, "Test")],
            )
            stored = await self.journal.run(save)
        self.phone = Phone(stored, self.around)
        self.phone.resume(stored.commands)

    async def switch_off(self) -> None:
        self.around.closed = True
        await self.journal.close()

    def offer(self, event: str = "send", **data: Any) -> None:
        if event == "send":
            defaults = {"command_id": "cmd_1", "message_id": "msg_1", "to": "+14155550100"}
            data = {**defaults, "body": "hello", **data}
        self.phone.frame(Frame(event, json.dumps(data).encode(), None), 0.0)

    async def facts(self) -> list[dict[str, Any]]:
        """Every entry so far, once nothing is left to do."""
        await self.journal.settle()
        while self.around.on_air:
            await asyncio.sleep(0.001)
            await self.journal.settle()
        entries = [json.loads(entry) for _, entry, _ in self.phone.pending if entry]
        assert [e["seq"] for e in entries] == list(range(1, len(entries) + 1))
        return entries

    async def types(self) -> list[str]:
        return [fact["type"] for fact in await self.facts()]

    def radio(self) -> list[tuple[str, str]]:
        db = sqlite3.connect(self.path / "phones.db")
        try:
            return db.execute("SELECT command_id, to_number FROM radio").fetchall()
        finally:
            db.close()


@pytest.fixture
async def handset(tmp_path: Path) -> AsyncIterator[Handset]:
    handset = Handset(tmp_path, Carrier(delay_ms=0))
    await handset.switch_on()
    yield handset
    await handset.switch_off()


async def test_a_long_text_reports_every_part(handset: Handset):
    handset.offer(body="ж" * 150)
    accepted, submitted, sent, delivered = await handset.facts()
    assert accepted["type"] == "accepted"
    assert (submitted["parts"], submitted["attempt"]) == (3, 1)
    assert sent["parts"] == [{"n": n, "result_code": -1} for n in (1, 2, 3)]
    assert delivered["parts"] == [{"n": n, "tp_status": 0} for n in (1, 2, 3)]


async def test_a_repeated_frame_sends_once(handset: Handset):
    handset.offer()
    handset.offer()
    assert await handset.types() == ["accepted", "submitted", "sent", "delivered"]
    handset.offer()
    assert await handset.types() == ["accepted", "submitted", "sent", "delivered"]
    assert handset.radio() == [("cmd_1", "+14155550100")]
    assert handset.around.counters.repeated == 2


async def test_a_failure_is_told_with_its_codes(handset: Handset):
    handset.offer(body="fail:ambiguous")
    *_, failed = await handset.facts()
    assert failed["type"] == "failed"
    assert (failed["result_code"], failed["error_code"], failed["part"]) == (1, 38, 1)


async def test_a_permanent_delivery_failure_is_a_receipt(handset: Handset):
    handset.offer(body="fail:delivery")
    *_, delivered = await handset.facts()
    assert (delivered["type"], delivered["parts"]) == ("delivered", [{"n": 1, "tp_status": 70}])
    assert storage.texts(handset.journal.reader, "phn_1", 1)[0]["state"] == "failed"


async def test_without_receipts_sent_is_the_end(handset: Handset):
    handset.offer(body="receipt:none")
    assert await handset.types() == ["accepted", "submitted", "sent"]
    assert handset.phone.held == {}


async def test_a_command_past_its_time_is_cancelled_unsent(handset: Handset):
    handset.offer(expires_at=NOW.isoformat())
    assert await handset.types() == ["accepted", "cancelled"]
    assert handset.radio() == []


async def test_a_cancel_before_the_send_wins_for_ever(handset: Handset):
    handset.offer("cancel", command_id="cmd_1")
    handset.offer("cancel", command_id="cmd_1")
    await handset.journal.settle()
    handset.offer()
    assert await handset.types() == ["cancelled"]
    assert handset.radio() == []
    assert storage.texts(handset.journal.reader, "phn_1", 5) == []


async def test_a_cancel_in_the_same_breath_is_in_time(handset: Handset):
    handset.offer()
    handset.offer("cancel", command_id="cmd_1")
    assert await handset.types() == ["accepted", "cancelled"]
    assert handset.radio() == []


async def test_a_cancel_after_submitting_is_ignored(handset: Handset):
    handset.offer()
    await handset.facts()
    handset.offer("cancel", command_id="cmd_1")
    assert await handset.types() == ["accepted", "submitted", "sent", "delivered"]


async def test_a_sim_the_phone_does_not_have_fails(handset: Handset):
    handset.offer(subscription_id=2)
    handset.offer(subscription_id=9, command_id="cmd_2")
    facts = await handset.facts()
    assert [f["result_code"] for f in facts if f["type"] == "failed"] == [11]


async def test_in_airplane_mode_the_radio_is_off(handset: Handset):
    handset.phone.online = False
    handset.offer()
    *_, failed = await handset.facts()
    assert (failed["type"], failed["result_code"]) == ("failed", 2)


async def test_equal_texts_stay_distinct(handset: Handset):
    for _ in range(2):
        handset.phone.receive("+14155550100", "same")
    first, second = await handset.facts()
    assert first["received_at"] == second["received_at"]
    assert (first["provider_id"], second["provider_id"]) == ("1", "2")
    assert (first["from"], first["body"], first["parts"]) == ("+14155550100", "same", 1)
    assert first["subscription_id"] == 1


async def test_the_person_answers_on_the_same_sim(handset: Handset):
    handset.offer(body="reply:yes", subscription_id=2)
    facts = await handset.facts()
    assert [f["type"] for f in facts] == [
        "accepted",
        "submitted",
        "sent",
        "delivered",
        "received",
    ]
    assert (facts[-1]["body"], facts[-1]["subscription_id"]) == ("yes", 2)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("send", b"{"),
        ("send", b"[]"),
        ("send", b'{"command_id":"cmd_1"}'),
        ("send", b'{"command_id":"","message_id":"m","to":"+1","body":"b"}'),
        ("send", b'{"command_id":"c","message_id":"m","to":"+1","body":"\xff"}'),
        ("send", b'{"command_id":"c","message_id":"m","to":"+1","body":"\\ud800"}'),
        ("cancel", b"null"),
        ("config", b'{"heartbeat_s":"often"}'),
    ],
)
async def test_a_malformed_frame_is_ignored(handset: Handset, event: str, data: bytes):
    handset.phone.frame(Frame(event, data, None), 0.0)
    assert handset.around.counters.malformed == 1
    handset.offer()
    assert await handset.types() == ["accepted", "submitted", "sent", "delivered"]


async def test_frames_of_a_newer_gateway_are_ignored(handset: Handset):
    handset.phone.frame(Frame("dance", b"?", "9"), 0.0)
    assert handset.around.counters.malformed == 0
    assert handset.phone.last_event_id == "9"


async def test_the_inventory_lists_what_is_held_or_untold(handset: Handset):
    handset.offer()
    assert handset.phone.inventory()["open_commands"] == ["cmd_1"]
    await handset.facts()
    assert handset.phone.held == {}
    assert handset.phone.inventory()["open_commands"] == ["cmd_1"]
    assert handset.phone.inventory()["journal_head"] == 4
    handset.phone.acknowledged(4)
    assert handset.phone.inventory()["open_commands"] == []


async def test_an_acknowledgement_of_a_part_keeps_the_rest(handset: Handset):
    handset.offer()
    await handset.facts()
    handset.phone.acknowledged(2)
    call = next_call(handset.phone, NOW)
    assert call is not None
    assert (call.first_seq, len(call.entries)) == (3, 2)
    handset.phone.acknowledged(1)
    assert handset.phone.acked_seq == 2


async def test_an_unpaired_phone_sends_nothing_more(handset: Handset):
    handset.offer()
    handset.phone.unpair()
    assert await handset.types() == ["accepted", "cancelled"]
    handset.offer("revoked")
    assert handset.dismissed == ["phn_1"]


async def test_a_text_that_waits_is_sent_after_a_restart_if_still_in_time(tmp_path: Path):
    handset = Handset(tmp_path, Carrier(delay_ms=0, hold_ms=3_600_000))
    await handset.switch_on()
    handset.offer(expires_at=(NOW + HOUR).isoformat())
    handset.offer(expires_at=(NOW + 3 * HOUR).isoformat(), command_id="cmd_2")
    await handset.journal.settle()
    await handset.switch_off()
    handset.carrier, handset.now = Carrier(delay_ms=0), NOW + 2 * HOUR
    await handset.switch_on()
    types = {c: [] for c in ("cmd_1", "cmd_2")}
    for fact in await handset.facts():
        types[fact["command_id"]].append(fact["type"])
    assert types == {
        "cmd_1": ["accepted", "cancelled"],
        "cmd_2": ["accepted", "submitted", "sent", "delivered"],
    }
    assert handset.radio() == [("cmd_2", "+14155550100")]
    await handset.switch_off()


async def test_a_taken_over_phone_stays_silent(tmp_path: Path):
    handset = Handset(tmp_path, Carrier(delay_ms=5))
    await handset.switch_on()
    handset.offer()
    while handset.radio() == []:
        await handset.journal.settle()
        await asyncio.sleep(0)
    handset.phone.retire()
    await asyncio.sleep(0.02)
    await handset.journal.settle()
    assert [json.loads(e or b"")["type"] for _, e, _ in handset.phone.pending] == [
        "accepted",
        "submitted",
    ]
    assert handset.around.on_air == 0
    await handset.switch_off()
