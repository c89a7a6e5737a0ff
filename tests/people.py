"""People who sign in at an ApiWorld: their mail, their tokens, what they call.

    ada = await People(world).sign_in("ada@example.com")
    answer = await world.get("/v1/me", key=ada.access_token)

Everybody comes from an address of their own, so that nobody is limited for another's requests.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from services.api import serve
from services.api.sign_in.wiring import SignIn
from shared.mail import Mail
from tests.api import PATIENCE_S, Answer, ApiWorld

SETTINGS: Mapping[str, Any] = {"environment": "development", "proxy_hops": 1}
"""What an ApiWorld needs for this: mail is shown, and each request may come from anywhere."""


@dataclass(frozen=True)
class Tokens:
    """A session as a client holds it."""

    access_token: str
    refresh_token: str
    user: dict[str, Any]


class People:
    """The people of one world."""

    def __init__(self, world: ApiWorld) -> None:
        self.world = world

    @property
    def sign_in_desk(self) -> SignIn:
        """The first instance's."""
        return self.world.instances[0].context.extra[serve.API].sign_in

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        """A request under /auth/v1 from an address nobody else has."""
        sent = {"X-Forwarded-For": f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}::1"}
        headers = sent | dict(options.pop("headers", {}))
        key = options.pop("key", "")
        return await self.world.call(
            "POST", f"/auth/v1{path}", body, key=key, headers=headers, **options
        )

    async def get(self, path: str, **options: Any) -> Answer:
        """As ``post``."""
        sent = {"X-Forwarded-For": f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}::1"}
        headers = sent | dict(options.pop("headers", {}))
        key = options.pop("key", "")
        return await self.world.call("GET", f"/auth/v1{path}", key=key, headers=headers, **options)

    async def mails(self, to: str) -> list[Mail]:
        """What was mailed to an address, newest first."""
        return [mail for _, mail in await self.sign_in_desk.post.listed() if mail.to == to]

    async def mail(self, to: str) -> Mail:
        """The newest mail to an address, waited for."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := await self.mails(to)):
            assert time.monotonic() < deadline, "no mail"
            await asyncio.sleep(0.01)
        return found[0]

    async def ask(self, email: str, **fields: Any) -> None:
        """Ask for a link, which must be granted."""
        answer = await self.post("/otp", {"email": email, **fields})
        assert (answer.status, answer.body) == (200, {}), answer.text

    async def sign_in(self, email: str, **fields: Any) -> Tokens:
        """Ask for a link and use it."""
        await self.ask(email, **fields)
        token = token_in(await self.mail(email.lower()))
        answer = await self.post("/verify", {"type": "email", "token_hash": token})
        return tokens(answer)

    async def refresh(self, token: str, **options: Any) -> Answer:
        """Exchange a refresh token."""
        body = {"refresh_token": token}
        return await self.post("/token?grant_type=refresh_token", body, **options)


def link_in(mail: Mail) -> str:
    """The link of a sign-in mail."""
    return next(line for line in mail.text.splitlines() if line.startswith("http"))


def token_in(mail: Mail) -> str:
    """The token in its link."""
    return parse_qs(urlsplit(link_in(mail)).query)["token"][0]


def code_in(mail: Mail) -> str:
    """The code in it."""
    return mail.text.partition("asked for it: ")[2][:6]


def tokens(answer: Answer) -> Tokens:
    """The session an answer holds."""
    assert answer.status == 200, answer.text
    return Tokens(answer.body["access_token"], answer.body["refresh_token"], answer.body["user"])
