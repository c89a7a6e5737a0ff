"""E-mail out: by Resend, or by any SMTP server.

    mailer = make_mailer(settings)        # None where neither is set
    await mailer.send(mail, key)          # MailFailed

``key`` names the mail: sent again under the same key within a day it is delivered once (Resend;
SMTP has no such thing, there the Message-ID is derived from it, which some servers go by). A send
tries a few times by itself while trying helps; who must not lose the mail keeps it until ``send``
returns. Settings of a service that mails: ``class MySettings(MailSettings)``.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from typing import Annotated, Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib
import httpx
import msgspec
from msgspec import Struct

from shared.errors import MailFailed
from shared.settings import Settings, Var

TRIES = 3
PAUSES_S = (1.0, 4.0)  # between the tries; Resend takes two mails a second from a whole team
RETRY_AFTER_MAX_S = 15.0  # what asks for more is tried later, by whoever keeps the mail
TIMEOUT_S = 15.0
ANSWER_MAX_BYTES = 64 * 1024
USER_AGENT = "8ms"  # Resend's edge refuses requests without one
SUBMISSION_PORT, TLS_PORT = 587, 465


class Mail(Struct, frozen=True, kw_only=True):
    """A mail to one address. The bytes that are sent depend on nothing but this."""

    to: str
    subject: str
    text: str
    html: str


class MailSettings(Settings, frozen=True, kw_only=True):
    """Of a service that mails."""

    resend_api_key: Annotated[
        str, Var("RESEND_API_KEY", "e-mail by Resend; empty: by EIGHTMS_SMTP_URL, or none")
    ] = ""
    resend_api_base: Annotated[str, Var("RESEND_API_BASE", "where Resend's API is")] = (
        "https://api.resend.com"
    )
    smtp_url: Annotated[
        str,
        Var(
            "EIGHTMS_SMTP_URL",
            "e-mail by SMTP: smtp://user:password@host:587 (STARTTLS) or smtps://…:465",
        ),
    ] = ""
    mail_from: Annotated[
        str, Var("EIGHTMS_MAIL_FROM", "sender of e-mail, as 8ms <hello@example.com>")
    ] = ""

    def __post_init__(self) -> None:
        """ValueError, which `load` turns into BadSetting: at the start, not at the first mail."""
        if not (self.resend_api_key or self.smtp_url):
            return
        if "@" not in parseaddr(self.mail_from)[1]:
            raise ValueError("EIGHTMS_MAIL_FROM must be an address: 8ms <hello@example.com>")
        parts = urlsplit(self.smtp_url or "smtp://unused")
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("EIGHTMS_SMTP_URL must be smtp://… or smtps://…")


class Mailer(Protocol):
    """Sends mail."""

    async def send(self, mail: Mail, key: str) -> None:
        """Hand the mail over. MailFailed."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


def make_mailer(settings: MailSettings) -> Mailer | None:
    """The mailer that is set up; None for none."""
    if settings.resend_api_key:
        base = settings.resend_api_base.rstrip("/")
        return Resend(base, settings.resend_api_key, settings.mail_from)
    return Smtp(settings.smtp_url, settings.mail_from) if settings.smtp_url else None


class _Later(Exception):
    """Not now. ``after_s`` is what the server asks for, where it does."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.after_s = reason, after_s


class _Mailer:
    """Tries a few times."""

    async def send(self, mail: Mail, key: str) -> None:
        """Hand the mail over. MailFailed."""
        for n in range(TRIES):
            try:
                return await self._hand_over(mail, key)
            except _Later as later:
                if n == TRIES - 1 or (later.after_s or 0) > RETRY_AFTER_MAX_S:
                    raise MailFailed(later.reason, for_good=False) from None
                await asyncio.sleep(PAUSES_S[n] if later.after_s is None else later.after_s)
        return None

    async def _hand_over(self, mail: Mail, key: str) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is kept open."""


class _ResendError(Struct):
    name: str = ""


class Resend(_Mailer):
    """By Resend's API (POST /emails)."""

    def __init__(self, base: str, api_key: str, sender: str) -> None:
        self._url, self._sender = f"{base}/emails", sender
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT_S,
            follow_redirects=False,
            headers={"Authorization": f"Bearer {api_key}", "User-Agent": USER_AGENT},
        )

    async def _hand_over(self, mail: Mail, key: str) -> None:
        body = {
            "from": self._sender,
            "to": [mail.to],
            "subject": mail.subject,
            "text": mail.text,
            "html": mail.html,
        }
        try:
            answer = await self._http.post(self._url, json=body, headers={"Idempotency-Key": key})
        except httpx.HTTPError as error:
            raise _Later(f"Resend: {type(error).__name__}") from None
        if answer.is_success:
            return
        name = _error_name(answer)
        reason = f"Resend: {answer.status_code} {name}".rstrip()
        if name in ("daily_quota_exceeded", "monthly_quota_exceeded"):
            raise MailFailed(reason, for_good=False)  # for hours, so not within this send
        if (
            answer.status_code in (408, 429)
            or answer.status_code >= 500
            or name in ("concurrent_idempotent_requests", "resource_locked")
        ):
            raise _Later(reason, _seconds(answer.headers.get("retry-after")))
        raise MailFailed(reason, for_good=True)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _error_name(answer: httpx.Response) -> str:
    """What Resend calls the error: one of a list of names, never what a mail said."""
    try:
        name = msgspec.json.decode(answer.content[:ANSWER_MAX_BYTES], type=_ResendError).name
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return name if name.isascii() and name.replace("_", "").isalpha() else ""


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None  # a date: then our own pause will do


class Smtp(_Mailer):
    """By an SMTP server. ``smtps`` speaks TLS from the start; ``smtp`` must be able to STARTTLS,
    unless the server is on this machine."""

    def __init__(self, url: str, sender: str) -> None:
        parts = urlsplit(url)
        self._host, self._tls = parts.hostname or "", parts.scheme == "smtps"
        self._port = parts.port or (TLS_PORT if self._tls else SUBMISSION_PORT)
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._sender = sender
        self._local = parts.hostname in ("127.0.0.1", "::1", "localhost")

    async def _hand_over(self, mail: Mail, key: str) -> None:
        starttls = None if self._local else True  # None: where the server offers it
        try:
            await aiosmtplib.send(
                self.message(mail, key),
                hostname=self._host,
                port=self._port,
                username=self._user,
                password=self._password,
                use_tls=self._tls,
                start_tls=False if self._tls else starttls,
                timeout=TIMEOUT_S,
            )
        except aiosmtplib.SMTPResponseException as error:
            _refused(error.code)
        except aiosmtplib.SMTPRecipientsRefused as error:
            _refused(error.recipients[0].code)
        except (aiosmtplib.SMTPException, OSError, ssl.SSLError) as error:
            raise _Later(f"SMTP: {type(error).__name__}") from None

    def message(self, mail: Mail, key: str) -> EmailMessage:
        """The mail as it goes over the wire."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._sender, mail.to, mail.subject
        domain = parseaddr(self._sender)[1].rpartition("@")[2]
        message["Message-ID"] = f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{domain}>"
        message["Date"] = formatdate()
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
        message.set_content(mail.text)
        message.add_alternative(mail.html, subtype="html")
        return message


def _refused(code: int) -> None:
    """4xx is for now, 5xx for good (RFC 5321, 4.2.1)."""
    if 400 <= code < 500:
        raise _Later(f"SMTP: {code}")
    raise MailFailed(f"SMTP: {code}", for_good=True)
