"""Pairing while everything the gateway stands on is killed: a phone that was given a credential
keeps it, comes online, and can be sent through."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from clients.simphone import SimphoneError, control
from shared.errors import EightMsError
from tests.faults.storm import seeded
from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WORKERS, EACH = 5, 8
VICTIMS = ("postgres", "gateway.1", "nats") * 3


async def pair_on(stack: Stack, count: int) -> None:
    """Phones one after the other; a link that could not be had or taken is tried again."""
    question = {"workspace_id": stack.workspace.id, "label": "Phone"}
    while count:
        try:
            link = await stack.bus.ask("gateway", "open_pairing", question)
            answer = await control.pair(stack.simphone_dir, link["uri"])
        except (EightMsError, SimphoneError):
            await asyncio.sleep(0.1)
            continue
        assert answer["phones"]
        count -= 1


async def kill_on(stack: Stack, rng: random.Random) -> None:
    for victim in rng.sample(VICTIMS, len(VICTIMS)):
        await asyncio.sleep(rng.uniform(0.1, 0.8))
        await stack.until(f"{victim} is up", lambda v=victim: stack.alive(v))
        stack.kill(victim)


async def test_phones_paired_in_a_storm_are_there_afterwards(tmp_path: Path) -> None:
    rng, seed = seeded()
    async with Stack(tmp_path, durable=True) as stack:
        await stack.new_workspace()
        await stack.pair(1)
        killing = asyncio.create_task(kill_on(stack, rng))
        await asyncio.gather(*(pair_on(stack, EACH) for _ in range(WORKERS)))
        await killing
        await stack.all_ready()
        phones = stack.phones_db("SELECT phone_id, credential FROM phone")
        assert len(phones) == WORKERS * EACH + 1
        forgotten = [phone for phone, credential in phones if credential is None]
        assert not forgotten, (seed, forgotten, stack.report())
        everyone = {phone for phone, _ in phones}
        await stack.until(f"{seed}: all are online", lambda: stack.online() >= everyone, 90)
        sent = [
            (await stack.send(f"+1415555{2000 + n}", "hello", phone_id=phone))["id"]
            for n, phone in enumerate(sorted(everyone))
        ]

        def delivered() -> bool:
            return {e.data.message_id for e in stack.events("sms.delivered")} >= set(sent)

        await stack.until(f"{seed}: each has sent a text", delivered)
        assert stack.complaints() == [], seed
        await stack.verify()
