"""Plan and payment: look, check out, and Stripe's customer portal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from services.api import decide
from services.api.billing.desk import off
from services.api.decide import plan as plans
from services.api.operation import Call, Operation, Reply
from services.api.shapes import billing as shapes
from shared.problems import Problem

RETURN_PATH = "/billing/return"
FLOWS = {
    "payment_method": "payment_method_update",
    "change_plan": "subscription_update",
    "cancel": "subscription_cancel",
}


async def get_billing(call: Call) -> Reply:
    """GET /v1/billing."""
    desk = call.api.billing
    used = await desk.usage(call)
    shown = shapes.billing(
        await desk.standing(call.workspace_id, call.now),
        used,
        await desk.cautions(call, used),
        desk.plans if desk.enabled else (plans.UNLIMITED,),
        enabled=desk.enabled,
    )
    return Reply(shown)


async def checkout(call: Call) -> Reply:
    """POST /v1/billing/checkout."""
    desk = call.api.billing
    if not desk.enabled:
        raise off()
    body: shapes.CheckoutRequest = call.body
    wanted = next((plan for plan in desk.plans if plan.id == body.plan and plan.prices), None)
    if wanted is None:
        sold = ", ".join(plan.id for plan in desk.plans if plan.prices)
        raise Problem.at("#/plan", "unknown_plan", f"plan must be one that is sold: {sold}.")
    if body.interval not in wanted.prices:
        detail = f"{wanted.name} is paid for by: {', '.join(wanted.prices)}."
        raise Problem.at("#/interval", "not_for_sale", detail)
    back = _return_url(call, body.return_url)
    # Stripe first: a webhook on its way must not make anybody pay twice.
    await desk.sync(call.workspace_id, call.caller.actor, call.request_id)
    standing = await desk.standing(call.workspace_id, call.now)
    if standing.state in plans.OPEN:
        raise Problem(
            409,
            "already_subscribed",
            "There is a subscription. Change it in the portal: POST /v1/billing/portal.",
            state=standing.state,
        )
    price = await desk.stripe.price(wanted.prices[body.interval])
    if price is None:
        detail = f"{wanted.name} cannot be bought here: its price is missing at the payment side."
        raise Problem.at("#/plan", "not_for_sale", detail)
    ours = {"workspace_id": call.workspace_id}
    fields: dict[str, Any] = {
        "mode": "subscription",
        "line_items": [{"price": price, "quantity": 1}],
        "client_reference_id": call.workspace_id,
        "success_url": _with(back, "checkout=done"),
        "cancel_url": _with(back, "checkout=cancelled"),
        "metadata": ours,
        "subscription_data": {"metadata": ours},
        "allow_promotion_codes": True,
    }
    if desk.tax:
        fields |= {"automatic_tax": {"enabled": True}, "customer_update": {"address": "auto"}}
    session = await _for_customer(call, "checkout", fields, desk.stripe.checkout)
    expires_at = datetime.fromtimestamp(session.expires_at, UTC)
    return Reply(shapes.StripePage(url=session.url, expires_at=expires_at))


async def portal(call: Call) -> Reply:
    """POST /v1/billing/portal."""
    desk = call.api.billing
    if not desk.enabled:
        raise off()
    body: shapes.PortalRequest = call.body or shapes.PortalRequest.model_construct()
    back = _return_url(call, body.return_url)
    known = (await desk.standing(call.workspace_id, call.now)).known
    if known is None or known.subscription_id is None:
        raise Problem(
            409, "not_subscribed", "There is no subscription yet: POST /v1/billing/checkout."
        )
    fields: dict[str, Any] = {"return_url": back}
    if body.page != "overview":
        flow = FLOWS[body.page]
        about: dict[str, Any] = {}
        if flow != "payment_method_update":
            if known.state not in plans.OPEN:
                raise Problem(409, "not_subscribed", "The subscription has ended.")
            about = {flow: {"subscription": known.subscription_id}}
        fields["flow_data"] = {"type": flow, **about}
    session = await _for_customer(call, "portal", fields, desk.stripe.portal)
    return Reply(shapes.StripePage(url=session.url, expires_at=None))


async def _for_customer(
    call: Call, what: str, fields: dict[str, Any], make: Callable[..., Awaitable[Any]]
) -> Any:
    """A session of Stripe's for the workspace's customer; for a new one where that was deleted."""
    from services.api.outside.stripe import CustomerGone

    customer = await call.api.billing.customer(call)
    try:
        return await make(call.new_id(what, customer), customer=customer, **fields)
    except CustomerGone:
        customer = await call.api.billing.customer(call, gone=customer)
        return await make(call.new_id(what, customer), customer=customer, **fields)


def _return_url(call: Call, wanted: str | None) -> str:
    """Where a person comes back to; a 422 Problem for what is neither https nor ours."""
    if wanted is None:
        return call.api.public_url + RETURN_PATH
    ours = urlsplit(call.api.public_url)
    try:
        parts = urlsplit(wanted)
    except ValueError:
        parts = None
    if parts is not None and parts.hostname and parts.username is None:
        here = (parts.scheme, parts.netloc) == (ours.scheme, ours.netloc)
        if parts.scheme == "https" or here:
            return wanted
    detail = "return_url must be https, or an address of this API."
    raise decide.problem([decide.field_error("#/return_url", "url_malformed", detail)])


def _with(url: str, parameter: str) -> str:
    parts = urlsplit(url)
    query = f"{parts.query}&{parameter}" if parts.query else parameter
    return parts._replace(query=query).geturl()


OPERATIONS = (
    Operation(
        name="billing.get",
        method="GET",
        path="/v1/billing",
        tag="Billing",
        scope="workspace:read",
        handle=get_billing,
        status=200,
        response=shapes.Billing,
        summary="Look at plan and payment",
        description=(
            "The plan that counts now, its limits, what is used of them, and what needs attention. "
            "A limit stops adding, and nothing else: nothing is deleted, and texts, replies and "
            "STOP are never held up. Where `enabled` is false everything is unlimited."
        ),
    ),
    Operation(
        name="billing.checkout",
        method="POST",
        path="/v1/billing/checkout",
        tag="Billing",
        scope="billing:write",
        handle=checkout,
        status=201,
        response=shapes.StripePage,
        request=shapes.CheckoutRequest,
        problems=(
            "billing_off",
            "unknown_plan",
            "not_for_sale",
            "already_subscribed",
            "url_malformed",
            "billing_unavailable",
        ),
        summary="Subscribe to a plan",
        description=(
            "A page of Stripe's where a person pays. The plan counts when Stripe has told us, "
            "usually before the person is back."
        ),
    ),
    Operation(
        name="billing.portal",
        method="POST",
        path="/v1/billing/portal",
        tag="Billing",
        scope="billing:write",
        handle=portal,
        status=201,
        response=shapes.StripePage,
        request=shapes.PortalRequest,
        body_required=False,
        problems=("billing_off", "not_subscribed", "url_malformed", "billing_unavailable"),
        summary="Change plan, card or address, see invoices, cancel",
        description="Stripe's customer portal, for one person and a short time.",
    ),
)
