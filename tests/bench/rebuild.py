"""Every projection made anew from the log that the other measures left behind.

The code is that of `eightms verify`: tables beside the live ones, the same apply, then compared row
by row with the live ones. Counted are the events of each projection's own filters.
"""

import time

from cli import stack as command
from cli.compare import differences
from cli.rebuild import aside, drop, live_position
from tests.bench.readings import Finding
from tests.bench.stack import Stack

PER_S_MIN = 25_000
SHOWN_MAX = 5  # differences of a service written out; all are counted
EVENTS_MIN = 10_000  # a projection with fewer events is verified; its rate says nothing


async def measure(stack: Stack) -> Finding:
    """Events a second for each service, the slowest against the target, and what verify finds."""
    finding = Finding("rebuild")
    url, slowest, different, verified = stack.servers.database_socket_url, float("inf"), 0, 0
    live = await command.connect_database(url)
    try:
        for service in stack.children:
            projection = command.projection_of(service)
            schema = f"{service}__bench"
            # The snapshot keeps the live rows as they are at its position, whatever still arrives.
            async with (
                aside(projection, schema, stack.log, url) as new,
                live.transaction(isolation="repeatable_read", readonly=True),
            ):
                position = await live_position(live, service) or 0
                events = await new.pending(0) - await new.pending(position)
                begin = time.perf_counter()
                await new.project(position)
                seconds = time.perf_counter() - begin
                async with new.database.owner.acquire() as db:
                    found, rows = await differences(
                        projection.tables, (live, service), (db, schema)
                    )
            await drop(live, schema)
            different, verified = different + len(found), verified + rows
            finding.add(service, f"{events:,} events in {seconds:.1f} s, {events / seconds:,.0f}/s")
            if events >= EVENTS_MIN:
                slowest = min(slowest, events / seconds)
    finally:
        await live.close()
    if slowest < float("inf"):
        finding.add(
            "slowest service", f"{slowest:,.0f} events/s", "≥ 25,000/s", slowest >= PER_S_MIN
        )
    finding.add(
        "verify, all services", f"{different} of {verified:,} rows differ", "none", different == 0
    )
    return finding
