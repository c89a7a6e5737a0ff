"""Who calls: a phone's credential, found by its hash.

Every call of every phone comes through here, and ten thousand at once after a restart, so what was
found is kept until the phone changes. Being kept is no permission: the journal and the stream look
at the phone's row themselves.
"""

from __future__ import annotations

from typing import NamedTuple

from aiohttp import web

from services.gateway.project import PHONE_HINT
from shared import auth, sql
from shared.errors import NotReady
from shared.problems import Problem
from shared.projector import Wake
from shared.service import Context

PREFIX = "cred"  # shared/logs.py blots out what begins so
KEPT_MAX = 20_000  # twice the phones of a process, at 300 bytes
LENGTH_MAX = 100  # anything longer is no credential of ours

Q = sql.queries("services.gateway")


class Holder(NamedTuple):
    """The phone behind a credential."""

    phone_id: str
    workspace_id: str
    generation: int


def revoked() -> Problem:
    """401: no credential, an unknown one, a replaced one, or the phone was unpaired."""
    return Problem(
        401,
        "invalid_credential",
        "This credential is unknown or was revoked. Pair the phone again.",
        headers={"WWW-Authenticate": 'Bearer realm="8ms phone"'},
    )


def must_be_paired(holder: Holder, generation: int | None, unpaired: bool | None) -> None:
    """Hold a credential against the phone's row: Problem 401, or NotReady.

    A phone that hears 401 forgets its credential, so it never hears it from rows that are behind
    the vault (a database that lost its newest rows and is reading them again).
    """
    if generation is None or generation < holder.generation:
        raise NotReady("the phone's row is not there yet")
    if unpaired or generation > holder.generation:
        raise revoked()


class Credentials:
    """Finds the holder of a credential, and remembers."""

    def __init__(self, context: Context) -> None:
        self._db = context.db
        self._kept: dict[str, Holder] = {}
        self._hash_of: dict[str, str] = {}
        self._changes = 0
        context.projector.on_commit.append(self._changed)

    async def holder(self, request: web.Request) -> Holder:
        """Whose request this is; Problem 401, or NotReady while rows are behind the vault."""
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text.startswith(PREFIX) or len(text) > LENGTH_MAX:
            raise revoked()
        token = auth.hash_token(text)
        found = self._kept.get(token)
        if found is None:
            changes = self._changes
            row = await self._db.owner.fetchrow(Q.credential, token)
            if row is None:
                raise revoked()
            found = Holder(row["phone_id"], row["workspace_id"], row["generation"])
            must_be_paired(found, row["row_generation"], row["unpaired"])
            if changes == self._changes:  # else it may have been revoked since it was read
                self._keep(token, found)
        return found

    def _keep(self, token: str, holder: Holder) -> None:
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
            self._hash_of.clear()
        self._kept[token] = holder
        self._hash_of[holder.phone_id] = token

    def _changed(self, wake: Wake) -> None:
        for hint in wake.hints:
            if hint == "*":
                self._changes += 1
                self._kept.clear()
                self._hash_of.clear()
            elif hint.startswith(PHONE_HINT):
                self._changes += 1
                token = self._hash_of.pop(hint.removeprefix(PHONE_HINT), None)
                if token is not None:
                    self._kept.pop(token, None)
