"""Who calls with an access token: a person, their workspaces, and their first sign-in.

A token is read once and remembered while it lasts; the memberships behind it are rows, kept in
memory until a commit changes them (hinted.py). With the embedded sign-in the session counts too, so
that signing out ends the access tokens as well, on every instance.

A token that was not seen before is a sign-in, or the refresh of one: what the person was invited to
before they signed in is accepted then, and who is in no workspace begins one. Both are decided from
the token's own times, so it does not matter which instance sees it first, or how often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import available_timezones

import structlog
from phonenumbers import SUPPORTED_REGIONS

from services.api.callers import Caller, Membership, refused
from services.api.decide import members
from services.api.decide.sign_in import SESSION_IDLE
from services.api.hinted import ENTRIES_MAX, Hinted
from services.api.sign_in import tokens
from services.api.sign_in.tokens import Claims, Keys, TokenRefused
from shared import auth, ids
from shared import events as e
from shared.bus import Wake
from shared.errors import Conflict, NotReady
from shared.log import Guard
from shared.problems import Problem
from shared.service import Context

ENDED = "api.sessions"  # announced under wake.api.sessions
ENROLLING_MAX = 2  # of the owner's six connections, which the projection needs too
OWN_WRITE_S = 2.0
TRIES_MAX = 3  # ARCHITECTURE.md, rule 4
SCOPES = {"owner": frozenset[str]({"*"}), "member": frozenset[str](auth.MEMBER_SCOPES)}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an access token that was good when it was read."""

    user_id: str
    claims: Claims


@dataclass(frozen=True, slots=True)
class _Team:
    """The workspaces somebody is in. Never empty where it is remembered."""

    memberships: tuple[Membership, ...]


