"""`eightms trace MESSAGE_ID`: one message through every service, from the log, with times."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Sequence
from typing import Any

from cli import chain, stack
from cli.chain import Link
from cli.errors import CommandError, UsageError
from cli.render import Progress, moment, span, table
from cli.transfer import pending
from shared import ids
from shared.bus import Bus
from shared.errors import NoAnswer, Refused
from shared.events import decode
from shared.log import Log
from shared.reader import Record

PLACES = (
    ("scheduler.message", "SELECT workspace_id, contact_id FROM scheduler.message WHERE id = $1"),
    ("api.message", "SELECT workspace_id, contact_id FROM api.message WHERE id = $1"),
)
"""Tables that know whose a message is. Without them the whole log is looked through."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("message", metavar="MESSAGE_ID", help="msg_…, sent or received")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    stack.data_argument(parser)
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Print the chain and, if it still waits, why."""
    if not ids.is_id("msg", args.message):
        raise UsageError(f"{args.message!r} is not the id of a message.", "It begins with msg_.")
    async with stack.opened(args.data) as found, found.log() as log:
        owner = await _owner(found, log, args.message)
        if owner is None:
            raise CommandError(f"There is no message {args.message} in the log.")
        links = chain.of_message(args.message, await _read(log, *owner))
        waiting = await _waiting(Bus(log), owner[0], args.message)
    if args.json:
        print(json.dumps(_document(args.message, owner, links, waiting)))
    else:
        print(_text(args.message, owner, links, waiting))
    return 0


async def _owner(found: stack.Stack, log: Log, message_id: str) -> tuple[str, str] | None:
    """Workspace and contact of the message."""
    db = await found.database()
    try:
        for name, statement in PLACES:
            if await db.fetchval("SELECT to_regclass($1)", name) is not None:
                row = await db.fetchrow(statement, message_id)
                if row is not None:
                    return row["workspace_id"], row["contact_id"]
    finally:
        await db.close()
    kinds = ["send.requested.>", "sms.received.>"]
    with Progress("Looking through the log", await pending(log, kinds, 0)) as progress:
        async with contextlib.aclosing(log.read(kinds, 0)) as batches:
            async for batch in batches:
                for record in batch.records:
                    if message_id.encode() in record.data:
                        event = decode(record.data)
                        return event.workspace_id, event.data.contact_id
                progress.add(len(batch.records))
                if not batch.pending:
                    return None
    return None


async def _read(log: Log, workspace_id: str, contact_id: str) -> list[Link]:
    """Everything of the contact, and the webhooks that told of it."""
    links = [_link(r) for r in await log.history([f"*.*.{workspace_id}.{contact_id}"])]
    if not links:
        return links
    told_of = {link.event.id for link in links}
    webhooks = [f"webhook.attempted.{workspace_id}.>"]
    async with contextlib.aclosing(log.read(webhooks, links[0].seq)) as batches:
        async for batch in batches:
            attempts = map(_link, batch.records)
            links += [one for one in attempts if one.event.data.event_id in told_of]
            if not batch.pending:
                break
    return links


def _link(record: Record) -> Link:
    return Link(record.seq, record.stored_at, decode(record.data))


async def _waiting(bus: Bus, workspace_id: str, message_id: str) -> dict[str, Any] | None:
    """Why it waits now; None: it does not, or nobody is there to ask."""
    try:
        body = {"workspace_id": workspace_id, "message_id": message_id}
        return (await bus.ask("scheduler", "explain", body))["waiting"]
    except (NoAnswer, Refused):
        return None


def _text(
    message_id: str, owner: tuple[str, str], links: Sequence[Link], waiting: dict[str, Any] | None
) -> str:
    before = [None, *links[:-1]]
    seqs = {link.event.id: f"{link.seq:,}" for link in links}
    rows = [
        (
            link.seq,
            moment(link.stored_at, milliseconds=True),
            f"+{_ms(earlier, link):,.1f}" if earlier else "",
            link.service,
            link.event.type,
            seqs.get(link.event.cause or "", ""),
            chain.words(link.event),
        )
        for earlier, link in zip(before, links, strict=True)
    ]
    lines = [
        f"{message_id} with {owner[1]} in {owner[0]}",
        "",
        table(rows, ("seq", "stored (UTC)", "+ms", "by", "event", "cause", "what")),
        "",
    ]
    took = span((links[-1].stored_at - links[0].stored_at).total_seconds()) if links else ""
    if waiting:
        lines.append(f"It waits: {waiting['detail']}")
    elif (ended := chain.end(links)) is not None:
        lines.append(f"It is {ended}. From first to last: {took}.")
    else:
        lines.append(f"It is on its way. So far: {took}.")
    return "\n".join(lines)


def _ms(earlier: Link, link: Link) -> float:
    return (link.stored_at - earlier.stored_at).total_seconds() * 1000


def _document(
    message_id: str, owner: tuple[str, str], links: Sequence[Link], waiting: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "message_id": message_id,
        "workspace_id": owner[0],
        "contact_id": owner[1],
        "events": [
            {
                "seq": link.seq,
                "stored_at": link.stored_at.isoformat(),
                "service": link.service,
                "type": link.event.type,
                "id": link.event.id,
                "cause": link.event.cause,
                "detail": chain.words(link.event),
            }
            for link in links
        ],
        "waiting": waiting,
        "end": chain.end(links),
    }
