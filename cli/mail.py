"""`eightms mail`: what 8ms would have mailed, where no mail server is set (development)."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from typing import Any

import asyncpg

from cli import stack
from services.api import postman
from shared.mail import Mail
from shared.sql import UNREACHABLE
from shared.vault import KeyRing, UnknownKey

LOOK_EVERY_S = 1.0
NEWEST = "SELECT id, sealed, created_at FROM api_vault.vault_mail ORDER BY created_at, id"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.description = (
        "Show mail that has not gone out: in development without a mail server that is all of it,"
        " sign-in links among it; elsewhere what a mail server does not take at the moment."
    )
    parser.add_argument("--json", action="store_true", help="one JSON list")
    stack.data_argument(parser)
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Print what there is."""
    async with stack.opened(args.data) as found:
        db = await found.database()
        try:
            mails = await waiting(db, found.ring(), set())
        finally:
            await db.close()
    if args.json:
        fields = ("to", "subject", "text")
        print(json.dumps([{name: getattr(mail, name) for name in fields} for mail in mails]))
    else:
        print("\n\n".join(text(mail) for mail in mails) or "There is no mail.")
    return 0


async def waiting(db: Any, ring: KeyRing, shown: set[str]) -> list[Mail]:
    """Mail that is not in ``shown`` yet, oldest first; its ids are put there."""
    if await db.fetchval("SELECT to_regclass('api_vault.vault_mail')") is None:
        return []
    new = [row for row in await db.fetch(NEWEST) if row["id"] not in shown]
    shown.update(row["id"] for row in new)
    return [postman.opened(ring, row) for row in new]


async def watch(url: str, ring: Callable[[], KeyRing], report: Callable[[str], None]) -> None:
    """Report mail as it comes, for ever; what came before is told by nobody."""
    shown: set[str] = set()
    first = True
    while True:
        try:
            db = await asyncpg.connect(url, timeout=LOOK_EVERY_S)
            try:
                while True:
                    for mail in await waiting(db, ring(), shown):
                        if not first:
                            report(text(mail))
                    first = False
                    await asyncio.sleep(LOOK_EVERY_S)
            finally:
                await db.close(timeout=LOOK_EVERY_S)
        except (*UNREACHABLE, UnknownKey):  # PostgreSQL is away, or a key is being replaced
            await asyncio.sleep(LOOK_EVERY_S)


def text(mail: Mail) -> str:
    """A mail as the terminal shows it."""
    body = "\n".join(f"    {line}".rstrip() for line in mail.text.strip().splitlines())
    return f"Mail to {mail.to}: {mail.subject}\n\n{body}\n"
