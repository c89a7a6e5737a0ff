"""`eightms`: the one command of 8ms. Each subject has a file; this one finds it and runs it.

Exit codes: 0 done, 1 failed or something was found wrong, 2 the command was not understood.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from cli.errors import CommandError
from cli.render import say

COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "up": ("cli.up", "start everything on this machine, and keep it running"),
        "deploy": (
            "cli.deploy",
            "make the stream on a NATS of your own, before services start",
        ),
        "workspace": ("cli.workspace", "create a workspace and its first API key"),
        "mail": ("cli.mail", "show mail that has not gone out: sign-in links in development"),
        "phone": ("cli.phone", "run simulated phones, and have one receive a text"),
        "events": ("cli.events", "watch, export and import the event log"),
        "replay": ("cli.replay", "rebuild a service's tables from the log, then swap them in"),
        "verify": ("cli.verify", "rebuild a service's tables aside and compare row by row"),
        "lag": ("cli.lag", "how far each service is behind the log, and who leads"),
        "trace": ("cli.trace", "everything that happened to one message, with times"),
        "parked": ("cli.parked", "what waits for a person to decide: list, retry, drop"),
        "keys": ("cli.keys", "replace the key that encrypts secrets at rest"),
        "doctor": ("cli.doctor", "check versions, disk, clock, ports, permissions, settings"),
    }
)
"""Command → the module that has it and its sentence. A module is imported when it is asked for."""

EPILOG = """\
A command finds 8ms by DATABASE_URL and NATS_URL (as the user ops) and EIGHTMS_SECRET_KEY, else in
the folder that `eightms up` keeps its data in: --data, or .data here. Exit codes: 0 done, 1 failed,
2 not understood."""


def make_parser(wanted: str | None = None) -> argparse.ArgumentParser:
    """The parser. Only the command `wanted` has its arguments; the others have their sentence."""
    parser = argparse.ArgumentParser(
        prog="eightms",
        description="8ms: an SMS gateway on your own Android phones.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module, sentence) in COMMANDS.items():
        one = commands.add_parser(
            name,
            help=sentence,
            description=sentence[0].upper() + sentence[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == wanted:
            importlib.import_module(module).arguments(one)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    wanted = next((word for word in argv if not word.startswith("-")), None)
    parser = make_parser(wanted)
    if not argv:
        parser.print_help()
        return 2
    args = parser.parse_args(argv)
    try:
        return _run(args)
    except KeyboardInterrupt:
        if getattr(args, "until_interrupted", False):
            return 0
        say("Interrupted.")
        return 1
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        known = _in_words(error)
        if known is None:
            raise
        say(f"eightms: {known}")
        if known.next_step:
            say(known.next_step)
        return known.exit_code


def _run(args: argparse.Namespace) -> int:
    outcome = args.run(args)
    if not inspect.iscoroutine(outcome):
        return outcome
    import uvloop

    return uvloop.run(outcome)


def _in_words(error: Exception) -> CommandError | None:
    """What an expected failure of something below means to the person; None: it is not expected."""
    if isinstance(error, CommandError):
        return error
    import asyncpg

    from cli.embedded_process import StackError
    from clients.simphone.errors import SimphoneError
    from shared.errors import EightMsError, NoAnswer, Refused
    from shared.vault import VaultError

    match error:
        case StackError() | VaultError() | SimphoneError():
            return CommandError(str(error))
        case NoAnswer():
            return CommandError(f"{error}.", "`eightms lag` shows which services run.")
        case Refused(problem=problem):
            return CommandError(str(problem.get("detail", error)))
        case EightMsError():
            return CommandError(str(error), "`eightms doctor` looks for the reason.")
        case asyncpg.PostgresError() | asyncpg.InterfaceError():
            detail = error.args[0] if error.args else type(error).__name__
            return CommandError(f"PostgreSQL says: {detail}", "`eightms doctor` looks further.")
        case _:
            return None


if __name__ == "__main__":
    from shared import logs

    logs.configure("eightms", "error")  # the command speaks for itself
    sys.exit(main())
