"""The customer of a benchmark: a workspace without quiet hours, a key, phones without brakes.

Made by events, as the command line and the API make them, so that setting up takes no longer than
it must. What a person would have to acknowledge is acknowledged in the events.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from shared import auth, ids
from shared import events as e
from shared.bus import Bus
from shared.log import Log
from tests.bench.stack import Stack

ACTOR = e.Actor("system", "bench")
DAILY_CAP = 10_000_000
PAIRINGS_AT_ONCE = 16
ONLINE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Account:
    """A workspace and the key to it."""

    workspace_id: str
    api_key: str


async def known(stack: Stack, account: Account) -> None:
    """Wait until the API knows the account's key."""
    headers = {"Authorization": f"Bearer {account.api_key}"}
    async with aiohttp.ClientSession(stack.url("api"), headers=headers) as session:
        async with asyncio.timeout(ONLINE_TIMEOUT_S):
            while True:
                async with session.get("/v1/contacts?limit=1") as response:
                    if response.status == 200:
                        return
                await asyncio.sleep(0.05)


async def open_account(log: Log) -> Account:
    """A workspace whose texts wait for nothing, and a live key that may do everything."""
    workspace_id, key = ids.new("ws"), auth.new_api_key("live")
    await log.append(
        _event(
            workspace_id,
            e.WorkspaceCreated(
                workspace_id=workspace_id,
                name="Bench",
                timezone="UTC",
                quiet_hours=None,
                acknowledged=("no_quiet_hours",),
            ),
        )
    )
    await log.append(
        _event(
            workspace_id,
            e.ApiKeyCreated(
                key_id=ids.new("key"),
                name="bench",
                mode="live",
                hash=key.hash,
                last_four=key.last_four,
                scopes=("*",),
            ),
        )
    )
    return Account(workspace_id, key.text)


async def append(log: Log, account: Account, facts: Sequence[e.Data]) -> None:
    """Put facts of the account into the log."""
    await log.append_many([_event(account.workspace_id, fact) for fact in facts])


async def pairing_links(bus: Bus, account: Account, count: int) -> list[str]:
    """Links for `count` phones, opened by asking the gateway as the API does."""
    gate = asyncio.Semaphore(PAIRINGS_AT_ONCE)

    async def one(number: int) -> str:
        question = {
            "workspace_id": account.workspace_id,
            "label": f"Bench {number}",
            "actor": {"kind": "system", "id": "bench"},
        }
        async with gate:
            return (await bus.ask("gateway", "open_pairing", question))["uri"]

    return await asyncio.gather(*(one(number) for number in range(count)))


async def release_brakes(log: Log, account: Account, phone_ids: list[str]) -> None:
    """No gap, no cap worth the name, no warm-up."""
    stored = await log.append_many(
        [
            _event(
                account.workspace_id,
                e.PhoneConfigured(
                    phone_id=phone_id,
                    label="Bench",
                    min_gap_s=0,
                    daily_cap=DAILY_CAP,
                    warmup=False,
                    acknowledged=("min_gap", "daily_cap", "warmup"),
                ),
            )
            for phone_id in phone_ids
        ]
    )
    if any(not isinstance(seq, int) for seq in stored):
        raise RuntimeError("a phone's settings were refused")


async def all_online(stack: Stack, phone_ids: list[str]) -> None:
    """Wait until the log says that every phone is online."""
    deadline = asyncio.get_running_loop().time() + ONLINE_TIMEOUT_S
    while True:
        records = await stack.log.history(["phone.online.>"])
        seen = {record.subject.rpartition(".")[2] for record in records}
        missing = set(phone_ids) - seen
        if not missing:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeError(f"{len(missing)} phones did not come online")
        await asyncio.sleep(0.2)


def _event(workspace_id: str, data: e.Data) -> e.Event:
    return e.make(
        data, id=ids.new("evt"), workspace_id=workspace_id, at=datetime.now(UTC), actor=ACTOR
    )
