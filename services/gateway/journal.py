"""Takes journal calls: rows from the database, decision, log, acknowledgement.

Calls of one phone are served one after the other, and each on rows that hold what the one before it
appended. Calls of many phones are served in rounds: one statement looks up what all of them need,
and what they append goes to the log together. A call that comes alone is a round of its own, at
once; after a round of several the next one gathers for ROUND_EVERY_S, which nobody waits for: texts
go down to the phones by another way. An entry is acknowledged when the log has stored its event; a
heartbeat, when the vault has its number.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import structlog

from services.gateway import decide, entries
from services.gateway.credentials import Holder, must_be_paired
from services.gateway.entries import Call
from shared import ids, sql
from shared.errors import NotReady
from shared.problems import Problem
from shared.service import Context

PASS_S = 3.0  # how long a call waits for rows that hold the phone's last call
HEAD_S, HEAD_POLL_S = 8.0, 0.05  # an idle log says every 5 s that there is no more
CALLS_PER_PHONE_MAX = 4  # waiting at once; a phone of the protocol has one
LANES_KEPT = 20_000  # phones remembered between calls; a lane that has nothing open may go
LOOKUPS_AT_ONCE = 200  # calls whose rows are fetched with one statement
# Under load a round gathers for so long: a statement and a few appends for each call by itself cost
# database, log and every reader of the log several times what those of a round do.
ROUND_EVERY_S = 0.025
# A phone that begins beyond a gap so often and for so long does not have what is missing. It had
# been acknowledged, so the loss is ours (a vault restored from an older copy): go on from there.
GAP_TRIES, GAP_S = 3, 5.0
GAP_WAIT_S = 0.5  # several times what the rows are behind when all is well

Q = sql.queries("services.gateway")
_phones = msgspec.json.Decoder(list[decide.PhoneView]).decode
_commands = msgspec.json.Decoder(list[decide.CommandView]).decode


class _Lane:
    """What a process remembers of one phone between its calls."""

    __slots__ = ("gap_at", "gap_since", "gap_tries", "last_seq", "lock", "waiting")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0
        self.last_seq = 0  # log sequence of the phone's newest event from here
        self.gap_at, self.gap_tries, self.gap_since = 0, 0, 0.0

    def insists(self, first_seq: int | None, now_s: float) -> bool:
        """Whether the phone has begun at ``first_seq``, beyond a gap, again and again."""
        if first_seq is None or first_seq != self.gap_at:
            self.gap_at, self.gap_tries, self.gap_since = first_seq or 0, 0, now_s
        self.gap_tries += 1
        return self.gap_tries > GAP_TRIES and now_s - self.gap_since >= GAP_S


class Journal:
    """The journal side of one gateway instance."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lanes: dict[str, _Lane] = {}
        self._lookup = _Lookup(context)

    async def take(self, holder: Holder, call: Call, stream_from: int | None) -> decide.Verdict:
        """Decide, store, and only then tell what is acknowledged.

        Problem 401 for a phone that was unpaired meanwhile, 429 for one that calls in parallel;
        NotReady and LogUnavailable become 503: the phone sends the same again.
        """
        if not self._context.fresh():
            raise NotReady("rows are too old to tell a repeat from news")
        lane = self._lane(holder.phone_id)
        if lane.waiting >= CALLS_PER_PHONE_MAX:
            raise Problem(
                429, "too_many_calls", "One journal call at a time.", headers={"Retry-After": "1"}
            )
        lane.waiting += 1
        try:
            async with lane.lock:
                return await self._take(lane, holder, call, stream_from)
        finally:
            lane.waiting -= 1

    async def _take(
        self, lane: _Lane, holder: Holder, call: Call, stream_from: int | None
    ) -> decide.Verdict:
        context = self._context
        if lane.last_seq and not await context.projector.passed(lane.last_seq, PASS_S):
            raise NotReady("the phone's last call is not in the rows yet")
        phone, rows, beyond_gap = await self._rows_of(holder, call)
        insists = lane.insists(beyond_gap, time.monotonic())
        known = decide.Known(
            phone=phone,
            commands=rows.commands,
            received=rows.received,
            cancels=[c for c in rows.cancels if c.phone_id == phone.id],
            stream_from=stream_from,
            first_seq=beyond_gap if insists else None,
            renewed=await self._renewed(phone, call) if phone.renewals else {},
        )
        now = context.clock.now()
        verdict = decide.journal(call, known, now, context.keys.identity_key)
        if known.first_seq:
            structlog.get_logger().warning(
                "journal goes on beyond a gap", phone_id=phone.id, after_seq=phone.head
            )
        await self._store(lane, phone, verdict)
        self._count(verdict)
        return verdict

    async def _rows_of(
        self, holder: Holder, call: Call
    ) -> tuple[decide.PhoneView, _Rows, int | None]:
        """The phone, the rows of its call, and where the call begins if that is beyond a gap.

        What seems to be a gap may be on its way to the rows from another instance that took the
        phone's last call: it gets a moment to arrive.
        """
        first_seq = min((entry.seq for entry in call.entries), default=0)
        deadline_s = time.monotonic() + GAP_WAIT_S
        while True:
            rows = await self._rows(holder.phone_id, call)
            phone = rows.phones.get(holder.phone_id)
            if phone is None:
                raise NotReady("the phone's row is not there yet")
            must_be_paired(holder, phone.generation, phone.unpaired)
            if first_seq <= phone.head + 1:
                return phone, rows, None
            if time.monotonic() >= deadline_s:
                return phone, rows, first_seq
            await asyncio.sleep(HEAD_POLL_S)

    async def _rows(self, phone_id: str, call: Call) -> _Rows:
        """The rows a call is decided on.

        A database that crashed may lack its newest rows for a moment (projections are committed
        without waiting for the disk), and what is rejected is never told again. So a command that
        is not there is believed not to be when this instance leads, which it would not after such
        a crash before it had read them again, or when the end of the log was announced since.
        """
        needs = _needs(phone_id, call)
        began_s = time.monotonic()
        rows = await self._lookup.of(needs)
        projector = self._context.projector
        if projector.leading.is_set() or rows.commands.keys() >= set(needs.commands):
            return rows
        status = projector.status
        while status.at_head <= began_s:
            if time.monotonic() - began_s > HEAD_S:
                raise NotReady("rows may lack the newest commands")
            await asyncio.sleep(HEAD_POLL_S)
        return await self._lookup.of(needs)

    async def _renewed(self, phone: decide.PhoneView, call: Call) -> dict[str, str]:
        """Of those who text in this call and were erased: whose the number is now."""
        key = self._context.keys.identity_key
        texts = [entry for entry in call.entries if isinstance(entry, entries.Received)]
        roots = [decide.first_contact(key, phone, decide.sender_of(phone, one)) for one in texts]
        if not roots:
            return {}
        async with self._context.db.owner.acquire() as db:
            return {r["id"]: r["contact_id"] for r in await db.fetch(Q.renewed, roots)}

    async def _store(self, lane: _Lane, phone: decide.PhoneView, verdict: decide.Verdict) -> None:
        """Parts, events, head: in this order a crash anywhere loses nothing; all is said again."""
        db = self._context.db.owner
        for command in verdict.parts.values():
            await db.execute(
                Q.save_parts, command.id, phone.workspace_id, command.sent, command.delivered
            )
        if verdict.events:
            for seq in await self._context.log.append_many(verdict.events):
                if isinstance(seq, int):
                    lane.last_seq = max(lane.last_seq, seq)
        if verdict.acked_seq > max(verdict.told_seq, phone.head):
            await db.execute(
                Q.save_head, phone.id, phone.workspace_id, phone.generation, verdict.acked_seq
            )

    def _lane(self, phone_id: str) -> _Lane:
        lane = self._lanes.get(phone_id)
        if lane is None:
            if len(self._lanes) >= LANES_KEPT:
                self._forget_lanes()
            lane = self._lanes[phone_id] = _Lane()
        return lane

    def _forget_lanes(self) -> None:
        passed = self._context.projector.status.position
        self._lanes = {
            phone_id: lane
            for phone_id, lane in self._lanes.items()
            if lane.waiting or lane.last_seq > passed
        }

    def _count(self, verdict: decide.Verdict) -> None:
        count = self._context.metrics.count
        if verdict.events:
            count("journal_events_total", "Events from phones", by=len(verdict.events))
        if verdict.rejected:
            count("journal_rejected_total", "Entries set aside", by=len(verdict.rejected))


