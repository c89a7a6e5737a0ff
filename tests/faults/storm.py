"""Kills while the load runs, then peace, then the count."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Sequence

from shared.events import Event
from tests.faults.evidence import Arrived, Endpoint, Evidence, Radio, Wish, told
from tests.faults.load import Load
from tests.stack import Stack

FULL = os.environ.get("EIGHTMS_FAULTS") == "full"
HOOK_TYPES = ("sms.sent", "sms.delivered", "sms.failed", "reply.received", "contact.opted_out")
HOOK_PATH = "/hook"
QUIET_TIMEOUT_S = 120.0
LOOK_S = 0.5


def seeded() -> tuple[random.Random, str]:
    """The generator of a run and how to run it again."""
    seed = os.environ.get("EIGHTMS_FAULTS_SEED") or str(random.SystemRandom().randrange(10**9))
    print(f"EIGHTMS_FAULTS_SEED={seed}")
    return random.Random(seed), f"EIGHTMS_FAULTS_SEED={seed}"


class Storm:
    """One run on one stack: ``rage`` kills under load, ``settle`` waits for quiet, ``count``."""

    def __init__(self, stack: Stack, rng: random.Random, seed: str, rate: float) -> None:
        self.stack, self._rng, self._seed = stack, rng, seed
        self.load = Load(stack, rng, rate=rate)
        self.kills: list[str] = []
        self._endpoints: list[Endpoint] = []
        self._began = time.monotonic()

    async def prepare(self, phones: int) -> None:
        """A workspace with phones and a webhook endpoint."""
        await self.stack.new_workspace()
        await self.stack.endpoint(HOOK_PATH, HOOK_TYPES)
        await self.stack.until("the endpoint", lambda: self.stack.count["webhook.endpoint_saved"])
        since = max(seq for seq, _ in self.stack.seen)
        self._endpoints = [Endpoint(HOOK_PATH, frozenset(HOOK_TYPES), since)]
        await self.stack.pair(phones)

    async def rage(
        self, victims: Sequence[str], kills_each: int, pause_s: tuple[float, float]
    ) -> None:
        """kill -9 each of ``victims`` so many times, in random order, while the load runs."""
        deck = [victim for victim in victims for _ in range(kills_each)]
        self._rng.shuffle(deck)
        async with self.under_load():
            for victim in deck:
                await asyncio.sleep(self._rng.uniform(*pause_s))
                await self._kill(victim)
            await asyncio.sleep(1.0)  # the load goes on for a moment after the last kill

    @contextlib.asynccontextmanager
    async def under_load(self) -> AsyncIterator[None]:
        """The load runs inside; at the end its last requests are waited for."""
        running = asyncio.create_task(self.load.run())
        try:
            yield
            self.load.stop()
            await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _kill(self, victim: str) -> None:
        await self.stack.until(f"{victim} is up to be killed", lambda: self.stack.alive(victim))
        self.stack.kill(victim)
        self.kills.append(f"{time.monotonic() - self._began:.1f} s {victim}")

    async def settle(self) -> None:
        """Until nothing that was promised is missing."""
        await self.stack.all_ready()
        deadline = time.monotonic() + QUIET_TIMEOUT_S
        while True:
            missing = self.evidence(self.stack.seen).missing() + self._untold_by_phones()
            if not missing:
                return
            assert time.monotonic() < deadline, self.message(missing)
            await asyncio.sleep(LOOK_S)

    async def restart_everything(self) -> None:
        """Every service once more, in good order, and a last message all the way: who has
        something to repeat repeats it now."""
        await self.stack.stop(*self.stack.ports)
        await self.stack.bring_up(*self.stack.ports)
        last = await self.stack.send("+14085550123", "the last one")
        self.load.wishes[last["id"]] = Wish("+14085550123", "the last one")
        await self.settle()

    async def compare_api(self) -> None:
        """What the API shows of every message is what the log says."""
        evidence = self.evidence(self.stack.seen)
        shown: dict[str, str] = {}
        path = "/v1/messages?limit=100"
        while path:
            answer = await self.stack.api("GET", path)
            assert answer.status == 200, self.message([str(answer.body)])
            shown |= {m["id"]: m["state"] for m in answer.body["data"]}
            cursor = answer.body["next_cursor"]
            path = f"/v1/messages?limit=100&cursor={cursor}" if cursor else ""
        wrong = [
            f"{message_id} is shown as {shown.get(message_id)}, is {evidence.end_of(message_id)}"
            for message_id in self.load.wishes
            if shown.get(message_id) != evidence.end_of(message_id)
        ]
        assert not wrong, self.message(wrong)

    async def count(self) -> None:
        """Everything once, nothing lost, nothing invented, nothing failed in a way of its own."""
        evidence = self.evidence(await self.stack.whole_log())
        wrong = [*evidence.missing(), *evidence.wrong(), *self.load.strange]
        assert not wrong, self.message(wrong)
        assert not self.stack.complaints(), self.message(["what was logged was not expected"])
        assert len(self.load.wishes) > 0, self.message(["nothing was sent"])

    def evidence(self, log: Sequence[tuple[int, Event]]) -> Evidence:
        """What there is to look at now."""
        radio = "SELECT phone_id, command_id, message_id, to_number, body_hash FROM radio"
        inbox = "SELECT phone_id, provider_id, sender, body FROM inbox"
        return Evidence(
            log=list(log),
            wishes=self.load.wishes,
            refused=self.load.refused,
            radio=[Radio(*row) for row in self.stack.phones_db(radio)],
            arrived=[Arrived(p, str(n), s, b) for p, n, s, b in self.stack.phones_db(inbox)],
            hits=list(self.stack.receiver.hits),
            endpoints=self._endpoints,
        )

    def _untold_by_phones(self) -> list[str]:
        untold = self.stack.phones_db("SELECT phone_id, seq FROM journal")
        return [f"{phone} has not told its entry {seq}" for phone, seq in untold]

    def message(self, sentences: Sequence[str]) -> str:
        """Why it failed, how to run it again, what was killed, and what the parts said."""
        return "\n".join(
            [
                told(sentences),
                self._seed,
                f"answers: {dict(self.load.answers)}; wishes: {len(self.load.wishes)}",
                f"killed: {', '.join(self.kills)}",
                *(f"log line: {line}" for line in self.stack.complaints()),
                self.stack.report(),
            ]
        )
