"""Stripe, through its official library: customers, checkout, portal, subscriptions, signatures.

What the library leaves to its user is done here: a timeout of seconds instead of 80, retries (it
makes none unless told to, and never after a 429), and no telemetry. Its AIOHTTP client is used
because ours is aiohttp as well, and its HTTPX client posts forms in a way httpx warns about.

Every POST that makes something carries an idempotency key of the caller's. What fails comes out as
a 503 Problem; why is logged by class, code and Stripe's request id, never with its text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiohttp
import msgspec
import stripe
import structlog
from msgspec import Struct

from services.api.decide.plan import Item, Subscription
from shared.problems import Problem, unavailable

API_VERSION = "2026-10-28.endive"
"""Shapes differ between versions; the webhook endpoint is made with this one as well."""

ADDRESS = "https://api.stripe.com"
TIMEOUT_S = 8.0  # of one request; Stripe answers in well under a second
RETRIES = 2  # by the library: lost connections, 409, 5xx
LIMITED_TRIES, LIMITED_PAUSE_S = 3, 0.5  # ours: 429
SUBSCRIPTIONS_MAX = 100  # of one customer: one page; who has more has other troubles
TOLERANCE_S = 300  # how old a signature may be; Stripe's own default
R = TypeVar("R")


class CustomerGone(Exception):
    """Stripe has no such customer: deleted, or of another account."""


class Notice(Struct, frozen=True, kw_only=True):
    """A verified webhook, as much of it as we use: the state itself is always asked for."""

    id: str
    type: str
    livemode: bool
    account: str | None
    customer_id: str | None


class Stripe:
    """A client for one secret key. Closed with ``close``."""

    def __init__(self, secret_key: str, webhook_secrets: tuple[str, ...], base: str = "") -> None:
        stripe.enable_telemetry = False
        self.livemode = "_test_" not in secret_key
        self._secrets = webhook_secrets
        self._http = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        client = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": base or ADDRESS},
            http_client=self._http,
            max_network_retries=RETRIES,
        )
        self._api: Any = client.v1

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()

    # -- customers and what they pay for ---------------------------------------------------------

    async def new_customer(self, workspace_id: str, key: str) -> str:
        """The id of a customer for the workspace; the same one for the same key. It is given no
        name and no address: people tell Stripe themselves, and Stripe tells nobody."""
        customer = await self._do(
            self._api.customers.create_async,
            {"metadata": {"workspace_id": workspace_id}, "description": f"8ms {workspace_id}"},
            {"idempotency_key": key},
        )
        return customer.id

    async def subscriptions(self, customer_id: str) -> list[Subscription]:
        """All of a customer's subscriptions as they are now, also those that ended."""
        query = {"customer": customer_id, "status": "all", "limit": SUBSCRIPTIONS_MAX}
        try:
            found = await self._do(self._api.subscriptions.list_async, query)
        except CustomerGone:
            return []
        return [_subscription(one) for one in found.data]

    async def remove_customer(self, customer_id: str) -> None:
        """Delete a customer with its cards and addresses; its subscriptions end at once, and the
        invoices stay with Stripe, as the law has it. Safe to repeat."""
        try:
            await self._do(self._api.customers.delete_async, customer_id)
        except CustomerGone:
            return

    # -- pages on Stripe's side ------------------------------------------------------------------

    async def price(self, name: str) -> str | None:
        """The id of an active price by its lookup key, or by its id; None if there is none."""
        found = await self._do(
            self._api.prices.list_async, {"lookup_keys": [name], "active": True, "limit": 1}
        )
        if found.data:
            return found.data[0].id
        return name if name.startswith("price_") else None

    async def checkout(self, key: str, **fields: Any) -> Any:
        """A new check-out session: ``url``, ``expires_at``. Errors: CustomerGone."""
        return await self._do(
            self._api.checkout.sessions.create_async, fields, {"idempotency_key": key}
        )

    async def portal(self, key: str, **fields: Any) -> Any:
        """A new session of the customer portal: ``url``. Errors: CustomerGone."""
        return await self._do(
            self._api.billing_portal.sessions.create_async, fields, {"idempotency_key": key}
        )

    # -- webhooks --------------------------------------------------------------------------------

    def verify(self, raw: bytes, header: str | None) -> Notice:
        """What a webhook says, if Stripe signed exactly these bytes a short while ago.

        Any of the secrets will do, so that one can be replaced. A 400 Problem otherwise.
        """
        for secret in self._secrets:
            try:
                stripe.WebhookSignature.verify_header(raw, header, secret, TOLERANCE_S)
            except (stripe.SignatureVerificationError, UnicodeDecodeError):
                continue
            return _notice(raw)
        raise Problem(
            400,
            "invalid_signature",
            "The Stripe-Signature header does not belong to this body, or is too old.",
        )

    async def _do(self, call: Callable[..., Awaitable[R]], *args: Any) -> R:
        tries = 0
        while True:
            tries += 1
            try:
                return await call(*args)
            except stripe.RateLimitError as error:
                if tries >= LIMITED_TRIES:
                    raise _failed(error) from None
                await asyncio.sleep(LIMITED_PAUSE_S * tries)
            except stripe.InvalidRequestError as error:
                if error.code == "resource_missing" and error.param in ("customer", "id"):
                    raise CustomerGone from None
                raise _failed(error) from None
            except (stripe.StripeError, aiohttp.ClientError, TimeoutError) as error:
                raise _failed(error) from None


