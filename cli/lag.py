"""`eightms lag`: how far each service's tables are behind the log, and which process leads it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from cli import leaders, stack
from cli.rebuild import live_position
from cli.render import moment, table
from cli.transfer import pending
from shared.log import Log


@dataclass(frozen=True, slots=True)
class Lag:
    """How one service stands. ``position`` is None without tables, ``leader`` without a leader."""

    service: str
    position: int | None
    log_end: int
    pending: int
    leader: str | None
    leads_since: datetime | None


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON list")
    stack.data_argument(parser)
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Print a line for each service."""
    async with stack.opened(args.data) as found, found.log() as log:
        db = await found.database()
        try:
            lags = [await measure(log, db, name) for name in stack.installed_services()]
        finally:
            await db.close()
    if args.json:
        print(json.dumps([asdict(one) for one in lags], default=str))
    else:
        print(_table(lags))
    return 0


async def measure(log: Log, db: Any, service: str) -> Lag:
    """How ``service`` stands now."""
    position = await live_position(db, service)
    end = (await log.state()).last_seq
    waiting = await pending(log, stack.projection_of(service).filters, position or 0)
    leader = await leaders.leader_of(db, service)
    return Lag(
        service=service,
        position=position,
        log_end=end,
        pending=waiting,
        leader=leader.instance if leader else None,
        leads_since=leader.since if leader else None,
    )


def _table(lags: list[Lag]) -> str:
    rows = [
        (
            one.service,
            one.position if one.position is not None else "no tables",
            one.pending,
            one.leader or "nobody",
            f"{moment(one.leads_since)} UTC" if one.leads_since else None,
        )
        for one in lags
    ]
    end = f"The log ends at {lags[0].log_end:,}." if lags else "No service is installed."
    return f"{table(rows, ('service', 'position', 'behind', 'leader', 'leads since'))}\n{end}"
