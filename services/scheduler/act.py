"""Dispatches what is due: the action half of the scheduler.

Only the leading instance acts, so leadership is the lease. It keeps the phones in memory (from the
rows each batch changed) and asks the database only for the heads of queues that may move: a queue
becomes *active* when a text joins it, when its phone changes, or when a timer of it rings
(queues.py). What was decided is *flying* until its event is projected (flights.py); nothing is
decided twice meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.scheduler import decide, policy, record
from services.scheduler.desk import account_of, campaign_of, handset_of, text_at_hand, text_of
from services.scheduler.fleet import Fleet
from services.scheduler.flights import Flight, Flights
from services.scheduler.project.tables import CAMPAIGN, CONTACT, MESSAGE, PHONE, WORKSPACE, Message
from services.scheduler.queues import Queues
from shared import events as e
from shared.errors import Conflict, EightMsError, NotReady
from shared.log import Guard
from shared.projector import Saved
from shared.rows import Rows
from shared.service import Context
from shared.sql import queries

HEAD = 32  # texts looked at per queue and step, where any phone may take them
WINDOWS = 3  # a phone takes at most its window; as many may be flying still, or be passed over
QUEUES_PER_STEP = 100
FLYING_MAX = 4000  # decided but not projected yet: beyond this the log is slower than we are
FLYING_LOOK_S = 0.25  # a commit wakes us when a decision lands, nothing when the log refuses it
OPEN_MAX = 500  # messages settled in one step
EXPIRING_MAX = 500
EXPIRY_LOOK_S = 5.0  # expiry is exact to this
CONFLICT_RETRY_S = 0.02  # the contact's newest event is about to be projected
HEARD_S = 2.0  # a commit under way takes milliseconds; without PostgreSQL there is none
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
        self._heard = 0  # up to where we know rows, which may not be committed yet
        self._reset()
        context.projector.on_fold.append(self._folded)
        context.projector.on_commit.append(lambda wake: self._projected(wake.seq))

    def _reset(self) -> None:
        self._queues = Queues()
        self._flying = Flights()
        self._fleet = Fleet(self._queues, self._flying, self._limits)
        self._open = True
        self._expiry_at = 0.0

    # -- a term of leading -----------------------------------------------------------------------

    async def start(self) -> None:
        """Load phones and the queues that have somebody in line."""
        self._reset()
        missed = self._missed = []  # what is committed while we load
        try:
            if not await self._c.projector.passed(self._heard, HEARD_S):
                raise NotReady("a batch is not committed yet")
            async with self._c.db.owner.acquire() as db:
                for row in await db.fetch(self._sql.all_workspaces):
                    self._fleet.account_changed(account_of(row))
                for row in await db.fetch(self._sql.live_campaigns):
                    self._fleet.campaign_changed(campaign_of(row), row["workspace_id"])
                for row in await db.fetch(self._sql.all_phones):
                    self._fleet.admit(handset_of(row))
                for row in await db.fetch(self._sql.active_queues):
                    self._queues.activate(row["queue"], row["workspace_id"], timed=True)
        finally:
            self._missed = None
        self._running = True
        for saved in missed:
            for row in self._take_in(saved):
                self._queues.activate(row.queue, row.workspace_id)

    async def stop(self) -> None:
        """What flies lands or is decided again by the next leader: its ids make that harmless."""
        self._running = False

    # -- what the projection tells ---------------------------------------------------------------

    def _folded(self, seq: int, saved: Saved, rows: Rows) -> None:
        """A batch up to ``seq`` is about to be committed with these rows.

        Whoever joins a line that was empty is decided on at once, without the database. Should
        the commit fail, the decision is in the log like any other, and its id makes it harmless
        that it is taken again.
        """
        self._heard = seq
        if self._missed is not None:
            self._missed.append({name: dict(rows) for name, rows in saved.items()})
        if not self._running:
            return
        joined: dict[str, list[decide.Text]] = {}
        for row in self._take_in(saved):
            alone = row.queue in joined or self._queues.is_empty(row.queue)
            if alone and rows.at_hand(CONTACT, row.contact_id):
                text = text_at_hand(row, rows.get(CONTACT, row.contact_id))
                joined.setdefault(row.queue, []).append(text)
            else:
                self._queues.activate(row.queue, row.workspace_id)
        if joined:
            self._dispatch_at_once(joined)

    def _take_in(self, saved: Saved) -> list[Message]:
        """Remember what changed; who is in line now, and due."""
        now = self._c.clock.now()
        messages = [row for row in saved.get(MESSAGE.name, {}).values() if row is not None]
        self._over(self._flying.arrived(messages))
        for row in saved.get(WORKSPACE.name, {}).values():
            self._fleet.account_changed(account_of(row))
        for row in saved.get(CAMPAIGN.name, {}).values():
            if row is not None and row.state != "draft":
                self._fleet.campaign_changed(campaign_of(row), row.workspace_id)
        for row in saved.get(PHONE.name, {}).values():
            self._open = self._fleet.admit(handset_of(row)) or self._open
        due: list[Message] = []
        for row in messages:
            if row.state == "waiting":
                if row.wake_at <= now:
                    due.append(row)
                else:
                    self._queues.ring(row.wake_at, row.queue, row.workspace_id)
                self._expiry_at = min(self._expiry_at, row.expires_at.timestamp())
            elif row.state == "open" or (row.state, row.outcome) == ("dispatched", "cancelled"):
                self._open = True
        return due

    def _projected(self, position: int) -> None:
        self._over(self._flying.landed(position))

    def _over(self, flights: Iterable[Flight]) -> None:
        """These are over: their phones are counted anew, and who waited for them is looked at."""
        ended = [flight for flight in flights if self._flying.end(flight)]
        for phone_id in {flight.phone_id for flight in ended if flight.phone_id}:
            self._fleet.recount(phone_id)
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
        if not await self._c.projector.passed(self._heard, HEARD_S):
            return REFUSED_RETRY_S  # what follows reads rows, and they are not what we know
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

    def _dispatch_at_once(self, joined: Mapping[str, list[decide.Text]]) -> None:
        """Decide on lines that hold nobody else, where that is possible; else a step does."""
        now = self._c.clock.now()
        able = self._c.projector.leading.is_set() and self._c.log.connected
        queues: dict[str, str] = {}
        for queue, texts in joined.items():
            workspace_id = texts[0].workspace_id
            if (
                able
                and len(texts) < self._head(queue, {queue: workspace_id})
                and len(self._flying) < FLYING_MAX
                and self._fleet.may_move(queue, workspace_id, now)
                and self._fleet.simulated(queue, workspace_id)
            ):
                queues[queue] = workspace_id
            else:
                self._queues.activate(queue, workspace_id)
        heads = [text for queue in queues for text in joined[queue]]
        self._queues.occupied(queues)
        self._queues.left_empty(self._decide(heads, queues, (), self._flying.of, now))

    async def _dispatch(self, now: datetime) -> None:
        queues, timed = self._queues.take(QUEUES_PER_STEP)
        # As of before the rows are read: what lands meanwhile is in memory, not in these rows.
        flying = self._flying.as_of_now()
        try:
            heads, whole = await self._heads(queues, timed, now)
        except BaseException:
            self._queues.give_back(queues, timed)
            raise
        self._queues.left_empty(whole & self._decide(heads, queues, timed, flying, now))

    def _decide(
        self,
        heads: Iterable[decide.Text],
        queues: Mapping[str, str],
        timed: Collection[str],
        flying: Callable[[decide.Text], Flight | None],
        now: datetime,
    ) -> set[str]:
        """Decide on the heads of ``queues``; those in which nobody of them stayed."""
        texts: dict[str, list[decide.Text]] = {}
        seen: set[str] = set()
        counts: dict[str, int] = {}
        for text in heads:
            counts[text.queue] = counts.get(text.queue, 0) + 1
            flight = flying(text)
            if flight is not None and flight.over:
                again = text.queue in timed
                self._queues.activate(text.queue, text.workspace_id, timed=again)
            elif flight is not None:
                flight.held_up[text.queue] = (text.workspace_id, text.queue in timed)
            elif text.id not in seen:
                seen.add(text.id)
                texts.setdefault(text.workspace_id, []).append(text)
        went: set[str] = set()
        stayed: set[str] = set()
        for workspace_id, waiting in texts.items():
            desk = self._fleet.desk(workspace_id)
            waiting.sort(key=_line)
            gone: set[str] = set()
            for outcome in decide.assign(desk, waiting, now):
                self._submit(outcome, now)
                went.add(outcome.text.queue)
                if not isinstance(outcome, decide.Hold):
                    gone.add(outcome.text.id)
            if len(gone) < len(waiting):
                stayed.update(text.queue for text in waiting if text.id not in gone)
                self._fleet.ring_phones(desk, queues, now)
        for queue, count in counts.items():
            if (
                count >= self._head(queue, queues) and queue in went
            ):  # the line goes on behind the head
                self._queues.activate(queue, queues[queue], timed=queue in timed)
        long = {queue for queue, count in counts.items() if count >= self._head(queue, queues)}
        return queues.keys() - stayed - long

    async def _heads(
        self, queues: Mapping[str, str], timed: Sequence[str], now: datetime
    ) -> tuple[list[decide.Text], set[str]]:
        """The texts to look at, and the queues of which these are all that are due.

        Of queues whose timer rang the next timer is set.
        """
        moving = {q for q, w in queues.items() if self._fleet.may_move(q, w, now)}
        heads = [q for q in queues if q in moving or q in timed]
        simulated = [self._fleet.simulated(q, queues[q]) for q in heads]
        # Who is not going to be looked at there must be told why it waits.
        silent = [q for q in queues if q not in moving or not self._fleet.simulated(q, queues[q])]
        rows: list[Any] = []
        async with self._c.db.owner.acquire() as db:
            if heads:
                most = [self._head(queue, queues) for queue in heads]
                rows += await db.fetch(self._sql.candidates, heads, simulated, most, now)
            if silent:
                rows += await db.fetch(self._sql.unexplained, silent, HEAD)
            if timed:
                for row in await db.fetch(self._sql.next_wake, timed, now):
                    self._queues.ring(row["wake_at"], row["queue"], queues[row["queue"]])
            for queue in timed:
                if queue not in moving:
                    await self._recall(db, queue, queues[queue], now)
        whole = {q for q, all_kinds in zip(heads, simulated, strict=True) if all_kinds}
        return [text_of(row) for row in rows], whole & moving

    def _head(self, queue: str, queues: Mapping[str, str]) -> int:
        return HEAD if queue == queues[queue] else WINDOWS * self._limits.window

    async def _recall(self, db: Any, queue: str, workspace_id: str, now: datetime) -> None:
        """Ask a silent phone to give back what it never accepted, where another may take over."""
        phone = self._fleet.phone(workspace_id, queue)
        if phone is None or phone.state != "offline":
            return
        before = now - timedelta(seconds=self._limits.lease_s)
        for row in await db.fetch(self._sql.stranded, queue, before):
            text = text_of(row)
            desk = self._fleet.desk(workspace_id)
            moves_at = decide.failover_at(text, phone, desk.account, desk.campaign(text))
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
            account = self._fleet.account(text.workspace_id)
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
