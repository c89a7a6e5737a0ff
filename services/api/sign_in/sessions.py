"""Sessions: begun by a mail, kept by refreshing, ended by signing out or by a stolen token.

A refresh token is used once. Whoever sends it again within rules.REUSE_S gets the token in force,
for the answer may have been lost; whoever sends it later is taken for a thief, and the session ends
for both. Refreshes of one session run one after the other: its row is locked.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from services.api.decide import sign_in as rules
from services.api.sign_in import gotrue
from services.api.sign_in.gotrue import AuthError, Session, User
from services.api.sign_in.signing import SigningKeys
from services.api.sign_in.tokens import Claims
from shared import auth
from shared.sql import Database
from shared.vault import KeyRing

TOKEN_PREFIX = "8ms_refresh"  # noqa: S105 - so that a scanner finds one that leaked
USER_AGENT_MAX_CHARS = 200
ACCESS_LIVES_S = int(rules.ACCESS_LIVES.total_seconds())


@dataclass(frozen=True, slots=True)
class Begun:
    """A session as it stands in the database, its access token not made yet."""

    id: str
    user: User
    signed_in_at: datetime
    refresh_token: str


def context(session_id: str) -> str:
    """What a session's refresh token is sealed for."""
    return f"api.refresh:{session_id}"


class Sessions:
    """The sessions of the embedded sign-in. ``ended`` is told which are over."""

    def __init__(
        self,
        db: Database,
        sql: Any,
        ring: KeyRing,
        keys: SigningKeys,
        ended: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        self._db, self._sql, self._ring, self._keys, self._ended = db, sql, ring, keys, ended

    async def begin(
        self, db: Any, email: str, metadata: dict[str, Any], agent: str, now: datetime
    ) -> Begun:
        """A session of whoever has shown to have ``email``, inside the caller's transaction."""
        new_id = str(uuid.uuid4())
        row = await db.fetchrow(self._sql.sign_user_in, new_id, email, metadata, now)
        user, session_id = gotrue.user_from(row), str(uuid.uuid4())
        token = auth.new_secret_token(TOKEN_PREFIX)
        sealed = self._ring.seal(token.encode(), context(session_id))
        agent = agent[:USER_AGENT_MAX_CHARS]
        await db.execute(self._sql.save_session, session_id, user.id, sealed, now, agent)
        await db.execute(self._sql.save_refresh_token, auth.hash_token(token), session_id, now)
        return Begun(session_id, user, now, token)

    async def tokens(self, begun: Begun, now: datetime) -> Session:
        """The session with an access token. Not inside a transaction: keys may have to be read."""
        said = gotrue.claims(
            begun.user, begun.id, self._keys.issuer, begun.signed_in_at, now, ACCESS_LIVES_S
        )
        access = await self._keys.sign(said)
        expires_at = now + rules.ACCESS_LIVES
        return Session(
            begun.id, begun.user, access, begun.refresh_token, expires_at, ACCESS_LIVES_S
        )

    async def refresh(self, token: str, now: datetime) -> Session:
        """The session a refresh token keeps alive. AuthError."""
        digest = auth.hash_token(token)
        async with self._db.owner.acquire() as db, db.transaction():
            row = await db.fetchrow(self._sql.session_of_token, digest)
            if row is None:
                raise AuthError(
                    400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found"
                )
            session_id = str(row["id"])
            # Read again behind the lock: another refresh may have come first.
            replaced_at = await db.fetchval(self._sql.token_replaced, digest)
            verdict = rules.exchange(replaced_at, row["refreshed_at"], now)
            begun: Begun | None = None
            if verdict in ("rotate", "repeat"):
                begun = await self._go_on(db, row, digest, verdict == "rotate", now)
            else:
                await db.execute(self._sql.end_session, session_id)
        if begun is not None:
            return await self.tokens(begun, now)
        await self._ended([session_id])
        if verdict == "expired":
            raise AuthError(400, "session_expired", "Invalid Refresh Token: Session Expired")
        structlog.get_logger().warning("a refresh token was used again: its session is over")
        raise AuthError(400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")

    async def _go_on(self, db: Any, row: Any, digest: str, rotate: bool, now: datetime) -> Begun:
        session_id = str(row["id"])
        user = gotrue.user_from(await db.fetchrow(self._sql.user, row["user_id"]))
        if not rotate:
            active = await db.fetchval(self._sql.active_token, session_id)
            token = self._ring.open(active, context(session_id)).decode()
            return Begun(session_id, user, row["signed_in_at"], token)
        token = auth.new_secret_token(TOKEN_PREFIX)
        sealed = self._ring.seal(token.encode(), context(session_id))
        await db.execute(self._sql.replace_token, digest, now)
        await db.execute(self._sql.save_refresh_token, auth.hash_token(token), session_id, now)
        await db.execute(self._sql.refresh_session, session_id, sealed, now)
        return Begun(session_id, user, row["signed_in_at"], token)

    async def user(self, claims: Claims, now: datetime) -> User:
        """The person a token is about, if their session still is. AuthError."""
        since = now - rules.SESSION_IDLE
        row = await self._db.owner.fetchrow(self._sql.session_user, claims.session_id, since)
        if row is None or str(row["id"]) != claims.subject:
            raise AuthError(403, "session_not_found", gotrue.NO_SESSION)
        return gotrue.user_from(row)

    async def end(self, user_id: str, session_id: str, scope: str) -> None:
        """Sign out: ``local`` this session, ``global`` all of the person's, ``others`` the rest."""
        if scope == "local":
            rows = await self._db.owner.fetch(self._sql.end_session, session_id)
        else:
            kept = session_id if scope == "others" else None
            rows = await self._db.owner.fetch(self._sql.end_sessions, user_id, kept)
        await self._ended([str(row["id"]) for row in rows])
