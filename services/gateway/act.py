"""What only the leading instance does: signs of life become events; the vault is swept."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from services.gateway.instance import Instance
from services.gateway.presence import limits_of
from services.gateway.project import PHONE_HINT
from services.gateway.standing import State, standing, step
from shared import events as e
from shared import ids, sql
from shared.projector import Wake
from shared.service import Context

WAIT_MAX_S = 5.0  # look at least so often, whatever the timers say: a term must end soon
TRANSITIONS_MAX = 1000  # appended at once
SWEEP_EVERY_S = 3600.0
PAIRINGS_KEPT = timedelta(days=1)  # after they ended, so that the dashboard can say how
PARTS_KEPT = timedelta(days=30)  # networks try for days, never for weeks

Q = sql.queries("services.gateway")
_EVENTS: dict[State, type[e.PhoneOnline | e.PhoneLate | e.PhoneOffline]] = {
    "online": e.PhoneOnline,
    "late": e.PhoneLate,
    "offline": e.PhoneOffline,
}


@dataclass(slots=True)
class _Watched:
    """A phone as its row stands; ``changing`` while an event of ours is on its way to the row."""

    workspace_id: str
    state: State
    state_seq: int
    changing: bool = False


class Watch:
    """Turns presence into phone.online, phone.late and phone.offline.

    Phones are looked at when they give a sign, when their row changes, and when a timer says that
    silence may have become something; a heap holds one timer a phone.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._presence = Instance.of(context).presence
        self._limits = limits_of(context.settings)
        self._phones: dict[str, _Watched] = {}
        self._timers: list[tuple[datetime, str]] = []
        self._timer_of: dict[str, datetime] = {}
        self._look: set[str] = set()
        self._reload: set[str] | None = None  # None: all of them
        self._woken = asyncio.Event()
        self._grace_until = context.clock.now()
        self._presence.on_sign.append(self._signed)
        context.projector.on_commit.append(self._committed)
        context.projector.on_resign.append(self._woken.set)

    async def start(self) -> None:
        """A term begins: every phone is looked at, none called worse before it could be heard."""
        self._phones.clear()
        self._timers.clear()
        self._timer_of.clear()
        self._reload = None
        grace_s = self._context.settings.heartbeat_s
        self._grace_until = self._context.clock.now() + timedelta(seconds=grace_s)

    async def stop(self) -> None:
        """Nothing is under way between two steps."""

    async def step(self) -> float | None:
        """Record what changed; then wait here, because a sign of life is no commit."""
        await self._reread()
        now = self._context.clock.now()
        while self._timers and self._timers[0][0] <= now:
            at, phone_id = heapq.heappop(self._timers)
            if self._timer_of.get(phone_id) == at:
                del self._timer_of[phone_id]
                self._look.add(phone_id)
        look = list(self._look)[:TRANSITIONS_MAX]
        self._look.difference_update(look)
        try:
            await self._record(look, now)
        except Exception:
            self._look.update(look)
            raise
        if not self._look:
            wait_s = WAIT_MAX_S
            if self._timers:
                due_s = (self._timers[0][0] - self._context.clock.now()).total_seconds()
                wait_s = min(wait_s, max(due_s, 0.0))
            # Not wait_for: before Python 3.12 it loses a cancellation that comes with the wake.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            self._woken.clear()
        return 0.0

    # -- what wakes it ---------------------------------------------------------------------------

    def _signed(self, phone_id: str) -> None:
        self._look.add(phone_id)
        self._woken.set()

    def _committed(self, wake: Wake) -> None:
        if "*" in wake.hints:
            self._reload = None
        elif self._reload is not None:
            changed = {h.removeprefix(PHONE_HINT) for h in wake.hints if h.startswith(PHONE_HINT)}
            self._reload |= changed
            if not changed:
                return
        self._woken.set()

    async def _reread(self) -> None:
        wanted, self._reload = self._reload, set()
        if wanted is not None and not wanted:
            return
        try:
            rows = await self._context.db.owner.fetch(
                Q.phones, None if wanted is None else list(wanted)
            )
        except BaseException:
            self._reload = None
            raise
        found = {
            row["id"]: _Watched(row["workspace_id"], row["state"], row["state_seq"]) for row in rows
        }
        for phone_id in wanted or set(self._phones) - found.keys():
            self._phones.pop(phone_id, None)
        self._phones.update(found)
        self._look.update(found)

    # -- what follows ----------------------------------------------------------------------------

    async def _record(self, phone_ids: list[str], now: datetime) -> None:
        changes: list[tuple[str, _Watched, State]] = []
        for phone_id in phone_ids:
            phone = self._phones.get(phone_id)
            if phone is None or phone.changing:
                continue
            found = standing(self._presence.sign(phone_id), now, self._limits)
            if found.look_at is not None:
                self._set_timer(phone_id, found.look_at)
            in_grace = now < self._grace_until
            state = step(phone.state, found.state, in_grace=in_grace)
            if state is not None:
                changes.append((phone_id, phone, state))
            elif in_grace and found.state != phone.state:
                self._set_timer(phone_id, self._grace_until)
        if not changes:
            return
        await self._context.log.append_many(
            [_transition(phone_id, phone, state, now) for phone_id, phone, state in changes]
        )
        for phone_id, phone, state in changes:
            phone.changing = True  # until its row comes back with the event's sequence
            if state != "online":
                await self._presence.became(phone_id, state)
        structlog.get_logger().info("phones changed", count=len(changes))

    def _set_timer(self, phone_id: str, at: datetime) -> None:
        known = self._timer_of.get(phone_id)
        if known is None or at < known:
            self._timer_of[phone_id] = at
            heapq.heappush(self._timers, (at, phone_id))


def _transition(phone_id: str, phone: _Watched, state: State, now: datetime) -> e.Event:
    """The event, named by the state it ends: said twice, by whomever, it is stored once."""
    return e.make(
        _EVENTS[state](phone_id=phone_id),
        id=ids.derive("evt", phone_id, state, str(phone.state_seq)),
        workspace_id=phone.workspace_id,
        at=now,
        actor=e.Actor("system", "gateway"),
    )


class Sweep:
    """Removes from the vault what time has made useless."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._due_s = 0.0

    async def start(self) -> None:
        """A term begins: sweep at once."""
        self._due_s = 0.0

    async def stop(self) -> None:
        """Nothing is under way."""

    async def step(self) -> float | None:
        """Sweep when an hour has passed: every commit wakes this actor too."""
        now_s = time.monotonic()
        if now_s >= self._due_s:
            now = self._context.clock.now()
            await self._context.db.owner.execute(Q.sweep_pairings, now - PAIRINGS_KEPT)
            await self._context.db.owner.execute(Q.sweep_parts, now - PARTS_KEPT)
            self._due_s = now_s + SWEEP_EVERY_S
        return self._due_s - now_s
