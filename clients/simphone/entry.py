"""The command: `python -m clients.simphone`, and what `eightms phone simulate` is made of.

Exit codes: 0 done or stopped by a signal, 1 something failed, 2 wrong usage.
"""

import argparse
import asyncio
import gc
import json
import logging
import resource
import signal
import sys
from collections.abc import Sequence
from typing import Any

from clients.simphone import control
from clients.simphone.carrier import Carrier
from clients.simphone.errors import SimphoneError, StateDirBusy
from clients.simphone.host import SimHost
from clients.simphone.protocol import Sim, parse_pairing_link
from clients.simphone.uplink import FLUSH_MS

log = logging.getLogger("simphone")

REPORT_S = 60.0  # a line with the counters
MAX_SIMS = 4
GC_YOUNG = 50_000  # ten thousand phones are many long-lived objects: look at them rarely


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `phone simulate`."""
    parser.add_argument(
        "uri",
        nargs="*",
        metavar="eightms://pair?…",
        help="pairing link; one for each phone, because a link works once; - reads them from"
        " standard input, one a line. Without any, the phones of the state folder come back",
    )
    parser.add_argument("--count", type=int, metavar="N", help="phones to pair: as many as links")
    parser.add_argument("--state-dir", default=".data/simphone", help="default: %(default)s")
    parser.add_argument("--delay-ms", type=int, default=200, help="submitted → sent → delivered")
    parser.add_argument("--hold-ms", type=int, default=0, help="accepted → submitted")
    parser.add_argument("--fail-rate", type=float, default=0.0, help="share of texts, 0 to 1")
    parser.add_argument("--no-receipts", action="store_true", help="no delivery reports")
    parser.add_argument("--sims", type=int, default=1, help="SIMs in each new phone")
    parser.add_argument("--control-port", type=int, help="also serve the control API on 127.0.0.1")
    parser.add_argument(
        "--flush-ms", type=float, default=FLUSH_MS, help="journal entries wait for company"
    )
    parser.add_argument(
        "--no-fsync", action="store_true", help="survive kill -9, not a power cut: faster"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each paired phone")


def run(args: argparse.Namespace) -> int:
    """Run the command until a signal ends it; returns the exit code."""
    try:
        uris = _links(args)
        carrier = Carrier(args.delay_ms, args.fail_rate, not args.no_receipts, args.hold_ms)
        if not 1 <= args.sims <= MAX_SIMS:
            raise ValueError(f"--sims is 1 to {MAX_SIMS}")
    except (SimphoneError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _prepare_process()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_host(args, uris, carrier))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, set up logging, run."""
    parser = argparse.ArgumentParser(
        prog="python -m clients.simphone", description="Simulated phones that speak to a gateway."
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    return run(args)


def _links(args: argparse.Namespace) -> list[str]:
    """The links given, checked before anything starts. ValueError or BadPairingUri: usage."""
    uris: list[str] = []
    for one in args.uri:
        uris += [line.strip() for line in sys.stdin if line.strip()] if one == "-" else [one]
    for one in uris:
        parse_pairing_link(one)
    if len(set(uris)) != len(uris):
        raise ValueError("the same pairing link is given twice, and a link works once")
    if args.count is not None and args.count != len(uris):
        raise ValueError(
            f"--count {args.count} with {len(uris)} pairing link(s): a link works once, so give one"
            " for each phone (as arguments, or - to read them from standard input)"
        )
    return uris


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _prepare_process() -> None:
    """Settings of the process, not of the phones: open files, and how the lock is shared with the
    journal's thread."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.setswitchinterval(0.001)  # seconds; the journal's thread is needed every few milliseconds
    gc.set_threshold(GC_YOUNG, 20, 100)


async def _host(args: argparse.Namespace, uris: list[str], carrier: Carrier) -> int:
    sims = [Sim(slot, slot + 1, "Simulated") for slot in range(args.sims)]
    host = SimHost(
        args.state_dir,
        carrier=carrier,
        sims=sims,
        fsync=not args.no_fsync,
        flush_ms=args.flush_ms,
        control_port=args.control_port,
    )
    try:
        await host.start()
    except StateDirBusy as busy:
        return await _hand_over(args, uris, busy)
    except SimphoneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        results = await host.pair_all(uris)
        paired = [one for one in results if not isinstance(one, SimphoneError)]
        errors = [str(one) for one in results if isinstance(one, SimphoneError)]
        _show(args, [one._asdict() for one in paired], errors)
        if errors and not host.phones:
            return 1
        return await _serve(host)
    finally:
        await host.stop()


async def _hand_over(args: argparse.Namespace, uris: list[str], busy: StateDirBusy) -> int:
    """Another process hosts the state folder: give it the links."""
    if not uris:
        print(f"error: {busy}", file=sys.stderr)
        return 1
    try:
        answer = await control.pair(args.state_dir, uris)
    except SimphoneError as error:
        print(f"error: {busy} {error}", file=sys.stderr)
        return 1
    _show(args, answer["phones"], [one["detail"] for one in answer["errors"]])
    return 1 if answer["errors"] else 0


def _show(args: argparse.Namespace, paired: list[dict[str, Any]], errors: list[str]) -> None:
    for one in paired:
        label = f"  {one['label']}" if one["label"] else ""
        print(json.dumps(one) if args.json else f"paired {one['phone_id']}{label}")
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    sys.stdout.flush()


async def _serve(host: SimHost) -> int:
    """Until SIGINT or SIGTERM (0), or until the journal cannot be written (1)."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    failed = asyncio.ensure_future(host.failed())
    stopped = asyncio.ensure_future(stop.wait())
    reporting = asyncio.ensure_future(_report(host))
    await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
    reporting.cancel()
    stopped.cancel()
    if failed.done():
        print(f"error: {failed.exception()}", file=sys.stderr)
        return 1
    failed.cancel()
    return 0


async def _report(host: SimHost) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        counters = host.counters
        connected = sum(phone.connected for phone in host.phones.values())
        log.info(
            "%d phones, %d connected; %d frames, %d sent, %d received, %d journal calls",
            len(host.phones),
            connected,
            counters.frames,
            counters.sent,
            counters.received,
            counters.journal_calls,
        )
