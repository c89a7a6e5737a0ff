"""Feeds campaigns: a few texts into the log at a time, as phones become free.

For each campaign under way it keeps in memory whose turn is to come (shelf.py) and which of its
texts are not over. A text is written by api when its turn comes (``ask.api.recipients``), so that
what was edited, erased or opted out meanwhile counts; it is appended under a guard on the campaign,
so that nothing is fed after a pause. Whose turn has come is told by the messages and skips in our
rows: a crash repeats nothing, for a text's id is made of its campaign and contact.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import structlog

from services.scheduler import decide, shelf
from services.scheduler.desk import account_of, campaign_of, handset_of
from services.scheduler.shelf import Person, Shelf
from shared import events as e
from shared import ids
from shared.errors import Conflict, EightMsError
from shared.log import Guard
from shared.projector import Saved
from shared.service import Context
from shared.sql import queries

SHELVE_MAX = 250  # people asked about at once, before their turn: their clocks and phones
SHARED_MAX = 24  # texts of campaigns in anybody's line: fewer than act.HEAD, so all are looked at
PER_PHONE = 4  # of those for each phone: as many commands as a phone holds, so that none runs dry
OWN_MAX = 2  # texts of a campaign in one phone's line
AGAIN_S = 1.0  # after the log could not be reached
CONFLICT_S = 0.02  # the campaign's newest event is about to be projected
LOOK_S = 0.25  # a commit tells when an append lands, nothing when the log refuses it
ASK_S = 5.0
TAKE_BACK_MAX = 500  # cancellations put on record in one step


class Run:
    """A campaign under way, as this term knows it."""

    def __init__(self, row: Any, account: decide.Account) -> None:
        self.workspace_id: str = row["workspace_id"]
        self.campaign = campaign_of(row)
        self.row = dict(row)
        self.account = account
        self.shelf = Shelf(self.campaign, account.quiet)
        self.unseen: deque[str] = deque()  # whose clocks are not known yet
        self.texts: dict[str, Any] = {}  # id → row of those that are not over
        self.flying: dict[str, tuple[Person, int | None]] = {}  # id of an event's subject → …
        self.heard: set[str] | None = set()  # texts told of while the rows are read
        self.taken_back: set[str] = set()
        self.dirty = True
        self.next_at: datetime | None = None
        self.completing = False

    @property
    def seq(self) -> int:
        """The campaign's newest event: what feeding is guarded by."""
        return self.row["seq"]

    def later(self, at: datetime | None) -> None:
        """Look again at ``at`` at the latest."""
        if at is not None and (self.next_at is None or at < self.next_at):
            self.next_at = at

    def todo(self) -> int:
        """How many people's turns have not come."""
        return len(self.unseen) + len(self.shelf) + len(self.flying)

    def queues(self, now: datetime) -> list[str]:
        """Where its texts stand that are due: whoever went to sleep meanwhile is in nobody's way.

        Those on their way to the log stand where they will be."""
        waiting = [
            row["queue"]
            for row in self.texts.values()
            if row["state"] == "waiting" and row["wake_at"] <= now
        ]
        fed = [
            person.phone_id or self.workspace_id
            for key, (person, _) in self.flying.items()
            if key not in self.texts
        ]
        return waiting + fed


