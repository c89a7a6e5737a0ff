"""What a workspace may have, by the plan it pays for. Pure.

Stripe's word about a customer's subscriptions in, the state for the log out (`after`); that state,
the plans and the time in, what may be used now out (`standing`). A plan limits what is added:
phones, saved contacts, seats. It never stops a text, a reply or a STOP, and nothing is deleted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

from shared import events as e
from shared.problems import Problem

What = Literal["phones", "contacts", "seats"]
WHATS: Final[tuple[What, ...]] = get_args(What)
Interval = Literal["month", "year"]

NEAR: Final = 0.9
"""From this share of a limit on, the overview warns."""

_ID = re.compile("[a-z0-9_-]{1,40}", re.ASCII)


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan; a limit of None is none. ``prices``: a price's lookup key or id at Stripe."""

    id: str
    name: str
    phones: int | None = None
    contacts: int | None = None
    seats: int | None = None
    prices: dict[Interval, str] = {}

    def limit(self, what: What) -> int | None:
        """How many of these it lets a workspace have."""
        match what:
            case "phones":
                return self.phones
            case "contacts":
                return self.contacts
            case "seats":
                return self.seats


def _paid(id: str, name: str, phones: int, contacts: int, seats: int) -> Plan:
    prices: dict[Interval, str] = {"month": f"eightms_{id}_month", "year": f"eightms_{id}_year"}
    return Plan(id=id, name=name, phones=phones, contacts=contacts, seats=seats, prices=prices)


PLANS: Final[tuple[Plan, ...]] = (
    Plan(id="free", name="Free", phones=1, contacts=500, seats=1),
    _paid("starter", "Starter", 3, 5_000, 3),
    _paid("team", "Team", 10, 50_000, 10),
    _paid("business", "Business", 50, 500_000, 50),
)
"""Unless EIGHTMS_PLANS says otherwise. The first is what everybody has who pays for none."""

UNLIMITED: Final = Plan(id="unlimited", name="Unlimited")
"""What everybody has where there is no Stripe."""


def read_plans(text: str) -> tuple[Plan, ...]:
    """The plans in ``text``, JSON as EIGHTMS_PLANS holds it; ours if it is empty.

    Errors: ValueError, in words, for what cannot be a table of plans.
    """
    if not text:
        return PLANS
    try:
        plans = msgspec.json.decode(text, type=tuple[Plan, ...])
    except msgspec.DecodeError as error:
        raise ValueError(f"EIGHTMS_PLANS cannot be read: {error}") from None
    names = [plan.id for plan in plans]
    prices = [price for plan in plans for price in plan.prices.values()]
    if not plans or plans[0].prices:
        raise ValueError("EIGHTMS_PLANS must begin with a plan that has no prices")
    if len(set(names)) < len(names) or len(set(prices)) < len(prices):
        raise ValueError("EIGHTMS_PLANS names a plan or a price twice")
    if not all(_ID.fullmatch(name) for name in names):
        raise ValueError("EIGHTMS_PLANS: an id is 1 to 40 of a-z 0-9 _ -")
    if any((plan.limit(what) or 0) < 0 for plan in plans for what in WHATS):
        raise ValueError("EIGHTMS_PLANS has a limit below 0")
    return plans


# -- what Stripe says ------------------------------------------------------------------------------


class Item(Struct, frozen=True, kw_only=True):
    """One price of a subscription."""

    price_id: str
    lookup_key: str | None
    period_end: datetime | None


class Subscription(Struct, frozen=True, kw_only=True):
    """A subscription as Stripe has it."""

    id: str
    status: str
    created: int
    items: tuple[Item, ...]
    ends_at: datetime | None = None


# The best of a customer's subscriptions counts. What is missing here counts for nothing.
_RANK: Mapping[str, int] = {
    "active": 6,
    "trialing": 6,
    "past_due": 5,
    "unpaid": 4,
    "paused": 3,
    "incomplete": 2,
    "canceled": 1,
}
LIVE: Final = frozenset({"active", "trialing", "past_due"})
"""States in which a plan is paid for, or will be."""
OPEN: Final = LIVE | {"unpaid", "paused"}
"""States in which a customer mends or changes what there is, and buys nothing new."""


def after(
    known: e.SubscriptionChanged,
    found: Sequence[Subscription],
    plans: Sequence[Plan],
    now: datetime,
    grace: timedelta,
) -> e.SubscriptionChanged:
    """The state that follows from ``found``, all subscriptions of the customer, seen at ``now``.

    The same as ``known`` if nothing changed. Grace begins when a failed payment is first seen, and
    lasts while that subscription has not been paid.
    """
    ranked = [one for one in found if one.status in _RANK]
    nothing = e.SubscriptionChanged(
        workspace_id=known.workspace_id,
        customer_id=known.customer_id,
        livemode=known.livemode,
        state="canceled" if known.subscription_id else "none",
        subscription_id=known.subscription_id,
    )
    if not ranked:
        return nothing
    order = [plan.id for plan in plans]
    best, item, plan_id = max(
        ((one, *_item(one, known, plans)) for one in ranked),
        key=lambda c: (
            _RANK[c[0].status],
            order.index(c[2]) if c[2] in order else -1,
            c[0].created,
            c[0].id,
        ),
    )
    grace_until = None
    if best.status in ("past_due", "unpaid"):
        kept = known.grace_until if known.subscription_id == best.id else None
        grace_until = kept or now + grace
    over = best.status == "canceled"
    return msgspec.structs.replace(
        nothing,
        state=best.status,
        plan=None if over else plan_id,
        subscription_id=best.id,
        price_id=item.price_id if item else None,
        period_end=item.period_end if item and not over else None,
        ends_at=None if over else best.ends_at,
        grace_until=grace_until,
        others=max(0, sum(one.status in LIVE for one in ranked) - 1),
    )


