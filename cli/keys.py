"""`eightms keys`: which secret keys are in use, and a new one in front of them.

Secrets at rest (the vault tables) are sealed under the newest key and opened by any. To rotate is:
make a key, have every service know it, seal everything anew. The oldest key stays for good, because
ids are derived from it (shared/vault.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cli import stack
from cli.errors import CommandError
from cli.render import Progress, counted, say, span, table
from cli.up import RENEW_SIGNAL
from services.api.sign_in import signing
from shared.vault import MAX_KEYS, KeyRing, Tampered, UnknownKey

PAGE = 500
SIGNING_KEYS = "api_vault.vault_signing_key"
RENEWED_WITHIN_S = 120.0  # `up` has drained and started its services again
PASSES_MAX = 10


@dataclass(frozen=True, slots=True)
class Sealed:
    """A column of sealed values, and the context each was sealed for, made from its row."""

    table: str
    column: str
    context: str


SEALED: Sequence[Sealed] = (
    Sealed("webhooks_vault.vault_secret", "sealed", "webhooks.secret:{endpoint_id}"),
    Sealed(
        "api_vault.vault_idempotency",
        "answer",
        "api.idempotency:{workspace_id}:{operation}:{key}",
    ),
    Sealed("api_vault.vault_session", "active_sealed", "api.refresh:{id}"),
    Sealed("api_vault.vault_signing_key", "sealed", "api.signing_key:{kid}"),
    Sealed("api_vault.vault_mail", "sealed", "api.mail:{id}"),
    Sealed("api_vault.vault_file_chunk", "sealed", "api.file:{file_id}:{n}"),
)
"""Every sealed column of every service; a test looks that none is missing."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of both."""
    what = parser.add_subparsers(title="what to do", metavar="WHAT", required=True)
    rotate = what.add_parser("rotate", help="make a new key and encrypt everything under it")
    rotate.description = (
        "Make a new key, put it in front, and encrypt every secret in the vaults under it. Where"
        " EIGHTMS_SECRET_KEY is set in the environment it takes two runs: the first prints the"
        " new value to set everywhere, the second encrypts."
    )
    stack.data_argument(rotate)
    rotate.set_defaults(run=run_rotate)
    sign_in = what.add_parser(
        "rotate-sign-in", help="make a new key that access tokens are signed with"
    )
    sign_in.add_argument(
        "--now",
        action="store_true",
        help="the old key leaked: it counts for nothing from now on, nor what it signed",
    )
    stack.data_argument(sign_in)
    sign_in.set_defaults(run=run_rotate_sign_in)
    show = what.add_parser("list", help="the keys and how many secrets each encrypts")
    show.add_argument("--json", action="store_true", help="one JSON list")
    stack.data_argument(show)
    show.set_defaults(run=run_list)


async def run_rotate_sign_in(args: argparse.Namespace) -> int:
    """A new key for access tokens, published now and used in a while; or at once, without mercy."""
    async with stack.opened(args.data) as found:
        made = signing.new_key(found.ring())
        db = await found.database()
        try:
            if await db.fetchval("SELECT to_regclass($1)", SIGNING_KEYS) is None:
                raise CommandError("The API has not run yet: it makes its first key by itself.")
            now = datetime.now(UTC)
            from_ = now if args.now else now + signing.PUBLISHED_FIRST
            async with db.transaction():
                if args.now:
                    await db.execute(f"DELETE FROM {SIGNING_KEYS}")  # noqa: S608 - our own name
                await db.execute(
                    f"INSERT INTO {SIGNING_KEYS} VALUES ($1, $2, $3::jsonb, $4, $5)",  # noqa: S608
                    made.kid, made.sealed, json.dumps(made.public), now, from_,
                )  # fmt: skip
        finally:
            await db.close()
    if args.now:
        say(f"Access tokens are signed with {made.kid} within a minute; all others are void then,")
        say("and clients refresh theirs. Nobody has to sign in again.")
    else:
        say(f"{made.kid} is published now and signs in 15 minutes. Nobody has to sign in again.")
    return 0


async def run_list(args: argparse.Namespace) -> int:
    """Show which key encrypts how much."""
    async with stack.opened(args.data) as found:
        ring = found.ring()
        db = await found.database()
        try:
            counts = await usage(db)
        finally:
            await db.close()
    ids = ring.key_ids
    rows = [(name, counts.pop(name, 0), _role(n, ids)) for n, name in enumerate(ids)]
    rows += [(name, count, "not in the ring: put it back") for name, count in counts.items()]
    if args.json:
        print(json.dumps([{"id": i, "secrets": c, "role": r} for i, c, r in rows]))
    else:
        print(table(rows, ("key", "secrets", "")))
    return 0


def _role(place: int, key_ids: Sequence[str]) -> str:
    roles = ["encrypts"] if place == 0 else []
    if place == len(key_ids) - 1:
        roles.append("ids are derived from it: keep it for good")
    return "; ".join(roles) or "may be taken out when it has no secret and no backup needs it"