class Feeder:
    """The scheduler's second actor."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self._sql: Any = queries("services.scheduler")
        self._log = structlog.get_logger()
        self._running = False
        self._runs: dict[str, Run] = {}
        self._wanted: set[str] = set()  # campaigns to be read from the rows
        self._unanswered = 0  # appends the log has not answered; what they became is looked at
        context.projector.on_rows.append(self._rows_changed)
        context.projector.on_commit.append(lambda wake: self._landed(wake.seq))

    # -- a term of leading -----------------------------------------------------------------------

    async def start(self) -> None:
        """Find the campaigns under way."""
        self._runs, self._wanted, self._running = {}, set(), True
        async with self._c.db.owner.acquire() as db:
            self._wanted |= {row["id"] for row in await db.fetch(self._sql.live_campaigns)}

    async def stop(self) -> None:
        """What flies lands, or is decided again by the next leader."""
        self._running = False
        self._runs = {}

    # -- what the projection tells ---------------------------------------------------------------

    def _rows_changed(self, saved: Saved) -> None:
        if not self._running:
            return
        for row in saved.get("campaign", {}).values():
            if row is not None and row.state != "draft":
                self._changed(row)
        if not self._runs:
            return
        for row in saved.get("message", {}).values():
            run = self._runs.get(row.campaign_id) if row.campaign_id else None
            if run is not None:
                run.dirty = True
                _note(run, row)
        for row in saved.get("workspace", {}).values():
            self._wanted |= {run.campaign.id for run in self._of(row.id)}  # other quiet hours
        for row in saved.get("phone", {}).values():
            for run in self._of(row.workspace_id):
                run.dirty = True

    def _changed(self, row: Any) -> None:
        run = self._runs.get(row.id)
        if run is None:
            if row.state in ("running", "paused", "cancelled"):
                self._wanted.add(row.id)
            return
        campaign = campaign_of(row)
        if campaign.window != run.campaign.window:
            self._wanted.add(row.id)  # everybody is put in other groups
        run.row |= {name: getattr(row, name) for name in row.__struct_fields__}
        run.campaign, run.dirty, run.completing = campaign, True, False

    def _of(self, workspace_id: str) -> list[Run]:
        return [run for run in self._runs.values() if run.workspace_id == workspace_id]

    def _landed(self, position: int) -> None:
        for run in self._runs.values():
            over = [k for k, (_, seq) in run.flying.items() if seq is not None and seq <= position]
            for key in over:
                del run.flying[key]
            run.dirty = run.dirty or bool(over)

    # -- one step --------------------------------------------------------------------------------

    async def step(self) -> float | None:
        """Feed what there is room for; seconds until a closed group opens, None without one."""
        if not self._runs and not self._wanted:
            return None
        if not self._c.log.connected:
            return AGAIN_S
        for campaign_id in list(self._wanted):
            self._wanted.discard(campaign_id)
            try:
                await self._read(campaign_id)
            except BaseException:
                self._wanted.add(campaign_id)
                raise
        now = self._c.clock.now()
        for run in list(self._runs.values()):
            if run.dirty or (run.next_at is not None and run.next_at <= now):
                run.dirty, run.next_at = False, None
                try:
                    await self._tend(run, now)
                except BaseException:
                    run.dirty = True
                    raise
        if any(run.dirty for run in self._runs.values()):
            return 0.0
        now_s = self._c.clock.now().timestamp()
        delays = [r.next_at.timestamp() - now_s for r in self._runs.values() if r.next_at]
        if self._unanswered or self._wanted:
            delays.append(LOOK_S)
        return max(0.001, min(delays)) if delays else None

    async def _read(self, campaign_id: str) -> None:
        """A campaign from the rows. What is committed while we read is told to the new run too."""
        known = self._runs.get(campaign_id)
        async with self._c.db.owner.acquire() as db:
            row = await db.fetchrow(self._sql.one_campaign, campaign_id)
            if row is None or row["state"] not in ("running", "paused", "cancelled"):
                self._runs.pop(campaign_id, None)
                return
            workspace = await db.fetchrow(self._sql.desk_workspace, row["workspace_id"])
            run = Run(row, account_of(workspace, row["workspace_id"]))
            run.flying = dict(known.flying) if known else {}
            self._runs[campaign_id] = run
            people = await db.fetch(self._sql.campaign_people, row["audience_id"], campaign_id)
            texts = await db.fetch(self._sql.campaign_texts, campaign_id)
        flying = {person.contact_id for person, _ in run.flying.values()}
        run.unseen = deque(one["id"] for one in people if one["id"] not in flying)
        heard, run.heard = run.heard or set(), None
        for text in texts:
            if text["id"] not in heard:  # else we know better
                _note(run, SimpleNamespace(**text))

    async def _tend(self, run: Run, now: datetime) -> None:
        match run.campaign.state:
            case "running":
                start_at: datetime | None = run.row["start_at"]
                if start_at is not None and start_at > now:
                    run.later(start_at)
                elif run.unseen or len(run.shelf):
                    await self._feed(run, now)
                elif not run.todo() and not run.texts:
                    await self._complete(run, now)
            case "cancelled":
                self._take_back(run, now)
            case "completed":
                del self._runs[run.campaign.id]
            case _:
                pass

    # -- feeding ---------------------------------------------------------------------------------

    async def _feed(self, run: Run, now: datetime) -> None:
        if run.unseen:
            await self._shelve(run)
            run.dirty = bool(run.unseen) or run.dirty
        async with self._c.db.owner.acquire() as db:
            rows = await db.fetch(self._sql.desk_phones, run.workspace_id)
        phones = {row["id"]: handset_of(row) for row in rows}
        usable = shelf.phones_for(decide.Desk(run.account, phones), run.campaign)
        for person in run.shelf.never(now):
            self._submit(run, person, shelf.skipped(run.campaign, person, "never_in_window"), now)
        if usable:
            people = self._turns(run, usable, now)
            if people:
                await self._ask_and_submit(run, people, now)
        run.later(run.shelf.next_at(now))

    def _turns(self, run: Run, phones: set[str], now: datetime) -> list[Person]:
        sharing = sum(1 for other in self._of(run.workspace_id) if _feeds(other))
        shared = max(1, min(SHARED_MAX, PER_PHONE * len(phones)) // max(1, sharing))
        lines = run.shelf.lines(phones)
        rooms = shelf.rooms(run.queues(now), lines, run.workspace_id, shared, OWN_MAX)
        people: list[Person] = []
        for line, room in rooms.items():
            people += run.shelf.take(line, phones, room, now)
        return people

    async def _ask_and_submit(self, run: Run, people: list[Person], now: datetime) -> None:
        left = {person.contact_id: person for person in people}
        try:
            for told in await self._ask(run, list(left)):
                person = left.pop(told["contact_id"])
                if "skipped" not in told:
                    person = shelf.person_of(told, person.phone_id, run.account.zone)
                data = shelf.turn(run.campaign, run.account, person, told, now)
                if data is None:
                    run.shelf.put(person)
                    run.dirty = True
                else:
                    self._submit(run, person, data, now)
        finally:
            for person in left.values():  # nothing was said about them: api was not reached
                run.shelf.put(person, first=True)

    async def _shelve(self, run: Run) -> None:
        """Learn by which clocks the next of the unseen live, and which phone they know."""
        wanted = [run.unseen.popleft() for _ in range(min(SHELVE_MAX, len(run.unseen)))]
        try:
            told = await self._ask(run, wanted)
            async with self._c.db.owner.acquire() as db:
                rows = await db.fetch(self._sql.known_phones, wanted)
        except BaseException:
            run.unseen.extendleft(reversed(wanted))
            raise
        known = {row["id"]: row["phone_id"] for row in rows}
        by_id = {one["contact_id"]: one for one in told}
        for contact_id in wanted:
            person = shelf.person_of(by_id[contact_id], known.get(contact_id), run.account.zone)
            run.shelf.put(person)

    async def _ask(self, run: Run, contact_ids: list[str]) -> list[dict[str, Any]]:
        question = {
            "workspace_id": run.workspace_id,
            "campaign_id": run.campaign.id,
            "seq": run.seq,
            "contact_ids": contact_ids,
        }
        return await self._c.bus.ask("api", "recipients", question, ASK_S)

    # -- to the log ------------------------------------------------------------------------------

    def _guard(self, run: Run) -> Guard:
        return Guard(f"campaign.*.{run.workspace_id}.{run.campaign.id}", run.seq)

    def _submit(
        self, run: Run, person: Person, data: e.SendRequested | e.CampaignSkipped, now: datetime
    ) -> None:
        key = data.message_id if isinstance(data, e.SendRequested) else data.contact_id
        run.flying[key] = (person, None)
        future = self._c.log.submit(shelf.event(data, run.workspace_id, now), self._guard(run))
        self._unanswered += 1
        future.add_done_callback(lambda done: self._answered(run, key, person, done))

    def _answered(self, run: Run, key: str, person: Person, done: asyncio.Future[int]) -> None:
        self._unanswered -= 1
        run = self._runs.get(run.campaign.id, run)
        error = None if done.cancelled() else done.exception()
        if error is None and not done.cancelled():
            seq = done.result()
            if seq <= self._c.projector.status.position:
                run.flying.pop(key, None)
                run.dirty = True
            elif key in run.flying:
                run.flying[key] = (person, seq)
            return
        run.flying.pop(key, None)
        if key not in run.texts:
            run.shelf.put(person, first=True)
        again_s = CONFLICT_S if isinstance(error, Conflict) else AGAIN_S
        run.later(self._c.clock.now() + timedelta(seconds=again_s))
        if not isinstance(error, Conflict):
            kind = type(error).__name__ if isinstance(error, EightMsError) else repr(type(error))
            self._log.warning("not fed, will try again", error=kind)

    async def _complete(self, run: Run, now: datetime) -> None:
        if run.completing:
            return
        run.completing = True
        recipients: int = run.row["recipients"]
        async with self._c.db.owner.acquire() as db:
            skips: int = await db.fetchval(self._sql.campaign_skips, run.campaign.id)
        data = e.CampaignCompleted(
            campaign_id=run.campaign.id,
            recipients=recipients,
            messages=recipients - skips,
            skipped=skips,
        )
        event = shelf.event(data, run.workspace_id, now)
        self._watch(run, [self._c.log.submit(event, self._guard(run))])

    def _take_back(self, run: Run, now: datetime) -> None:
        """Cancel what no phone has sent; over when it is known of every text what became of it."""
        if not run.texts and not run.flying:
            del self._runs[run.campaign.id]
            return
        futures: list[asyncio.Future[int]] = []
        for message_id, row in run.texts.items():
            if message_id in run.taken_back or row["state"] == "submitted":
                continue
            if len(futures) >= TAKE_BACK_MAX:
                run.dirty = True
                break
            run.taken_back.add(message_id)
            data = e.SendCancelRequested(message_id=message_id, contact_id=row["contact_id"])
            event = e.make(
                data,
                id=ids.derive("evt", message_id, data.TYPE, "campaign"),
                workspace_id=run.workspace_id,
                at=now,
                actor=e.Actor("system", "scheduler"),
                cause=run.campaign.id,
            )
            futures.append(self._c.log.submit(event))
        self._watch(run, futures)

    def _watch(self, run: Run, futures: Iterable[asyncio.Future[int]]) -> None:
        """Look again, and from the rows, if any of these could not be stored."""

        def answered(done: asyncio.Future[int]) -> None:
            self._unanswered -= 1
            if done.cancelled() or done.exception() is not None:
                self._wanted.add(run.campaign.id)

        for future in futures:
            self._unanswered += 1
            future.add_done_callback(answered)


def _feeds(run: Run) -> bool:
    return run.campaign.state == "running" and bool(run.unseen or len(run.shelf))


def _note(run: Run, row: Any) -> None:
    """A text of the campaign as its row says. Quarantined counts as over: only a person knows."""
    if run.heard is not None:
        run.heard.add(row.id)
    if row.state == "final" or (row.state == "open" and row.outcome == "quarantined"):
        run.texts.pop(row.id, None)
    else:
        run.texts[row.id] = {
            "contact_id": row.contact_id,
            "state": row.state,
            "queue": row.queue,
            "wake_at": row.wake_at,
        }
