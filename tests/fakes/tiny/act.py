"""Rejects what asks for it: an open row in, an event out."""

from __future__ import annotations

from shared import events as e
from shared import ids
from shared.service import Context
from shared.sql import queries


class Rejecter:
    """The only actor."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self._sql = queries("services.tiny")
        self.terms = 0

    async def start(self) -> None:
        """A term begins."""
        self.terms += 1

    async def stop(self) -> None:
        """A term ends."""

    async def step(self) -> float | None:
        """Reject every open text that wants it."""
        rows = await self._c.db.owner.fetch(self._sql.to_reject)
        events = [
            e.make(
                e.SendRejected(
                    message_id=row["id"], contact_id=row["person_id"], code="asked", detail="Asked."
                ),
                id=ids.derive("evt", row["id"], "rejected"),
                workspace_id=row["workspace_id"],
                at=self._c.clock.now(),
                actor=e.Actor("system", "tiny"),
            )
            for row in rows
        ]
        if events:
            seqs = [seq for seq in await self._c.log.append_many(events) if isinstance(seq, int)]
            await self._c.projector.passed(max(seqs), 1)
        return None
