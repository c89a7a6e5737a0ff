"""Who calls: API keys and access tokens, and when each key was last used.

Whoever sends an access token is a person (users.py); which of their workspaces they mean says
X-8ms-Workspace. A key is refused by its own checksum before any table is asked (shared/auth.py).
Its row is then found by its SHA-256 and kept in memory until it is revoked, which every instance
hears at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from services.api.hinted import ENTRIES_MAX, Hinted
from shared import auth
from shared.errors import NotReady
from shared.events import Actor
from shared.problems import Problem
from shared.sql import Database

REALM = 'Bearer realm="8ms"'
WORKSPACE_HEADER = "X-8ms-Workspace"


@dataclass(frozen=True, slots=True)
class Membership:
    """A workspace somebody is in, and as what."""

    workspace_id: str
    member_id: str
    role: str
    name: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, for which workspace, and what they may do. The last three are a person's."""

    workspace_id: str
    actor: Actor
    mode: str  # live or test: a test key reaches only simulated phones
    scopes: frozenset[str]
    expires_at: datetime | None
    role: str | None = None
    email: str | None = None
    memberships: tuple[Membership, ...] = ()

    def may(self, scope: auth.Scope) -> bool:
        """Whether this caller may do what needs ``scope``."""
        return scope in self.scopes or "*" in self.scopes


class People(Protocol):
    """Identifies who sends an access token (users.py)."""

    async def identify(self, token: str, workspace_id: str | None, now: datetime) -> Caller:
        """The caller; a Problem for a token that is not good."""
        ...


class Callers:
    """Identifies callers of this process."""

    def __init__(
        self, db: Database, sql: Any, fresh: Callable[[], bool], people: People | None = None
    ) -> None:
        self._db, self._sql, self._fresh, self._people = db, sql, fresh, people
        self.keys: Hinted[Caller] = Hinted(self._load)
        self._digests: dict[str, str] = {}  # header → SHA-256 of its key, where that was found
        self._used: dict[str, tuple[str, datetime]] = {}

    async def identify(
        self, header: str | None, now: datetime, headers: Mapping[str, str] | None = None
    ) -> Caller:
        """The caller behind an Authorization header; a 401 Problem that says what is wrong.

        ``headers`` are all of the request: a person may name a workspace there.
        """
        caller = self._known(header)
        if caller is None:
            token = access_token(header)
            if token is not None and self._people is not None:
                wanted = headers.get(WORKSPACE_HEADER) if headers is not None else None
                return await self._people.identify(token, wanted, now)
            caller = await self._look_up(header)
        if caller.expires_at is not None and caller.expires_at <= now:
            raise refused("expired_api_key", "This API key has expired.", "invalid_token")
        self._used[caller.actor.id] = (caller.workspace_id, now)
        return caller

    def _known(self, header: str | None) -> Caller | None:
        """The caller behind a header that was good before, while its key still is."""
        digest = self._digests.get(header) if header else None
        return self.keys.known(digest) if digest else None

    async def _look_up(self, header: str | None) -> Caller:
        if not header:
            raise refused(
                "unauthorized", "Send an API key or an access token: Authorization: Bearer …"
            )
        scheme, _, text = header.partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or auth.check_format(text) is None:
            raise refused("invalid_api_key", "This is not an API key of 8ms.", "invalid_token")
        digest = auth.hash_key(text)
        caller = await self.keys.get(digest)
        if caller is None and not self._fresh():
            raise NotReady("the key may be one that is not projected yet")
        if caller is None:
            raise refused(
                "invalid_api_key", "This API key does not exist or was revoked.", "invalid_token"
            )
        if len(self._digests) >= ENTRIES_MAX:
            self._digests.clear()
        self._digests[header] = digest
        return caller

    async def _load(self, digest: str) -> Caller | None:
        # As owner: which workspace the key belongs to is what this look-up tells.
        row = await self._db.owner.fetchrow(self._sql.key_by_hash, digest)
        if row is None:
            return None
        return Caller(
            row["workspace_id"],
            Actor("api_key", row["id"]),
            row["mode"],
            frozenset(row["scopes"]),
            row["expires_at"],
        )

    async def save_uses(self) -> None:
        """Write down when keys were last used; what fails is written the next time."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            rows: Sequence[tuple[str, str, datetime]] = [(k, *v) for k, v in used.items()]
            columns = [list(column) for column in zip(*rows, strict=True)]
            await self._db.owner.execute(self._sql.save_key_uses, *columns)
        except BaseException:
            self._used = used | self._used
            raise


def access_token(header: str | None) -> str | None:
    """The access token in an Authorization header: what has the form of a JWT; else None."""
    if header is None or header.count(".") != 2:
        return None
    scheme, _, text = header.partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


def refused(code: str, detail: str, error: str | None = None) -> Problem:
    """401, saying how to sign in (RFC 6750, 3)."""
    challenge = f'{REALM}, error="{error}"' if error else REALM
    return Problem(401, code, detail, headers={"WWW-Authenticate": challenge})
