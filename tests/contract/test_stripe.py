"""Paying, through the official library against a fake of Stripe that insists on the wire format.

One world for all of this file; every test has a workspace of its own.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import pytest_asyncio
import stripe

from services.api.billing.reconciler import Reconciler
from shared import events as e
from shared import ids
from tests.api import PUBLIC_URL, Answer, ApiWorld, Workspace, paired
from tests.conftest import execute, new_nats
from tests.fakes.stripe import SECRET_KEY, WEBHOOK_SECRET, FakeStripe, deliver

pytestmark = pytest.mark.asyncio(loop_scope="module")
OLD_SECRET = "whsec_" + "c" * 32
GRACE_DAYS = 14


class Shop:
    """The API, Stripe, and workspaces that pay."""

    def __init__(self, world: ApiWorld, stripe: FakeStripe) -> None:
        self.world, self.stripe = world, stripe
        self.prices = {
            name: stripe.price(f"eightms_{name}_month") for name in ("starter", "team", "business")
        }

    async def workspace(self) -> Account:
        return Account(self, await self.world.new_workspace("Payer"))

    async def deliver(self, *events: dict[str, Any], instance: int = 0, **how: Any) -> list[int]:
        """The status each was answered with."""
        url = self.world.instances[instance].url + "/stripe/webhook"
        return [(await deliver(self.world.http, url, one, **how))[0] for one in events]


class Account:
    """A workspace as its owner sees it."""

    def __init__(self, shop: Shop, workspace: Workspace) -> None:
        self.shop, self.id, self.key = shop, workspace.id, workspace.key
        self.subscription_id = ""

    async def billing(self, **options: Any) -> Any:
        answer = await self.shop.world.get("/v1/billing", key=self.key, **options)
        assert answer.status == 200, answer.text
        return answer.body

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.shop.world.post(path, body, key=self.key, **options)

    async def plan(self) -> tuple[str, str]:
        """What counts, and the state of the subscription."""
        body = await self.billing()
        return body["plan"], body["state"]

    async def page(self, plan: str = "team") -> str:
        answer = await self.post("/v1/billing/checkout", {"plan": plan})
        assert answer.status == 201, answer.text
        return answer.body["url"]

    async def buy(self, plan: str = "team") -> str:
        """Check out, pay, and let Stripe tell; the subscription's id."""
        stripe = self.shop.stripe
        self.subscription_id = stripe.complete(await self.page(plan))
        assert await self.shop.deliver(*stripe.take()) == [200, 200, 200]
        assert await self.plan() == (plan, "active")
        return self.subscription_id

    async def log(self) -> list[e.SubscriptionChanged]:
        """What the log says about it."""
        found = await self.shop.world.events("subscription.changed")
        return [event.data for event in found if event.workspace_id == self.id]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    name = f"test_{secrets.token_hex(8)}"
    await execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE template0")
    nats = new_nats(tmp_path_factory.mktemp("nats"))
    await nats.start()
    stripe = FakeStripe()
    await stripe.start()
    settings = {
        "stripe_secret_key": SECRET_KEY,
        "stripe_webhook_secret": f"{WEBHOOK_SECRET},{OLD_SECRET}",
        "stripe_api_base": stripe.url,
        "grace_days": GRACE_DAYS,
    }
    database_url = urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    try:
        async with ApiWorld(database_url, nats, instances=2, **settings) as world:
            yield Shop(world, stripe)
    finally:
        await stripe.stop()
        await nats.stop()
        await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def _clean(shop: Shop) -> AsyncIterator[None]:
    shop.stripe.take()
    shop.stripe.faults.clear()
    shop.stripe.seen.clear()
    yield
    shop.world.clock.ahead = timedelta()


# -- the story -----------------------------------------------------------------------------------


