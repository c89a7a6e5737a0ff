"""What Stripe calls, and the page people come back to: no operations of the API, so no sign-in."""

from __future__ import annotations

import structlog
from aiohttp import hdrs, web

from services.api.billing.desk import Billing
from services.api.routes.billing import RETURN_PATH
from services.api.routes.site import html
from shared import events as e
from shared.problems import Problem

PATH = "/stripe/webhook"
HANDLED = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.deleted",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_action_required",
)
"""What the webhook endpoint at Stripe is to be subscribed to; anything else is let pass."""


class StripePages:
    """Serves both for this process."""

    def __init__(self, billing: Billing) -> None:
        self._billing = billing

    def add_to(self, app: web.Application) -> None:
        """Put the routes into ``app``."""
        app.router.add_post(PATH, self.webhook)
        app.router.add_get(RETURN_PATH, self.come_back)

    async def webhook(self, request: web.Request) -> web.Response:
        """POST /stripe/webhook: 200 once the log holds what follows, or nothing does.

        Stripe repeats whatever is not answered so, for three days. What it says is used only to
        find out whom it is about.
        """
        billing = self._billing
        if not billing.enabled:
            raise Problem(404, "not_found", "This installation has no billing.")
        raw = await request.read()  # what is signed are these bytes, not what they mean
        notice = billing.stripe.verify(raw, request.headers.get("Stripe-Signature"))
        log = structlog.get_logger().bind(stripe_event=notice.id, type=notice.type)
        if notice.account is not None or notice.livemode != billing.stripe.livemode:
            log.error("a webhook of another Stripe account or mode: check the endpoint's settings")
            raise Problem(
                400,
                "wrong_stripe_mode",
                "This event is of another account or mode than the key of this installation.",
            )
        if notice.type not in HANDLED or notice.customer_id is None:
            return web.Response()
        workspaces = await billing.of_customer(notice.customer_id)
        if not workspaces:
            log.info("a customer of somebody else's")
        for workspace_id in workspaces:
            await billing.sync(workspace_id, e.Actor("stripe", notice.id), notice.id)
        return web.Response()

    async def come_back(self, request: web.Request) -> web.Response:
        """GET /billing/return: for people whose client named no page of its own."""
        if request.query.get("checkout") == "cancelled":
            text = "Nothing was bought. You can close this window."
        elif request.query.get("checkout") == "done":
            text = "Thank you. Your plan counts as soon as Stripe has confirmed the payment."
        else:
            text = "You can close this window."
        response = html("Billing", f"<h1>Billing</h1><p>{text}</p>")
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        return response
