"""A workspace with a million contacts and five million texts, put into the tables straight away.

Through the log they would take an hour, and what is measured here is reading.
"""

import re
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from shared import ids
from tests.bench.account import Account

NAMES = 3_000
WORDS = 20_000
MESSAGES_PER_CONTACT = 5


async def fill(url: str, account: Account, contacts: int) -> None:
    """Put so many contacts, and five times as many texts, into the account's workspace."""
    sql = _statements()
    db = await asyncpg.connect(url)
    try:
        await db.execute("SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
        indexes = await db.fetch(sql["forget"])
        for index in indexes:
            await db.execute(f"DROP INDEX api.{index['indexname']}")
        workspace, now = account.workspace_id, datetime.now(UTC)
        firsts = await db.fetchval(sql["vocabulary"], "a", NAMES)
        lasts = await db.fetchval(sql["vocabulary"], "s", NAMES)
        words = await db.fetchval(sql["vocabulary"], "", WORDS)
        people = [name.capitalize() for name in firsts], [name.capitalize() for name in lasts]
        await db.execute(sql["contacts"], workspace, contacts, *people, now)
        await db.execute(sql["words"], workspace)
        count, phone = contacts * MESSAGES_PER_CONTACT, ids.new("phn")
        await db.execute(sql["messages"], workspace, count, contacts, words, now, phone)
        await db.execute(sql["body_words"], workspace)
        await db.execute(sql["conversations"], workspace)
        for index in indexes:
            await db.execute(index["indexdef"])
        await db.execute("VACUUM ANALYZE")
    finally:
        await db.close()


def _statements() -> dict[str, str]:
    text = Path(__file__).with_suffix(".sql").read_text()
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))
