"""Whether the secret key is the one this log's ids were derived with.

The ids of contacts and messages come from the oldest key. With another one every known number would
silently become a new person, a STOP of theirs forgotten. So the log itself carries the key's check
(shared.vault.KeyRing.identity_check): it is kept with the stream, and goes where the stream goes.
"""

from __future__ import annotations

from cli.errors import CommandError
from shared.log import STREAM, STREAM_CONFIG, Log
from shared.vault import KeyRing

NAME = "eightms.identity_check"


async def stored(log: Log) -> str | None:
    """The check the log carries; None: no key was put on record yet."""
    info = await log.api(f"STREAM.INFO.{STREAM}")
    return info["config"].get("metadata", {}).get(NAME)


async def confirm(log: Log, ring: KeyRing) -> None:
    """Compare with the record, or put it there. CommandError: it is another key."""
    known = await stored(log)
    if known is None:
        info = await log.api(f"STREAM.INFO.{STREAM}")
        metadata = info["config"].get("metadata", {}) | {NAME: ring.identity_check}
        await log.api(f"STREAM.UPDATE.{STREAM}", STREAM_CONFIG | {"metadata": metadata})
    elif known != ring.identity_check:
        raise CommandError(
            "The oldest secret key is not the one this log began with: every known number would"
            " become a new contact, and opt-outs would be lost.",
            "Put the right key back, as the last one of EIGHTMS_SECRET_KEY.",
        )
