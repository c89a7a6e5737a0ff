"""`eightms workspace create`: an account and its first API key."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from phonenumbers import SUPPORTED_REGIONS

from cli import leaders, sign_in, stack
from cli.accounts import NewWorkspace, new_workspace
from cli.errors import UsageError
from cli.rebuild import live_position
from cli.render import say
from services.api.decide import sign_in as rules
from shared.log import Log

SHOWN_WITHIN_S = 10.0
PUBLIC_URL = "http://127.0.0.1:8080"
LOCALTIME = Path("/etc/localtime")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    what = parser.add_subparsers(title="what to do", metavar="WHAT", required=True)
    create = what.add_parser("create", help="a new workspace with an API key, shown once")
    create.add_argument("--email", required=True, metavar="E", help="of its first owner")
    create.add_argument("--name", metavar="N", help="as people see it (default: from the e-mail)")
    create.add_argument(
        "--timezone",
        metavar="ZONE",
        help="where its days begin, such as America/New_York (default: this machine's)",
    )
    create.add_argument(
        "--region",
        default="US",
        metavar="CC",
        help="country of numbers without a country code (default %(default)s)",
    )
    create.add_argument("--json", action="store_true", help="one JSON object")
    stack.data_argument(create)
    create.set_defaults(run=run_create)


async def run_create(args: argparse.Namespace) -> int:
    """Append it, wait until the API knows it, print the key."""
    new = new_workspace(
        email=_email(args.email),
        name=args.name or args.email.split("@", maxsplit=1)[0],
        timezone=zone(args.timezone) if args.timezone else machine_zone(),
        region=_region(args.region),
    )
    async with stack.opened(args.data) as found, found.log() as log:
        seq = await append(log, new)
        url = os.environ.get("EIGHTMS_PUBLIC_URL") or found.facts.get("public_url") or PUBLIC_URL
        db = await found.database()
        try:
            known = await _known_to_api(db, seq)
            sign_in_url = await sign_in.link(
                db, found.ring(), url, new.email, os.environ.get("SUPABASE_URL")
            )
        finally:
            await db.close()
    document = {
        "workspace_id": new.workspace_id,
        "api_key": new.api_key,
        "sign_in_url": sign_in_url,
    }
    if args.json:
        print(json.dumps(document))
    else:
        print(_text(new, document))
    if not known:
        say("The API service has not read it yet: the key works as soon as it has.")
    return 0


async def append(log: Log, new: NewWorkspace) -> int:
    """Put the workspace and its key into the log; the sequence of the last event."""
    seqs = [await log.append(event) for event in new.events(datetime.now(UTC))]
    return seqs[-1]


async def _known_to_api(db: Any, seq: int) -> bool:
    """Wait, not for long, until the API's tables hold the key; False: nobody projects them."""
    if await leaders.leader_of(db, "api") is None:
        return False
    try:
        async with asyncio.timeout(SHOWN_WITHIN_S):
            while (await live_position(db, "api") or 0) < seq:
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    return True


def _text(new: NewWorkspace, document: dict[str, str]) -> str:
    return "\n".join(
        (
            f"Workspace  {new.workspace_id}  ({new.name}, {new.timezone}, {new.region})",
            f"API key    {new.api_key}",
            "           It is shown only now: what is stored is its hash.",
            f"Sign in    {document['sign_in_url']}",
            f"           as {new.email}: the link works once, within an hour.",
        )
    )


def _email(text: str) -> str:
    address = rules.email(text)
    if address is None or "." not in address.partition("@")[2]:
        raise UsageError(f"{text!r} is not an e-mail address.")
    return address


def _region(text: str) -> str:
    region = text.upper()
    if region not in SUPPORTED_REGIONS:
        raise UsageError(f"{text!r} is not a country code of two letters, such as US or DE.")
    return region


def zone(text: str) -> str:
    """A time zone that exists. UsageError."""
    try:
        return ZoneInfo(text).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"There is no time zone {text!r}.", "Such as America/New_York.") from None


def machine_zone() -> str:
    """The time zone this machine is set to; UTC if it does not say."""
    candidates = [os.environ.get("TZ", "").lstrip(":")]
    if LOCALTIME.is_symlink():
        candidates.append(str(LOCALTIME.readlink()).rpartition("zoneinfo/")[2])
    for name in candidates:
        try:
            if name:
                key = ZoneInfo(name).key
                return "UTC" if key in ("Etc/UTC", "Etc/UCT", "Universal", "Zulu") else key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return "UTC"
