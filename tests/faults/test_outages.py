"""A server is away, a wire is cut, a wire is dead and nobody says so: what callers see meanwhile,
and that all is as if nothing had been when it is back. No service is restarted in any of these."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.customers import Customers
from tests.stack import Stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),
]

PHONES = 4
BOUNDED_S = 40.0  # no request may hang longer than this, whatever is dead behind it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def customers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Customers]:
    """One stack for all outages: each must leave it as it was."""
    directory = tmp_path_factory.mktemp("outages")
    async with Stack(directory, wires=("nats", "postgres", "gateway")) as stack:
        await stack.new_workspace()
        await stack.pair(PHONES)
        yield Customers(stack)


@pytest.mark.parametrize("server", ["nats", "postgres"])
async def test_without_a_server_nothing_is_accepted_and_all_recovers(
    customers: Customers, server: str
) -> None:
    stack, wishes = customers.stack, customers.wishes(5)
    replies, stored = stack.count["reply.received"], stack.count["send.requested"]
    stack.take_down(server)
    for n in wishes:
        answer = await customers.once(n)
        assert answer.status == 503, (answer.status, answer.body)
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.body["code"] == "unavailable"
    await stack.receive(stack.phones[0], "+14155559999", "anybody there?")
    await stack.bring_up(server)
    requested = [e for _, e in await stack.whole_log() if e.type == "send.requested"]
    assert len(requested) == stored
    accepted = [await customers.accepted(n) for n in wishes]
    await stack.until("the text is there", lambda: stack.count["reply.received"] == replies + 1)
    await customers.nothing_lost(accepted)


@pytest.mark.parametrize("server", ["nats", "postgres"])
async def test_connections_reset_again_and_again_lose_nothing(
    customers: Customers, server: str
) -> None:
    sending = asyncio.gather(*map(customers.ask, customers.wishes(60)))
    for _ in range(8):
        await asyncio.sleep(0.15)
        customers.stack.wires[server].cut()
        await asyncio.sleep(0.05)
        customers.stack.wires[server].heal()
    await customers.nothing_lost(await sending)


async def test_a_database_that_crashes_under_requests_forgets_and_repeats_none(
    customers: Customers,
) -> None:
    """What PostgreSQL loses of its last moments, rows and which keys were used, is in the log."""
    accepted: list[str | None] = []
    for n in range(6):
        asked = asyncio.gather(*map(customers.ask, customers.wishes(25)))
        await asyncio.sleep(0.01 + 0.01 * n)
        customers.stack.kill("postgres")
        accepted += await asked
        await customers.stack.all_ready()
    await customers.nothing_lost(accepted)


async def test_a_slow_wire_is_slow_and_nothing_else(customers: Customers) -> None:
    wires = [customers.stack.wires[name] for name in ("nats", "gateway")]
    for wire in wires:
        wire.slow(0.02)
    accepted = [await customers.accepted(n) for n in customers.wishes(5)]
    await customers.delivered(accepted)
    for wire in wires:
        wire.heal()
    await customers.nothing_lost(accepted)


async def test_dead_wires_are_noticed_and_given_up(customers: Customers) -> None:
    """The connections of every service carry nothing any more and nobody closes them; new ones
    work. Requests meanwhile end within a bound, and the services find their way by themselves."""
    (first,) = customers.wishes(1)
    for server in ("nats", "postgres"):
        customers.stack.wires[server].strand()
    try:
        answer = await customers.once(first, BOUNDED_S)
    except TimeoutError:
        pytest.fail(f"a request hung for {BOUNDED_S:g} s\n{customers.stack.report()}")
    assert answer.status in (202, 503), (answer.status, answer.body)
    accepted: list[str] = []
    while len(accepted) < 3:  # some may die with their key; customers come with others
        accepted += filter(None, await asyncio.gather(*map(customers.ask, customers.wishes(3))))
    await customers.nothing_lost(accepted)


async def test_after_all_that_every_table_is_what_the_log_makes_of_it(
    customers: Customers,
) -> None:
    await customers.stack.all_ready()
    await customers.stack.verify()
