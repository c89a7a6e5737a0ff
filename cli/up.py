"""`eightms up`: everything of 8ms on this machine, as processes under one parent.

PostgreSQL and NATS first (unless theirs are named), then the stream, then the services and the host
of simulated phones side by side. A child that dies is started again. Ctrl-C stops them in the other
order; a second one does not wait. `make run` is this command.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cli import first_start, greeting, identity, stack
from cli.children import Child
from cli.embedded import Embedded
from cli.errors import CommandError, UsageError
from cli.fleet import Fleet
from cli.plan import Plan, check_ports
from cli.render import say
from shared.bus import Bus
from shared.log import Log
from shared.vault import KeyRing

PORT_BASE = 8080
PHONES_MAX = 10_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.description = (
        "Start PostgreSQL and NATS (unless DATABASE_URL or NATS_URL name yours), every service, and"
        " a host of simulated phones; keep them running; print how to send the first text. A second"
        " start finds everything as it was."
    )
    stack.data_argument(parser)
    parser.add_argument(
        "--port-base",
        type=int,
        default=PORT_BASE,
        metavar="B",
        help="api listens on B, gateway on B+1, and so on to B+6 (default %(default)s)",
    )
    parser.add_argument(
        "--simulated-phones",
        type=int,
        default=1,
        metavar="N",
        help="pair as many with the first workspace (default %(default)s)",
    )
    parser.add_argument("--only", metavar="SERVICE,…", help="start these services and no other")
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Run until a signal ends it."""
    if not 0 <= args.simulated_phones <= PHONES_MAX:
        raise UsageError(f"--simulated-phones is 0 to {PHONES_MAX:,}.")
    data = args.data.absolute()
    plan = Plan.make(data, args.port_base, args.only, os.environ)
    data.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    with _held(data / stack.LOCK_FILE, data):
        check_ports(plan)
        stop = Stop()
        return await _Up(plan, args.simulated_phones, stop).run()


@contextlib.contextmanager
def _held(path: Path, data: Path):  # noqa: ANN202
    """The data folder is this process's; CommandError if another's."""
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(held, 20).decode().strip()
        os.close(held)
        raise CommandError(
            f"`eightms up` runs on {data} already (process {holder}).",
            "Stop that one, or name another folder with --data DIR and --port-base.",
        ) from None
    os.ftruncate(held, 0)
    os.write(held, f"{os.getpid()}\n".encode())
    try:
        yield
    finally:
        os.close(held)