async def test_from_the_free_plan_to_a_paid_one_and_back(shop: Shop) -> None:
    account, stripe = await shop.workspace(), shop.stripe
    first = await account.billing()
    assert (first["enabled"], first["plan"], first["state"]) == (True, "free", "none")
    assert first["limits"] == {"phones": 1, "contacts": 500, "seats": 1}
    assert [one["id"] for one in first["plans"]] == ["free", "starter", "team", "business"]

    subscription = await account.buy("starter")
    stripe.change(subscription, price=shop.prices["team"])
    assert await shop.deliver(*stripe.take()) == [200]
    assert await account.plan() == ("team", "active")

    stripe.fail_payment(subscription)
    assert await shop.deliver(*stripe.take()) == [200, 200]
    owed = await account.billing()
    assert (owed["plan"], owed["state"]) == ("team", "past_due")
    assert [w["code"] for w in owed["warnings"]] == ["payment_failed"]
    grace = datetime.fromisoformat(owed["grace_until"]) - shop.world.clock.now()
    assert abs(grace - timedelta(days=GRACE_DAYS)) < timedelta(minutes=1)

    stripe.pay(subscription)
    assert await shop.deliver(*stripe.take()) == [200, 200]
    paid = await account.billing()
    assert (paid["plan"], paid["state"], paid["warnings"]) == ("team", "active", [])

    stripe.change(subscription, cancel_at_period_end=True)
    await shop.deliver(*stripe.take())
    ending = await account.billing()
    assert (ending["plan"], ending["ends_at"]) == ("team", ending["current_period_end"])
    stripe.cancel(subscription)
    await shop.deliver(*stripe.take())
    assert await account.plan() == ("free", "canceled")
    states = [(state.state, state.plan) for state in await account.log()]
    assert states == [
        ("none", None),
        ("active", "starter"),
        ("active", "team"),
        ("past_due", "team"),
        ("active", "team"),
        ("active", "team"),
        ("canceled", None),
    ]


async def test_grace_ends_without_anybody_being_told(shop: Shop) -> None:
    account = await shop.workspace()
    shop.stripe.fail_payment(await account.buy())
    await shop.deliver(*shop.stripe.take())
    assert await account.plan() == ("team", "past_due")
    shop.world.clock.ahead = timedelta(days=GRACE_DAYS, minutes=1)
    over = await account.billing()
    assert (over["plan"], over["state"]) == ("free", "past_due")
    assert "payment_overdue" in [w["code"] for w in over["warnings"]]
    shop.stripe.pay(account.subscription_id)
    await shop.deliver(*shop.stripe.take())
    assert await account.plan() == ("team", "active")


async def test_the_whole_story_in_any_order_twice_and_on_any_instance_ends_the_same(
    shop: Shop,
) -> None:
    rng = random.Random(8)
    for _ in range(3):
        account, stripe = await shop.workspace(), shop.stripe
        subscription = stripe.complete(await account.page("starter"))
        stripe.change(subscription, price=shop.prices["team"])
        stripe.fail_payment(subscription)
        stripe.pay(subscription)
        stripe.fail_payment(subscription)
        stripe.cancel(subscription)
        again = stripe.complete(await account.page("business"))
        events = stripe.take() * 2
        rng.shuffle(events)
        answers = await asyncio.gather(
            *(shop.deliver(one, instance=n % 2) for n, one in enumerate(events))
        )
        assert answers == [[200]] * len(events)
        assert await account.plan() == ("business", "active")
        last = (await account.log())[-1]
        assert (last.subscription_id, last.others) == (again, 0)


async def test_events_between_changes_never_leave_an_older_state(shop: Shop) -> None:
    """Stripe changes all the while its events come, late ones first, on both instances."""
    account, stripe = await shop.workspace(), shop.stripe
    subscription = await account.buy()
    under_way: list[asyncio.Task[list[int]]] = []
    for n in range(12):
        (stripe.fail_payment if n % 2 else stripe.pay)(subscription)
        under_way += [
            asyncio.create_task(shop.deliver(one, instance=n % 2))
            for one in reversed(stripe.take())
        ]
        await asyncio.sleep(0.003 * (n % 4))
    assert {status for one in await asyncio.gather(*under_way) for status in one} == {200}
    assert await account.plan() == ("team", "past_due")
    assert (await account.log())[-1].state == "past_due"


