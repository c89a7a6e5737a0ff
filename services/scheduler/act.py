"""Dispatches what is due: the action half of the scheduler.

Only the leading instance acts, so leadership is the lease. It keeps the phones in memory (from the
rows each batch changed) and asks the database only for the heads of queues that may move: a queue
becomes *active* when a text joins it, when its phone changes, or when a timer of it rings. What was
decided is *flying* until its event is projected; nothing is decided twice meanwhile.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog

from services.scheduler import decide, record
from services.scheduler.desk import account_of, handset_of, text_of
from shared import events as e
from shared.errors import Conflict, EightMsError
from shared.log import Guard
from shared.projector import Saved
from shared.service import Context
from shared.sql import queries

HEAD = 32  # texts looked at per queue and step
QUEUES_PER_STEP = 100
FLYING_MAX = 4000  # decided but not projected yet: beyond this the log is slower than we are
EXPIRY_LOOK_S = 5.0  # expiry is exact to this


class Dispatcher:
    """The scheduler's only actor."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self._sql = queries("services.scheduler")
        settings = context.settings
        self._limits = decide.Limits(
            window=settings.window,
            lease_s=settings.lease_s,
            unpaced_simulation=settings.unpaced_simulation,
        )
        self._log = structlog.get_logger()
        self._running = False
        self._reset()
        context.projector.on_rows.append(self._rows_changed)
        context.projector.on_commit.append(lambda wake: self._projected(wake.seq))

    def _reset(self) -> None:
        self._accounts: dict[str, decide.Account] = {}
        self._phones: dict[str, dict[str, decide.Handset]] = {}
        self._active: dict[str, str] = {}  # queue → workspace
        self._timed: set[str] = set()  # active because a timer rang: look for the next one too
        self._timers: list[tuple[float, str, str]] = []
        self._flying: dict[str, _Flight] = {}  # message → its undecided outcome
        self._open = True
        self._expiry_at = 0.0

    # -- a term of leading -----------------------------------------------------------------------

    async def start(self) -> None:
        """Load phones and the queues that have somebody in line."""
        self._reset()
        async with self._c.db.owner.acquire() as db:
            for row in await db.fetch(self._sql.all_workspaces):
                self._accounts[row["id"]] = account_of(row)
            for row in await db.fetch(self._sql.all_phones):
                self._phones.setdefault(row["workspace_id"], {})[row["id"]] = handset_of(row)
            now = self._c.clock.now()
            for row in await db.fetch(self._sql.active_queues):
                if row["wake_at"] <= now:
                    self._activate(row["queue"], row["workspace_id"])
                self._timed.add(row["queue"])
                self._ring(row["wake_at"], row["queue"], row["workspace_id"])
        self._running = True

    async def stop(self) -> None:
        """What flies lands or is decided again by the next leader: its ids make that harmless."""
        self._running = False

    def _activate(self, queue: str, workspace_id: str) -> None:
        self._active[queue] = workspace_id

    def _ring(self, at: datetime | None, queue: str, workspace_id: str) -> None:
        if at is not None:
            heapq.heappush(self._timers, (at.timestamp(), queue, workspace_id))

    # -- what the projection tells ---------------------------------------------------------------

    def _rows_changed(self, saved: Saved) -> None:
        if not self._running:
            return
        now = self._c.clock.now()
        for row in saved.get("workspace", {}).values():
            self._accounts[row.id] = account_of(row)
            self._activate(row.id, row.id)
        for row in saved.get("phone", {}).values():
            self._phone_changed(row)
        for row in saved.get("message", {}).values():
            if row.state == "waiting":
                if row.wake_at <= now:
                    self._activate(row.queue, row.workspace_id)
                else:
                    self._ring(row.wake_at, row.queue, row.workspace_id)
                self._expiry_at = min(self._expiry_at, row.expires_at.timestamp())
            elif row.state == "open":
                self._open = True

    def _phone_changed(self, row: object) -> None:
        phone = handset_of(row)
        self._phones.setdefault(phone.account, {})[phone.id] = phone
        account = self._accounts.get(phone.account)
        for flight in self._flying.values():  # decided on this phone, not in its row yet
            if flight.phone_id == phone.id and account is not None:
                phone.dispatched(flight.at, flight.parts, flight.command_id, account.zone)
        self._activate(phone.id, phone.account)
        self._activate(phone.account, phone.account)
        if phone.state == "offline" and account is not None:
            for after_s in (account.failover_s, account.campaign_failover_s):
                if after_s is not None:
                    due = phone.state_at + timedelta(seconds=after_s)
                    self._ring(due, phone.id, phone.account)
                    lease = phone.state_at + timedelta(seconds=max(after_s, self._limits.lease_s))
                    self._ring(lease, phone.id, phone.account)

    def _projected(self, position: int) -> None:
        landed = [m for m, f in self._flying.items() if f.seq is not None and f.seq <= position]
        for message_id in landed:
            flight = self._flying.pop(message_id)
            if flight.held_up:
                self._activate(flight.queue, flight.workspace_id)

    # -- one step --------------------------------------------------------------------------------

    async def step(self) -> float | None:
        """Decide everything that can be decided now; seconds until the next timer."""
        now = self._c.clock.now()
        while self._timers and self._timers[0][0] <= now.timestamp():
            _, queue, workspace_id = heapq.heappop(self._timers)
            self._activate(queue, workspace_id)
            self._timed.add(queue)
        if self._open:
            await self._settle_open(now)
        if now.timestamp() >= self._expiry_at:
            await self._expire(now)
        if self._active and len(self._flying) < FLYING_MAX:
            await self._dispatch(now)
        if self._active and len(self._flying) < FLYING_MAX:
            return 0.0
        due = min(self._timers[0][0] if self._timers else float("inf"), self._expiry_at)
        return max(0.001, due - self._c.clock.now().timestamp())

    async def _dispatch(self, now: datetime) -> None:
        queues = dict(list(self._active.items())[:QUEUES_PER_STEP])
        timed = [q for q in queues if q in self._timed]
        for queue in queues:
            del self._active[queue]
            self._timed.discard(queue)
        moving = [q for q, w in queues.items() if self._may_move(q, w, now)]
        stuck = [q for q in queues if q not in moving]
        heads = [*moving, *(q for q in stuck if q in timed)]
        async with self._c.db.owner.acquire() as db:
            rows = list(await db.fetch(self._sql.candidates, heads, now, HEAD)) if heads else []
            if stuck:
                rows += await db.fetch(self._sql.unexplained, stuck, HEAD)
            if timed:
                for row in await db.fetch(self._sql.next_wake, timed, now):
                    self._ring(row["wake_at"], row["queue"], queues[row["queue"]])
            for queue in set(timed) & set(stuck):
                await self._recall(db, queue, queues[queue], now)
        texts: dict[str, list[decide.Text]] = {}
        seen: set[str] = set()
        counts: dict[str, int] = {}
        in_the_air = {f.contact_id: f for f in self._flying.values() if f.contact_id}
        for row in rows:
            counts[row["queue"]] = counts.get(row["queue"], 0) + 1
            flight = self._flying.get(row["id"]) or in_the_air.get(row["contact_id"])
            if flight is not None:
                flight.hold_up(row["queue"], row["workspace_id"])
            elif row["id"] not in seen:
                seen.add(row["id"])
                texts.setdefault(row["workspace_id"], []).append(text_of(row))
        went: set[str] = set()
        for workspace_id, waiting in texts.items():
            desk = self._desk(workspace_id)
            waiting.sort(key=_line)
            for outcome in decide.assign(desk, waiting, now):
                self._submit(outcome, now)
                went.add(outcome.text.queue)
            self._ring_phones(desk, queues, now)
        for queue, count in counts.items():
            if count >= HEAD and queue in went:
                self._activate(queue, queues[queue])  # the line goes on behind the head

    def _may_move(self, queue: str, workspace_id: str, now: datetime) -> bool:
        phones = self._phones.get(workspace_id, {})
        account = self._account(workspace_id)
        if queue in phones:
            lined = [phones[queue]]
        else:
            lined = [p for p in phones.values() if p.state == "online"]
        for phone in lined:
            block = decide.phone_block(phone, None, account, self._limits, now)
            if block is None or block[0] not in ("phone_offline", "daily_cap"):
                return True
        return False

    def _account(self, workspace_id: str) -> decide.Account:
        return self._accounts.get(workspace_id) or account_of(None, workspace_id)

    def _desk(self, workspace_id: str) -> decide.Desk:
        phones = self._phones.get(workspace_id, {})
        return decide.Desk(self._account(workspace_id), phones, self._limits)

    def _ring_phones(self, desk: decide.Desk, queues: Iterable[str], now: datetime) -> None:
        """Come back when a phone that is merely pacing itself is free again."""
        wanted = set(queues)
        pool = desk.account.id in wanted
        for phone in desk.phones.values():
            if phone.state == "online" and (pool or phone.id in wanted):
                block = decide.phone_block(phone, None, desk.account, desk.limits, now)
                if block is not None and block[1] is not None:
                    self._ring(block[1], phone.id, desk.account.id)
                    if pool:
                        self._ring(block[1], desk.account.id, desk.account.id)

    async def _recall(self, db: object, queue: str, workspace_id: str, now: datetime) -> None:
        """Ask a silent phone to give back what it never accepted, where another may take over."""
        phone = self._phones.get(workspace_id, {}).get(queue)
        if phone is None or phone.state != "offline":
            return
        before = now - timedelta(seconds=self._limits.lease_s)
        for row in await db.fetch(self._sql.stranded, queue, before):  # type: ignore[attr-defined]
            text = text_of(row)
            moves_at = decide.failover_at(text, phone, self._account(workspace_id))
            if moves_at is not None and moves_at <= now and text.id not in self._flying:
                self._append(record.recall(text, row["command_id"], "failover", now), text)

    async def _settle_open(self, now: datetime) -> None:
        self._open = False
        async with self._c.db.owner.acquire() as db:
            rows = await db.fetch(self._sql.open_messages)
        for row in rows:
            if row["id"] in self._flying:
                continue
            text = text_of(row)
            account = self._account(text.workspace_id)
            outcome = decide.open_outcome(text, row["outcome"], row["cancel"], account, now)
            if outcome is not None:
                self._append(record.settled(outcome, now), text)

    async def _expire(self, now: datetime) -> None:
        grace = now - timedelta(seconds=decide.EXPIRY_GRACE_S)
        async with self._c.db.owner.acquire() as db:
            rows = await db.fetch(self._sql.expiring, now, grace)
            next_at = await db.fetchval(self._sql.next_expiry, now)
        for row in rows:
            if row["id"] in self._flying:
                continue
            text = text_of(row)
            if row["state"] == "waiting":
                self._submit(decide.Expire(text, text.reason), now)
            elif row["cancel"] is None:
                self._append(record.recall(text, row["command_id"], "expired", now), text)
            elif not row["accepted"]:
                self._submit(decide.Expire(text, "phone_offline"), now)
        soon = now.timestamp() + EXPIRY_LOOK_S
        later = next_at.timestamp() if next_at else float("inf")
        self._expiry_at = soon if rows else later

    # -- to the log ------------------------------------------------------------------------------

    def _submit(self, outcome: decide.Outcome, now: datetime) -> None:
        event = record.event(outcome, now)
        guard = None
        flight_phone: str | None = None
        if isinstance(outcome, decide.Go):
            text = outcome.text
            flight_phone = outcome.phone_id
            # Refused if the contact changed since: a STOP in the log stops this very dispatch.
            guard = Guard(f"contact.*.{text.workspace_id}.{text.contact_id}", text.contact_seq)
        self._append(event, outcome.text, guard, flight_phone)

    def _append(
        self,
        event: e.Event,
        text: decide.Text,
        guard: Guard | None = None,
        phone_id: str | None = None,
    ) -> None:
        command_id = event.data.command_id if phone_id else ""
        flight = _Flight(text, event.at, phone_id, command_id)
        self._flying[text.id] = flight
        future = self._c.log.submit(event, guard)
        future.add_done_callback(lambda done: self._landed(text, flight, done))

    def _landed(self, text: decide.Text, flight: _Flight, done: asyncio.Future[int]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is None and not done.cancelled():
            flight.seq = done.result()
            self._projected(self._c.projector.status.position)
            return
        self._flying.pop(text.id, None)
        phone = self._phones.get(text.workspace_id, {}).get(flight.phone_id or "")
        if phone is not None:  # the slot was not used after all
            phone.in_flight = max(0, phone.in_flight - 1)
            phone.sent_today = max(0, phone.sent_today - 1)
            phone.recent = [r for r in phone.recent if r[0] != flight.at]
        if not isinstance(error, Conflict):
            kind = type(error).__name__ if isinstance(error, EightMsError) else repr(type(error))
            self._log.warning("not recorded, will decide again", error=kind)
        self._ring(self._c.clock.now() + timedelta(milliseconds=20), text.queue, text.workspace_id)
        self._open = True


class _Flight:
    """A decision on its way: to the log, then back into our rows."""

    __slots__ = (
        "at", "command_id", "contact_id", "held_up", "parts", "phone_id", "queue", "seq",
        "workspace_id",
    )  # fmt: skip

    def __init__(
        self, text: decide.Text, at: datetime, phone_id: str | None, command_id: str
    ) -> None:
        self.at, self.phone_id, self.command_id = at, phone_id, command_id
        self.parts, self.seq = text.parts, None
        self.contact_id = text.contact_id if phone_id else ""
        self.queue, self.workspace_id = text.queue, text.workspace_id
        self.held_up = False

    seq: int | None

    def hold_up(self, queue: str, workspace_id: str) -> None:
        """Something in ``queue`` waits for this flight: look there again when it has landed."""
        self.held_up, self.queue, self.workspace_id = True, queue, workspace_id


def _line(text: decide.Text) -> tuple[int, datetime]:
    from services.scheduler import policy

    return policy.PRIORITY[text.source], text.wake_at
