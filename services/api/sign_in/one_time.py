"""Links and codes that are mailed, and sign in once.

A link is 256 random bits, kept as its SHA-256. The code beside it is six digits, kept as a keyed
hash, dies after five wrong tries and after a quarter of an hour. Using either uses up every other
mail to the address.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.api.decide import sign_in as rules
from services.api.decide.sign_in import Wanted
from services.api.postman import Postman
from services.api.sign_in import gotrue
from services.api.sign_in.gotrue import AuthError
from services.api.sign_in.sessions import Begun, Sessions
from shared import auth, ids
from shared.mail import Mail
from shared.sql import Database

TOKEN_PREFIX = "8ms_link"  # noqa: S105
CODE_PREFIX = "8ms_code"
CODE_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Clicked:
    """A link that was used: a session, or with PKCE the code to fetch it with."""

    redirect_to: str
    begun: Begun | None
    auth_code: str | None


def new_code() -> str:
    """Six random digits."""
    return f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"


async def save(
    db: Any, sql: Any, identity_key: bytes, wanted: Wanted, now: datetime
) -> tuple[str, str]:
    """A link's token and its code, inside the caller's transaction."""
    token, code = auth.new_secret_token(TOKEN_PREFIX), new_code()
    challenge, method = wanted.challenge or (None, None)
    await db.execute(
        sql.save_one_time,
        auth.hash_token(token),
        wanted.email,
        _code_hash(identity_key, wanted.email, code),
        wanted.metadata,
        wanted.redirect_to,
        challenge,
        method,
        now,
        now + wanted.lives,
        now + min(wanted.lives, rules.CODE_LIVES),
    )
    return token, code


def _code_hash(identity_key: bytes, email: str, code: str) -> str:
    """Keyed: six digits could be tried out on a plain hash."""
    return ids.derive_keyed(identity_key, "code", email, code)


class OneTime:
    """Makes and uses links and codes."""

    def __init__(
        self, db: Database, sql: Any, identity_key: bytes, post: Postman, sessions: Sessions
    ) -> None:
        self._db, self._sql, self._identity_key = db, sql, identity_key
        self._post, self._sessions = post, sessions

    # -- making ----------------------------------------------------------------------------------

    async def mail(self, wanted: Wanted, write: Callable[[str, str], Mail], now: datetime) -> None:
        """Mail a link and a code: ``write`` makes the mail of them. AuthError 429 if too often."""
        async with self._db.owner.acquire() as db, db.transaction():
            await db.execute(self._sql.lock_address, wanted.email)
            sent = await db.fetch(self._sql.mails_to, wanted.email, now - rules.MAILS_IN)
            wait_s = rules.mail_wait_s([row["created_at"] for row in sent], now)
            if wait_s:
                raise AuthError(
                    429,
                    "over_email_send_rate_limit",
                    f"For security purposes, you can only request this after {wait_s} seconds.",
                    wait_s,
                )
            token, code = await save(db, self._sql, self._identity_key, wanted, now)
            until = now + min(wanted.lives, timedelta(days=1))
            await self._post.put(db, ids.new("mail"), write(token, code), now, until)
        self._post.wake()

    async def knows(self, email: str) -> bool:
        """Whether somebody signed in with the address before."""
        return await self._db.owner.fetchval(self._sql.knows_address, email)

    # -- using -----------------------------------------------------------------------------------

    async def look(self, token: str, now: datetime) -> Any:
        """The row of a link that would work, None if it would not; nothing is used up."""
        return await self._db.owner.fetchrow(self._sql.one_time, auth.hash_token(token), now)

    async def click(self, token: str, agent: str, now: datetime) -> Clicked | None:
        """Use a link as a browser does; None if it does not work (any more)."""
        digest = auth.hash_token(token)
        async with self._db.owner.acquire() as db, db.transaction():
            row = await self._use(db, digest, now)
            if row is None:
                return None
            if row["challenge"] is None:
                begun = await self._begin(db, row, agent, now)
                return Clicked(row["redirect_to"], begun, None)
            code = auth.new_secret_token(CODE_PREFIX)
            until = now + rules.AUTH_CODE_LIVES
            await db.execute(self._sql.save_auth_code, digest, auth.hash_token(code), until)
            return Clicked(row["redirect_to"], None, code)

    async def by_link(self, token: str, agent: str, now: datetime) -> Begun:
        """Use a link as a program does. AuthError."""
        async with self._db.owner.acquire() as db, db.transaction():
            row = await self._use(db, auth.hash_token(token), now)
            if row is None:
                raise AuthError(403, "otp_expired", gotrue.INVALID_LINK)
            return await self._begin(db, row, agent, now)

    async def by_code(self, email: str, code: str, agent: str, now: datetime) -> Begun:
        """Use a code that was typed. AuthError; a wrong one counts."""
        wanted = _code_hash(self._identity_key, email, code)
        async with self._db.owner.acquire() as db, db.transaction():
            await db.execute(self._sql.lock_address, email)
            rows = await db.fetch(self._sql.codes, email, now, rules.CODE_TRIES_MAX)
            row = next((row for row in rows if row["code_hash"] == wanted), None)
            if row is not None:
                await db.execute(self._sql.use_one_time, email, now)
                return await self._begin(db, row, agent, now)
            await db.execute(self._sql.wrong_code, email)
        raise AuthError(403, "otp_expired", gotrue.INVALID_CODE)

    async def by_auth_code(self, code: str, verifier: str, agent: str, now: datetime) -> Begun:
        """The session behind a clicked link, for the client that asked for the link. AuthError."""
        digest = auth.hash_token(code)
        async with self._db.owner.acquire() as db, db.transaction():
            row = await db.fetchrow(self._sql.auth_code, digest)
            if row is None:
                raise AuthError(
                    404, "flow_state_not_found", "invalid flow state, no valid flow state found"
                )
            # Whatever comes of it, the code is used up; a failure is answered behind the commit.
            await db.execute(self._sql.use_auth_code, digest)
            if row["auth_code_expires_at"] <= now:
                failure = AuthError(
                    422, "flow_state_expired", "invalid flow state, flow state has expired"
                )
            elif not rules.answers(row["challenge"], row["challenge_method"], verifier):
                failure = AuthError(
                    400,
                    "bad_code_verifier",
                    "code challenge does not match previously saved code verifier",
                )
            else:
                return await self._begin(db, row, agent, now)
        raise failure

    async def _use(self, db: Any, digest: str, now: datetime) -> Any:
        """The row of a link that works, which from now on does not."""
        row = await db.fetchrow(self._sql.one_time, digest, now)
        if row is None:
            return None
        await db.execute(self._sql.lock_address, row["email"])
        row = await db.fetchrow(self._sql.one_time, digest, now)  # as it is behind the lock
        if row is not None:
            await db.execute(self._sql.use_one_time, row["email"], now)
        return row

    async def _begin(self, db: Any, row: Any, agent: str, now: datetime) -> Begun:
        return await self._sessions.begin(db, row["email"], row["metadata"], agent, now)