async def test_a_duplicate_changes_nothing(shop: Shop) -> None:
    account = await shop.workspace()
    await account.buy()
    shop.stripe.change(account.subscription_id, price=shop.prices["business"])
    (event,) = shop.stripe.take()
    assert await shop.deliver(event, event, event) == [200, 200, 200]
    assert [state.plan for state in await account.log()] == [None, "team", "business"]
    found = await shop.world.events("subscription.changed")
    (changed,) = [one for one in found if one.cause == event["id"]]
    assert changed.actor == e.Actor("stripe", event["id"])


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {"secret": "whsec_" + "x" * 32},
        {"header": ""},
        {"header": "t=1,v1="},
        {"header": "nonsense"},
        {"age_s": 301.0},
    ],
    ids=["forged", "unsigned", "empty", "nonsense", "old"],
)
async def test_what_stripe_did_not_just_sign_changes_nothing(
    shop: Shop, how: dict[str, Any]
) -> None:
    account = await shop.workspace()
    shop.stripe.complete(await account.page())
    events = shop.stripe.take()
    asked = len(shop.stripe.seen)
    assert await shop.deliver(*events, **how) == [400] * 3
    assert len(shop.stripe.seen) == asked
    assert await account.plan() == ("free", "none")


async def test_a_changed_body_is_refused(shop: Shop) -> None:
    account = await shop.workspace()
    shop.stripe.complete(await account.page())
    event = shop.stripe.take()[0]
    url = shop.world.instances[0].url + "/stripe/webhook"
    signed = stripe.WebhookSignature.generate_signature_header(json.dumps(event), WEBHOOK_SECRET)
    changed = json.dumps(event).replace("usd", "eur") + " "
    async with shop.world.http.post(
        url, data=changed, headers={"Stripe-Signature": signed}
    ) as answer:
        body = await answer.json(content_type=None)
    assert (answer.status, body["code"]) == (400, "invalid_signature")


async def test_a_secret_that_is_being_replaced_is_still_good(shop: Shop) -> None:
    account = await shop.workspace()
    shop.stripe.complete(await account.page())
    assert await shop.deliver(*shop.stripe.take(), secret=OLD_SECRET) == [200] * 3
    assert await account.plan() == ("team", "active")


@pytest.mark.parametrize("more", [{"livemode": True}, {"account": "acct_1"}])
async def test_another_mode_or_account_is_refused(shop: Shop, more: dict[str, Any]) -> None:
    account = await shop.workspace()
    shop.stripe.complete(await account.page())
    events = [{**one, **more} for one in shop.stripe.take()]
    assert await shop.deliver(*events) == [400] * 3
    assert await account.plan() == ("free", "none")


async def test_unknown_types_customers_and_shapes_are_let_pass(shop: Shop) -> None:
    account = await shop.workspace()
    await account.buy()
    event = {"id": "evt_x", "object": "event", "livemode": False, "api_version": "2031-01-01"}
    assert (
        await shop.deliver(
            {**event, "type": "invoice.upcoming", "data": {"object": {"id": None, "customer": {}}}},
            {**event, "type": "something.new", "data": {"object": {}}},
            {**event, "type": "invoice.paid", "data": {"object": {"customer": "cus_somebody"}}},
            {**event, "type": "invoice.paid", "data": {"object": {"customer": None}}},
        )
        == [200] * 4
    )
    thin = {"id": "evt_y", "object": "v2.core.event", "type": "v1.x", "livemode": False}
    assert await shop.deliver(thin) == [400]
    assert len(await account.log()) == 2


async def test_another_workspace_is_not_touched(shop: Shop) -> None:
    payer, other = await shop.workspace(), await shop.workspace()
    await payer.buy()
    await other.page()
    shop.stripe.complete(await other.page())
    event = next(one for one in shop.stripe.take() if one["type"] == "invoice.paid")
    forged = {**event, "data": {"object": {**event["data"]["object"], "metadata": {
        "workspace_id": other.id}, "customer": (await payer.log())[0].customer_id}}}  # fmt: skip
    assert await shop.deliver(forged) == [200]
    assert await other.plan() == ("free", "none")


# -- when Stripe or the log is away --------------------------------------------------------------


@pytest.mark.parametrize(
    "faults", [[500], [409], ["drop"], ["lost"], [429], [500, "drop"]], ids=str
)
async def test_what_passes_by_itself_is_tried_again(shop: Shop, faults: list[Any]) -> None:
    account = await shop.workspace()
    shop.stripe.complete(await account.page())
    event = shop.stripe.take()[0]
    shop.stripe.faults.extend(faults)
    assert await shop.deliver(event) == [200]
    assert await account.plan() == ("team", "active")


