"""`eightms doctor`: looks at everything that can be wrong around 8ms, and says it in words."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import AsyncGenerator, Iterable
from dataclasses import asdict
from typing import Any

from cli import ailments, stack
from cli.ailments import BAD, OK, Finding
from cli.errors import CommandError
from cli.render import say

MARKS = {"ok": "ok  ", "warning": "look", "bad": "BAD "}


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON list")
    stack.data_argument(parser)
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Look at one thing after the other; 1 if something is bad."""
    found: list[Finding] = []
    async for finding in examine(args.data):
        found.append(finding)
        if not args.json:
            print(_line(finding), flush=True)
    bad = [one for one in found if one.state == BAD]
    if args.json:
        print(json.dumps([asdict(one) for one in found]))
    else:
        say(f"{len(bad)} of {len(found)} need you." if bad else "Nothing needs you.")
    return 1 if bad else 0


def _line(finding: Finding) -> str:
    lines = [f"{MARKS[finding.state]}  {finding.what:<14} {finding.detail}"]
    if finding.next_step:
        lines.append(f"{'':6}{'':<14} → {finding.next_step}")
    return "\n".join(lines)


async def examine(data: Any) -> AsyncGenerator[Finding, None]:
    """Every finding, those that need no server first."""
    for finding in _here(data):
        yield finding
    try:
        async with stack.opened(data) as found:
            async for finding in ailments.of_servers(found):
                yield finding
    except CommandError as error:
        yield Finding(BAD, "servers", str(error), error.next_step)


def _here(data: Any) -> Iterable[Finding]:
    yield ailments.python()
    yield ailments.packages()
    yield ailments.disk(data)
    yield from ailments.private_files(data)
    yield from ailments.configuration()
    if not stack.is_running(data) and not os.environ.get("NATS_URL"):
        yield Finding(OK, "eightms up", f"is not running on {data}")
        yield ailments.ports(data)
