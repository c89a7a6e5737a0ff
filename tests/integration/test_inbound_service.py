"""A text as the phone got it becomes a reply, and STOP is obeyed, on the real log and database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from services.inbound.act import Threader
from services.inbound.decide import Text, decide
from services.inbound.project import PROJECTION
from shared import events, ids
from shared.log import Log
from shared.service import Context, Service, _launch, _start
from shared.settings import Settings
from shared.telemetry import Metrics
from shared.vault import KeyRing

SERVICE = Service(projection=PROJECTION, actors=lambda context: [Threader(context)])
WS = ids.new("ws")
PHONE = ids.new("phn")
SYSTEM = events.Actor("system", "test")
UTC_NOW = datetime.now(UTC)


@contextlib.asynccontextmanager
async def running(database_url: str, nats_url: str) -> AsyncIterator[Context]:
    """The service in this process, as its own NATS user; ended without ceremony."""
    key = KeyRing.generate_key()
    settings = Settings(database_url=database_url, nats_url=nats_url, secret_key=key)
    context = await _start(SERVICE, settings, KeyRing.parse(key), Metrics("inbound"))
    tasks = await _launch(SERVICE, context)
    try:
        yield context
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await context.log.close()
        await context.db.close()


@dataclass
class Events:
    """The log, read from its beginning by the test."""

    log: Log
    seen: list[events.Event] = field(default_factory=list)

    async def until(self, type_: str, count: int = 1) -> list[events.Event]:
        """The events of a type once there are ``count`` of them."""
        while True:
            records = await self.log.history([">"])
            self.seen = [events.decode(record.data) for record in records]
            found = [event for event in self.seen if event.type == type_]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)

    def types(self, contact_id: str) -> list[str]:
        """What the log says about a contact, in order, as last read."""
        return [e.type for e in self.seen if getattr(e.data, "contact_id", None) == contact_id]


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[Log]:
    ops = await Log.connect(nats_url, "test")
    await ops.ensure_stream()
    profile = events.WorkspaceCreated(workspace_id=WS, name="Acme", timezone="UTC")
    await ops.append(event(profile))
    yield ops
    await ops.close()


def event(data: events.Data) -> events.Event:
    return events.make(data, id=ids.new("evt"), workspace_id=WS, at=datetime.now(UTC), actor=SYSTEM)


def received(contact_id: str, body: str, provider_id: str = "1") -> events.Event:
    data = events.SmsReceived(
        contact_id=contact_id,
        message_id=ids.derive("msg", contact_id, provider_id),
        phone_id=PHONE,
        sender="+14155550100",
        sender_kind="number",
        body=body,
        parts=1,
        received_at=UTC_NOW,
        provider_id=provider_id,
        journal_seq=1,
        subscription_id=1,
    )
    return event(data)


async def test_stop_is_obeyed_confirmed_once_and_threaded(
    database_url: str, nats_urls: dict[str, str], log: Log
) -> None:
    contact = ids.new("con")
    texts = Events(log)
    async with running(database_url, nats_urls["inbound"]):
        await log.append(received(contact, " stop. ", "1"))
        await texts.until("reply.received")
        await log.append(received(contact, "STOP", "2"))
        replies = await texts.until("reply.received", 2)
    assert texts.types(contact) == [
        "sms.received",
        "contact.opted_out",
        "send.requested",
        "reply.received",
        "sms.received",
        "reply.received",
    ]
    assert [reply.data.answered for reply in replies] == ["confirmation", None]
    confirmation = next(e.data for e in texts.seen if e.type == "send.requested")
    assert (confirmation.source, confirmation.phone_id, confirmation.to) == (
        "confirmation",
        PHONE,
        "+14155550100",
    )
    assert "Acme" in confirmation.body


async def test_stop_and_start_that_wait_together_are_decided_in_their_order(
    database_url: str, nats_urls: dict[str, str], log: Log
) -> None:
    contact = ids.new("con")
    texts = Events(log)
    for n, body in enumerate(["Hello", "STOP", "START", "thanks", "stop"], 1):
        await log.append(received(contact, body, str(n)))
    async with running(database_url, nats_urls["inbound"]):
        replies = await texts.until("reply.received", 5)
    assert [reply.data.body for reply in replies] == ["Hello", "STOP", "START", "thanks", "stop"]
    assert [t for t in texts.types(contact) if t.startswith(("contact", "send"))] == [
        "contact.opted_out",
        "send.requested",
        "contact.opted_in",
        "contact.opted_out",
    ]


async def test_hundreds_of_texts_each_get_one_reply(
    database_url: str, nats_urls: dict[str, str], log: Log
) -> None:
    contacts = [ids.new("con") for _ in range(700)]
    texts = Events(log)
    await log.append_many([received(contact, "Hello") for contact in contacts])
    async with running(database_url, nats_urls["inbound"]):
        replies = await texts.until("reply.received", len(contacts))
    assert [reply.data.contact_id for reply in replies] == contacts


async def test_a_restart_repeats_nothing(
    database_url: str, nats_urls: dict[str, str], log: Log
) -> None:
    contact, other = ids.new("con"), ids.new("con")
    texts = Events(log)
    async with running(database_url, nats_urls["inbound"]):
        await log.append(received(contact, "STOP"))
        await texts.until("reply.received")
    async with running(database_url, nats_urls["inbound"]):
        await log.append(received(other, "Hi"))
        await texts.until("reply.received", 2)
    assert texts.types(contact) == [
        "sms.received",
        "contact.opted_out",
        "send.requested",
        "reply.received",
    ]


@pytest.mark.parametrize("stored", [1, 2])
async def test_what_a_crash_left_out_is_made_up_for(
    database_url: str, nats_urls: dict[str, str], log: Log, stored: int
) -> None:
    """The log as a process leaves it that was killed after ``stored`` of its three appends."""
    contact = ids.new("con")
    texts = Events(log)
    text = received(contact, "STOP")
    await log.append(text)
    decided = decide(undecided(text), datetime.now(UTC))
    for done in decided.first[:stored]:
        await log.append(done)
    async with running(database_url, nats_urls["inbound"]):
        replies = await texts.until("reply.received")
    assert texts.types(contact) == [
        "sms.received",
        "contact.opted_out",
        "send.requested",
        "reply.received",
    ]
    assert (replies[0].data.verdict, replies[0].data.answered) == ("opt_out", "confirmation")


def undecided(text: events.Event) -> Text:
    """What the service reads about a text from somebody it has never heard of."""
    data = text.data
    return Text(
        message_id=data.message_id,
        event_id=text.id,
        workspace_id=WS,
        contact_id=data.contact_id,
        phone_id=data.phone_id,
        subscription_id=data.subscription_id,
        sender=data.sender,
        sender_kind=data.sender_kind,
        body=data.body,
        parts=data.parts,
        received_at=data.received_at,
        at=text.at,
        opted_out=False,
        consent_message_id=None,
        confirmed_at=None,
        helped_at=None,
        workspace_name="Acme",
        help_text=None,
        opt_out_text=None,
    )


async def test_a_broken_connection_delays_and_loses_nothing(
    database_url: str, nats_urls: dict[str, str], nats_server: NatsServer, log: Log
) -> None:
    contact = ids.new("con")
    texts = Events(log)
    async with running(database_url, nats_urls["inbound"]):
        await log.append(received(contact, "Hello", "1"))
        await texts.until("reply.received")
        nats_server.kill()
        await nats_server.start()
        while not log.connected:
            await asyncio.sleep(0.02)
        await log.append(received(contact, "STOP", "2"))
        await texts.until("reply.received", 2)
    assert texts.types(contact).count("contact.opted_out") == 1
