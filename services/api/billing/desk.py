"""What a workspace pays for and may therefore have: everything about plans that does I/O.

    await call.api.billing.allow(call, "contacts")      # a 402 Problem if the plan has no room
    await api.billing.room(workspace_id, "contacts")    # how many more; None: no limit

Without a Stripe key all of this says yes, and nothing here ever looks at a table.

Stripe delivers webhooks late, twice and in any order, so none is believed: each only says whom to
ask about. ``sync`` asks Stripe for all subscriptions of the customer, appends what changed, guarded
by the event it was decided on, and asks again, until both say the same. Whoever appended something
older, having asked earlier, asks again too: what was true last is what the log ends with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from services.api.decide import plan as plans
from services.api.decide.plan import Caution, Standing, What
from services.api.gather import Gather
from services.api.hinted import Hinted
from services.api.operation import Call
from shared import events as e
from shared import ids
from shared.bus import Wake
from shared.errors import Conflict, NotReady
from shared.log import Guard
from shared.problems import Problem, unavailable
from shared.service import Context

SYNC_TRIES = 6  # one to append, one to see that nothing changed meanwhile, and others at the same
SYNC_S = 20.0  # all of them: Stripe waits little longer for the answer to a webhook
CAUGHT_UP_S = 5.0  # how long a sync waits for rows that hold all the log has
ROOMY = 2_000  # so far from a limit, a count is believed for a while
COUNT_BELIEVED_S = 10.0
COUNTS_MAX = 20_000
UPGRADE_PATH = "/v1/billing/checkout"


class Billing:
    """Plans, limits and subscriptions of all workspaces; one per process."""

    def __init__(self, context: Context, sql: Any) -> None:
        self._c, self._sql = context, sql
        settings = context.settings
        self.plans = plans.read_plans(settings.plans)
        self.grace = timedelta(days=settings.grace_days)
        self.tax: bool = settings.stripe_tax
        self.stripe: Any = None
        if settings.stripe_secret_key:
            from services.api.outside.stripe import Stripe  # 0.2 s that most need not wait for

            self.stripe = Stripe(
                settings.stripe_secret_key, settings.webhook_secrets, settings.stripe_api_base
            )
        self._counters: dict[What, str] = {
            "phones": sql.phones_used,
            "contacts": sql.contacts_used,
            "seats": sql.seats_used,
        }
        self._upgrade_url = settings.public_url.rstrip("/") + UPGRADE_PATH
        self._known: Hinted[tuple[e.SubscriptionChanged, int]] = Hinted(self._load)
        self._syncs: Gather[tuple[e.Actor, str | None], None] = Gather(self._sync)
        self._counts: dict[tuple[str, str], float] = {}  # far from full, and believed until

    @property
    def enabled(self) -> bool:
        """Whether there are plans at all."""
        return self.stripe is not None

    async def close(self) -> None:
        """Close the connections to Stripe."""
        if self.stripe is not None:
            await self.stripe.close()

    def heard(self, wake: Wake) -> None:
        """A batch was committed somewhere."""
        self._known.heard(wake)

    def forget(self) -> None:
        """What was announced meanwhile is unknown."""
        self._known.forget()

    # -- what may be used ------------------------------------------------------------------------

    async def standing(self, workspace_id: str, now: datetime) -> Standing:
        """The plan that counts now, and why."""
        if not self.enabled:
            return Standing(plans.UNLIMITED, "none")
        known = await self._known.get(workspace_id)
        return plans.standing(known[0] if known else None, self.plans, now, self.stripe.livemode)

    async def allow(self, call: Call, what: What, adding: int = 1) -> int | None:
        """The plan's limit (None: none), if there is room for ``adding`` more; else a 402 Problem
        that says what to do. What others add at the same moment is not seen: a limit may be passed
        by that much."""
        plan = (await self.standing(call.workspace_id, call.now)).plan
        limit = plan.limit(what)
        if limit is None:
            return None
        name, now_s = (call.workspace_id, what), asyncio.get_running_loop().time()
        if adding == 1 and self._counts.get(name, 0.0) > now_s:
            return limit
        used = await self._count(call.workspace_id, what, limit)
        problem = plans.refusal(plan, what, used, adding, self._upgrade_url)
        if problem is not None:
            raise problem
        if limit - used > ROOMY:
            if len(self._counts) >= COUNTS_MAX:
                self._counts.clear()
            self._counts[name] = now_s + COUNT_BELIEVED_S
        return limit

    async def room(self, workspace_id: str, what: What) -> int | None:
        """How many more the plan has room for; None: as many as you like."""
        plan = (await self.standing(workspace_id, self._c.clock.now())).plan
        limit = plan.limit(what)
        if limit is None:
            return None
        return max(0, limit - await self._count(workspace_id, what, limit))

    async def usage(self, call: Call) -> dict[What, int]:
        """How many there are of all that plans limit."""
        return {w: await self._count(call.workspace_id, w, None) for w in self._counters}

    async def cautions(self, call: Call, used: dict[What, int]) -> list[Caution]:
        """What a person should know about plan and payment."""
        standing = await self.standing(call.workspace_id, call.now)
        return [*standing.cautions, *plans.limit_cautions(standing.plan, used)]

    async def _count(self, workspace_id: str, what: What, most: int | None) -> int:
        async with self._c.db.tenant(workspace_id) as db:
            return await db.fetchval(self._counters[what], most)

    async def _load(self, workspace_id: str) -> tuple[e.SubscriptionChanged, int] | None:
        async with self._c.db.tenant(workspace_id) as db:
            row = await db.fetchrow(self._sql.subscription)
        if row is None:
            return None
        state = {name: row[name] for name in e.SubscriptionChanged.__struct_fields__}
        return e.SubscriptionChanged(**state), row["seq"]

    # -- what is paid for ------------------------------------------------------------------------

    async def customer(self, call: Call, gone: str | None = None) -> str:
        """The workspace's customer at Stripe, made if there is none, or none but ``gone``."""
        for _ in range(SYNC_TRIES):
            known, seq = await self._latest(call.workspace_id)
            if known and known.livemode == self.stripe.livemode and known.customer_id != gone:
                return known.customer_id
            before = known.customer_id if known else "none"
            customer_id = await self.stripe.new_customer(
                call.workspace_id, f"customer-{call.workspace_id}-{before}"
            )
            state = e.SubscriptionChanged(
                workspace_id=call.workspace_id,
                customer_id=customer_id,
                livemode=self.stripe.livemode,
                state="none",
            )
            if await self._append(state, seq, call.caller.actor, call.request_id, call.now):
                return customer_id
        raise unavailable("Others are setting up billing at the same time.")

    async def leave(self, workspace_id: str) -> bool:
        """The workspace's customer is gone from Stripe, and nothing is paid for any more: before
        an account is erased. Whether there was one; safe to repeat. A 503 Problem: try again."""
        if not self.enabled:
            return False
        known, _ = await self._latest(workspace_id)
        if known is None or known.livemode != self.stripe.livemode:
            return False
        await self.stripe.remove_customer(known.customer_id)
        return True

    async def of_customer(self, customer_id: str) -> list[str]:
        """The workspaces a customer pays for. NotReady where the rows may be too old to say."""
        rows = await self._c.db.owner.fetch(
            self._sql.workspaces_of_customer, customer_id, self.stripe.livemode
        )
        if not rows and not self._c.fresh():
            raise NotReady("the customer may be one that is not projected yet")
        return [row["workspace_id"] for row in rows]

    async def sync(self, workspace_id: str, actor: e.Actor, cause: str | None) -> None:
        """The log says what Stripe says, when this returns. A 503 Problem, NotReady or
        LogUnavailable if that could not be done: try again."""
        await self._syncs.ask(workspace_id, (actor, cause))

    async def _sync(
        self, workspace_id: str, whys: Sequence[tuple[e.Actor, str | None]]
    ) -> Sequence[None]:
        """One round for all who wait: it begins after each of them came."""
        try:
            async with asyncio.timeout(SYNC_S):
                await self._agree(workspace_id, *whys[0])
        except TimeoutError:
            raise unavailable("The payment service is too slow right now.", 5) from None
        return [None] * len(whys)

    async def _agree(self, workspace_id: str, actor: e.Actor, cause: str | None) -> None:
        for _ in range(SYNC_TRIES):
            known, seq = await self._latest(workspace_id)
            if known is None or known.livemode != self.stripe.livemode:
                return
            found = await self.stripe.subscriptions(known.customer_id)
            now = self._c.clock.now()
            state = plans.after(known, found, self.plans, now, self.grace)
            if state == known:
                return
            if await self._append(state, seq, actor, cause, now):
                structlog.get_logger().info(
                    "subscription changed",
                    workspace_id=workspace_id, state=state.state, plan=state.plan,
                )  # fmt: skip
        raise unavailable("The subscription keeps changing.", 5)

    async def _latest(self, workspace_id: str) -> tuple[e.SubscriptionChanged | None, int]:
        """The state and the sequence of its event, with all that the log held when asked."""
        last_seq = (await self._c.log.state()).last_seq
        if not await self._c.projector.passed(last_seq, CAUGHT_UP_S):
            raise NotReady("the rows are behind the log")
        return await self._load(workspace_id) or (None, 0)

    async def _append(
        self,
        state: e.SubscriptionChanged,
        seq: int,
        actor: e.Actor,
        cause: str | None,
        now: datetime,
    ) -> bool:
        """Store ``state`` if the log still ends at ``seq`` about it; whether it was stored."""
        workspace_id = state.workspace_id
        # Named by what it says and what it follows: who says something else is no duplicate.
        text = msgspec.json.encode(state).decode()
        event = e.make(
            state,
            id=ids.derive("evt", workspace_id, state.TYPE, str(seq), text),
            workspace_id=workspace_id,
            at=now,
            actor=actor,
            cause=cause,
        )
        guard = Guard(f"subscription.*.{workspace_id}.{workspace_id}", seq)
        try:
            stored = await self._c.log.append(event, guard)
        except Conflict as conflict:
            await self._c.projector.passed(conflict.last_seq, CAUGHT_UP_S)
            return False
        await self._c.projector.passed(stored, CAUGHT_UP_S)
        return True


def off() -> Problem:
    """409: there is no billing here."""
    return Problem(
        409,
        "billing_off",
        "This installation has no billing: everything is unlimited, and there is nothing to buy.",
    )
