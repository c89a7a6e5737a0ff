"""`eightms verify SERVICE`: the live tables against ones made anew from the log, row by row.

It works while the service runs. A snapshot of the live tables is opened; it says at which position
they stood; the tables aside are brought to exactly that position; then both are compared. Only the
columns of the projection's rows count: an actor's bookkeeping is not in the log.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cli import replay, stack
from cli.compare import Difference, differences
from cli.errors import CommandError
from cli.rebuild import aside, drop, live_position
from cli.render import Progress, counted, span
from shared.log import Log
from shared.projector import Projection

SHOWN_MAX = 20
"""Differences listed for a table; all are counted."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found."""

    service: str
    position: int
    rows: int
    found: Sequence[Difference]
    seconds: float


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("service", nargs="*", metavar="SERVICE", help="such as scheduler, or api")
    parser.add_argument("--all", action="store_true", help="every service, one after the other")
    parser.add_argument("--json", action="store_true", help="one JSON object for each service")
    stack.data_argument(parser)
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Verify one after the other; 1 if anything differs."""
    projections = [stack.projection_of(name) for name in replay.chosen(args)]
    differs = False
    async with stack.opened(args.data) as found, found.log() as log:
        for projection in projections:
            verdict = await verify(found.database_url, log, projection)
            differs = differs or bool(verdict.found)
            print(_as_json(verdict) if args.json else _in_words(verdict), flush=True)
    return 1 if differs else 0


async def verify(url: str, log: Log, projection: Projection) -> Verdict:
    """Compare the live tables of one service with what the log makes of them."""
    service = projection.service
    live = await stack.connect_database(url)
    try:
        begun_at = await live_position(live, service)
        if begun_at is None:
            raise CommandError(
                f"{service} has no tables.", f"Make them from the log: eightms replay {service}"
            )
        schema = f"{service}__verify"
        async with aside(projection, schema, log, url) as new:
            total = await new.pending(0) - await new.pending(begun_at)
            with Progress(f"Rebuilding {service} aside", total) as progress:
                await new.project(begun_at, progress)
                async with live.transaction(isolation="repeatable_read", readonly=True):
                    position = await live_position(live, service) or 0
                    _check_direction(service, begun_at, position)
                    await new.project(position, progress)
                    async with new.database.owner.acquire() as db:
                        found, rows = await differences(
                            projection.tables, (live, service), (db, schema)
                        )
            seconds = progress.seconds
        await drop(live, schema)
    finally:
        await live.close()
    return Verdict(service, position, rows, found, seconds)


def _check_direction(service: str, begun_at: int, position: int) -> None:
    if position < begun_at:
        raise CommandError(
            f"{service} was replaced by an older state meanwhile.", "Verify it again."
        )


def _in_words(verdict: Verdict) -> str:
    where = f"{counted(verdict.rows, 'row')} at position {verdict.position:,}"
    if not verdict.found:
        return f"{verdict.service}: the same. {where}, {span(verdict.seconds)}."
    lines = [f"{verdict.service}: {counted(len(verdict.found), 'row')} of {where} differ."]
    shown: dict[str, int] = {}
    for one in verdict.found:
        shown[one.table] = shown.get(one.table, 0) + 1
        if shown[one.table] <= SHOWN_MAX:
            lines.append(f"  {one}")
    lines += [
        f"  {table}: {counted(count - SHOWN_MAX, 'more row', 'more rows')}"
        for table, count in shown.items()
        if count > SHOWN_MAX
    ]
    lines.append(f"`eightms replay {verdict.service}` puts the log's version in place.")
    return "\n".join(lines)


def _as_json(verdict: Verdict) -> str:
    document: dict[str, Any] = {
        "service": verdict.service,
        "same": not verdict.found,
        "position": verdict.position,
        "rows": verdict.rows,
        "differences": [one.document() for one in verdict.found],
        "seconds": round(verdict.seconds, 3),
    }
    return json.dumps(document)
