"""python -m tests.bench [--quick] [NAME…]: run measures, print them, write docs/benchmarks.md.

The document is written by a full run only, so that all its numbers belong together.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.bench import (
    accept,
    account,
    forecast,
    idle,
    imports,
    latency,
    lists,
    machine,
    raw,
    rebuild,
    report,
    streams,
    throughput,
)
from tests.bench.handsets import Handsets
from tests.bench.readings import Finding
from tests.bench.stack import Stack

PHONES = 200
ON_THE_STACK = ("raw", "latency", "single", "bulk", "throughput", "forecast", "rebuild")
ALONE = ("lists", "imports", "streams", "idle")


def main() -> int:
    """Run what was asked for; 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = (*ON_THE_STACK, *ALONE)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="shorter runs, not written down")
    parser.add_argument("--keep", type=Path, help="keep data and logs in this folder")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"no measure is called {', '.join(sorted(unknown))}")
    wanted: list[str] = arguments.names or list(names)
    load_before = machine.load_average()
    if arguments.keep:
        findings = uvloop.run(_run(wanted, arguments.keep.absolute(), quick=arguments.quick))
    else:
        with tempfile.TemporaryDirectory(prefix="8ms-bench-") as directory:
            Path(directory).chmod(0o711)  # root's PostgreSQL runs as somebody else
            findings = uvloop.run(_run(wanted, Path(directory), quick=arguments.quick))
    if not arguments.names and not arguments.quick:
        report.write(findings, load_before)
        print(f"written: {report.PATH.relative_to(machine.ROOT)}")
    missed = [r for f in findings for r in f.readings if r.reached is False]
    print(f"{len(missed)} targets missed" if missed else "every target reached")
    return 1 if missed else 0


async def _run(wanted: list[str], directory: Path, *, quick: bool) -> list[Finding]:
    findings: list[Finding] = []
    if any(name in wanted for name in ON_THE_STACK):
        findings += await _on_the_stack(wanted, directory / "stack", quick=quick)
    if "lists" in wanted:
        findings.append(_told(await lists.measure(directory / "lists", quick=quick)))
    if "imports" in wanted:
        findings.append(_told(await imports.measure(directory / "imports", quick=quick)))
    if "streams" in wanted:
        phones = streams.PHONES // 10 if quick else streams.PHONES
        findings.append(_told(await streams.measure(directory / "streams", phones)))
    if "idle" in wanted:
        findings.append(_told(await idle.measure(directory / "idle", 10 if quick else 30)))
    return findings


async def _on_the_stack(wanted: list[str], directory: Path, *, quick: bool) -> list[Finding]:
    seconds = 5.0 if quick else 20.0
    findings: list[Finding] = []
    async with Stack(directory) as stack:
        if "raw" in wanted:
            findings.append(_told(await _raw(stack, seconds / 2)))
        if {"latency", "throughput"} & set(wanted):
            customer = await account.open_account(stack.log)
            async with Handsets(directory / "phones") as handsets:
                await _without_brakes(stack, customer, handsets)
                if "latency" in wanted:
                    found = await latency.measure(stack, customer, handsets, seconds)
                    findings.append(_told(found))
                if "throughput" in wanted:
                    found = await throughput.measure(stack, customer, handsets, seconds * 2)
                    findings.append(_told(found))
        if {"single", "bulk"} & set(wanted):
            findings += await _accepting(wanted, stack, directory, seconds)
        if "forecast" in wanted:
            recipients = forecast.RECIPIENTS // 10 if quick else forecast.RECIPIENTS
            findings.append(_told(await forecast.measure(stack, recipients)))
        if "rebuild" in wanted:
            findings.append(_told(await rebuild.measure(stack)))
    return findings


async def _without_brakes(stack: Stack, customer: account.Account, handsets: Handsets) -> list[str]:
    links = await account.pairing_links(stack.bus, customer, PHONES)
    phone_ids = await handsets.pair(links)
    await account.release_brakes(stack.log, customer, phone_ids)
    await account.all_online(stack, phone_ids)
    return phone_ids


async def _accepting(
    wanted: list[str], stack: Stack, directory: Path, seconds: float
) -> list[Finding]:
    """As in life: one phone with its brakes on, so that what is accepted waits in line."""
    findings: list[Finding] = []
    customer = await account.open_account(stack.log)
    async with Handsets(directory / "braked") as handsets:
        phone_ids = await handsets.pair(await account.pairing_links(stack.bus, customer, 1))
        await account.all_online(stack, phone_ids)
        if "single" in wanted:
            findings.append(_told(await accept.single(stack, customer, seconds)))
            await accept.drained(stack)
        if "bulk" in wanted:
            findings.append(_told(await accept.bulk(stack, customer, seconds / 2)))
            await accept.drained(stack)
    return findings


async def _raw(stack: Stack, seconds: float) -> Finding:
    finding = Finding("raw")
    finding.add("fdatasync", f"{machine.syncs_per_s(stack.directory, seconds / 4):,.0f}/s")
    alone, batches = await raw.jetstream(stack.servers.nats_url, seconds)
    finding.add("JetStream, synced, one by one, 64 in flight", f"{alone:,.0f}/s")
    finding.add("JetStream, synced, atomic batches of 1,000", f"{batches:,.0f}/s")
    inserted, updated = await raw.upserts(stack.servers.database_socket_url, seconds / 2)
    finding.add("PostgreSQL, rows inserted, 500 a statement", f"{inserted:,.0f}/s")
    finding.add("PostgreSQL, rows updated, 500 a statement", f"{updated:,.0f}/s")
    return finding


def _told(finding: Finding) -> Finding:
    print("\n".join(report.lines(finding)), flush=True)
    return finding


if __name__ == "__main__":
    sys.exit(main())
