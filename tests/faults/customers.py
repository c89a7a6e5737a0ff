"""Customers of one stack that send, insist, and count in the end. What outage tests share."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Collection

from tests.stack import NO_ANSWER, Answer, Stack

PATIENCE_S = 90.0  # a bound for what takes as long as pings and statements' timeouts take
AGAIN_S = 0.2


class Customers:
    """Requests numbered for the life of the stack, each with a key and a recipient of its own."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._numbers = itertools.count(1000)

    def wishes(self, count: int) -> list[int]:
        """The numbers of new requests."""
        return [next(self._numbers) for _ in range(count)]

    async def once(self, n: int, timeout_s: float = 30.0) -> Answer:
        """Request ``n``, whatever the answer. One of NO_ANSWER if there is none."""
        wish = {"to": f"+1415555{n}", "body": f"number {n}"}
        return await self.stack.api(
            "POST", "/v1/sms/send", wish, idempotency_key=f"key-{n}", timeout_s=timeout_s
        )

    async def ask(self, n: int) -> str | None:
        """Request ``n``, again while storage is away: the message's id, or None where the first
        try died holding the key and is said to be running yet."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = await self.once(n)
            except NO_ANSWER:
                answer = None
            if answer is not None and answer.status != 503:
                assert answer.status in (202, 409), (answer.status, answer.body)
                return answer.body["message"]["id"] if answer.status == 202 else None
            assert time.monotonic() < deadline, self.stack.report()
            await asyncio.sleep(AGAIN_S)

    async def accepted(self, n: int) -> str:
        """Request ``n`` until it is accepted; its message's id."""
        deadline = time.monotonic() + PATIENCE_S
        while (message_id := await self.ask(n)) is None:
            assert time.monotonic() < deadline, self.stack.report()
            await asyncio.sleep(AGAIN_S)
        return message_id

    async def delivered(self, message_ids: Collection[str]) -> None:
        """Wait until they are."""
        stack = self.stack

        def done() -> bool:
            return set(message_ids) <= {e.data.message_id for e in stack.events("sms.delivered")}

        await stack.until("they are delivered", done, PATIENCE_S)

    async def nothing_lost(self, accepted: Collection[str | None]) -> None:
        """What was accepted is in the log; everything in the log went out, once; and no service had
        to be started again, or complained."""
        stack = self.stack
        known = [message_id for message_id in accepted if message_id is not None]
        assert len(set(known)) == len(known) > 0
        await stack.until("the log is read", lambda: self._requested() >= set(known))
        await self.delivered(self._requested())
        asked = Counter(e.data.message_id for e in stack.events("send.requested"))
        calls = Counter(m for (m,) in stack.phones_db("SELECT message_id FROM radio"))
        assert calls == asked == dict.fromkeys(asked, 1), stack.report()
        assert {stack.programs[name].starts for name in stack.ports} == {1}, stack.report()
        assert stack.complaints() == [], stack.report()

    def _requested(self) -> set[str]:
        return {event.data.message_id for event in self.stack.events("send.requested")}
