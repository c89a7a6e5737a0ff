"""Webhooks on the real log and database, to a real receiver that misbehaves in every way."""

import asyncio
import contextlib
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
import standardwebhooks
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.webhooks.act import PER_ENDPOINT, Deliverer
from services.webhooks.answers import answers
from services.webhooks.project import PROJECTION
from services.webhooks.settings import WebhookSettings
from shared import events, ids
from shared.bus import Bus
from shared.errors import Refused
from shared.log import Log
from shared.service import Context, Service, _launch, _start
from shared.telemetry import Metrics
from shared.vault import KeyRing
from tests.fakes.receiver import Hit, Receiver

WS, OTHER_WS = ids.new("ws"), ids.new("ws")
PHONE = ids.new("phn")
USER = {"kind": "user", "id": "usr_1"}
SYSTEM = events.Actor("system", "test")
FAST = "0,0.05,0.05,0.05"  # four attempts in a moment
KEY = KeyRing.generate_key()


@contextlib.asynccontextmanager
async def running(
    database_url: str,
    nats_url: str,
    *,
    schedule: str = FAST,
    timeout_s: float = 15.0,
    resolver: AbstractResolver | None = None,
) -> AsyncIterator[Context]:
    """The service in this process, as its own NATS user; ended without ceremony."""
    settings = WebhookSettings(
        database_url=database_url,
        nats_url=nats_url,
        secret_key=KEY,
        environment="development",
        webhook_schedule=schedule,
        webhook_timeout_s=timeout_s,
    )
    service = Service(
        projection=PROJECTION,
        settings=WebhookSettings,
        answers=lambda context: answers(context, resolver),
        actors=lambda context: [Deliverer(context, resolver)],
    )
    context = await _start(service, settings, KeyRing.parse(KEY), Metrics("webhooks"))
    tasks = await _launch(service, context)
    try:
        await asyncio.wait_for(context.projector.leading.wait(), 20)
        yield context
    finally:
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        await context.log.close()
        await context.db.close()


@dataclass
class Outside:
    """The rest of the system: it asks the service questions and appends what happened."""

    log: Log
    bus: Bus

    async def ask(self, question: str, **body: Any) -> Any:
        body = {"workspace_id": WS, "actor": USER, **body}
        return await self.bus.ask("webhooks", question, body, 10)

    async def endpoint(self, url: str, *types: str, **fields: Any) -> tuple[str, str]:
        """A new endpoint's id and secret."""
        answer = await self.ask("save_endpoint", url=url, types=types or ["*"], **fields)
        return answer["endpoint"]["id"], answer["secret"]

    async def happened(self, data: events.Data, workspace_id: str = WS) -> events.Event:
        now = datetime.now(UTC)
        event = events.make(
            data, id=ids.new("evt"), workspace_id=workspace_id, at=now, actor=SYSTEM
        )
        await self.log.append(event)
        return event

    async def online(self, workspace_id: str = WS) -> events.Event:
        return await self.happened(events.PhoneOnline(phone_id=PHONE), workspace_id)

    async def attempts(self, enough: int, outcome: str | None = None) -> list[events.Event]:
        """The log's attempts (of one outcome) in order, once there are enough."""
        while True:
            found = [
                event
                for event in await self.all("webhook.attempted.>")
                if outcome in (None, event.data.outcome)
            ]
            if len(found) >= enough:
                return found
            await asyncio.sleep(0.02)

    async def all(self, filter_: str) -> list[events.Event]:
        return [events.decode(record.data) for record in await self.log.history([filter_])]


@pytest_asyncio.fixture
async def outside(nats_url: str) -> AsyncIterator[Outside]:
    log = await Log.connect(nats_url, "test")
    await log.ensure_stream()
    yield Outside(log, Bus(log))
    await log.close()


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


@pytest.fixture
def urls(database_url: str, nats_urls: dict[str, str]) -> tuple[str, str]:
    return database_url, nats_urls["webhooks"]


def unused(path: str) -> str:
    """An endpoint nobody listens at: port 1 is not given to anybody."""
    return f"http://127.0.0.1:1{path}"


# -- delivering ----------------------------------------------------------------------------------


