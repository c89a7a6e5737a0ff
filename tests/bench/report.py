"""The findings as docs/benchmarks.md, and the same for a terminal."""

from collections.abc import Sequence

from tests.bench.machine import ROOT, description
from tests.bench.readings import Finding, Reading

PATH = ROOT / "docs" / "benchmarks.md"

TITLES = {
    "raw": "Raw limits of this machine",
    "latency": "POST to frame: the 8 ms",
    "single": "Accepting single sends",
    "bulk": "Accepting sends in bulk",
    "throughput": "End to end, POST to sms.submitted",
    "forecast": "A campaign's forecast",
    "rebuild": "Rebuilding a projection",
    "lists": "Lists and searches, one thousand and one million contacts",
    "imports": "Importing contacts",
    "streams": "Phones on one gateway process",
    "idle": "The whole stack, idle",
}

HOW_TO_READ = """\
## How to read this

Everything ran on one machine: PostgreSQL, NATS, five services, the simulated phones and the load
generator share the cores named above, so the load costs what it measures. Where a target is a
ratio, both sides were measured in the same run; absolute numbers move with the machine.

* **Synced.** NATS runs with `sync_interval: always`: an event is on the disk before its sender gets
  an answer. PostgreSQL runs with fsync; projections commit asynchronously, since the log restores
  what a crash takes from them.
* **Latency** is counted in an open loop, from the moment a request was due, not from when it was
  sent: a stall of the server counts for every request that fell into it. It ends when the
  simulated phone's process has read the frame. Both use the machine's monotonic clock.
* **Brakes.** Gap, cap, warm-up and quiet hours are off by acknowledged settings, and
  `EIGHTMS_UNPACED_SIMULATION` lifts the 24 parts a minute for simulated phones; no real phone can
  be measured like this, because none may be driven like this.
* **Shares of a core** add up to at most 100 % times the cores. When they do, the machine was full.
* **PSS** counts a shared page once among those who share it, so the sum is what the stack takes.
* A `✗` is a target this machine did not reach in this run. Other programs running at the same time
  show in the load average above.
"""


def document(findings: Sequence[Finding], load_before: float) -> str:
    """The whole of docs/benchmarks.md."""
    facts = [*description(), ("load average before the run", f"{load_before:.2f}")]
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`; every number below comes from one run. Do not edit by hand.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {what} | {value} |" for what, value in facts),
        "",
    ]
    for finding in findings:
        lines += [
            f"## {TITLES[finding.measure]}",
            "",
            "| | measured | target | |",
            "|---|---|---|---|",
        ]
        lines += [f"| {r.what} | {r.value} | {r.target} | {_mark(r)} |" for r in finding.readings]
        lines += ["", *(f"* {remark}" for remark in finding.remarks)]
        if finding.remarks:
            lines.append("")
    return "\n".join(lines) + "\n" + HOW_TO_READ


def write(findings: Sequence[Finding], load_before: float) -> None:
    """Replace docs/benchmarks.md."""
    PATH.write_text(document(findings, load_before))


def lines(finding: Finding) -> list[str]:
    """A finding for the terminal."""
    out = [TITLES[finding.measure]]
    for r in finding.readings:
        target = f"   [{r.target}] {_mark(r)}" if r.reached is not None else ""
        out.append(f"  {r.what}: {r.value}{target}")
    return out + [f"    {remark}" for remark in finding.remarks]


def _mark(reading: Reading) -> str:
    return {None: "", True: "✓", False: "✗"}[reading.reached]