def _item(
    subscription: Subscription, known: e.SubscriptionChanged, plans: Sequence[Plan]
) -> tuple[Item | None, str | None]:
    """The item that buys a plan, and the plan. A lookup key moves on to a new price when an
    operator changes what a plan costs; who has the old price keeps the plan it stood for."""
    named = {price: plan.id for plan in plans for price in plan.prices.values()}
    for item in subscription.items:
        plan_id = named.get(item.lookup_key or "") or named.get(item.price_id)
        if plan_id is None and item.price_id == known.price_id:
            plan_id = known.plan
        if plan_id is not None:
            return item, plan_id
    return (subscription.items[0] if subscription.items else None), None


# -- what may be used now --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Caution:
    """Something a person should know; ``code`` is stable."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Standing:
    """``plan`` is what counts now; the rest is why."""

    plan: Plan
    state: str
    known: e.SubscriptionChanged | None = None
    cautions: tuple[Caution, ...] = field(default=())


def standing(
    known: e.SubscriptionChanged | None, plans: Sequence[Plan], now: datetime, livemode: bool
) -> Standing:
    """Where a workspace stands. What was bought in the other mode of Stripe counts for nothing."""
    free = plans[0]
    if known is None or known.livemode != livemode:
        return Standing(free, "none")
    bought = next((plan for plan in plans if plan.id == known.plan), None)
    grace = known.grace_until is not None and now < known.grace_until
    entitled = known.state in ("active", "trialing") or (known.state == "past_due" and grace)
    cautions = [*_payment_cautions(known, grace, free), *_other_cautions(known, bought, free)]
    plan = bought if entitled and bought is not None else free
    return Standing(plan, known.state, known, tuple(cautions))


def _payment_cautions(known: e.SubscriptionChanged, grace: bool, free: Plan) -> list[Caution]:
    card = "Correct the payment method in the portal (POST /v1/billing/portal)."
    match known.state:
        case "past_due" if grace and known.grace_until:
            until = known.grace_until.strftime("%Y-%m-%d %H:%M UTC")
            text = f"A payment failed. The plan goes on until {until}. {card}"
            return [Caution("payment_failed", text)]
        case "past_due" | "unpaid":
            text = f"A payment failed, and the limits of {free.name} count until it is made. {card}"
            return [Caution("payment_overdue", text)]
        case "incomplete":
            text = "The first payment is not complete. Finish it in the portal, or check out again."
            return [Caution("payment_incomplete", text)]
        case "paused":
            text = f"The subscription is paused. The limits of {free.name} count until it goes on."
            return [Caution("subscription_paused", text)]
        case _:
            return []


def _other_cautions(known: e.SubscriptionChanged, bought: Plan | None, free: Plan) -> list[Caution]:
    found: list[Caution] = []
    if known.state in LIVE and bought is None:
        text = "What is paid for is no plan of this installation. Ask whoever runs it."
        found.append(Caution("unknown_price", text))
    if known.ends_at is not None and known.state in LIVE:
        day = known.ends_at.strftime("%Y-%m-%d")
        text = f"The subscription was cancelled and ends on {day}. From then on {free.name} counts."
        found.append(Caution("subscription_ends", text))
    if known.others:
        text = f"{known.others + 1} subscriptions are being paid for. Cancel all but one."
        found.append(Caution("several_subscriptions", text))
    return found


def limit_cautions(plan: Plan, used: Mapping[What, int]) -> list[Caution]:
    """What is nearly or more than full."""
    found: list[Caution] = []
    for what, count in used.items():
        limit = plan.limit(what)
        if limit is None:
            continue
        text = f"{count} of the {limit} {what} of {plan.name} are in use."
        if count > limit:
            text += " Everything stays and works; none can be added."
            found.append(Caution("over_limit", text))
        elif count >= limit * NEAR and limit > 1:
            found.append(Caution("near_limit", text))
    return found


def refusal(plan: Plan, what: What, used: int, adding: int, upgrade_url: str) -> Problem | None:
    """402 if ``adding`` more of these are more than the plan has room for."""
    limit = plan.limit(what)
    if limit is None or used + adding <= limit:
        return None
    return Problem(
        402,
        "plan_limit_reached",
        f"{plan.name} has room for {limit} {what}, and {used} are in use. Take a larger plan with "
        "POST /v1/billing/checkout (or /portal, where one is paid for), or remove some.",
        resource=what,
        limit=limit,
        used=used,
        plan=plan.id,
        upgrade_url=upgrade_url,
    )
