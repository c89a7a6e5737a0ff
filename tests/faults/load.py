"""A running load: customers that send texts and people that answer, while everything breaks.

A customer here does what the documentation tells real ones: an Idempotency-Key with every request,
and the same request again when there was no answer, or a 503. One in ten is careless, sends without
a key and never repeats: what it was not answered, it was not promised.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from clients.simphone import SimphoneError
from tests.faults.evidence import NO_RECEIPT, Wish
from tests.stack import NO_ANSWER, Answer, Stack

AGAIN_S = 0.2  # pause before a request is repeated
PATIENCE_S = 90.0  # a request that is not answered by then is a failure of the test
STILL_RUNNING = 409
COME_BACK = (
    STILL_RUNNING,
    429,
    503,
)  # still running, too fast, storage away: repeat, with the same key


class Load:
    """Sends at ``rate`` requests a second in all, from ``senders`` customers."""

    def __init__(
        self, stack: Stack, rng: random.Random, *, rate: float = 30.0, senders: int = 40
    ) -> None:
        self.stack, self._rng = stack, rng
        self._pause_s, self._senders = senders / rate, senders
        self._numbers = itertools.count(2_000_000)
        self._used: list[str] = []
        self.wishes: dict[str, Wish] = {}
        self.refused: list[str] = []  # numbers answered 422 recipient_opted_out
        self.answers: Counter[int] = Counter()
        self.strange: list[str] = []  # answers no customer should ever get
        self._going = True

    def stop(self) -> None:
        """No new request; ``run`` returns when those under way are answered."""
        self._going = False

    async def run(self) -> None:
        """Send and answer until ``stop``."""
        self._going = True
        workers = [asyncio.create_task(self._customer()) for _ in range(self._senders)]
        workers.append(asyncio.create_task(self._people()))
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def _number(self) -> str:
        number = f"+1415{next(self._numbers)}"
        self._used.append(number)
        return number

    def _wish(self) -> dict[str, Any]:
        """One request: mostly a new person, now and then somebody who may have said STOP."""
        rng = self._rng
        words = f"text {uuid.uuid4().hex[:12]}"
        draw = rng.random()
        if draw < 0.12 and self._used:
            return {"to": rng.choice(self._used), "body": words}
        body = words
        if draw < 0.22:
            body = f"{words} reply:thanks for {words}"
        elif draw < 0.30:
            body = f"{words} reply:STOP"
        elif draw < 0.34:
            body = f"{words} {NO_RECEIPT}"
        wish: dict[str, Any] = {"to": self._number(), "body": body}
        if 0.34 <= draw < 0.40:
            wish["phone_id"] = rng.choice(self.stack.phones)
        elif 0.40 <= draw < 0.45:
            soon = datetime.now(UTC) + timedelta(seconds=rng.uniform(1, 4))
            wish["send_at"] = soon.isoformat()
        return wish

    async def _customer(self) -> None:
        while self._going:
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * self._pause_s)
            wish = self._wish()
            careless = self._rng.random() < 0.1
            answer = await (self._once(wish, "") if careless else self._patiently(wish))
            if answer is not None:
                self._note(wish, answer)

    async def _once(self, wish: dict[str, Any], key: str) -> Answer | None:
        try:
            return await self.stack.api("POST", "/v1/sms/send", wish, idempotency_key=key)
        except NO_ANSWER:
            return None

    async def _patiently(self, wish: dict[str, Any]) -> Answer | None:
        key = uuid.uuid4().hex
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await self._once(wish, key)
                if answer is not None:
                    if answer.status not in COME_BACK:
                        return answer
                    self._note(wish, answer)
                    if answer.status == STILL_RUNNING and not self._going:
                        return None
                await asyncio.sleep(AGAIN_S)

    def _note(self, wish: dict[str, Any], answer: Answer) -> None:
        self.answers[answer.status] += 1
        match answer.status:
            case 202:
                message_id = answer.body["message"]["id"]
                if message_id in self.wishes:
                    self.strange.append(f"{message_id} was the answer to two wishes")
                self.wishes[message_id] = Wish(wish["to"], wish["body"])
            case 422 if answer.body["code"] == "recipient_opted_out":
                self.refused.append(wish["to"])
            case 503 if "Retry-After" not in answer.headers:
                self.strange.append("503 without Retry-After")
            case status if status not in COME_BACK:
                self.strange.append(f"{status}: {str(answer.body)[:300]}")
            case _:
                pass

    async def _people(self) -> None:
        """Somebody texts a phone out of the blue, now and then one who was written to before."""
        for n in itertools.count():
            await asyncio.sleep(self._rng.uniform(0.1, 0.6))
            if not self._going:
                return
            old = self._used and self._rng.random() < 0.3
            sender = self._rng.choice(self._used) if old else f"+1628{3_000_000 + n}"
            body = "stop" if self._rng.random() < 0.2 else f"hello {n}"
            try:
                await self.stack.receive(self._rng.choice(self.stack.phones), sender, body)
            except (SimphoneError, *NO_ANSWER):
                pass  # the phones are down: nobody's text arrived