async def test_what_happened_arrives_signed_and_is_recorded(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        _, secret = await outside.endpoint(receiver.url("/ok"), "sms.sent", "phone.online")
        contact, message = ids.new("con"), ids.new("msg")
        wish = events.SendRequested(
            message_id=message,
            contact_id=contact,
            to="+14155550100",
            body="not told",
            parts=1,
            source="api",
            expires_at=datetime.now(UTC) + timedelta(days=3),
            client_ref="order-7",
        )
        fact = events.SmsSent(
            message_id=message,
            contact_id=contact,
            command_id="cmd_1",
            phone_id=PHONE,
            attempt=1,
            journal_seq=1,
            phone_at=datetime.now(UTC),
        )
        await outside.happened(wish)
        event = await outside.happened(fact)
        await outside.happened(events.PhoneOffline(phone_id=PHONE))  # nobody asked for it
        (hit,) = await receiver.until_at("/ok", 1)
        (attempt,) = await outside.attempts(1)
    hit.check(secret)
    assert hit.id == event.id
    assert hit.headers["content-type"] == "application/json; charset=utf-8"
    assert hit.headers["user-agent"] == "8ms-Webhooks/1"
    assert (hit.json["type"], hit.json["data"]["to"]) == ("sms.sent", "+14155550100")
    assert hit.json["data"]["client_ref"] == "order-7"
    assert b"not told" not in hit.body
    assert (attempt.data.outcome, attempt.data.status, attempt.cause) == (
        "delivered",
        200,
        event.id,
    )


async def test_a_failure_is_tried_again_with_the_same_id_and_bytes_and_a_fresh_signature(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        _, secret = await outside.endpoint(receiver.url("/fail/2"))
        event = await outside.online()
        hits = await receiver.until_at("/fail/2", 3)
        attempts = await outside.attempts(3)
    assert {hit.id for hit in hits} == {event.id}
    assert len({hit.body for hit in hits}) == 1
    for hit in hits:
        hit.check(secret)
    told = [(a.data.attempt, a.data.outcome, a.data.status) for a in attempts]
    assert told == [(1, "failed", 500), (2, "failed", 500), (3, "delivered", 200)]


async def test_attempts_end_and_the_delivery_is_parked(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        endpoint_id, _ = await outside.endpoint(receiver.url("/status/503"))
        event = await outside.online()
        attempts = await outside.attempts(4)
        await asyncio.sleep(0.3)
        assert len(receiver.hits) == 4
        while not (parked := await outside.ask("parked")):
            await asyncio.sleep(0.02)
    assert [a.data.outcome for a in attempts] == ["failed"] * 3 + ["exhausted"]
    assert attempts[0].data.response == "answered"
    assert [(p["endpoint_id"], p["event_id"], p["status"]) for p in parked] == [
        (endpoint_id, event.id, 503)
    ]


async def test_retry_after_is_waited_for(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        await outside.endpoint(receiver.url("/fail/1/429") + "?after=30")
        await outside.online()
        (attempt,) = await outside.attempts(1)
    assert attempt.data.next_at - attempt.at == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("path", "error"),
    [("/redirect", "redirect"), ("/hang", "timeout"), ("unused", "connect")],
)
async def test_no_redirect_no_waiting_no_server_is_a_failed_attempt(
    urls: tuple[str, str], outside: Outside, receiver: Receiver, path: str, error: str
) -> None:
    async with running(*urls, timeout_s=0.3):
        await outside.endpoint(unused("/") if path == "unused" else receiver.url(path))
        await outside.online()
        attempts = await outside.attempts(2)
    assert {a.data.error for a in attempts[:2]} == {error}
    assert receiver.at("/ok") == []


async def test_an_endless_answer_is_cut_and_counts_by_its_status(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        await outside.endpoint(receiver.url("/endless"))
        await outside.online()
        (attempt,) = await outside.attempts(1)
    assert attempt.data.outcome == "delivered"


async def test_what_an_endpoint_echoes_is_not_kept(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    contact = ids.new("con")
    reply = events.ReplyReceived(
        message_id=ids.new("msg"),
        contact_id=contact,
        conversation_id=ids.conversation_id(contact),
        phone_id=PHONE,
        sender="+14155550100",
        sender_kind="number",
        body="my secret",
        parts=1,
        received_at=datetime.now(UTC),
    )
    async with running(*urls):
        await outside.endpoint(receiver.url("/echo"), "reply.received")
        await outside.happened(reply)
        (attempt, *_) = await outside.attempts(1)
    assert attempt.data.response is None


async def test_a_certificate_nobody_vouches_for_is_a_failed_attempt(
    urls: tuple[str, str], outside: Outside, tmp_path: Path
) -> None:
    async with Receiver(tls=_self_signed(tmp_path)) as server, running(*urls):
        await outside.endpoint(server.url("/ok"))
        await outside.online()
        (attempt, *_) = await outside.attempts(1)
    assert attempt.data.error == "tls"
    assert server.hits == []


def _self_signed(directory: Path) -> ssl.SSLContext:
    """A server's certificate for 127.0.0.1 that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    pkcs8, open_ = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = directory / "server.pem"
    file.write_bytes(key.private_bytes(pem, pkcs8, open_) + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_a_proxy_in_the_environment_is_not_used(
    urls: tuple[str, str], outside: Outside, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, unused(""))
    async with running(*urls):
        await outside.endpoint(receiver.url("/ok"))
        await outside.online()
        (attempt,) = await outside.attempts(1)
    assert attempt.data.outcome == "delivered"


# -- switching off -------------------------------------------------------------------------------


async def test_410_switches_the_endpoint_off_and_ends_what_it_had_open(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        endpoint_id, _ = await outside.endpoint(receiver.url("/status/410"))
        await outside.online()
        while not (off := await outside.all("webhook.endpoint_disabled.>")):
            await asyncio.sleep(0.02)
        assert (off[0].data.endpoint_id, off[0].data.reason) == (endpoint_id, "gone")
        await outside.online()
        with pytest.raises(Refused) as refused:
            await _when(outside, "replay", endpoint_id=endpoint_id, since="2026-01-01T00:00:00Z")
        assert refused.value.problem["code"] == "endpoint_disabled"
        saved = await outside.ask(
            "save_endpoint", endpoint_id=endpoint_id, url=receiver.url("/ok"), enabled=True
        )
        assert saved["endpoint"]["state"] == "enabled"
        answer = await outside.ask(
            "replay", endpoint_id=endpoint_id, since="2026-01-01T00:00:00Z", only_failed=True
        )
        assert answer == {"deliveries": 1}  # nothing was kept for it while it was off
        await receiver.until_at("/ok", 1)
    assert len(receiver.at("/status/410")) == 1


async def _when(outside: Outside, question: str, **body: Any) -> Any:
    """Ask until it is refused: the answer is only as new as the rows."""
    while True:
        await outside.ask(question, **body)
        await asyncio.sleep(0.05)


# -- addresses -----------------------------------------------------------------------------------


class Names(AbstractResolver):
    """A name server whose answers can be changed."""

    def __init__(self, **hosts: str) -> None:
        self.hosts = {name.replace("_", "."): address for name, address in hosts.items()}

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        address = self.hosts.get(host)
        if address is None:
            raise OSError(f"no address for {host}")
        return [ResolveResult(hostname=host, host=address, port=port, family=2, proto=6, flags=4)]

    async def close(self) -> None:
        """Nothing to close."""


async def test_a_name_that_turns_to_a_private_address_is_blocked_at_the_attempt(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    names = Names(hook_localhost="127.0.0.1")
    async with running(*urls, resolver=names):
        await outside.endpoint(f"http://hook.localhost:{receiver.port}/ok")
        await outside.online()
        await receiver.until_at("/ok", 1)
        names.hosts["hook.localhost"] = "10.0.0.7"
        await outside.online()
        blocked = await outside.attempts(2, "failed")
    assert {a.data.error for a in blocked} == {"address_blocked"}
    assert len(receiver.hits) == 1


async def test_a_name_without_an_address_is_a_failed_attempt(
    urls: tuple[str, str], outside: Outside
) -> None:
    async with running(*urls, resolver=Names()):
        await outside.endpoint("https://gone.example.com/hook")
        await outside.online()
        (attempt, *_) = await outside.attempts(1)
    assert attempt.data.error == "dns"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://example.com/a", "scheme_not_allowed"),
        ("https://10.0.0.1/a", "address_blocked"),
        ("https://inside.example.com/a", "address_blocked"),
        ("https://printer.local/a", "name_blocked"),
        ("https://user@example.com/a", "userinfo_not_allowed"),
        ("ftp://example.com", "scheme_not_allowed"),
    ],
)
async def test_a_url_we_would_not_post_to_is_refused_when_saved(
    urls: tuple[str, str], outside: Outside, url: str, code: str
) -> None:
    async with running(*urls, resolver=Names(inside_example_com="192.168.1.1")):
        with pytest.raises(Refused) as refused:
            await outside.endpoint(url)
        problem = refused.value.problem
        assert (problem["status"], problem["code"]) == (422, code)
        assert [e["pointer"] for e in problem["errors"]] == ["#/url"]
        endpoint_id, _ = await outside.endpoint("https://fine.example.com/a")
        with pytest.raises(Refused):
            await outside.ask("save_endpoint", endpoint_id=endpoint_id, url=url)


# -- fairness ------------------------------------------------------------------------------------


async def test_a_dead_endpoint_does_not_slow_another(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls, timeout_s=600):
        for _ in range(3):
            await outside.endpoint(receiver.url("/hang"))
        await outside.endpoint(receiver.url("/ok"))
        for _ in range(100):
            await outside.online()
        # None of the hanging ones is ever answered: these come while every one of them waits.
        await receiver.until_at("/ok", 100)
        assert receiver.open == len(receiver.at("/hang")) == 3 * PER_ENDPOINT
        receiver.release()
    assert len({hit.id for hit in receiver.at("/ok")}) == 100


async def test_an_endpoint_that_keeps_failing_is_tried_one_at_a_time(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls, schedule="0"):
        await outside.endpoint(receiver.url("/status/500"))
        for _ in range(10):
            await outside.online()
        await outside.attempts(10, "exhausted")
        endpoint_id, _ = await outside.endpoint(receiver.url("/slow/0.05"), enabled=True)
        await outside.ask("remove_endpoint", endpoint_id=endpoint_id)
        receiver.most_open = 0
        for _ in range(5):
            await outside.online()
        await outside.attempts(15, "exhausted")
    assert receiver.most_open == 1


async def test_an_ordered_endpoint_gets_a_conversation_in_order_whatever_fails(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    contacts = [ids.new("con") for _ in range(3)]
    async with running(*urls):
        await outside.endpoint(receiver.url("/fail/1"), "contact.opted_out", ordered=True)
        facts: list[events.Event] = []
        for n in range(12):
            out = events.ContactOptedOut(
                contact_id=contacts[n % 3], number=f"+1415555{n:04}", source="api"
            )
            facts.append(await outside.happened(out))
        await outside.attempts(12, "delivered")
    seen: dict[str, list[str]] = {}
    for hit in receiver.hits:
        order = seen.setdefault(hit.json["data"]["contact_id"], [])
        if hit.id not in order:
            order.append(hit.id)
    assert seen == {
        contact: [fact.id for fact in facts if fact.data.contact_id == contact]
        for contact in contacts
    }


# -- again ---------------------------------------------------------------------------------------


async def test_a_delivery_can_be_made_again_under_the_same_id(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        await outside.endpoint(receiver.url("/ok"))
        event = await outside.online()
        (attempt,) = await outside.attempts(1)
        while True:
            with contextlib.suppress(Refused):
                await outside.ask("resend", attempt_id=attempt.data.attempt_id)
                break
        hits = await receiver.until_at("/ok", 2)
        attempts = await outside.attempts(2)
        with pytest.raises(Refused) as refused:
            await outside.ask("resend", attempt_id=ids.new("att"))
    assert refused.value.problem["status"] == 404
    assert [hit.id for hit in hits] == [event.id, event.id]
    assert hits[0].body == hits[1].body
    assert [a.data.trigger for a in attempts] == ["event", "resend"]


async def test_a_replay_delivers_what_was_delivered_since_a_time(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        endpoint_id, _ = await outside.endpoint(receiver.url("/ok"))
        await outside.online()
        await outside.attempts(1)
        since = datetime.now(UTC)
        wanted = [(await outside.online()).id for _ in range(3)]
        off = await outside.happened(events.PhoneOffline(phone_id=PHONE))
        await outside.attempts(5)
        await _settled(urls[0])
        answer = await outside.ask(
            "replay", endpoint_id=endpoint_id, since=since, types=["phone.online"]
        )
        hits = await receiver.until_at("/ok", 8)
        await outside.attempts(8)
        none = await outside.ask("replay", endpoint_id=endpoint_id, since=since, only_failed=True)
    assert (answer, none) == ({"deliveries": 3}, {"deliveries": 0})
    assert sorted(hit.id for hit in hits[5:]) == sorted(wanted)
    assert off.id not in {hit.id for hit in hits[5:]}


async def _settled(database_url: str) -> None:
    """Wait until no delivery is open."""
    db = await asyncpg.connect(database_url)
    while await db.fetchval("SELECT count(*) FROM webhooks.delivery WHERE state = 'open'"):
        await asyncio.sleep(0.02)
    await db.close()


async def test_a_test_sends_an_example_once(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        endpoint_id, secret = await outside.endpoint(receiver.url("/ok"), "sms.sent")
        answer = await outside.ask("test", endpoint_id=endpoint_id, type="reply.received")
        (hit,) = await receiver.until_at("/ok", 1)
        with pytest.raises(Refused) as refused:
            await outside.ask("test", endpoint_id=endpoint_id, type="nonsense")
    hit.check(secret)
    assert hit.id == answer["event_id"]
    assert hit.json["test"] is True
    assert refused.value.problem["errors"][0]["pointer"] == "#/type"


# -- endpoints -----------------------------------------------------------------------------------


async def test_a_new_secret_signs_at_once_and_the_old_one_signs_along(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        endpoint_id, old = await outside.endpoint(receiver.url("/ok"))
        new = (await outside.ask("rotate_secret", endpoint_id=endpoint_id))["secret"]
        await outside.online()
        (hit,) = await receiver.until_at("/ok", 1)
        hit.check(old)
        hit.check(new)
        newest = (await outside.ask("rotate_secret", endpoint_id=endpoint_id, grace_s=0))["secret"]
        await outside.online()
        await receiver.until_at("/ok", 2)
    last: Hit = receiver.hits[-1]
    last.check(newest)
    last.check(old)  # its day is not over
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        last.check(new)


async def test_secrets_are_sealed_in_the_vault_and_nowhere_in_the_log(
    urls: tuple[str, str], outside: Outside
) -> None:
    async with running(*urls):
        _, secret = await outside.endpoint(unused("/"))
        db = await asyncpg.connect(urls[0])
        sealed = await db.fetchval("SELECT sealed FROM webhooks_vault.vault_secret")
        await db.close()
        records = await outside.log.history([">"])
    assert secret.encode() not in sealed
    assert all(secret.encode() not in record.data for record in records)


async def test_another_workspaces_endpoint_is_not_there(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        endpoint_id, _ = await outside.endpoint(receiver.url("/ok"))
        await outside.online()
        (attempt,) = await outside.attempts(1)
        for question, body in (
            ("save_endpoint", {"endpoint_id": endpoint_id, "enabled": False}),
            ("remove_endpoint", {"endpoint_id": endpoint_id}),
            ("rotate_secret", {"endpoint_id": endpoint_id}),
            ("test", {"endpoint_id": endpoint_id, "type": "sms.sent"}),
            ("replay", {"endpoint_id": endpoint_id, "since": "2026-01-01T00:00:00Z"}),
            ("resend", {"attempt_id": attempt.data.attempt_id}),
        ):
            with pytest.raises(Refused) as refused:
                await outside.ask(question, workspace_id=OTHER_WS, **body)
            assert refused.value.problem["status"] == 404, question
        assert await outside.ask("parked", workspace_id=OTHER_WS) == []


async def test_wrong_fields_are_all_named(urls: tuple[str, str], outside: Outside) -> None:
    async with running(*urls):
        with pytest.raises(Refused) as refused:
            await outside.ask("save_endpoint", url="nonsense", types=["sms.sent", "sms.snet"])
        pointers = [e["pointer"] for e in refused.value.problem["errors"]]
        assert pointers == ["#/url", "#/types/1"]
        with pytest.raises(Refused) as refused:
            await outside.ask("save_endpoint")
        assert [e["code"] for e in refused.value.problem["errors"]] == ["missing", "missing"]
        with pytest.raises(Refused) as refused:
            await outside.ask("replay", endpoint_id="whk_1", since="yesterday")
        assert refused.value.problem["errors"][0]["pointer"] == "#/since"


async def test_a_workspace_has_at_most_twenty_endpoints_however_fast_they_are_made(
    urls: tuple[str, str], outside: Outside
) -> None:
    async with running(*urls):
        for _ in range(18):
            await outside.endpoint(unused("/"))
        made = await asyncio.gather(
            *[outside.endpoint(unused("/")) for _ in range(4)], return_exceptions=True
        )
    refused = [e for e in made if isinstance(e, Refused)]
    assert [e.problem["code"] for e in refused] == ["limit_reached", "limit_reached"]


async def test_a_removed_endpoint_is_told_nothing_more(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        endpoint_id, _ = await outside.endpoint(receiver.url("/ok"))
        other, _ = await outside.endpoint(receiver.url("/slow/0"))
        await outside.ask("remove_endpoint", endpoint_id=endpoint_id)
        await outside.online()
        await receiver.until_at("/slow/0", 1)
        with pytest.raises(Refused):
            await outside.ask("save_endpoint", endpoint_id=endpoint_id, enabled=True)
        db = await asyncpg.connect(urls[0])
        kept = await db.fetch("SELECT endpoint_id FROM webhooks_vault.vault_secret")
        await db.close()
    assert receiver.at("/ok") == []
    assert [row["endpoint_id"] for row in kept] == [other]


# -- crashes and rebuilds ------------------------------------------------------------------------


async def test_a_rebuild_sends_nothing(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        await outside.endpoint(receiver.url("/ok"))
        for _ in range(20):
            await outside.online()
        await outside.attempts(20)
    db = await asyncpg.connect(urls[0])
    await db.execute("DROP SCHEMA webhooks CASCADE")  # the vault stays
    await db.close()
    async with running(*urls):
        await outside.online()
        await receiver.until_at("/ok", 21)
        await outside.attempts(21)
    assert len(receiver.hits) == 21


async def test_killed_in_the_middle_it_sends_at_least_once_under_one_id(
    urls: tuple[str, str], outside: Outside, receiver: Receiver
) -> None:
    async with running(*urls):
        await outside.endpoint(receiver.url("/slow/0.1"))
    wanted = {(await outside.online()).id for _ in range(60)}
    process = await _process(urls)
    await receiver.until(lambda: len(receiver.hits) >= 25)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    process = await _process(urls)
    await outside.attempts(60, "delivered")
    process.terminate()
    await process.wait()
    assert {hit.id for hit in receiver.hits} == wanted
    assert len(receiver.hits) <= 60 + PER_ENDPOINT  # only what was under way came twice
    assert len({a.id for a in await outside.attempts(60)}) == 60


async def _process(urls: tuple[str, str]) -> asyncio.subprocess.Process:
    env = {
        **os.environ,
        "DATABASE_URL": urls[0],
        "NATS_URL": urls[1],
        "EIGHTMS_SECRET_KEY": KEY,
        "EIGHTMS_ENV": "development",
        "EIGHTMS_LOG_LEVEL": "error",
    }
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "services.webhooks", env=env)


async def test_a_log_that_is_away_delays_the_record_and_repeats_no_attempt(
    urls: tuple[str, str], outside: Outside, nats_server: Any
) -> None:
    """The endpoint is reached, then NATS is gone before the attempt can be recorded."""
    hits: list[str] = []

    async def killing(request: web.Request) -> web.Response:
        hits.append(request.headers["webhook-id"])
        if len(hits) == 1:
            nats_server.kill()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", killing)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with running(*urls):
        await outside.endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        event = await outside.online()
        while not hits:
            await asyncio.sleep(0.02)
        await nats_server.start()
        while not outside.log.connected:
            await asyncio.sleep(0.02)
        attempts = await outside.attempts(1)
    await runner.cleanup()
    assert hits == [event.id]
    assert [a.data.outcome for a in attempts] == ["delivered"]