class Users:
    """The people this process knows. ``sessions_here``: their sessions are in our vault."""

    def __init__(self, context: Context, sql: Any, keys: Keys, *, sessions_here: bool) -> None:
        self._c, self._sql, self._keys = context, sql, keys
        self._sessions_here = sessions_here
        self.teams: Hinted[_Team] = Hinted(self._team)
        self.sessions: Hinted[bool] = Hinted(self._session)
        self._seen: dict[str, Person] = {}
        self._enrolling = asyncio.Semaphore(ENROLLING_MAX)

    # -- who ---------------------------------------------------------------------------------------

    async def identify(self, token: str, workspace_id: str | None, now: datetime) -> Caller:
        """The caller behind an access token, in the workspace they name or else their first.
        Problems: 401 for the token, 404 for the workspace, 403 for somebody in none."""
        person = self._seen.get(token)
        if person is None or person.claims.expires_at <= now:
            person = await self._read(token, now)
        claims = person.claims
        if self._sessions_here and not (
            self.sessions.known(claims.session_id) or await self.sessions.get(claims.session_id)
        ):
            raise bad_token()
        team = self.teams.known(person.user_id) or await self.teams.get(person.user_id)
        if team is None:
            team = await self._enrol(person)
        found = team.memberships[0]
        if workspace_id is not None:
            chosen = [m for m in team.memberships if m.workspace_id == workspace_id]
            if not chosen:
                raise Problem(404, "not_found", "You are in no workspace with this id.")
            found = chosen[0]
        return Caller(
            found.workspace_id,
            e.Actor("user", person.user_id),
            "live",
            SCOPES[found.role],
            claims.expires_at,
            found.role,
            claims.email,
            team.memberships,
        )

    async def read(self, token: str, now: datetime) -> Claims:
        """The claims of a token that counts now. TokenRefused."""
        return await tokens.read(token, self._keys, now)

    async def _read(self, token: str, now: datetime) -> Person:
        """A token this process has not seen: its signature, and what comes of a sign-in."""
        try:
            claims = await self.read(token, now)
        except TokenRefused as error:
            structlog.get_logger().info("access token refused", reason=error.reason)
            raise bad_token() from None
        person = Person(ids.derive("usr", claims.subject), claims)
        if self._sessions_here and await self.sessions.get(claims.session_id) is None:
            raise bad_token()
        if claims.by_mail and await self._c.db.owner.fetchrow(self._sql.invitations, claims.email):
            await self._enrol(person)
        if len(self._seen) >= ENTRIES_MAX:
            self._seen.clear()
        self._seen[token] = person
        return person

    async def _session(self, session_id: str) -> bool | None:
        since = self._c.clock.now() - SESSION_IDLE
        row = await self._c.db.owner.fetchrow(self._sql.session_user, session_id, since)
        return True if row is not None else None

    async def _team(self, user_id: str) -> _Team | None:
        rows = await self._c.db.owner.fetch(self._sql.memberships, user_id)
        found = tuple(Membership(r["workspace_id"], r["id"], r["role"], r["name"]) for r in rows)
        return _Team(found) if found else None

    # -- the first sign-in -------------------------------------------------------------------------

    async def _enrol(self, person: Person) -> _Team:
        """Accept what the person was invited to; begin a workspace for who is in none. Their team.
        A Problem for who was removed while signed in."""
        if not self._c.fresh():
            raise NotReady("the team may be one that is not projected yet")
        async with (
            self._enrolling,
            self._c.db.owner.acquire() as db,
            db.transaction(),
        ):
            await db.execute(self._sql.lock_person, person.user_id)
            for _ in range(TRIES_MAX):
                try:
                    await self._accept(db, person)
                    team = await self._team(person.user_id)
                    if team is None:
                        await self._begin(db, person)
                        team = await self._team(person.user_id)
                    if team is not None:
                        return team
                except Conflict as conflict:
                    await self._c.projector.passed(conflict.last_seq, OWN_WRITE_S)
        raise NotReady("the membership is not projected yet")

    async def _accept(self, db: Any, person: Person) -> None:
        claims = person.claims
        history = await db.fetch(self._sql.member_history, person.user_id)
        here = {row["workspace_id"] for row in history if row["state"] == "active"}
        for row in await db.fetch(self._sql.invitations, claims.email):
            if not members.accepts(row["created_at"], claims.signed_in_at, claims.by_mail):
                continue
            if row["workspace_id"] in here:
                continue  # invited under another address than the one they joined with
            joined = e.MemberJoined(
                member_id=row["id"], user_id=person.user_id, email=row["email"], role=row["role"]
            )
            guard = Guard(f"member.*.{row['workspace_id']}.{row['id']}", row["seq"])
            await self._append(person, row["workspace_id"], joined, guard)

    async def _begin(self, db: Any, person: Person) -> None:
        claims = person.claims
        history = await db.fetch(self._sql.member_history, person.user_id)
        removed = [row["removed_at"] for row in history if row["removed_at"] is not None]
        if not members.begins_anew(removed, claims.signed_in_at):
            raise no_workspace()
        # Named by the session: the same again after a crash, another one for a later sign-in.
        key = self._c.keys.identity_key
        workspace_id = ids.derive_keyed(key, "ws", person.user_id, claims.session_id)
        created = members.first_workspace(
            workspace_id, claims.email, claims.metadata, available_timezones(), SUPPORTED_REGIONS
        )
        guard = Guard(f"workspace.*.{workspace_id}.{workspace_id}", 0)
        try:
            await self._append(person, workspace_id, created, guard)
        except Conflict as conflict:
            # It was begun before: a crash came in between, or it was lived in and is gone.
            await self._c.projector.passed(conflict.last_seq, OWN_WRITE_S)
            if not await db.fetchval(self._sql.workspace_exists, workspace_id):
                raise no_workspace() from None
        joined = e.MemberJoined(
            member_id=ids.derive("mem", workspace_id, person.user_id),
            user_id=person.user_id,
            email=claims.email,
            role="owner",
        )
        guard = Guard(f"member.*.{workspace_id}.{joined.member_id}", 0)
        await self._append(person, workspace_id, joined, guard)

    async def _append(self, person: Person, workspace_id: str, data: e.Data, guard: Guard) -> None:
        event = e.make(
            data,
            id=ids.derive("evt", workspace_id, data.TYPE, data.key, person.user_id),
            workspace_id=workspace_id,
            at=self._c.clock.now(),
            actor=e.Actor("user", person.user_id),
        )
        seq = await self._c.log.append(event, guard)
        if not await self._c.projector.passed(seq, OWN_WRITE_S):
            raise NotReady("the membership is not projected yet")

    # -- what changes ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Hear of sessions that end on other instances."""
        await self._c.bus.on_wake(ENDED, self.sessions.heard)

    async def ended(self, session_ids: Sequence[str]) -> None:
        """These sessions are over: here at once, elsewhere as soon as they hear of it."""
        if session_ids:
            self.sessions.heard(Wake(0, list(session_ids)))
            await self._c.bus.announce(ENDED, 0, set(session_ids))

    def heard(self, wake: Wake) -> None:
        """A batch was committed somewhere."""
        self.teams.heard(wake)

    def forget(self) -> None:
        """The connection was gone: what was announced meanwhile is unknown."""
        self.teams.forget()
        self.sessions.forget()


def bad_token() -> Problem:
    """401, whatever was wrong: nobody learns more from trying."""
    return refused(
        "invalid_token",
        "This access token is not valid (any more). Sign in again.",
        "invalid_token",
    )


def no_workspace() -> Problem:
    """403: a person in no workspace, whose session began before they left the last one."""
    return Problem(
        403, "no_workspace", "You are in no workspace any more. Sign in again to begin a new one."
    )
