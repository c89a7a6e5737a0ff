"""Signing secrets in the vault: sealed for their endpoint, the current one and those in grace."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from services.webhooks import sign
from shared import ids
from shared.problems import Problem
from shared.sql import queries
from shared.vault import KeyRing

GRACE_DEFAULT_S = 86_400
GRACE_MAX_S = 7 * 86_400

sql = queries("services.webhooks")


def _context(endpoint_id: str) -> str:
    return f"webhooks.secret:{endpoint_id}"


def opened(keys: KeyRing, endpoint_id: str, sealed: Iterable[bytes]) -> list[str]:
    """The secrets in plain text, in the order given. Errors: VaultError."""
    return [keys.open(value, _context(endpoint_id)).decode() for value in sealed]


async def add(db: Any, keys: KeyRing, workspace_id: str, endpoint_id: str, now: datetime) -> str:
    """Make a secret, store it as the current one; itself, to be shown once."""
    secret = sign.new_secret()
    sealed = keys.seal(secret.encode(), _context(endpoint_id))
    await db.execute(sql.add_secret, ids.new("sec"), endpoint_id, workspace_id, sealed, now)
    return secret


async def replace(
    db: Any, keys: KeyRing, workspace_id: str, endpoint_id: str, grace_s: int, now: datetime
) -> str:
    """A new secret; the old one signs along for ``grace_s``. Within a transaction.

    Errors: Problem when as many secrets as headers can carry are in grace.
    """
    await db.execute(sql.retire_secret, endpoint_id, now + timedelta(seconds=grace_s))
    if await db.fetchval(sql.live_secrets, endpoint_id, now) >= sign.MAX_SECRETS:
        raise Problem(
            409,
            "limit_reached",
            f"{sign.MAX_SECRETS - 1} replaced secrets still sign along. Wait for one to expire.",
        )
    return await add(db, keys, workspace_id, endpoint_id, now)
