"""`eightms events`: watch the log, take it out as lines of JSON, put it in again (transfer.py)."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from cli import moments, stack, subjects, transfer
from cli.render import PRIVATE, masked, moment, say
from shared.errors import EightMsError
from shared.events import Event, UndecodableEvent, decode
from shared.log import Log
from shared.reader import Record

LAST = 10
"""How many events `tail` shows of what is there already."""

LOOK_BACK_FIRST = 200
"""Where it looks for them first; then eight times as far, and so on."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of all three."""
    what = parser.add_subparsers(title="what to do", metavar="WHAT", required=True)
    tail = what.add_parser("tail", help="show events as they are stored")
    tail.description = "Show the last events, then new ones as they are stored. Ctrl-C ends it."
    _choice(tail)
    tail.add_argument("--since", metavar="SEQ|TIME", help=f"begin there: {moments.HELP}")
    tail.add_argument(
        "--follow", action=argparse.BooleanOptionalAction, default=True, help="wait for new ones"
    )
    tail.add_argument("--private", action="store_true", help="show texts, numbers and names")
    tail.add_argument("--json", action="store_true", help="whole events, as `export` writes them")
    tail.set_defaults(run=run_tail, until_interrupted=True)

    out = what.add_parser("export", help="write events as lines of JSON to standard output")
    out.description = (
        "Write every event as a line of JSON: seq, stored_at, subject, id, data. Texts and numbers"
        " are in it: keep the file as safe as the log. It goes on while services run."
    )
    _choice(out)
    out.set_defaults(run=transfer.run_export)

    put = what.add_parser("import", help="put exported events into an empty log")
    put.description = (
        "Append what `export` wrote, in its order and with its ids, to an empty log; a log that"
        " holds the beginning of the file is completed. No service may run meanwhile."
    )
    put.add_argument("file", metavar="FILE", help="the exported lines; - for standard input")
    put.add_argument("--force", action="store_true", help="append although the log is not empty")
    stack.data_argument(put)
    put.set_defaults(run=transfer.run_import)


def _choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--subject",
        action="append",
        default=[],
        metavar="F",
        help="such as sms, sms.delivered, or *.*.ws_….con_… for one person; may be repeated",
    )
    parser.add_argument("--workspace", metavar="W", help="events of this workspace only")
    stack.data_argument(parser)


async def run_tail(args: argparse.Namespace) -> int:
    """Show events until the end of the log, or for ever."""
    filters = subjects.filters(args.subject, args.workspace)
    async with stack.opened(args.data) as found, found.log() as log:
        if args.since is None:
            after, skipped = await _last(log, filters)
        else:
            after, skipped = await moments.since(log, args.since) - 1, 0
        try:
            async with contextlib.aclosing(log.read(filters, after)) as batches:
                async for batch in batches:
                    for record in batch.records[skipped:]:
                        print(_line(record, args.json, args.private))
                    skipped = max(0, skipped - len(batch.records))
                    print(end="", flush=True)
                    if not batch.pending and not args.follow:
                        break
        except EightMsError as error:
            say(f"eightms: {error}")
            return 1
    return 0


async def _last(log: Log, filters: list[str]) -> tuple[int, int]:
    """After which sequence to read, and how many to leave out, so that LAST events come."""
    end = (await log.state()).last_seq
    window = LOOK_BACK_FIRST
    while True:
        after = max(0, end - window)
        pending = await transfer.pending(log, filters, after)
        if pending >= LAST or after == 0:
            return after, max(0, pending - LAST)
        window *= 8


def _line(record: Record, as_json: bool, private: bool) -> str:
    if as_json:
        return transfer.line(record).decode()
    at = moment(record.stored_at, milliseconds=True)
    try:
        event = decode(record.data)
    except UndecodableEvent:
        return f"{record.seq:>9,}  {at}  {record.subject}  (this version cannot read it)"
    words = " ".join(_fields(event, private))
    return f"{record.seq:>9,}  {at}  {event.type:<24}  {words}{_actor(event, words)}"


def _actor(event: Event, words: str) -> str:
    actor = event.actor
    if actor.id in words:
        return ""  # a phone's own fact
    return f"  by {actor.id}" if actor.kind == "system" else f"  by {actor.kind} {actor.id}"


def _fields(event: Event, private: bool) -> Iterator[str]:
    data: Struct = event.data
    defaults = dict(
        zip(reversed(data.__struct_fields__), reversed(data.__struct_defaults__), strict=False)
    )
    for name in data.__struct_fields__:
        value: Any = getattr(data, name)
        if value is None or value == defaults.get(name, ...):
            continue
        if private and PRIVATE.search(name):
            shown = repr(value) if isinstance(value, str) else str(value)
        else:
            shown = masked(name, value)
        yield f"{name}={shown}"
