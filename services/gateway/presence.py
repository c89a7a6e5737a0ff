"""Signs of life: from the instance that hears a phone to every instance, and to api.

The bucket on NATS holds the last sign of each phone (its fields: standing.Sign). Every
instance watches it, so that each knows of every phone which instance holds its stream. It is not
history: losing it loses no fact, the next heartbeat puts it back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from services.gateway.settings import GatewaySettings
from services.gateway.standing import Limits, Sign, heard, replaced, standing
from shared.service import Context

# A phone that calls more often is put so often, unless something changed: its silence is told in
# heartbeats, of which this is a fraction.
PUT_EVERY_S, PUT_EVERY_BEAT = 5.0, 0.1


def limits_of(settings: GatewaySettings) -> Limits:
    """The limits as they are set."""
    return Limits(2 * settings.heartbeat_s, settings.offline_after_s, settings.stream_gone_s)


class Presence:
    """What this instance knows of every phone's last sign of life."""

    def __init__(self, context: Context, instance: str) -> None:
        self._context, self._instance = context, instance
        self._limits = limits_of(context.settings)
        self._put_every_s = min(PUT_EVERY_S, PUT_EVERY_BEAT * context.settings.heartbeat_s)
        self._known: dict[str, Sign] = {}
        self._put_at: dict[str, float] = {}
        self.on_sign: list[Callable[[str], None]] = []

    def sign(self, phone_id: str) -> Sign:
        """The last sign of a phone, as far as it came here."""
        return self._known.get(phone_id) or Sign()

    def all(self) -> dict[str, Sign]:
        """Every phone's last sign."""
        return self._known

    async def run(self) -> None:
        """Take in what all instances put; for ever."""
        async for phone_id, state in self._context.bus.watch_presence():
            try:
                sign = msgspec.convert(state, Sign)
            except msgspec.ValidationError:
                continue  # a newer version's: its own instances look after it
            self._known[phone_id] = sign
            for callback in self.on_sign:
                callback(phone_id)

    async def heard(self, phone_id: str, vitals: dict[str, Any]) -> None:
        """The phone made a call."""
        now = self._now()
        sign = heard(self.sign(phone_id), now, self._limits)
        state = standing(sign, now, self._limits).state
        await self._put(phone_id, replaced(sign, state=state, **vitals))

    async def streaming(self, phone_id: str, since: datetime, position: int) -> None:
        """The phone has its stream here."""
        changes = {"at": self._now(), "since": since, "position": position, "gone_at": None}
        sign = replaced(
            self.sign(phone_id),
            state="online",
            streaming=True,
            instance=self._instance,
            **changes,
        )
        await self._put(phone_id, sign)

    async def still_streaming(self, phone_id: str, since: datetime, position: int) -> None:
        """Set right what another instance put without knowing of the stream here."""
        sign = self.sign(phone_id)
        if sign.streaming and sign.instance == self._instance:
            return
        await self._put(
            phone_id,
            replaced(sign, streaming=True, instance=self._instance, since=since, position=position),
        )

    async def stream_gone(self, phone_id: str) -> None:
        """The phone's stream here ended, and no other took its place here."""
        sign = self.sign(phone_id)
        if sign.instance in (None, self._instance):
            await self._put(phone_id, replaced(sign, streaming=False, gone_at=self._now()))

    async def became(self, phone_id: str, state: str) -> None:
        """The leading instance recorded that a phone is late or offline."""
        await self._put(phone_id, replaced(self.sign(phone_id), state=state))

    def _now(self) -> datetime:
        return self._context.clock.now()

    async def _put(self, phone_id: str, sign: Sign) -> None:
        now_s = time.monotonic()
        known = self._known.get(phone_id)
        same = known is not None and replaced(known, at=None) == replaced(sign, at=None)
        self._known[phone_id] = sign
        if same and now_s - self._put_at.get(phone_id, 0.0) < self._put_every_s:
            return
        self._put_at[phone_id] = now_s
        for callback in self.on_sign:
            callback(phone_id)
        await self._context.bus.put_presence(phone_id, msgspec.to_builtins(sign))