# -- rows ------------------------------------------------------------------------------------------


class _Needs(NamedTuple):
    phone_id: str
    commands: list[str]
    received: list[str]
    inventory: bool


def _needs(phone_id: str, call: Call) -> _Needs:
    commands: list[str] = []
    received: list[str] = []
    for entry in call.entries:
        if isinstance(entry, entries.CommandEntry):
            if ids.is_id("cmd", entry.command_id):
                commands.append(entry.command_id)
        elif isinstance(entry, entries.Received):
            received.append(decide.message_of(phone_id, entry))
    return _Needs(phone_id, commands, received, call.inventory is not None)


@dataclass
class _Rows:
    phones: dict[str, decide.PhoneView] = field(default_factory=dict[str, decide.PhoneView])
    commands: dict[str, decide.CommandView] = field(default_factory=dict[str, decide.CommandView])
    received: frozenset[str] = frozenset()
    cancels: list[decide.CommandView] = field(default_factory=list[decide.CommandView])


class _Lookup:
    """Fetches rows for calls, in rounds: those that wait for the next one share its statement."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: list[tuple[_Needs, asyncio.Future[_Rows]]] = []
        self._next_s = 0.0  # when the next round may begin, in monotonic time
        self._task: asyncio.Task[None] | None = None

    async def of(self, needs: _Needs) -> _Rows:
        """The rows of one call (and of those it shared the statement with)."""
        future: asyncio.Future[_Rows] = asyncio.get_running_loop().create_future()
        self._waiting.append((needs, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(max(0.0, self._next_s - time.monotonic()))
                batch = self._waiting[:LOOKUPS_AT_ONCE]
                del self._waiting[:LOOKUPS_AT_ONCE]
                if len(batch) > 1:
                    self._next_s = time.monotonic() + ROUND_EVERY_S
                await self._answer(batch)
        finally:
            self._task = None

    async def _answer(self, batch: list[tuple[_Needs, asyncio.Future[_Rows]]]) -> None:
        try:
            rows = await self._fetch([needs for needs, _ in batch])
        except Exception as error:  # noqa: BLE001 (each caller gets it, and answers for itself)
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for _, future in batch:
            if not future.done():
                future.set_result(rows)

    async def _fetch(self, batch: list[_Needs]) -> _Rows:
        found: Any = await self._context.db.owner.fetchrow(
            Q.journal_rows,
            [needs.phone_id for needs in batch],
            [command for needs in batch for command in needs.commands],
            [message for needs in batch for message in needs.received],
            [needs.phone_id for needs in batch if needs.inventory],
        )
        return _Rows(
            phones=_by_id(_phones(found["phones"] or b"[]")),
            commands=_by_id(_commands(found["commands"] or b"[]")),
            received=frozenset(found["received"] or ()),
            cancels=_commands(found["cancels"] or b"[]"),
        )


def _by_id(rows: Iterable[Any]) -> dict[str, Any]:
    return {row.id: row for row in rows}
