"""Who calls: API keys from the Authorization header, and when each was last used.

A key is refused by its own checksum before any table is asked (shared/auth.py). Its row is then
found by its SHA-256 and kept in memory until it is revoked, which every instance hears at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.api.hinted import ENTRIES_MAX, Hinted
from shared import auth
from shared.errors import NotReady
from shared.events import Actor
from shared.problems import Problem
from shared.sql import Database

REALM = 'Bearer realm="8ms"'


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, for which workspace, and what they may do."""

    workspace_id: str
    actor: Actor
    mode: str  # live or test: a test key reaches only simulated phones
    scopes: frozenset[str]
    expires_at: datetime | None

    def may(self, scope: auth.Scope) -> bool:
        """Whether this caller may do what needs ``scope``."""
        return scope in self.scopes or "*" in self.scopes


class Callers:
    """Identifies callers of this process."""

    def __init__(self, db: Database, sql: Any, fresh: Callable[[], bool]) -> None:
        self._db, self._sql, self._fresh = db, sql, fresh
        self.keys: Hinted[Caller] = Hinted(self._load)
        self._digests: dict[str, str] = {}  # header → SHA-256 of its key, where that was found
        self._used: dict[str, tuple[str, datetime]] = {}

    async def identify(self, header: str | None, now: datetime) -> Caller:
        """The caller behind an Authorization header; a 401 Problem that says what is wrong."""
        caller = self._known(header)
        if caller is None:
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
            raise refused("unauthorized", "Send an API key: Authorization: Bearer 8ms_live_…")
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


def refused(code: str, detail: str, error: str | None = None) -> Problem:
    """401, saying how to sign in (RFC 6750, 3)."""
    challenge = f'{REALM}, error="{error}"' if error else REALM
    return Problem(401, code, detail, headers={"WWW-Authenticate": challenge})
