"""Phones whose connections are cut, or dead without anybody saying so, get every text once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clients.simphone import Carrier, SimHost
from tests.faults.customers import Customers
from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PHONES = 4
PING_S, READ_TIMEOUT_S = 0.5, 3.0  # the protocol's 15 s and 45 s, shortened


async def test_phones_on_broken_wires_get_every_text_once(tmp_path: Path) -> None:
    env = {"EIGHTMS_GATEWAY_PING_S": str(PING_S)}
    async with Stack(tmp_path, wires=("gateway",), env=env) as stack:
        host = SimHost(
            stack.simphone_dir,
            carrier=Carrier(delay_ms=5),
            fsync=False,
            read_timeout_s=READ_TIMEOUT_S,
        )
        await host.start()
        try:
            stack.phones_are_elsewhere = True
            await stack.new_workspace()
            await stack.pair(PHONES)
            customers = Customers(stack)
            wire = stack.wires["gateway"]
            accepted: list[str | None] = []
            for fault in (wire.cut, wire.freeze, wire.strand, wire.cut, wire.strand):
                sending = asyncio.gather(*map(customers.ask, customers.wishes(10)))
                await asyncio.sleep(0.02)
                fault()
                accepted += await sending
                await asyncio.sleep(0.3)
                wire.heal()
            await customers.nothing_lost(accepted)
        finally:
            await host.stop()
        await stack.verify()
