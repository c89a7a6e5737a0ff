"""Mail goes out once, by Resend or SMTP; it is tried again where that helps, else given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email import message_from_bytes
from typing import Any

import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP, Envelope, Session

from cli.embedded import NatsServer
from services.api import postman, serve
from shared import mail as mailing
from shared.errors import MailFailed
from shared.mail import Mail, MailSettings, make_mailer
from shared.settings import BadSetting, load
from tests.api import ApiWorld
from tests.fakes.resend import API_KEY, FakeResend

REQUIRED = {"DATABASE_URL": "x", "NATS_URL": "x", "EIGHTMS_SECRET_KEY": "x"}
FROM = "8ms <hello@example.com>"
MAIL = Mail(to="ada@example.com", subject="Grüße", text="Hello\n", html="<p>Hello</p>")


def mailer(**env: str) -> mailing.Mailer:
    made = make_mailer(load(MailSettings, {**REQUIRED, "EIGHTMS_MAIL_FROM": FROM, **env}))
    assert made is not None
    return made


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailing, "PAUSES_S", (0.0, 0.0))


@pytest_asyncio.fixture
async def resend() -> AsyncIterator[FakeResend]:
    async with FakeResend() as resend:
        yield resend


@pytest_asyncio.fixture
async def by_resend(resend: FakeResend) -> AsyncIterator[mailing.Mailer]:
    made = mailer(RESEND_API_KEY=API_KEY, RESEND_API_BASE=resend.url)
    yield made
    await made.close()


# -- Resend ----------------------------------------------------------------------------------------


async def test_resend_gets_the_mail_once_under_its_key(
    resend: FakeResend, by_resend: mailing.Mailer
) -> None:
    await by_resend.send(MAIL, "mail_1")
    await by_resend.send(MAIL, "mail_1")
    assert [request.key for request in resend.requests] == ["mail_1", "mail_1"]
    assert resend.delivered == [
        {
            "from": FROM,
            "to": ["ada@example.com"],
            "subject": "Grüße",
            "text": "Hello\n",
            "html": "<p>Hello</p>",
        }
    ]


@pytest.mark.parametrize(
    "script", [[429, 500], [503, "html"], ["concurrent_idempotent_requests", "resource_locked"]]
)
async def test_what_passes_is_tried_again_with_the_same_key(
    resend: FakeResend, by_resend: mailing.Mailer, script: list[int | str]
) -> None:
    resend.script = list(script)
    await by_resend.send(MAIL, "mail_1")
    assert {request.key for request in resend.requests} == {"mail_1"}
    assert len(resend.requests) == mailing.TRIES
    assert len(resend.delivered) == 1


@pytest.mark.parametrize(
    ("script", "reason", "for_good", "requests"),
    [
        ([500, 500, 500], "Resend: 500 application_error", False, 3),
        ([403], "Resend: 403 validation_error", True, 1),
        (["invalid_idempotent_request"], "Resend: 409 invalid_idempotent_request", True, 1),
        (["daily_quota_exceeded"], "Resend: 429 daily_quota_exceeded", False, 1),
    ],
)
async def test_what_does_not_pass_is_said(
    resend: FakeResend,
    by_resend: mailing.Mailer,
    script: list[int | str],
    reason: str,
    for_good: bool,
    requests: int,
) -> None:
    resend.script = list(script)
    with pytest.raises(MailFailed) as failed:
        await by_resend.send(MAIL, "mail_1")
    assert (failed.value.reason, failed.value.for_good) == (reason, for_good)
    assert len(resend.requests) == requests


async def test_a_long_retry_after_is_left_to_whoever_keeps_the_mail(
    resend: FakeResend, by_resend: mailing.Mailer
) -> None:
    resend.script, resend.retry_after = [429], "3600"
    with pytest.raises(MailFailed) as failed:
        await by_resend.send(MAIL, "mail_1")
    assert not failed.value.for_good
    resend.script, resend.retry_after = [429], "0"
    await by_resend.send(MAIL, "mail_1")
    assert len(resend.delivered) == 1


async def test_a_wrong_key_and_an_absent_server_are_told_apart(resend: FakeResend) -> None:
    wrong = mailer(RESEND_API_KEY="re_wrong", RESEND_API_BASE=resend.url)
    absent = mailer(RESEND_API_KEY=API_KEY, RESEND_API_BASE="http://127.0.0.1:1")
    for made, reason, for_good in (
        (wrong, "Resend: 403 invalid_api_key", True),
        (absent, "Resend: ConnectError", False),
    ):
        with pytest.raises(MailFailed) as failed:
            await made.send(MAIL, "mail_1")
        assert (failed.value.reason, failed.value.for_good) == (reason, for_good)
        await made.close()


# -- SMTP ------------------------------------------------------------------------------------------


class Inbox:
    """What an SMTP server got; ``says`` are its next answers to DATA."""

    def __init__(self) -> None:
        self.got: list[Envelope] = []
        self.says: list[str] = []

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.says:
            return self.says.pop(0)
        self.got.append(envelope)
        return "250 OK"


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest_asyncio.fixture
async def smtp_url(inbox: Inbox) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(inbox, loop=loop), "127.0.0.1", 0)
    yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def test_smtp_gets_both_versions_of_the_text(inbox: Inbox, smtp_url: str) -> None:
    made = mailer(EIGHTMS_SMTP_URL=smtp_url)
    inbox.says = ["451 try again"]
    await made.send(MAIL, "mail_1")
    (envelope,) = inbox.got
    assert (envelope.mail_from, envelope.rcpt_tos) == ("hello@example.com", ["ada@example.com"])
    assert isinstance(envelope.content, bytes)
    text = envelope.content.decode()
    assert "multipart/alternative" in text
    assert "Subject: =?utf-8?" in text
    assert "Auto-Submitted: auto-generated" in text
    await made.send(MAIL, "mail_1")
    headers = [
        message_from_bytes(one.content) for one in inbox.got if isinstance(one.content, bytes)
    ]
    ids = [found["Message-ID"] for found in headers]
    assert len(ids) == 2
    assert ids[0] == ids[1]


async def test_what_smtp_refuses_for_good_is_given_up(inbox: Inbox, smtp_url: str) -> None:
    inbox.says = ["554 no"]
    with pytest.raises(MailFailed) as failed:
        await mailer(EIGHTMS_SMTP_URL=smtp_url).send(MAIL, "mail_1")
    assert (failed.value.reason, failed.value.for_good) == ("SMTP: 554", True)


@pytest.mark.parametrize(
    "env",
    [
        {"RESEND_API_KEY": "x"},
        {"RESEND_API_KEY": "x", "EIGHTMS_MAIL_FROM": "nobody"},
        {"EIGHTMS_SMTP_URL": "http://mail", "EIGHTMS_MAIL_FROM": FROM},
    ],
)
def test_half_a_configuration_is_refused_at_the_start(env: dict[str, str]) -> None:
    with pytest.raises(BadSetting, match="EIGHTMS_"):
        load(MailSettings, REQUIRED | env)


# -- the postman -----------------------------------------------------------------------------------


async def test_mail_survives_a_provider_that_is_away(
    database_url: str, nats_server: NatsServer, resend: FakeResend
) -> None:
    settings: dict[str, Any] = {
        "resend_api_key": API_KEY, "resend_api_base": resend.url, "mail_from": FROM,
        "environment": "development",
    }  # fmt: skip
    resend.script = [500] * mailing.TRIES
    async with ApiWorld(database_url, nats_server, **settings) as world:
        asked = await world.post("/auth/v1/otp", {"email": "ada@example.com"}, key="")
        assert asked.status == 200  # before anything was mailed
        post: postman.Postman = world.instances[0].context.extra[serve.API].sign_in.post

        async def failed_once() -> bool:
            return not resend.script

        await world.until(failed_once, "the first round failed")
        assert resend.delivered == []
        world.clock.ahead = postman.AGAIN_AFTER[0]
        await asyncio.sleep(0)

        async def delivered() -> bool:
            await post.carry_once()
            return bool(resend.delivered)

        await world.until(delivered, "the next round delivers")
        (mail,) = resend.delivered
        assert mail["to"] == ["ada@example.com"]
        assert len({request.key for request in resend.requests}) == 1

        async def forgotten() -> bool:
            return not await world.rows("SELECT FROM vault_mail")

        await world.until(forgotten, "what was sent is not kept")
        assert (await world.get("/dev/mail", key="")).status == 404


async def test_without_a_mail_server_production_says_that_nobody_signs_in_by_mail(
    database_url: str, nats_server: NatsServer
) -> None:
    async with ApiWorld(database_url, nats_server) as world:
        answer = await world.post("/auth/v1/otp", {"email": "ada@example.com"}, key="")
        assert (answer.status, answer.body["error_code"]) == (422, "email_provider_disabled")
        told = await world.get("/auth/v1/settings", key="")
        assert told.body["external"]["email"] is False
        assert (await world.get("/dev/mail", key="")).status == 404
