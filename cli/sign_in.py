"""A link that signs somebody in, for whoever runs 8ms: `workspace create` and `up` print one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from services.api.decide import sign_in as rules
from services.api.sign_in import letters
from services.api.sign_in.one_time import save
from services.api.sign_in.wiring import PATH
from shared.sql import queries
from shared.vault import KeyRing


async def link(
    db: Any, ring: KeyRing, public_url: str, email: str, supabase_url: str | None = None
) -> str:
    """A link that works once, within an hour. Where Supabase signs people in, or the API has no
    tables yet, it is the API's front page."""
    base = public_url.rstrip("/")
    address = rules.email(email)
    there = await db.fetchval("SELECT to_regclass('api_vault.vault_one_time')") is not None
    if supabase_url or address is None or not there:
        return f"{base}/"
    home = f"{base}/app"
    await db.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    async with db.transaction():
        await db.execute("SET LOCAL search_path TO api_vault")
        wanted = rules.Wanted(address, home, {})
        sql = queries("services.api")
        token, _ = await save(db, sql, ring.identity_key, wanted, datetime.now(UTC))
    return letters.link(f"{base}{PATH}", token)
