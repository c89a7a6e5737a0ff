"""Plans and payment as they are asked for and as they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from pydantic import ConfigDict, Field

from services.api.decide.plan import Caution, Interval, Plan, Standing, What
from services.api.shapes.fields import Body, absent

URL_MAX_CHARS = 2000
PLAN_MAX_CHARS = 40

Return = Annotated[
    str,
    Field(
        min_length=1,
        max_length=URL_MAX_CHARS,
        pattern=r"^https?://[^\s\x00-\x1f\x7f]+$",
        examples=["https://app.example.com/billing"],
    ),
]
State = Literal[
    "none", "incomplete", "trialing", "active", "past_due", "unpaid", "paused", "canceled"
]


class CheckoutRequest(Body):
    """A plan to subscribe to."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"plan": "team"}]})

    plan: Annotated[str, Field(min_length=1, max_length=PLAN_MAX_CHARS, pattern="^[a-z0-9_-]+$")]
    interval: Interval = Field("month", description="How often it is paid for.")
    return_url: Return = absent(
        "Where the person goes from Stripe, with `checkout=done` or `checkout=cancelled`; https, "
        "or an address of this API."
    )


class PortalRequest(Body):
    """Where in the portal to begin."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"page": "payment_method"}]})

    page: Literal["overview", "payment_method", "change_plan", "cancel"] = "overview"
    return_url: Return = absent("Where the person goes from Stripe; https, or of this API.")


class StripePage(Struct, kw_only=True):
    """A page of Stripe's for one person, for a short time."""

    url: Annotated[str, Meta(description="Send the person there. It is a secret: do not keep it.")]
    expires_at: Annotated[datetime | None, Meta(description="null: within minutes.")]


class Limits(Struct, kw_only=True):
    """How many of each a plan has room for; null: any number."""

    phones: Annotated[int | None, Meta(description="Paired phones; simulated ones do not count.")]
    contacts: Annotated[
        int | None,
        Meta(description="Saved contacts; who only texted or was texted does not count."),
    ]
    seats: Annotated[int | None, Meta(description="Members, and invitations not answered yet.")]


class Usage(Struct, kw_only=True):
    """How many of each there are."""

    phones: int
    contacts: int
    seats: int


class Notice(Struct, kw_only=True):
    """Something a person should know."""

    code: str
    detail: str


class Offer(Struct, kw_only=True):
    """A plan there is."""

    id: str
    name: str
    limits: Limits
    intervals: Annotated[list[Interval], Meta(description="Empty: it is not bought.")]


class Billing(Struct, kw_only=True):
    """The plan that counts now, what it gives, and what is used of it."""

    enabled: Annotated[bool, Meta(description="false: no billing here, everything is unlimited.")]
    plan: str
    plan_name: str
    state: Annotated[State, Meta(description="Of the subscription; none: there never was one.")]
    limits: Limits
    usage: Usage
    current_period_end: datetime | None
    ends_at: Annotated[
        datetime | None, Meta(description="The subscription was cancelled and ends then.")
    ]
    grace_until: Annotated[
        datetime | None, Meta(description="A payment failed; the plan goes on until then.")
    ]
    warnings: list[Notice]
    plans: list[Offer]


def billing(
    standing: Standing,
    used: Mapping[What, int],
    cautions: Iterable[Caution],
    plans: Iterable[Plan],
    *,
    enabled: bool,
) -> Billing:
    """All about a workspace's plan as it is shown."""
    known: Any = standing.known
    return Billing(
        enabled=enabled,
        plan=standing.plan.id,
        plan_name=standing.plan.name,
        state=standing.state,  # type: ignore[arg-type]  # one of State, as the table's CHECK says
        limits=_limits(standing.plan),
        usage=Usage(**used),
        current_period_end=known.period_end if known else None,
        ends_at=known.ends_at if known else None,
        grace_until=known.grace_until if known else None,
        warnings=[Notice(code=one.code, detail=one.detail) for one in cautions],
        plans=[
            Offer(id=p.id, name=p.name, limits=_limits(p), intervals=list(p.prices)) for p in plans
        ],
    )


def _limits(plan: Plan) -> Limits:
    return Limits(phones=plan.phones, contacts=plan.contacts, seats=plan.seats)
