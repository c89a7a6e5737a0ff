"""`eightms phone`: simulated phones in the foreground, and texts that arrive at them."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from cli import stack
from cli.errors import CommandError, UsageError
from cli.render import counted
from clients.simphone import control, entry
from shared import ids
from shared.bus import Bus

SIMPHONE_DIR = "simphone"
STATE_DIR = f"{stack.DATA}/{SIMPHONE_DIR}"
"""What clients.simphone takes if nothing is said."""

LABEL = "Simulated phone"
OPENED_AT_ONCE = 16
PAIRINGS_MAX = 10_000
"""A pairing lasts ten minutes; more phones than this are not paired within that."""

ACTOR = {"kind": "system", "id": "eightms"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of both."""
    what = parser.add_subparsers(title="what to do", metavar="WHAT", required=True)
    simulate = what.add_parser("simulate", help="run simulated phones until Ctrl-C")
    simulate.description = (
        "Run simulated phones until Ctrl-C. Give one pairing link for each (a link works once), or"
        " only --count N: then the links are opened here, for the workspace of `eightms up` or"
        " --workspace. Without either the phones of the state folder come back. Where `eightms up`"
        " runs, its host of simulated phones takes them."
    )
    entry.add_arguments(simulate)
    simulate.add_argument("--workspace", metavar="W", help="whose phones --count N makes")
    simulate.add_argument("--label", default=LABEL, metavar="L", help="what --count N calls them")
    stack.data_argument(simulate)
    simulate.set_defaults(run=run_simulate)

    receive = what.add_parser("receive", help="have a simulated phone receive a text")
    receive.add_argument("phone_id", metavar="PHONE_ID", help="phn_…")
    receive.add_argument("--from", required=True, dest="sender", metavar="N", help="whose text")
    receive.add_argument("--body", required=True, help="what it says")
    receive.add_argument("--subscription-id", type=int, metavar="N", help="the SIM it arrives on")
    receive.add_argument("--state-dir", metavar="DIR", help="of the phones (default: of --data)")
    stack.data_argument(receive)
    receive.set_defaults(run=run_receive)


def run_simulate(args: argparse.Namespace) -> int:
    """Host the phones; returns when a signal ends it."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", force=True
    )
    if args.uri and args.count not in (None, len(args.uri)) and "-" not in args.uri:
        raise UsageError(
            f"--count {args.count} with {counted(len(args.uri), 'link')}: a link works once.",
            f"Give one for each phone, or only --count {args.count}: then they are opened here.",
        )
    args.state_dir = _state_dir(args.state_dir, args.data)
    if args.count is not None and not args.uri:
        args.uri = asyncio.run(_open_links(args))
    return entry.run(args)


def _state_dir(given: str | None, data: Path) -> str:
    """The folder named, else the one within the data folder."""
    return str(data / SIMPHONE_DIR) if given in (None, STATE_DIR) else given


async def _open_links(args: argparse.Namespace) -> list[str]:
    if not 1 <= args.count <= PAIRINGS_MAX:
        raise UsageError(f"--count is 1 to {PAIRINGS_MAX:,}.")
    async with stack.opened(args.data) as found, found.bus() as bus:
        workspace = args.workspace or first_workspace(args.data)
        labels = [args.label if n == 1 else f"{args.label} {n}" for n in range(1, args.count + 1)]
        return await open_links(bus, workspace, labels)


def first_workspace(data: Path) -> str:
    """The workspace that `eightms up` made. CommandError: it made none."""
    known = stack.read_private(data / stack.WORKSPACE_FILE)
    if "workspace_id" not in known:
        raise CommandError(
            f"{data} knows no workspace of its own.", "Name one with --workspace ws_…."
        )
    return known["workspace_id"]


async def open_links(bus: Bus, workspace_id: str, labels: list[str]) -> list[str]:
    """A pairing link for each label. NoAnswer: the gateway does not run."""
    if not ids.is_id("ws", workspace_id):
        raise UsageError(f"{workspace_id!r} is not the id of a workspace.", "It begins with ws_.")
    gate = asyncio.Semaphore(OPENED_AT_ONCE)

    async def one(label: str) -> str:
        async with gate:
            body = {"workspace_id": workspace_id, "label": label, "actor": ACTOR}
            return (await bus.ask("gateway", "open_pairing", body))["uri"]

    return list(await asyncio.gather(*(one(label) for label in labels)))


async def run_receive(args: argparse.Namespace) -> int:
    """Hand the text to whoever hosts the phone."""
    where = _state_dir(args.state_dir, args.data)
    await control.receive(where, args.phone_id, args.sender, args.body, args.subscription_id)
    print(f"{args.phone_id} has received it.")
    return 0
