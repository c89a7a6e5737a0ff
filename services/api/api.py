"""Everything a handler may use, and the ways they all write: one per process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from services.api.answering import Answering
from services.api.billing.desk import Billing
from services.api.callers import Callers
from services.api.hinted import Hinted
from services.api.idempotency import Idempotency
from services.api.live import Live
from services.api.operation import Call
from services.api.reading import Reader
from services.api.sign_in.wiring import SignIn
from services.api.simulator import Simulator
from services.api.tasks.desk import Desk
from services.api.tasks.files import Files
from shared import events as e
from shared.bus import Wake
from shared.errors import Conflict, EightMsError, NotReady
from shared.log import Guard, Repeated
from shared.problems import Problem
from shared.service import Context
from shared.sql import UNREACHABLE, queries

T = TypeVar("T")
OWN_WRITE_S = 2.0  # how long an answer waits to be read from the rows its own event became
READ_BACK_S = 0.25  # how long a reader waits for the rows of what was sent before
DECISIONS_MAX = 3  # ARCHITECTURE.md, rule 4
WRITE_REQUESTS_EVERY_S = 1.0
SAVE_USES_EVERY = 10  # of those


@dataclass(frozen=True, slots=True)
class Decision:
    """An event to append if nothing newer than what it was decided on is under ``guard``."""

    data: e.Data
    guard: Guard


class Api:
    """The composition of services/api: made once, given to every handler with its call."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.db, self.log, self.bus = context.db, context.log, context.bus
        self.projector, self.clock = context.projector, context.clock
        self.identity_key = context.keys.identity_key
        self.public_url: str = context.settings.public_url.rstrip("/")
        self.sql: Any = queries("services.api")
        self.sign_in = SignIn(context, self.sql, self.public_url)
        self.callers = Callers(self.db, self.sql, context.fresh, self.sign_in.users)
        self.workspaces: Hinted[Any] = Hinted(self._workspace)
        self.reader = Reader(self.db, self.sql)
        self.idempotency = Idempotency(self.db, self.sql, context.keys, context.clock)
        self.files = Files(self.db, self.sql, context.keys, context.clock)
        self.tasks = Desk(self.db, self.sql)
        self.simulator = Simulator(context.settings.simulator_url)
        self.live = Live(self)
        self.answering = Answering(self)
        self.billing = Billing(context, self.sql)
        self._committed: asyncio.Future[None] | None = None
        self._sent: dict[
            str, int
        ] = {}  # workspace → the last sequence it sent that may not be read
        self._saving: asyncio.Task[None] | None = None
        self.projector.on_commit.append(self._heard)
        self.log.on_reconnect.append(self._reconnected)

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin what runs beside the requests."""
        self._saving = asyncio.create_task(self._save_uses())
        self.live.start()
        await self.sign_in.start()

    async def stop(self) -> None:
        """End it, and write down what is only in memory."""
        await self.live.stop()
        if self._saving is not None:
            self._saving.cancel()
            await asyncio.gather(self._saving, return_exceptions=True)
        try:
            await self.callers.save_uses()
            await self.answering.access.write()
        except UNREACHABLE:
            pass  # the times and requests of the last seconds are lost with the connection
        await self.simulator.close()
        await self.billing.close()
        await self.sign_in.stop()

    async def _save_uses(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(WRITE_REQUESTS_EVERY_S)
            turn = (turn + 1) % SAVE_USES_EVERY
            try:
                await self.answering.access.write()
                if not turn:
                    await self.callers.save_uses()
            except UNREACHABLE:
                continue  # kept, and written the next time

    def _heard(self, wake: Wake) -> None:
        self.callers.keys.heard(wake)
        self.sign_in.users.heard(wake)
        self.workspaces.heard(wake)
        self.billing.heard(wake)
        if self._committed is not None and not self._committed.done():
            self._committed.set_result(None)
        self._committed = None

    def _reconnected(self) -> None:
        self.callers.keys.forget()
        self.sign_in.users.forget()
        self.workspaces.forget()
        self.billing.forget()

    # -- reading ---------------------------------------------------------------------------------

    async def _workspace(self, workspace_id: str) -> Any:
        async with self.db.tenant(workspace_id) as db:
            return await db.fetchrow(self.sql.workspace)

    async def workspace(self, workspace_id: str) -> Any:
        """The workspace's row, from memory; NotReady while it is not projected."""
        row = self.workspaces.known(workspace_id) or await self.workspaces.get(workspace_id)
        if row is None:
            raise NotReady("the workspace is not projected yet")
        return row

    async def row(self, call: Call, statement: str, *args: Any) -> Any:
        """One row of the caller's workspace; a 404 Problem if there is none."""
        async with self.db.tenant(call.workspace_id) as db:
            row = await db.fetchrow(statement, *args)
        if row is None:
            raise not_found()
        return row

    async def rows(self, call: Call, statement: str, *args: Any) -> list[Any]:
        """Rows of the caller's workspace."""
        async with self.db.tenant(call.workspace_id) as db:
            return await db.fetch(statement, *args)

    async def until(self, look: Callable[[], Awaitable[T | None]], timeout_s: float) -> T | None:
        """What ``look`` finds, looked for again after every commit; None if not in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            if self._committed is None:
                self._committed = loop.create_future()
            committed = self._committed
            found = await look()
            left_s = deadline - loop.time()
            if found is not None or left_s <= 0:
                return found
            await asyncio.wait({committed}, timeout=left_s)

    # -- writing ---------------------------------------------------------------------------------

    async def append(self, call: Call, data: e.Data) -> int:
        """Store an event of this request and wait, within bounds, for our rows; its sequence."""
        seq = await self.log.append(call.event(data))
        await self.projector.passed(seq, OWN_WRITE_S)
        return seq

    async def send(self, workspace_id: str, events: Sequence[e.Event]) -> bool:
        """Store accepted texts; who reads next waits for their rows (``read_own``).

        Not the send itself: a wait hurries the projection, and a batch for each text would cost
        more than all else that is done for it. False if the log had one of that name already, which
        may be another text. LogUnavailable if any was not stored in time.
        """
        if len(events) == 1:
            seqs = [await self.log.submit(events[0])]
        else:
            seqs = await asyncio.gather(*map(self.log.submit, events))
        if max(seqs) > self.projector.status.position:
            self._sent[workspace_id] = max(seqs)
        return not any(isinstance(seq, Repeated) for seq in seqs)

    async def read_own(self, workspace_id: str) -> None:
        """Wait, within bounds, until what the workspace sent through this process can be read."""
        seq = self._sent.get(workspace_id)
        if seq is None or not await self.projector.passed(seq, READ_BACK_S):
            return
        if self._sent.get(workspace_id) == seq:
            del self._sent[workspace_id]

    async def decide(self, decide: Callable[[], Awaitable[Decision | None]], call: Call) -> None:
        """Append what ``decide`` makes of the rows; after a conflict it reads and decides again.

        None means that nothing needs to be written. 409 when others kept writing.
        """
        for _ in range(DECISIONS_MAX):
            decision = await decide()
            if decision is None:
                return
            try:
                seq = await self.log.append(call.event(decision.data), decision.guard)
            except Conflict as conflict:
                await self.projector.passed(conflict.last_seq, OWN_WRITE_S)
                continue
            await self.projector.passed(seq, OWN_WRITE_S)
            return
        raise Problem(
            409,
            "changed_meanwhile",
            "Others keep changing this at the same time. Look at it again, then repeat.",
            headers={"Retry-After": "1"},
        )

    async def ask(self, call: Call, service: str, question: str, body: dict[str, Any]) -> Any:
        """Ask another service about the caller's workspace. NoAnswer and Refused come through."""
        return await self.bus.ask(service, question, {"workspace_id": call.workspace_id, **body})

    async def ask_if_there(
        self, call: Call, service: str, question: str, body: dict[str, Any], timeout_s: float
    ) -> Any:
        """As ``ask`` for what an answer can do without: None when nobody answers in time."""
        try:
            return await self.bus.ask(
                service, question, {"workspace_id": call.workspace_id, **body}, timeout_s
            )
        except EightMsError:
            return None


def not_found() -> Problem:
    """404: also for what belongs to another workspace."""
    return Problem(404, "not_found", "There is nothing with this id.")