async def test_while_stripe_is_away_its_events_are_refused_and_come_again(shop: Shop) -> None:
    account = await shop.workspace()
    shop.stripe.complete(await account.page())
    event = shop.stripe.take()[0]
    shop.stripe.faults.extend([500] * 3)
    assert await shop.deliver(event) == [503]
    assert await account.plan() == ("free", "none")
    assert await shop.deliver(event) == [200]
    assert await account.plan() == ("team", "active")


async def test_a_lost_answer_makes_no_second_customer_or_session(shop: Shop) -> None:
    account = await shop.workspace()
    # The price is found; the customer is made, and nobody hears of it.
    shop.stripe.faults.extend([None, "lost"])
    body, options = {"plan": "team"}, {"headers": {"Idempotency-Key": ids.new("req")}}
    first = await account.post("/v1/billing/checkout", body, **options)
    assert first.status == 201, first.text
    made = [one for one in shop.stripe.seen if one.method == "POST"]
    assert [one.path for one in made] == [
        "/v1/customers", "/v1/customers", "/v1/checkout/sessions",
    ]  # fmt: skip
    assert made[0].key == made[1].key
    again = await account.post("/v1/billing/checkout", body, **options)
    assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(await account.log()) == 1


async def test_two_who_check_out_at_once_share_a_customer(shop: Shop) -> None:
    account = await shop.workspace()
    pages = await asyncio.gather(
        *(account.post("/v1/billing/checkout", {"plan": "team"}, instance=n % 2) for n in range(4))
    )
    assert [one.status for one in pages] == [201] * 4
    customers = {shop.stripe.session(one.body["url"])["customer"] for one in pages}
    assert len(customers) == 1


async def test_what_webhooks_missed_is_found_by_asking(shop: Shop) -> None:
    account, deleted = await shop.workspace(), await shop.workspace()
    shop.stripe.complete(await account.page())
    shop.stripe.take()
    await deleted.buy()
    shop.stripe.delete_customer((await deleted.log())[0].customer_id)
    shop.stripe.take()  # none of them arrives
    context = shop.world.instances[0].context
    reconciler = Reconciler(context, context.extra["api"].billing)
    await reconciler.start()
    shop.stripe.faults.extend([500] * 3)  # the first one cannot be asked about: the others are
    while (pause_s := await reconciler.step() or 0) < 60:
        reconciler._due = 0.0  # the pause between pages is not what is tested
    assert pause_s == 300
    assert await account.plan() == ("team", "active")
    assert await deleted.plan() == ("free", "canceled")
    assert (await account.log())[-1].state == "active"


async def test_a_customer_deleted_at_stripe_is_replaced(shop: Shop) -> None:
    account = await shop.workspace()
    await account.buy()
    old = (await account.log())[0].customer_id
    shop.stripe.delete_customer(old)
    await shop.deliver(*shop.stripe.take())
    assert await account.plan() == ("free", "canceled")
    await account.buy("business")
    assert (await account.log())[-1].customer_id != old


async def test_who_leaves_is_gone_from_stripe_and_pays_no_more(shop: Shop) -> None:
    account, world = await shop.workspace(), shop.world
    billing = world.instances[0].context.extra["api"].billing
    assert not await billing.leave(account.id)
    await account.buy()
    shop.stripe.faults.append("lost")
    assert await billing.leave(account.id)
    assert await billing.leave(account.id)
    removed = [one for one in shop.stripe.seen if one.method == "DELETE"]
    assert {one.path for one in removed} == {
        f"/v1/customers/{(await account.log())[0].customer_id}"
    }
    types = [one["type"] for one in shop.stripe.take()]
    assert types == ["customer.subscription.deleted", "customer.deleted"]
    await billing.sync(account.id, e.Actor("system", "test"), None)
    assert await account.plan() == ("free", "canceled")


# -- asking --------------------------------------------------------------------------------------


