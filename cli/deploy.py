"""`eightms deploy`: makes what no service may make, the stream and the presence bucket.

Before the first start and after every new version, as the user ops; again does no harm.
`eightms up` does the same for itself.
"""

from __future__ import annotations

import argparse
import os

from cli import identity
from cli.errors import CommandError
from cli.render import say
from shared.bus import Bus
from shared.log import STREAM, Log
from shared.vault import KeyRing


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments: none; it needs NATS_URL and EIGHTMS_SECRET_KEY."""
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Deploy to the NATS of NATS_URL."""
    url, key = os.environ.get("NATS_URL"), os.environ.get("EIGHTMS_SECRET_KEY")
    if not url or not key:
        raise CommandError(
            "NATS_URL and EIGHTMS_SECRET_KEY must be set.",
            "`eightms up` brings its own; this is for servers that are there already.",
        )
    log = await Log.connect(url, "deploy")
    try:
        await deploy(log, KeyRing.parse(key))
    finally:
        await log.close()
    say(f"The stream {STREAM} and the presence bucket are there, and the key is theirs.")
    return 0


async def deploy(log: Log, ring: KeyRing) -> None:
    """The stream, the bucket, the key's check. CommandError: the log belongs to another key."""
    await log.ensure_stream()
    await Bus(log).ensure_presence()
    await identity.confirm(log, ring)
