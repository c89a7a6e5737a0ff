"""`eightms parked`: what stopped until a person decides, and the decision.

Messages whose phone could not say whether they went out (from the scheduler), and webhook
deliveries whose attempts are used up (from webhooks). A decision is an event in the log.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from cli import stack
from cli.errors import CommandError, UsageError
from cli.render import moment, say, table
from shared import events as e
from shared import ids
from shared.bus import Bus
from shared.log import Log

ACTOR = e.Actor("system", "eightms")
ASKED_AT_ONCE = 16
SETTLED_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Parked:
    """One thing that waits for a person."""

    id: str  # msg_… or dlv_…
    workspace_id: str
    since: str | None
    what: str
    owner: str  # the contact of a message, the endpoint of a delivery
    attempt: int


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of all three."""
    what = parser.add_subparsers(title="what to do", metavar="WHAT", required=True)
    listing = what.add_parser("list", help="show what waits")
    listing.add_argument("--workspace", metavar="W", help="of this workspace only")
    listing.add_argument("--json", action="store_true", help="one JSON list")
    stack.data_argument(listing)
    listing.set_defaults(run=run_list)
    for name, sentence in (
        ("retry", "send the message, or make the delivery, once more"),
        ("drop", "leave the message as it is: it is never sent again"),
    ):
        one = what.add_parser(name, help=sentence)
        one.add_argument("ids", nargs="+", metavar="ID", help="as `parked list` shows them")
        stack.data_argument(one)
        one.set_defaults(run=run_decide, decision=name)


async def run_list(args: argparse.Namespace) -> int:
    """Show what waits."""
    async with stack.opened(args.data) as found, found.log() as log:
        parked = await everything(log, args.workspace)
    if args.json:
        print(json.dumps([asdict(one) for one in parked]))
    elif not parked:
        print("Nothing is parked.")
    else:
        rows = [(p.id, p.what, p.since, p.attempt, p.owner, p.workspace_id) for p in parked]
        print(table(rows, ("id", "what happened", "since (UTC)", "attempts", "of", "workspace")))
        say("Decide with `eightms parked retry ID` or `eightms parked drop ID`.")
    return 0


async def everything(log: Log, workspace: str | None) -> list[Parked]:
    """What the running services hold for a person, messages first. NoAnswer: one does not run."""
    bus = Bus(log)
    messages = await bus.ask("scheduler", "parked", {"workspace_id": workspace})
    out = [_message(row) for row in messages]
    gate = asyncio.Semaphore(ASKED_AT_ONCE)

    async def deliveries(workspace_id: str) -> Iterable[Parked]:
        async with gate:
            body = {"workspace_id": workspace_id, "actor": {"kind": ACTOR.kind, "id": ACTOR.id}}
            rows = await bus.ask("webhooks", "parked", body)
        return [_delivery(workspace_id, row) for row in rows]

    workspaces = [workspace] if workspace else await _workspaces(log)
    for found in await asyncio.gather(*(deliveries(one) for one in workspaces)):
        out += found
    return out


def _message(row: dict[str, Any]) -> Parked:
    at = row["dispatched_at"]
    return Parked(
        id=row["id"],
        workspace_id=row["workspace_id"],
        since=moment(datetime.fromisoformat(at)) if at else None,
        what="the phone could not tell whether it went out",
        owner=row["contact_id"],
        attempt=row["attempt"],
    )


def _delivery(workspace_id: str, row: dict[str, Any]) -> Parked:
    said = row["status"] or row["error"] or "no answer"
    return Parked(
        id=row["delivery_id"],
        workspace_id=workspace_id,
        since=moment(datetime.fromisoformat(row["at"])),
        what=f"webhook {row['event_type']} given up: {said}",
        owner=row["endpoint_id"],
        attempt=row["attempts"],
    )


async def _workspaces(log: Log) -> list[str]:
    records = await log.history(["workspace.created.>"])
    return list(dict.fromkeys(e.decode(record.data).workspace_id for record in records))


async def run_decide(args: argparse.Namespace) -> int:
    """Put the decision on record for each; say what becomes of it."""
    async with stack.opened(args.data) as found, found.log() as log:
        parked = {one.id: one for one in await everything(log, None)}
        missing = [one for one in args.ids if one not in parked]
        if missing:
            raise CommandError(f"Not parked: {', '.join(missing)}.", "`eightms parked list` shows.")
        chosen = [parked[one] for one in dict.fromkeys(args.ids)]
        events = [decided(one, args.decision, datetime.now(UTC)) for one in chosen]
        await log.append_many(events)
        await _settled(log, {one.id for one in chosen})
        for one in chosen:
            print(f"{one.id}: {await _outcome(Bus(log), one, args.decision)}")
    return 0


def decided(parked: Parked, decision: str, now: datetime) -> e.Event:
    """The event that says so. One decision for each attempt: a repeat is the same event."""
    data: e.Data
    if ids.is_id("msg", parked.id):
        data = e.SendResolved(message_id=parked.id, contact_id=parked.owner, decision=decision)
    elif decision == "retry":
        data = e.WebhookResendRequested(endpoint_id=parked.owner, delivery_id=parked.id)
    else:
        raise UsageError(
            f"{parked.id} is a webhook delivery: it was given up, and needs no decision to stay so."
        )
    return e.make(
        data,
        id=ids.derive("evt", parked.id, data.TYPE, str(parked.attempt)),
        workspace_id=parked.workspace_id,
        at=now,
        actor=ACTOR,
        cause=parked.id,
    )


async def _settled(log: Log, chosen: set[str]) -> None:
    """Wait until the services have read the decisions, but not for long."""
    try:
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while chosen & {one.id for one in await everything(log, None)}:
                await asyncio.sleep(0.1)
    except TimeoutError:
        say("The decision is in the log; the services have not acted on it yet.")


async def _outcome(bus: Bus, parked: Parked, decision: str) -> str:
    if decision == "drop":
        return "dropped, on record"
    if not ids.is_id("msg", parked.id):
        return "is delivered once more"
    body = {"workspace_id": parked.workspace_id, "message_id": parked.id}
    waiting = (await bus.ask("scheduler", "explain", body))["waiting"]
    return f"is sent once more. {waiting['detail']}" if waiting else "is sent once more"