def _failed(error: Exception) -> Problem:
    """503, and a line in our log that says whom it concerns: Stripe, or who runs this."""
    ours = isinstance(
        error,
        stripe.InvalidRequestError
        | stripe.AuthenticationError
        | stripe.PermissionError
        | stripe.IdempotencyError,
    )
    log = structlog.get_logger().bind(
        error=type(error).__name__,
        status=getattr(error, "http_status", None),
        code=getattr(error, "code", None),
        param=getattr(error, "param", None),
        stripe_request=getattr(error, "request_id", None),
    )
    if ours:
        log.error("Stripe refused: its settings or ours are wrong")
        return Problem(
            503,
            "billing_unavailable",
            "The payment service refuses what this installation asks of it. Whoever runs it finds "
            "the reason in its log.",
            headers={"Retry-After": "60"},
        )
    log.warning("Stripe did not answer")
    return unavailable("The payment service does not answer right now. Nothing was changed.", 5)


def _subscription(found: Any) -> Subscription:
    items = tuple(
        Item(
            price_id=item.price.id,
            lookup_key=item.price.lookup_key,
            period_end=_time(item.current_period_end),
        )
        for item in found["items"].data  # .items is a method of none of them, but reads like one
    )
    ends_at = _time(found.cancel_at)
    if ends_at is None and found.cancel_at_period_end and items:
        ends_at = items[0].period_end
    return Subscription(
        id=found.id, status=found.status, created=found.created, items=items, ends_at=ends_at
    )


def _time(unix_s: int | None) -> datetime | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC)


class _Object(Struct):
    object: str = ""
    id: Any = None  # some previews have none, and a few types have an object for a customer
    customer: Any = None


class _Payload(Struct):
    object: _Object


class _Event(Struct):
    id: str
    type: str
    livemode: bool
    data: _Payload
    account: str | None = None


def _notice(raw: bytes) -> Notice:
    try:
        event = msgspec.json.decode(raw, type=_Event)
    except msgspec.DecodeError:
        detail = "The body is signed, but is not an event of Stripe's API version 1."
        raise Problem(400, "invalid_event", detail) from None
    found = event.data.object
    customer_id = found.id if found.object == "customer" else found.customer
    return Notice(
        id=event.id,
        type=event.type,
        livemode=event.livemode,
        account=event.account,
        customer_id=customer_id if isinstance(customer_id, str) else None,
    )
