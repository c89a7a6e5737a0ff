"""What a workspace pays for. Written by api, from what Stripe says."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from shared.events.base import Data


class SubscriptionChanged(Data, frozen=True, kw_only=True):
    """The whole state of a workspace's subscription, as Stripe said it was when asked.

    ``state``: none (never subscribed), incomplete, trialing, active, past_due, unpaid, paused,
    canceled. ``plan`` is the id of the plan that is paid for, None where there is none or where its
    price is not one of ours. ``ends_at`` is set once it was cancelled and goes on until then. A
    payment that failed leaves everything as it is until ``grace_until``. ``others`` counts further
    live subscriptions of the same customer: somebody pays twice.
    """

    TYPE: ClassVar[str] = "subscription.changed"
    KEY: ClassVar[str] = "workspace_id"

    workspace_id: str
    customer_id: str
    livemode: bool
    state: str
    plan: str | None = None
    subscription_id: str | None = None
    price_id: str | None = None
    period_end: datetime | None = None
    ends_at: datetime | None = None
    grace_until: datetime | None = None
    others: int = 0
