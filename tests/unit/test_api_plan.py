"""What follows from Stripe's word about a customer, and what a plan then lets a workspace have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.decide import plan
from services.api.decide.plan import PLANS, Item, Subscription
from services.api.settings import ApiSettings
from shared import events as e
from shared.settings import BadSetting, load
from tests.examples import WORKSPACE

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=30)
GRACE = timedelta(days=14)
TEAM, STARTER = "eightms_team_month", "eightms_starter_month"
NEW = e.SubscriptionChanged(
    workspace_id=WORKSPACE, customer_id="cus_1", livemode=False, state="none"
)


def bought(status: str = "active", key: str | None = TEAM, **fields: Any) -> Subscription:
    item = Item(price_id=f"price_{key}", lookup_key=key, period_end=LATER)
    given = {"id": "sub_1", "created": 1, "items": (item,), **fields}
    return Subscription(status=status, **given)


def after(
    known: e.SubscriptionChanged, *found: Subscription, at: datetime = NOW
) -> e.SubscriptionChanged:
    return plan.after(known, found, PLANS, at, GRACE)


def counts(state: e.SubscriptionChanged | None, at: datetime = NOW) -> str:
    return plan.standing(state, PLANS, at, livemode=False).plan.id


def cautions(state: e.SubscriptionChanged, at: datetime = NOW) -> list[str]:
    return [c.code for c in plan.standing(state, PLANS, at, livemode=False).cautions]


# -- after -----------------------------------------------------------------------------------------


def test_who_never_subscribed_has_the_free_plan() -> None:
    assert after(NEW) == NEW
    assert counts(None) == counts(NEW) == "free"


@pytest.mark.parametrize("status", ["active", "trialing"])
def test_a_subscription_gives_its_plan(status: str) -> None:
    state = after(NEW, bought(status))
    assert (state.state, state.plan, state.subscription_id) == (status, "team", "sub_1")
    assert (state.period_end, state.grace_until, state.others) == (LATER, None, 0)
    assert counts(state) == "team"
    assert cautions(state) == []


def test_an_upgrade_replaces_the_plan() -> None:
    state = after(after(NEW, bought(key=STARTER)), bought(key=TEAM))
    assert (state.plan, counts(state)) == ("team", "team")


@pytest.mark.parametrize("status", ["incomplete", "unpaid", "paused"])
def test_what_is_not_paid_gives_nothing(status: str) -> None:
    state = after(NEW, bought(status))
    assert counts(state) == "free"
    assert len(cautions(state)) == 1


def test_a_failed_payment_leaves_the_plan_until_grace_is_over() -> None:
    state = after(after(NEW, bought()), bought("past_due"))
    assert state.grace_until == NOW + GRACE
    last = NOW + GRACE - timedelta(seconds=1)
    assert (counts(state, last), cautions(state, last)) == ("team", ["payment_failed"])
    over = NOW + GRACE
    assert (counts(state, over), cautions(state, over)) == ("free", ["payment_overdue"])


def test_grace_does_not_begin_again_while_the_payment_is_owed() -> None:
    first = after(NEW, bought("past_due"))
    again = after(first, bought("past_due"), at=NOW + timedelta(days=3))
    assert again == first
    unpaid = after(again, bought("unpaid"), at=NOW + timedelta(days=5))
    assert unpaid.grace_until == first.grace_until
    assert counts(unpaid) == "free"


def test_grace_begins_anew_after_a_payment_and_for_another_subscription() -> None:
    first = after(NEW, bought("past_due"))
    paid = after(first, bought("active"))
    assert (paid.grace_until, counts(paid)) == (None, "team")
    later = NOW + timedelta(days=60)
    assert after(paid, bought("past_due"), at=later).grace_until == later + GRACE
    other = after(first, bought("past_due", id="sub_2"), at=later)
    assert other.grace_until == later + GRACE


def test_a_cancelled_subscription_goes_on_until_its_end() -> None:
    state = after(NEW, bought(ends_at=LATER))
    assert (state.ends_at, counts(state), cautions(state)) == (LATER, "team", ["subscription_ends"])
    ended = after(state, bought("canceled", ends_at=LATER))
    assert (ended.state, ended.plan, ended.ends_at, counts(ended)) == (
        "canceled",
        None,
        None,
        "free",
    )
    assert cautions(ended) == []


def test_a_customer_that_is_gone_ended_its_subscription() -> None:
    ended = after(after(NEW, bought()))
    assert (ended.state, ended.plan, counts(ended)) == ("canceled", None, "free")


def test_an_attempt_that_expired_is_none() -> None:
    assert after(NEW, bought("incomplete_expired")) == NEW


def test_the_best_of_several_subscriptions_counts_and_the_others_are_told() -> None:
    small, large = bought(key=STARTER, id="sub_9", created=9), bought(key=TEAM)
    for order in ((small, large), (large, small)):
        state = after(NEW, *order)
        assert (state.subscription_id, state.plan, state.others) == ("sub_1", "team", 1)
        assert cautions(state) == ["several_subscriptions"]
    late = bought("past_due", id="sub_2")
    assert after(NEW, small, late).subscription_id == "sub_9"
    assert after(NEW, bought("canceled", id="sub_5", created=5), small).others == 0


def test_a_price_that_lost_its_lookup_key_keeps_its_plan() -> None:
    state = after(NEW, bought())
    item = Item(price_id=f"price_{TEAM}", lookup_key=None, period_end=LATER)
    assert after(state, bought(items=(item,))) == state


def test_a_price_by_its_id_is_known() -> None:
    own = plan.read_plans(
        '[{"id": "none", "name": "None"},'
        ' {"id": "pro", "name": "Pro", "prices": {"year": "price_1"}}]'
    )
    item = Item(price_id="price_1", lookup_key=None, period_end=LATER)
    assert plan.after(NEW, [bought(items=(item,))], own, NOW, GRACE).plan == "pro"


def test_the_item_that_buys_a_plan_is_found_among_others() -> None:
    extra = Item(price_id="price_support", lookup_key="support", period_end=NOW)
    team = Item(price_id="price_1", lookup_key=TEAM, period_end=LATER)
    state = after(NEW, bought(items=(extra, team)))
    assert (state.plan, state.price_id, state.period_end) == ("team", "price_1", LATER)


def test_an_unknown_price_gives_nothing_and_says_so() -> None:
    state = after(NEW, bought(key="something_else"))
    assert (state.plan, counts(state), cautions(state)) == (None, "free", ["unknown_price"])
    assert after(NEW, bought(items=())).plan is None


def test_what_was_bought_in_the_other_mode_counts_for_nothing() -> None:
    state = msgspec.structs.replace(after(NEW, bought()), livemode=True)
    assert counts(state) == "free"
    assert plan.standing(state, PLANS, NOW, livemode=True).plan.id == "team"


STATUSES = [*sorted(plan._RANK), "incomplete_expired", "something_new"]


@given(
    st.lists(
        st.tuples(st.sampled_from(STATUSES), st.sampled_from([TEAM, STARTER, "x"])), max_size=4
    )
)
def test_whatever_stripe_says_the_state_is_one_the_table_takes_and_settles(
    found: list[tuple[str, str]],
) -> None:
    subscriptions = [
        bought(status, key, id=f"sub_{n}", created=n) for n, (status, key) in enumerate(found)
    ]
    state = after(NEW, *subscriptions)
    assert (state.grace_until is not None) == (state.state in ("past_due", "unpaid"))
    assert (state.state == "none") == (state.subscription_id is None)
    assert after(state, *reversed(subscriptions), at=LATER) == state


# -- limits ----------------------------------------------------------------------------------------


def test_a_limit_is_refused_with_all_there_is_to_know() -> None:
    problem = plan.refusal(PLANS[0], "phones", used=1, adding=1, upgrade_url="http://x/up")
    assert problem is not None
    assert (problem.status, problem.code) == (402, "plan_limit_reached")
    assert problem.extra == {
        "resource": "phones", "limit": 1, "used": 1, "plan": "free", "upgrade_url": "http://x/up",
    }  # fmt: skip
    assert plan.refusal(PLANS[0], "phones", used=0, adding=1, upgrade_url="") is None
    assert plan.refusal(plan.UNLIMITED, "phones", used=10**9, adding=1, upgrade_url="") is None


def test_adding_many_needs_room_for_all_of_them() -> None:
    assert plan.refusal(PLANS[0], "contacts", used=400, adding=100, upgrade_url="") is None
    assert plan.refusal(PLANS[0], "contacts", used=400, adding=101, upgrade_url="") is not None


def test_a_nearly_full_and_an_overfull_plan_are_told() -> None:
    def codes(**used: int) -> list[str]:
        named: dict[plan.What, int] = {what: used[what] for what in plan.WHATS if what in used}
        return [c.code for c in plan.limit_cautions(PLANS[0], named)]

    assert codes(phones=1, contacts=449) == []
    assert codes(phones=1, contacts=450) == ["near_limit"]
    assert codes(phones=2, contacts=501) == ["over_limit", "over_limit"]
    assert plan.limit_cautions(plan.UNLIMITED, {"contacts": 10**9}) == []


# -- settings --------------------------------------------------------------------------------------

ENV = {"DATABASE_URL": "x", "NATS_URL": "x", "EIGHTMS_SECRET_KEY": "x"}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '[{"id": "a"}]',
        '[{"id": "a", "name": "A", "prices": {"month": "p"}}]',
        '[{"id": "a", "name": "A"}, {"id": "a", "name": "B"}]',
        '[{"id": "a", "name": "A", "phones": -1}]',
        '[{"id": "A b", "name": "A"}]',
        '[{"id": "a", "name": "A", "phnes": 1}]',
        '[{"id": "a", "name": "A", "prices": {"day": "p"}}]',
        '[{"id":"a","name":"A"},{"id":"b","name":"B","prices":{"month":"p","year":"p"}}]',
    ],
)
def test_plans_that_make_no_sense_stop_the_start(text: str) -> None:
    with pytest.raises(BadSetting, match="EIGHTMS_PLANS"):
        load(ApiSettings, ENV | {"EIGHTMS_PLANS": text})


def test_a_key_without_a_webhook_secret_stops_the_start() -> None:
    with pytest.raises(BadSetting, match="STRIPE_WEBHOOK_SECRET"):
        load(ApiSettings, ENV | {"STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": " , "})
    with pytest.raises(BadSetting, match="EIGHTMS_GRACE_DAYS"):
        load(ApiSettings, ENV | {"EIGHTMS_GRACE_DAYS": "-1"})


def test_two_webhook_secrets_may_be_good_while_one_is_replaced() -> None:
    set_ = {"STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": "whsec_new, whsec_old"}
    assert load(ApiSettings, ENV | set_).webhook_secrets == ("whsec_new", "whsec_old")