async def test_the_requests_are_what_stripe_documents(shop: Shop) -> None:
    account = await shop.workspace()
    await account.page()
    customer, checkout = [one for one in shop.stripe.seen if one.method == "POST"]
    assert customer.fields["metadata"] == {"workspace_id": account.id}
    assert checkout.fields == {
        "mode": "subscription",
        "customer": (await account.log())[0].customer_id,
        "line_items": {"0": {"price": shop.prices["team"], "quantity": "1"}},
        "client_reference_id": account.id,
        "success_url": f"{PUBLIC_URL}/billing/return?checkout=done",
        "cancel_url": f"{PUBLIC_URL}/billing/return?checkout=cancelled",
        "metadata": {"workspace_id": account.id},
        "subscription_data": {"metadata": {"workspace_id": account.id}},
        "allow_promotion_codes": "true",
    }
    assert "X-Stripe-Client-Telemetry" not in checkout.headers
    asked = await shop.world.rows("SELECT workspace_id FROM subscription WHERE customer_id = $1",
                                  checkout.fields["customer"])  # fmt: skip
    assert [row["workspace_id"] for row in asked] == [account.id]


async def test_who_has_a_subscription_is_sent_to_the_portal(shop: Shop) -> None:
    account = await shop.workspace()
    none = await account.post("/v1/billing/portal")
    assert (none.status, none.code) == (409, "not_subscribed")
    shop.stripe.complete(await account.page())  # and no webhook came yet
    refused = await account.post("/v1/billing/checkout", {"plan": "team"})
    assert (refused.status, refused.code) == (409, "already_subscribed")
    portal = await account.post("/v1/billing/portal", {"page": "change_plan"})
    session = shop.stripe.session(portal.body["url"])
    assert session["flow"]["type"] == "subscription_update"
    assert session["return_url"] == f"{PUBLIC_URL}/billing/return"
    plain = await account.post("/v1/billing/portal")
    assert plain.status == 201
    assert shop.stripe.session(plain.body["url"])["flow"] is None


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"plan": "gold"}, "#/plan", "unknown_plan"),
        ({"plan": "free"}, "#/plan", "unknown_plan"),
        ({"plan": "team", "interval": "year"}, "#/plan", "not_for_sale"),
        ({"plan": "team", "interval": "day"}, "#/interval", "invalid_request"),
        ({"plan": "team", "return_url": "http://x.example/"}, "#/return_url", "url_malformed"),
        ({"plan": "team", "return_url": "https://u:p@x.example/"}, "#/return_url", "url_malformed"),
        ({}, "#/plan", "invalid_request"),
    ],
)  # fmt: skip
async def test_a_wish_that_cannot_be_is_refused_at_its_field(
    shop: Shop, body: Any, pointer: str, code: str
) -> None:
    account = await shop.workspace()
    answer = await account.post("/v1/billing/checkout", body)
    assert (answer.status, answer.code, answer.pointers) == (422, code, {pointer})


async def test_people_come_back_to_a_page_of_the_callers_choice(shop: Shop) -> None:
    account = await shop.workspace()
    back = "https://app.example.com/billing?tab=plan#top"
    answer = await account.post("/v1/billing/checkout", {"plan": "team", "return_url": back})
    session = shop.stripe.session(answer.body["url"])
    assert session["success_url"] == "https://app.example.com/billing?tab=plan&checkout=done#top"
    page = await shop.world.get("/billing/return?checkout=done", key="")
    assert (page.status, "Thank you" in page.text) == (200, True)


# -- limits --------------------------------------------------------------------------------------


async def test_contacts_stop_at_the_limit_and_go_on_after_an_upgrade(shop: Shop) -> None:
    account, world = await shop.workspace(), shop.world
    await fill(account, 500)
    body = {"phone": "+14155550999", "first_name": "One more"}
    options = {"headers": {"Idempotency-Key": ids.new("req")}}
    refused = await account.post("/v1/contacts", body, **options)
    assert (refused.status, refused.code) == (402, "plan_limit_reached")
    assert (refused.body["resource"], refused.body["limit"], refused.body["used"]) == (
        "contacts", 500, 500,
    )  # fmt: skip
    assert refused.body["upgrade_url"] == f"{PUBLIC_URL}/v1/billing/checkout"
    text = {"to": "+14155550999", "body": "Texts are not limited"}
    sent = await account.post("/v1/sms/send", text)
    assert sent.status == 202
    path = f"/v1/contacts/{sent.body['message']['contact_id']}"
    assert (await world.get(path, key=account.key)).status == 200
    assert (await world.patch(path, {"company": "X"}, key=account.key)).status == 402
    await account.buy("starter")
    assert (await account.post("/v1/contacts", body, **options)).status == 201
    assert (await account.billing())["usage"]["contacts"] == 501


