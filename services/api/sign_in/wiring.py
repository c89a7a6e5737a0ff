"""Who signs people in: the embedded sign-in, or Supabase. Made once per process, by api.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.api.outside.supabase import Jwks, SharedSecret
from services.api.postman import Postman
from services.api.sign_in.one_time import OneTime
from services.api.sign_in.sessions import Sessions
from services.api.sign_in.signing import SigningKeys
from services.api.users import Users
from shared.mail import make_mailer
from shared.service import Context

PATH = "/auth/v1"


@dataclass(frozen=True, slots=True)
class Here:
    """The embedded sign-in."""

    keys: SigningKeys
    sessions: Sessions
    one_time: OneTime


class SignIn:
    """Everything about people. ``here`` is None where Supabase signs them in."""

    def __init__(self, context: Context, sql: Any, public_url: str) -> None:
        settings = context.settings
        self.post = Postman(context.db, sql, context.keys, context.clock, make_mailer(settings))
        self.development: bool = settings.development
        self.supabase_url: str = settings.supabase_url.rstrip("/")
        self.issuer = f"{self.supabase_url or public_url}{PATH}"
        self.home = f"{public_url}/app"
        self._supabase: SharedSecret | Jwks | None = None
        self.here: Here | None = None
        if self.supabase_url:
            secret = settings.supabase_jwt_secret
            self._supabase = (
                SharedSecret(self.supabase_url, secret) if secret else Jwks(self.supabase_url)
            )
            self.users = Users(context, sql, self._supabase, sessions_here=False)
            return
        keys = SigningKeys(context.db, sql, context.keys, context.clock, self.issuer)
        self.users = Users(context, sql, keys, sessions_here=True)
        sessions = Sessions(context.db, sql, context.keys, keys, self.users.ended)
        one_time = OneTime(context.db, sql, context.keys.identity_key, self.post, sessions)
        self.here = Here(keys, sessions, one_time)

    @property
    def mails(self) -> bool:
        """Whether mail goes out, or in development is shown."""
        return self.post.mailer is not None or self.development

    @property
    def shows_mail(self) -> bool:
        """Whether /dev/mail is there."""
        return self.post.mailer is None and self.development

    async def start(self) -> None:
        """Begin what runs beside the requests."""
        await self.users.start()
        await self.post.start()

    async def stop(self) -> None:
        """End it."""
        await self.post.stop()
        if self._supabase is not None:
            await self._supabase.close()
