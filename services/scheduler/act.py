"""Dispatches what is due: the action half of the scheduler.

Only the leading instance acts, so leadership is the lease. It keeps the phones in memory (from the
rows each batch changed) and asks the database only for the heads of queues that may move: a queue
becomes *active* when a text joins it, when its phone changes, or when a timer of it rings
(queues.py). What was decided is *flying* until its event is projected (flights.py); nothing is
decided twice meanwhile.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.scheduler import decide, policy, record
from services.scheduler.desk import account_of, campaign_of, handset_of, text_of
from services.scheduler.flights import Flight, Flights
from services.scheduler.queues import Queues
from shared import events as e
from shared.errors import Conflict, EightMsError
from shared.log import Guard
from shared.projector import Saved
from shared.service import Context
from shared.sql import queries

HEAD = 32  # texts looked at per queue and step
QUEUES_PER_STEP = 100
FLYING_MAX = 4000  # decided but not projected yet: beyond this the log is slower than we are
FLYING_LOOK_S = 0.25  # a commit wakes us when a decision lands, nothing when the log refuses it
OPEN_MAX = 500  # messages settled in one step
EXPIRING_MAX = 500
EXPIRY_LOOK_S = 5.0  # expiry is exact to this
CONFLICT_RETRY_S = 0.02  # the contact's newest event is about to be projected
REFUSED_RETRY_S = 1.0  # the log is slow, full, or away
GRACE = timedelta(seconds=decide.EXPIRY_GRACE_S)


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
        self._missed: list[Saved] | None = None
        self._reset()
        context.projector.on_rows.append(self._rows_changed)
        context.projector.on_commit.append(lambda wake: self._projected(wake.seq))

    def _reset(self) -> None:
        self._accounts: dict[str, decide.Account] = {}
        self._rows: dict[str, decide.Handset] = {}  # phones as their rows say
        # The same with what is flying on top: what the next decision must be based on.
        self._phones: dict[str, dict[str, decide.Handset]] = {}
        self._campaigns: dict[str, decide.Campaign] = {}  # under way, and what became of others
        self._queues = Queues()
        self._flying = Flights()
        self._open = True
        self._expiry_at = 0.0

    # -- a term of leading -----------------------------------------------------------------------

    async def start(self) -> None:
        """Load phones and the queues that have somebody in line."""
        self._reset()
        missed = self._missed = []  # what is committed while we load, older than what we loaded
        try:
            async with self._c.db.owner.acquire() as db:
                for row in await db.fetch(self._sql.all_workspaces):
                    self._accounts[row["id"]] = account_of(row)
                for row in await db.fetch(self._sql.live_campaigns):
                    self._campaigns[row["id"]] = campaign_of(row)
                for row in await db.fetch(self._sql.all_phones):
                    self._admit(handset_of(row))
                for row in await db.fetch(self._sql.active_queues):
                    self._queues.activate(row["queue"], row["workspace_id"], timed=True)
        finally:
            self._missed = None
        self._running = True
        for saved in missed:
            self._rows_changed(saved)

    async def stop(self) -> None:
        """What flies lands or is decided again by the next leader: its ids make that harmless."""
        self._running = False

    # -- what the projection tells ---------------------------------------------------------------

    def _rows_changed(self, saved: Saved) -> None:
        if self._missed is not None:
            self._missed.append(saved)
        if not self._running:
            return
        now = self._c.clock.now()
        messages = saved.get("message", {}).values()
        self._over(self._flying.arrived(messages))
        for row in saved.get("workspace", {}).values():
            self._account_changed(account_of(row))
        for row in saved.get("campaign", {}).values():
            if row is not None and row.state != "draft":
                self._campaign_changed(campaign_of(row), row.workspace_id)
        for row in saved.get("phone", {}).values():
            self._admit(handset_of(row))
        for row in messages:
            if row.state == "waiting":
                if row.wake_at <= now:
                    self._queues.activate(row.queue, row.workspace_id)
                else:
                    self._queues.ring(row.wake_at, row.queue, row.workspace_id)
                self._expiry_at = min(self._expiry_at, row.expires_at.timestamp())
            elif row.state == "open" or (row.state, row.outcome) == ("dispatched", "cancelled"):
                self._open = True

    def _account_changed(self, account: decide.Account) -> None:
        """Other quiet hours, another patience with silent phones: everybody is looked at again."""
        self._accounts[account.id] = account
        self._look_everywhere(account)

    def _campaign_changed(self, campaign: decide.Campaign, workspace_id: str) -> None:
        """Paused: its texts leave the lines. Resumed: they come back. Edited: they look again."""
        known = self._campaigns.get(campaign.id)
        self._campaigns[campaign.id] = campaign
        if known is not None and known != campaign:
            self._look_everywhere(self._account(workspace_id))
            self._queues.activate(campaign.id, workspace_id, timed=True)

    def _look_everywhere(self, account: decide.Account) -> None:
        self._queues.activate(account.id, account.id, timed=True)
        for phone in self._phones.get(account.id, {}).values():
            self._queues.activate(phone.id, account.id, timed=True)
            self._watch(phone, account)

    def _admit(self, phone: decide.Handset) -> None:
        """A phone's row is new or changed."""
        known = self._rows.get(phone.id)
        self._rows[phone.id] = phone
        self._recount(phone.id)
        if known is not None and (known.state, known.state_at) == (phone.state, phone.state_at):
            return
        self._watch(phone, self._account(phone.account))
        if phone.state == "unpaired":
            # Its rows were moved by a statement, of which we hear nothing: who is left in its
            # queue asked for this very phone, who is not is in the workspace's, and what it held
            # is open.
            for queue in (phone.id, phone.account):
                self._queues.activate(queue, phone.account, timed=True)
            self._open = True

    def _watch(self, phone: decide.Handset, account: decide.Account) -> None:
        """Come back when a silent phone's texts may take another one."""
        if phone.state != "offline":
            return
        own = {campaign.failover_s for campaign in self._campaigns.values()}
        for after_s in {account.failover_s, account.campaign_failover_s, *own}:
            if after_s is not None:
                for wait_s in (after_s, max(after_s, self._limits.lease_s)):
                    due = phone.state_at + timedelta(seconds=wait_s)
                    self._queues.ring(due, phone.id, phone.account)

    def _recount(self, phone_id: str) -> None:
        """The phone as its row says, and what flies to it counted once more on top.

        Never corrected by hand: a flight may have landed twice, nowhere, or before we hear of it.
        """
        row = self._rows.get(phone_id)
        if row is None:
            return
        phone = dataclasses.replace(row, recent=list(row.recent))
        account = self._account(row.account)
        for flight in self._flying.to_phone(phone_id):
            phone.dispatched(flight.at, flight.parts, flight.command_id, account.zone)
        self._phones.setdefault(row.account, {})[phone_id] = phone
        self._queues.stir(phone_id, row.account)
        self._queues.stir(row.account, row.account)

    def _projected(self, position: int) -> None:
        self._over(self._flying.landed(position))

    def _over(self, flights: Iterable[Flight]) -> None:
        """These are over: their phones are counted anew, and who waited for them is looked at."""
        ended = [flight for flight in flights if self._flying.end(flight)]
        for phone_id in {flight.phone_id for flight in ended if flight.phone_id}:
            self._recount(phone_id)
        for flight in ended:
            self._open = self._open or flight.settles
            for queue, (workspace_id, timed) in flight.held_up.items():
                self._queues.activate(queue, workspace_id, timed=timed)

    # -- one step --------------------------------------------------------------------------------

    async def step(self) -> float | None:
        """Decide everything that can be decided now; seconds until the next timer."""
        if not self._c.log.connected:
            return REFUSED_RETRY_S  # nothing can be put on record
        now = self._c.clock.now()
        self._queues.rung(now)
        if self._open:
            await self._settle_open(now)
        if now.timestamp() >= self._expiry_at:
            await self._expire(now)
        if self._queues and len(self._flying) < FLYING_MAX:
            await self._dispatch(now)
        if self._queues and len(self._flying) < FLYING_MAX:
            return 0.0
        delay_s = min(self._queues.next_at, self._expiry_at) - self._c.clock.now().timestamp()
        if self._flying:
            delay_s = min(delay_s, FLYING_LOOK_S)
        return max(0.001, delay_s)

    async def _dispatch(self, now: datetime) -> None:
        queues, timed = self._queues.take(QUEUES_PER_STEP)
        # As of before the rows are read: what lands meanwhile is in memory, not in these rows.
        flying, in_the_air = self._flying.now()
        try:
            rows, whole = await self._heads(queues, timed, now)
        except BaseException:
            self._queues.give_back(queues, timed)
            raise
        texts: dict[str, list[decide.Text]] = {}
        seen: set[str] = set()
        counts: dict[str, int] = {}
        for row in rows:
            counts[row["queue"]] = counts.get(row["queue"], 0) + 1
            flight = flying.get(row["id"]) or in_the_air.get(row["contact_id"])
            if flight is not None and flight.over:
                again = row["queue"] in timed
                self._queues.activate(row["queue"], row["workspace_id"], timed=again)
            elif flight is not None:
                flight.held_up[row["queue"]] = (row["workspace_id"], row["queue"] in timed)
            elif row["id"] not in seen:
                seen.add(row["id"])
                texts.setdefault(row["workspace_id"], []).append(text_of(row))
        went: set[str] = set()
        stayed: set[str] = set()
        for workspace_id, waiting in texts.items():
            desk = self._desk(workspace_id)
            waiting.sort(key=_line)
            gone: set[str] = set()
            for outcome in decide.assign(desk, waiting, now):
                self._submit(outcome, now)
                went.add(outcome.text.queue)
                if not isinstance(outcome, decide.Hold):
                    gone.add(outcome.text.id)
            if len(gone) < len(waiting):
                stayed.update(text.queue for text in waiting if text.id not in gone)
                self._ring_phones(desk, queues, now)
        for queue, count in counts.items():
            if count >= HEAD and queue in went:  # the line goes on behind the head
                self._queues.activate(queue, queues[queue], timed=queue in timed)
        long = {queue for queue, count in counts.items() if count >= HEAD}
        self._queues.left_empty(whole - stayed - long)

    async def _heads(
        self, queues: Mapping[str, str], timed: Sequence[str], now: datetime
    ) -> tuple[list[Any], set[str]]:
        """The texts to look at, and the queues of which these are all that are due (up to HEAD).

        Of queues whose timer rang the next timer is set.
        """
        moving = {q for q, w in queues.items() if self._may_move(q, w, now)}
        heads = [q for q in queues if q in moving or q in timed]
        simulated = [self._simulated(q, queues[q]) for q in heads]
        # Who is not going to be looked at there must be told why it waits.
        silent = [q for q in queues if q not in moving or not self._simulated(q, queues[q])]
        rows: list[Any] = []
        async with self._c.db.owner.acquire() as db:
            if heads:
                rows += await db.fetch(self._sql.candidates, heads, simulated, now, HEAD)
            if silent:
                rows += await db.fetch(self._sql.unexplained, silent, HEAD)
            if timed:
                for row in await db.fetch(self._sql.next_wake, timed, now):
                    self._queues.ring(row["wake_at"], row["queue"], queues[row["queue"]])
            for queue in timed:
                if queue not in moving:
                    await self._recall(db, queue, queues[queue], now)
        whole = {q for q, all_kinds in zip(heads, simulated, strict=True) if all_kinds}
        return rows, whole & moving

    def _may_move(self, queue: str, workspace_id: str, now: datetime) -> bool:
        phones = self._phones.get(workspace_id, {})
        account = self._account(workspace_id)
        if queue in phones:
            if phones[queue].state == "unpaired":
                return True  # who waits there is refused, or moves
            lined: Iterable[decide.Handset] = (phones[queue],)
        else:
            lined = phones.values()
        for phone in lined:
            if phone.state != "online":
                continue
            block = decide.phone_block(phone, None, account, self._limits, now)
            if block is None or block[0] not in ("phone_offline", "daily_cap"):
                return True
        return False

    def _simulated(self, queue: str, workspace_id: str) -> bool:
        """Whether texts of a test key can go from here: else they would stand in others' way."""
        phones = self._phones.get(workspace_id, {})
        if queue in phones:
            return True  # where they are refused at once, or the phone is a simulated one
        return any(p.simulated and p.state == "online" for p in phones.values())

    def _account(self, workspace_id: str) -> decide.Account:
        return self._accounts.get(workspace_id) or account_of(None, workspace_id)

    def _desk(self, workspace_id: str) -> decide.Desk:
        phones = self._phones.get(workspace_id, {})
        return decide.Desk(self._account(workspace_id), phones, self._limits, self._campaigns)

    def _ring_phones(self, desk: decide.Desk, queues: Iterable[str], now: datetime) -> None:
        """Come back when a phone that is merely pacing itself is free again."""
        wanted = set(queues)
        pool = desk.account.id in wanted
        for phone in desk.phones.values():
            if phone.state == "online" and (pool or phone.id in wanted):
                block = decide.phone_block(phone, None, desk.account, desk.limits, now)
                if block is not None and block[1] is not None:
                    self._queues.ring(block[1], phone.id, desk.account.id)
                    if pool:
                        self._queues.ring(block[1], desk.account.id, desk.account.id)

    async def _recall(self, db: Any, queue: str, workspace_id: str, now: datetime) -> None:
        """Ask a silent phone to give back what it never accepted, where another may take over."""
        phone = self._phones.get(workspace_id, {}).get(queue)
        if phone is None or phone.state != "offline":
            return
        before = now - timedelta(seconds=self._limits.lease_s)
        for row in await db.fetch(self._sql.stranded, queue, before):
            text = text_of(row)
            campaign = self._campaigns.get(text.campaign_id or "")
            moves_at = decide.failover_at(text, phone, self._account(workspace_id), campaign)
            if moves_at is not None and moves_at <= now and text.id not in self._flying:
                self._append(record.recall(text, row["command_id"], "failover", now), text)

    async def _settle_open(self, now: datetime) -> None:
        self._open = False
        try:
            async with self._c.db.owner.acquire() as db:
                rows = await db.fetch(self._sql.open_messages, OPEN_MAX)
        except BaseException:
            self._open = True
            raise
        for row in rows:
            flight = self._flying.get(row["id"])
            if flight is not None:
                flight.settles = True  # look again when it has landed
                continue
            text = text_of(row)
            if row["state"] == "dispatched":  # cancelled a moment before it was dispatched
                self._append(record.recall(text, row["command_id"], "user", now), text)
                continue
            account = self._account(text.workspace_id)
            outcome = decide.open_outcome(text, row["outcome"], row["cancel"], account, now)
            if outcome is not None:
                self._append(record.settled(outcome, now), text)
        self._open = self._open or len(rows) >= OPEN_MAX  # the next commit wakes us

    async def _expire(self, now: datetime) -> None:
        async with self._c.db.owner.acquire() as db:
            rows = await db.fetch(self._sql.expiring, now, now - GRACE, EXPIRING_MAX)
            next_at = await db.fetchval(self._sql.next_expiry, now, now - GRACE, GRACE)
        for row in rows:
            if row["id"] in self._flying:
                continue
            text = text_of(row)
            if row["state"] == "waiting":
                self._submit(decide.Expire(text, text.reason), now)
            elif row["cancel"] is None:
                self._append(record.recall(text, row["command_id"], "expired", now), text)
            else:
                self._submit(decide.Expire(text, "phone_offline", row["dispatched_to"]), now)
        soon_s = EXPIRY_LOOK_S if len(rows) < EXPIRING_MAX else EXPIRY_LOOK_S / 10
        later = next_at.timestamp() if next_at else float("inf")
        self._expiry_at = now.timestamp() + soon_s if rows else later

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
        flight = Flight(text.id, event.at)
        if phone_id is not None:
            flight = Flight(
                text.id,
                event.at,
                parts=text.parts,
                contact_id=text.contact_id,
                phone_id=phone_id,
                command_id=event.data.command_id,
            )
        self._flying.begin(flight)
        decided_at = self._c.projector.status.position
        future = self._c.log.submit(event, guard)
        future.add_done_callback(lambda done: self._answered(text, flight, decided_at, done))

    def _answered(
        self, text: decide.Text, flight: Flight, decided_at: int, done: asyncio.Future[int]
    ) -> None:
        error = None if done.cancelled() else done.exception()
        if error is None and not done.cancelled():
            flight.seq = done.result()
            if flight.seq <= self._c.projector.status.position:
                self._over([flight])
            if flight.seq <= decided_at:  # a repeat: it changes nothing, so nothing would wake us
                self._again(text, REFUSED_RETRY_S)
            return
        self._over([flight])  # the slot was not used after all: somebody else may have it
        self._queues.activate(text.queue, text.workspace_id)
        if isinstance(error, Conflict):
            self._again(text, CONFLICT_RETRY_S)
            return
        kind = type(error).__name__ if isinstance(error, EightMsError) else repr(type(error))
        self._log.warning("not recorded, will decide again", error=kind)
        self._again(text, REFUSED_RETRY_S)

    def _again(self, text: decide.Text, after_s: float) -> None:
        at = self._c.clock.now() + timedelta(seconds=after_s)
        self._queues.ring(at, text.queue, text.workspace_id)
        self._open = True
        self._expiry_at = min(self._expiry_at, at.timestamp())


def _line(text: decide.Text) -> tuple[int, datetime]:
    return policy.lane(text.source), text.wake_at
