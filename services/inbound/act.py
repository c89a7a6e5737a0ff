"""Open texts → the log: what each means for consent, the answer it draws, and the reply itself."""

from __future__ import annotations

from services.inbound.decide import Decision, Text, decide
from shared.errors import LogUnavailable
from shared.events import Event
from shared.service import Context
from shared.sql import queries

STEP_MAX = 500  # texts decided in one step: one query, one or two group commits
PASS_TIMEOUT_S = 1.0  # while it waits to read its own writes, a step looks whether it still leads

sql = queries("services.inbound")


class Threader:
    """Turns each received text into a reply in its conversation, opt-outs first."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def start(self) -> None:
        """Nothing is remembered between steps: what is open is in the table."""

    async def stop(self) -> None:
        """Nothing is under way between steps."""

    async def step(self) -> float | None:
        """Decide about the oldest open texts; 0 while there are more, else None."""
        context = self._context
        records = await context.db.owner.fetch(sql.open_texts, STEP_MAX)
        if not records:
            return None
        decisions, left = _decide_each([Text(**record) for record in records], context)
        # Two appends, not one: only when consent and answers are known to be stored may the reply
        # close the text. An ordinary text has none of them and waits for nothing.
        first = [event for decision in decisions for event in decision.first]
        if first:
            await self._store(first)
        seq = await self._store([decision.reply for decision in decisions])
        # The next step must not decide on rows that do not hold this one.
        while not await context.projector.passed(seq, PASS_TIMEOUT_S):
            if not context.projector.leading.is_set():
                return None
        return 0 if left or len(records) == STEP_MAX else None

    async def _store(self, events: list[Event]) -> int:
        """Append in order; the last sequence."""
        results = await self._context.log.append_many(events)
        stored = [result for result in results if isinstance(result, int)]
        if len(stored) < len(results):  # nothing here is guarded, so nothing can conflict
            raise LogUnavailable("an append without a guard was refused")
        return max(stored)


def _decide_each(texts: list[Text], context: Context) -> tuple[list[Decision], bool]:
    """Decisions in order, and whether texts were left for the next step.

    After a text that changes what is known of its sender, that sender's later ones wait until the
    change can be read: STOP and START in one step must not be decided on the same rows.
    """
    now = context.clock.now()
    decisions: list[Decision] = []
    changed: set[str] = set()
    left = False
    for text in texts:
        if text.contact_id in changed:
            left = True
            continue
        decision = decide(text, now)
        decisions.append(decision)
        if decision.first:
            changed.add(text.contact_id)
    return decisions, left