async def usage(db: Any) -> dict[str, int]:
    """Key id → how many values are sealed under it."""
    counts: Counter[str] = Counter()
    for one in SEALED:
        if await db.fetchval("SELECT to_regclass($1)", one.table) is not None:
            rows = await db.fetch(
                # version, length of the id, id (shared/vault.py)
                f"SELECT substring({one.column} FROM 3 FOR get_byte({one.column}, 1)) AS under,"  # noqa: S608
                f" count(*) AS n FROM {one.table} WHERE {one.column} IS NOT NULL GROUP BY under"
            )
            counts.update({row["under"].decode("ascii", "replace"): row["n"] for row in rows})
    return dict(counts)


async def run_rotate(args: argparse.Namespace) -> int:
    """Make a key unless one waits to be used; then seal everything under the newest."""
    given = os.environ.get("EIGHTMS_SECRET_KEY")
    async with stack.opened(args.data) as found:
        ring = found.ring()
        db = await found.database()
        try:
            counts = await usage(db)
            unfinished = any(name != ring.key_ids[0] for name in counts)
            if not unfinished:
                if len(ring.key_ids) >= MAX_KEYS:
                    raise CommandError(
                        f"There are {MAX_KEYS} keys already.",
                        "Take out those between the first and the last that `eightms keys list`"
                        " shows without secrets.",
                    )
                if given:
                    _print_next(given)
                    return 0
                ring = await _put_in_front(found)
            done, took_s = await reseal_all(db, ring)
        finally:
            await db.close()
    say(f"{counted(done, 'secret')} encrypted under {ring.key_ids[0]} in {span(took_s)}.")
    say(f"Keep {ring.key_ids[-1]}, the last one, for good: ids are derived from it.")
    return 0


def _print_next(given: str) -> None:
    say("Nothing is encrypted under an older key. A new one is in front of this value:")
    print(f"{KeyRing.generate_key()},{given}")
    say("Set EIGHTMS_SECRET_KEY to it for every service and here, start the services again, and")
    say("run `eightms keys rotate` once more. Not before: they could not read what it encrypts.")


async def _put_in_front(found: stack.Stack) -> KeyRing:
    """A new key into the data folder, and into the services if they run."""
    path = found.data / stack.KEY_FILE
    text = f"{KeyRing.generate_key()},{path.read_text().strip()}"
    ring = KeyRing.parse(text)
    stack.write_private(path, text + "\n")
    say(f"The new key is {ring.key_ids[0]}, in {path}: make a copy of that file.")
    if found.running:
        say("`eightms up` starts its services again with it.")
        os.kill(found.facts["pid"], RENEW_SIGNAL)
        await _renewed(found, ring.key_ids[0])
    return ring


async def _renewed(found: stack.Stack, key_id: str) -> None:
    try:
        async with asyncio.timeout(RENEWED_WITHIN_S):
            while key_id not in stack.read_private(found.data / stack.STACK_FILE)["key_ids"]:
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise CommandError(
            "The services are not back with the new key; nothing was encrypted under it yet.",
            "When they are, run `eightms keys rotate` again: it goes on from here.",
        ) from None


async def reseal_all(db: Any, ring: KeyRing) -> tuple[int, float]:
    """Seal every value under the newest key; how many, in how many seconds.

    It may be killed and run again, and services may read and write meanwhile.
    """
    old = sum(n for name, n in (await usage(db)).items() if name != ring.key_ids[0])
    done = 0
    with Progress("Encrypting", old, "secrets") as progress:
        for one in SEALED:
            if await db.fetchval("SELECT to_regclass($1)", one.table) is None:
                continue
            for _ in range(PASSES_MAX):
                changed = await _reseal(db, ring, one, progress)
                done += changed
                if not changed:
                    break
    return done, progress.seconds


async def _reseal(db: Any, ring: KeyRing, one: Sealed, progress: Progress) -> int:
    """One pass over one column: what is under an older key now."""
    newest = bytes((1, len(ring.key_ids[0]))) + ring.key_ids[0].encode()
    changed = 0
    async with db.transaction():
        cursor = await db.cursor(
            f"SELECT *, ctid::text AS place FROM {one.table}"  # noqa: S608 - our own names
            f" WHERE {one.column} IS NOT NULL"
            f" AND substring({one.column} FROM 1 FOR {len(newest)}) <> $1 FOR UPDATE SKIP LOCKED",
            newest,
        )
        while rows := await cursor.fetch(PAGE):
            await db.executemany(
                f"UPDATE {one.table} SET {one.column} = $2 WHERE ctid = $1::text::tid",  # noqa: S608
                [(row["place"], _sealed_anew(ring, one, row)) for row in rows],
            )
            changed += len(rows)
            progress.add(len(rows))
    return changed


def _sealed_anew(ring: KeyRing, one: Sealed, row: Mapping[str, Any]) -> bytes:
    try:
        return ring.reseal(row[one.column], one.context.format_map(dict(row)))
    except UnknownKey as error:
        raise CommandError(f"In {one.table}: {error}.", "Put that key back, try again.") from None
    except Tampered as error:
        raise CommandError(f"In {one.table}: {error}.", "Nothing there was changed.") from None
