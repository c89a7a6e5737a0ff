"""May this address be mailed, this link lead there, this token be exchanged? Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import urlsplit

EMAIL_MAX_CHARS: Final = 254
"""RFC 5321, 4.5.3.1.3."""
LINK_LIVES: Final = timedelta(hours=1)
"""As Supabase's: long enough for a slow mailbox, short enough for a shared screen."""
INVITATION_LIVES: Final = timedelta(days=7)
"""How long the link of an invitation signs in; the invitation itself stays until withdrawn."""
CODE_LIVES: Final = timedelta(minutes=15)
"""Six digits can be guessed, so they live shorter than the link beside them."""
CODE_TRIES_MAX: Final = 5
"""Wrong codes for an address before every code it was sent is dead; the links are not."""
MAIL_GAP: Final = timedelta(seconds=60)
"""Between two mails to one address, as in Supabase."""
MAILS_MAX, MAILS_IN = 6, timedelta(hours=1)
"""To one address: with CODE_TRIES_MAX, the chance to guess a code is below 1 in 1,300 a day."""
REUSE_S: Final = 30
"""A refresh token may be sent again for as long as auth-js repeats a refresh whose answer was
lost. Later it is taken for stolen, and the session ends (RFC 9700, 4.14.2)."""
SESSION_IDLE: Final = timedelta(days=30)
"""A session that was not refreshed for so long is over."""
AUTH_CODE_LIVES: Final = timedelta(minutes=5)
"""As in GoTrue: from the click on the link until the client exchanges the code."""
ACCESS_LIVES: Final = timedelta(hours=1)
"""Of an access token. Signing out ends it sooner: the session is looked at as well."""

# The one of the HTML standard: what browsers accept in <input type=email>.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(rf"[a-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_CHALLENGE = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# How a session began, where that shows control of the address (GoTrue's methods that mail it).
_BY_MAIL = frozenset({"otp", "magiclink", "invite", "recovery", "email/signup", "email_change"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whom to sign in, and where that leads."""

    email: str
    redirect_to: str
    metadata: dict[str, Any]
    challenge: tuple[str, str] | None = None
    lives: timedelta = LINK_LIVES


def email(text: str) -> str | None:
    """An address as it is stored, in lower case; None if it is none."""
    address = text.strip().lower()
    if len(address) > EMAIL_MAX_CHARS or _EMAIL.fullmatch(address) is None:
        return None
    return address


def challenge(text: str | None, method: str | None) -> tuple[str, str] | Literal["invalid"] | None:
    """A PKCE challenge and its method; None for none, ``invalid`` for half of one."""
    if not text and not method:
        return None
    kind = (method or "").lower()
    if not text or kind not in ("s256", "plain") or _CHALLENGE.fullmatch(text) is None:
        return "invalid"
    return text, kind


def answers(challenge: str, method: str, verifier: str) -> bool:
    """Whether ``verifier`` is what the challenge was made from (RFC 7636, 4.6)."""
    if _CHALLENGE.fullmatch(verifier) is None:
        return False
    if method == "plain":
        return verifier == challenge
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == challenge


def redirect(wanted: str | None, home: str, allowed: Collection[str], development: bool) -> str:
    """Where a link leads: ``wanted`` where that is ours or allowed, else ``home``.

    ``allowed`` are origins. In development any port of this machine will do.
    """
    if not wanted or len(wanted) > 2000 or any(ord(c) <= 0x20 or ord(c) == 0x7F for c in wanted):
        return home
    try:
        parts = urlsplit(wanted)
        _ = parts.port
    except ValueError:
        return home
    if parts.scheme not in ("https", "http") or parts.username is not None or "\\" in wanted:
        return home
    if origin(wanted) in {origin(home), *allowed}:
        return wanted
    if development and parts.hostname in _LOOPBACK:
        return wanted
    return home


def origin(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def mail_wait_s(sent: Sequence[datetime], now: datetime) -> int:
    """Seconds until an address may be mailed again, 0 for now; ``sent`` newest first."""
    until = now
    if sent:
        until = max(until, sent[0] + MAIL_GAP)
    recent = [at for at in sent if at > now - MAILS_IN]
    if len(recent) >= MAILS_MAX:
        until = max(until, recent[MAILS_MAX - 1] + MAILS_IN)
    left_s = (until - now).total_seconds()
    return 0 if left_s <= 0 else int(left_s) + 1


def exchange(
    replaced_at: datetime | None, refreshed_at: datetime, now: datetime
) -> Literal["rotate", "repeat", "stolen", "expired"]:
    """What becomes of a refresh token: a new one, the one in force again, or the session's end."""
    if refreshed_at <= now - SESSION_IDLE:
        return "expired"
    if replaced_at is None:
        return "rotate"
    if now - replaced_at <= timedelta(seconds=REUSE_S):
        return "repeat"
    return "stolen"


def by_mail(methods: Collection[str]) -> bool:
    """Whether who signed in so has shown to have the address: only then do invitations count."""
    return not _BY_MAIL.isdisjoint(methods)
