"""Carries out erasures: on the leading instance, in the background, from wherever a crash left it.

    requested → takes effect → what is to be forgotten is named → what it used up is restated
              → every service says that it holds nothing → bytes are deleted → fulfilled

What is still to be deleted is what the log still holds: nothing else is remembered, so a crash
anywhere goes on where it was. Erasures take effect at once and are then worked off one after the
other: a rebuild adds what phones had used up by the difference between two moments, which must not
overlap (services/scheduler/project/privacy.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import structlog

from services.api.api import Api
from services.api.decide import privacy as decide
from shared import events as e
from shared import ids
from shared.bus import Wake
from shared.errors import Conflict, EightMsError, NotReady
from shared.log import Guard
from shared.outward import SHAPES
from shared.sql import UNREACHABLE
from shared.traces import QUESTION

ACTOR = e.Actor("system", "api")
HOLDERS = ("scheduler", "gateway", "inbound", "webhooks")
"""Who keeps anything about people beside api. A service that joins them answers `traces`."""

OPEN_MAX = 500  # erasures looked at in one step
DELETES_AT_ONCE = 8  # the server rewrites a block for each: more would only queue there
PROGRESS_EVERY = 50  # deletes between two words about progress
ASK_IDS_MAX = 5_000  # ids in one question: 200 KB
EMPTY_TRIES, EMPTY_RETRY_S = 40, 0.25  # for a service to have forgotten
RETRY_S = 2.0  # after something was not reachable
PASS_S = 5.0


class Eraser:
    """The actor. ``settle_s``: how long requests that were under way may still write."""

    def __init__(self, api: Api, settle_s: float) -> None:
        self._api, self._settle_s = api, settle_s
        self._log = structlog.get_logger().bind(actor="eraser")
        self._look = True
        self._task: asyncio.Task[None] | None = None
        self._seen: dict[str, float] = {}  # request → when this term first found it in effect
        api.projector.on_commit.append(self._heard)

    def _heard(self, wake: Wake) -> None:
        if any(hint == "*" or hint.startswith("prv_") for hint in wake.hints):
            self._look = True

    async def start(self) -> None:
        """A term begins: look for what an earlier one left."""
        self._look, self._task = True, None
        self._seen.clear()

    async def stop(self) -> None:
        """Whatever is under way goes on in the next term."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def step(self) -> float | None:
        """Let what was asked for take effect; see that the rest is worked off."""
        if not self._look:
            return None
        self._look = False
        try:
            rows = await self._open()
            for row in rows:
                if row["state"] == "requested":
                    await self._take_effect(row)
        except BaseException:
            self._look = True
            raise
        if rows and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._work_off())
        return None

    async def _open(self) -> Sequence[Any]:
        return await self._api.db.owner.fetch(self._api.sql.open_erasures, OPEN_MAX)

    # -- at once ---------------------------------------------------------------------------------

    async def _take_effect(self, row: Any) -> None:
        """From here on nobody sees it."""
        api, request_id = self._api, row["id"]
        while True:
            contact = await api.db.owner.fetchrow(api.sql.contact_to_erase, row["contact_id"])
            if contact is None or contact["workspace_id"] != row["workspace_id"]:
                await self._fulfil(row)  # somebody else's erasure was faster
                return
            counted: Any = await api.db.owner.fetchrow(api.sql.count_contact, contact["id"])
            await api.db.owner.execute(
                api.sql.begin_erasure,
                request_id,
                row["workspace_id"],
                {"api": dict(counted)},
                api.clock.now(),
            )
            if row["scope"] == "contact":
                data: e.Data = decide.erasure(api.identity_key, contact, request_id)
            else:
                data = decide.conversation_erasure(contact, request_id)
            guard = Guard(f"contact.*.{row['workspace_id']}.{contact['id']}", contact["seq"])
            try:
                seq = await api.log.append(self._event(row, data, "effect"), guard)
            except Conflict as conflict:
                await api.projector.passed(conflict.last_seq, PASS_S)
                continue
            await api.projector.passed(seq, PASS_S)
            return

    # -- in the background -----------------------------------------------------------------------

    async def _work_off(self) -> None:
        while True:
            try:
                rows = [row for row in await self._open() if row["state"] == "erasing"]
                if not rows:
                    return
                for row in rows:
                    await self._erase(row)
            except (EightMsError, *UNREACHABLE) as error:
                self._log.warning("erasure waits", error=type(error).__name__, reason=str(error))
            except Exception:  # noqa: BLE001 - one that cannot be done must not end the others unheard
                self._log.exception("erasure failed")
            else:
                continue
            await asyncio.sleep(RETRY_S)

    async def _erase(self, row: Any) -> None:
        request_id = row["id"]
        since = self._seen.setdefault(request_id, time.monotonic())
        await self._scrub(row)
        while True:
            found = await self._gather(row)
            if found.seqs:
                if await self._forget(row, found):
                    await self._delete(row, found.seqs)
                continue
            left_s = since + self._settle_s - time.monotonic()
            if left_s <= 0:
                break
            await asyncio.sleep(left_s)  # what was on its way when it took effect is here then
        await self._scrub(row)
        await self._fulfil(row)
        self._seen.pop(request_id, None)

    async def _gather(self, row: Any) -> decide.Gathered:
        records: list[tuple[int, e.Event]] = []
        subject = f"*.*.{row['workspace_id']}.{row['contact_id']}"
        async with contextlib.aclosing(self._api.log.read([subject], 0)) as batches:
            async for batch in batches:
                records += [(r.seq, e.decode(r.data)) for r in batch.records]
                if not batch.pending:
                    break
        return decide.gather(records, row["scope"], row["seq"], SHAPES)

    async def _forget(self, row: Any, found: decide.Gathered) -> bool:
        """Name what goes and see that every service lets go of it. False: more came meanwhile."""
        api, request_id = self._api, row["id"]
        again = decide.suppressed(found)
        if again is not None:
            await api.log.append(self._event(row, again, "effect", str(found.opted_out)))
            return False
        counts = await self._traces(row, 0, found)
        counts["log"] = {"events": len(found.seqs)}
        seq, last_id = found.last_seq, ""
        for n, data in enumerate(decide.forgotten(found, row["contact_id"], request_id)):
            event = self._event(row, data, "forgotten", str(found.seqs[0]), str(seq), str(n))
            subject, last_id = f"*.*.{row['workspace_id']}.{row['contact_id']}", event.id
            try:
                seq = await api.log.append(event, Guard(subject, seq))
            except Conflict:
                return False
        await self._until_empty(row, seq, found)
        standings = await api.bus.ask(
            "scheduler",
            "standings",
            {
                "workspace_id": row["workspace_id"],
                "contact_id": row["contact_id"],
                "forgotten": last_id,
            },
        )
        restated = decide.restated(row["contact_id"], last_id, standings)
        seq = await api.log.append(self._event(row, restated, "restated", last_id))
        await self._asked("scheduler", row, seq, {})
        await api.db.owner.execute(
            api.sql.found_in_log, request_id, len(found.seqs), counts, api.clock.now()
        )
        return True

    async def _until_empty(self, row: Any, seq: int, found: decide.Gathered) -> None:
        """NotReady while a service still holds something of it."""
        left: list[str] = []
        for _ in range(EMPTY_TRIES):
            counts = await self._traces(row, seq, found)
            left = [name for name, tables in counts.items() if any(tables.values())]
            if not left:
                return
            await asyncio.sleep(EMPTY_RETRY_S)
        raise NotReady(f"{', '.join(left)} still holds some of it")

    async def _traces(
        self, row: Any, seq: int, found: decide.Gathered
    ) -> dict[str, dict[str, int]]:
        """Service → table → how many rows it holds of what was found, as of ``seq``."""
        messages, events = list(found.messages.items()), found.events
        counts: dict[str, dict[str, int]] = {}
        for service in HOLDERS:
            counts[service] = {}
            for n in range(0, max(len(messages), len(events), 1), ASK_IDS_MAX):
                part = slice(n, n + ASK_IDS_MAX)
                body = {"messages": messages[part], "events": events[part]}
                for table, count in (await self._asked(service, row, seq, body)).items():
                    counts[service][table] = counts[service].get(table, 0) + count
        return counts

    async def _asked(
        self, service: str, row: Any, seq: int, body: dict[str, Any]
    ) -> dict[str, int]:
        asked = {"workspace_id": row["workspace_id"], "seq": seq, **body}
        return await self._api.bus.ask(service, QUESTION, asked)

    async def _delete(self, row: Any, seqs: Sequence[int]) -> None:
        """Overwrite the events in the log, a few at a time."""
        api = self._api
        for n in range(0, len(seqs), PROGRESS_EVERY):
            part = iter(seqs[n : n + PROGRESS_EVERY])

            async def some(part: Any = part) -> int:
                return sum([await api.log.erase(seq) for seq in part])

            deleted = sum(await asyncio.gather(*(some() for _ in range(DELETES_AT_ONCE))))
            await api.db.owner.execute(
                api.sql.deleted_from_log, row["id"], deleted, api.clock.now()
            )

    async def _scrub(self, row: Any) -> None:
        """What the vault holds: answers kept for repeated requests, and files that tasks made."""
        api, contact_id = self._api, row["contact_id"]
        names = (contact_id.encode(), ids.conversation_id(contact_id).encode())
        await api.idempotency.forget(row["workspace_id"], names)
        await api.db.owner.execute(api.sql.drop_results, row["workspace_id"])
        await api.db.owner.execute(api.sql.begin_again, row["workspace_id"])

    async def _fulfil(self, row: Any) -> None:
        api = self._api
        counted = await api.db.owner.fetchrow(api.sql.erasure, row["id"])
        counts = dict(counted["counts"]) if counted else {}
        data = e.PrivacyFulfilled(request_id=row["id"], counts=counts)
        seq = await api.log.append(self._event(row, data, "fulfilled"))
        await api.projector.passed(seq, PASS_S)

    def _event(self, row: Any, data: e.Data, *name: str) -> e.Event:
        return e.make(
            data,
            id=ids.derive("evt", row["id"], *name),
            workspace_id=row["workspace_id"],
            at=self._api.clock.now(),
            actor=ACTOR,
            cause=row["id"],
        )