@pytest.mark.parametrize("query", ["?dry_run=true", ""])
async def test_an_import_takes_whom_there_is_room_for_and_every_opt_out(
    shop: Shop, query: str
) -> None:
    account, world = await shop.workspace(), shop.world
    await fill(account, 498)
    rows = "first_name,phone,dnd\n" + "".join(f"New,+1212666{n:04d},\n" for n in range(5))
    rows += "Known,+12125550001,\nStop,+12126669999,yes\n"
    answer = await world.call(
        "POST", f"/v1/contacts/bulk{query}", raw=rows.encode(), key=account.key,
        headers={"Content-Type": "text/csv"},
    )  # fmt: skip
    assert answer.status == 202, answer.text

    async def ended() -> Any:
        shown = (await world.get(answer.headers["Location"], key=account.key)).body
        return shown if shown["finished_at"] else None

    task = await world.until(ended, "the import has ended")
    names = ("created", "updated", "opted_out", "failed")
    assert [task["summary"][name] for name in names] == [2, 2, 1, 3]
    assert {one["code"] for one in task["errors"]} == {"plan_limit_reached"}
    used = (await account.billing())["usage"]["contacts"]
    assert used == (498 if query else 500)
    gone = await world.get("/v1/contacts?opted_out=true", key=account.key)
    assert len(gone.body["data"]) == (0 if query else 1)


async def test_who_is_over_the_limit_keeps_everything(shop: Shop) -> None:
    account, world = await shop.workspace(), shop.world
    await account.buy("starter")
    await fill(account, 502)
    shop.stripe.cancel(account.subscription_id)
    await shop.deliver(*shop.stripe.take())
    over = await account.billing()
    assert (over["plan"], over["usage"]["contacts"]) == ("free", 502)
    assert [w["code"] for w in over["warnings"]] == ["over_limit"]
    saved = await world.get("/v1/contacts?limit=1", key=account.key)
    path = f"/v1/contacts/{saved.body['data'][0]['id']}"
    changed = await world.patch(path, {"company": "Still ours"}, key=account.key)
    assert (changed.status, changed.body["company"]) == (200, "Still ours")
    assert (await account.post(f"{path}/opt-out")).status == 200


async def test_phones_are_invited_up_to_the_limit_and_simulated_ones_do_not_count(
    shop: Shop,
) -> None:
    account, world = await shop.workspace(), shop.world
    assert (await account.post("/v1/phones/pairings")).status == 201
    assert world.asked[-1][2]["phones_max"] == 1
    await world.append(paired(ids.new("phn")), account.id)
    refused = await account.post("/v1/phones/pairings")
    assert (refused.status, refused.code, refused.body["resource"]) == (
        402, "plan_limit_reached", "phones",
    )  # fmt: skip
    assert (await account.billing())["usage"]["phones"] == 1
    await account.buy("starter")
    assert (await account.post("/v1/phones/pairings")).status == 201
    assert world.asked[-1][2]["phones_max"] == 3


async def test_people_are_invited_up_to_the_limit_and_again_without_end(shop: Shop) -> None:
    account = await shop.workspace()
    invitation = {"email": "ada@example.com", "role": "member"}
    assert (await account.post("/v1/members", invitation)).status == 201
    refused = await account.post("/v1/members", {**invitation, "email": "grace@example.com"})
    assert (refused.status, refused.code, refused.body["resource"]) == (
        402, "plan_limit_reached", "seats",
    )  # fmt: skip
    assert (await account.post("/v1/members", invitation)).status == 200
    assert (await account.billing())["usage"]["seats"] == 1
    await account.buy("starter")
    second = await account.post("/v1/members", {**invitation, "email": "grace@example.com"})
    assert second.status == 201


async def fill(account: Account, count: int) -> None:
    """So many saved contacts."""
    world = account.shop.world
    contact_id = partial(ids.contact_id, world.keys.identity_key, account.id, generation=0)
    made = [
        e.make(
            e.ContactSaved(contact_id=contact_id(number), number=number),
            id=ids.new("evt"),
            workspace_id=account.id,
            at=world.clock.now(),
            actor=e.Actor("system", "test"),
        )
        for number in (f"+1212555{n:04d}" for n in range(count))
    ]
    stored = await world.log.append_many(made)
    await world.passed(max(seq for seq in stored if isinstance(seq, int)))
