"""Stripe, as much of it as we use: a real server that insists on the real wire format.

Requests must be signed in, name the pinned API version, carry forms with brackets and only
parameters that exist. POSTs keep their answer by Idempotency-Key: the same again for the same
request, 400 for another one, 409 while the first runs. Lists are paged, `expand` is honoured, what
is not there is a 404 or a `resource_missing`. ``faults`` are met by the next requests in order
(None: that one is served).

What people do on Stripe's pages are methods here (``complete``, ``fail_payment``, …). Each leaves
signed events, which a test delivers in whatever order, how often and how late it likes. Objects
have all fields of Stripe's own fixtures (github.com/stripe/openapi, MIT).
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

import aiohttp
import stripe
from aiohttp import web

OBJECTS: dict[str, Any] = json.loads(Path(__file__).with_name("stripe_objects.json").read_text())
SECRET_KEY = "sk_test_" + "a" * 24
WEBHOOK_SECRET = "whsec_" + "b" * 32
API_VERSION = "2026-10-28.endive"
MONTH_S = 30 * 24 * 3600
PAGE_DEFAULT, PAGE_MAX = 10, 100
KEY_MAX_CHARS = 255
FIELDS = web.RequestKey("FIELDS", dict[str, Any])

PARAMETERS: Mapping[str, frozenset[str]] = {
    "POST /v1/customers": frozenset({"metadata", "description", "email", "name"}),
    "POST /v1/checkout/sessions": frozenset(
        {"mode", "line_items", "client_reference_id", "success_url", "cancel_url", "metadata",
         "subscription_data", "allow_promotion_codes", "automatic_tax", "customer_update",
         "customer"}
    ),
    "POST /v1/billing_portal/sessions": frozenset({"customer", "return_url", "flow_data"}),
    "GET /v1/subscriptions": frozenset({"customer", "status", "limit", "starting_after"}),
    "GET /v1/prices": frozenset({"lookup_keys", "active", "limit", "starting_after"}),
    "DELETE /v1/customers/{id}": frozenset(),
}  # fmt: skip


class Refusal(Exception):
    """An error as Stripe answers it."""

    def __init__(self, status: int, type: str, message: str, **more: Any) -> None:
        self.status = status
        self.body = {"error": {"type": type, "message": message, **more}}


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    fields: dict[str, Any]
    key: str | None
    headers: Mapping[str, str]


@dataclass
class Kept:
    """What a POST with an idempotency key was answered; None while it runs."""

    fingerprint: str
    answer: tuple[int, bytes] | None = None


@dataclass
class FakeStripe:
    """One account in test mode. ``url`` while started; ``clock`` may be set ahead."""

    livemode: bool = False
    seen: list[Seen] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    faults: deque[int | str | Callable[[], Any] | None] = field(default_factory=deque)
    url: str = ""
    ahead_s: float = 0.0
    _objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    _kept: dict[str, Kept] = field(default_factory=dict)
    _count: int = 0

    async def start(self) -> None:
        """Open a port."""
        app = web.Application(middlewares=[self._wire])
        served: dict[str, Callable[[web.Request], Awaitable[dict[str, Any]]]] = {
            "POST /v1/customers": self._new_customer,
            "POST /v1/checkout/sessions": self._new_checkout,
            "POST /v1/billing_portal/sessions": self._new_portal,
            "GET /v1/subscriptions": self._subscriptions,
            "DELETE /v1/customers/{id}": self._remove_customer,
            "GET /v1/prices": self._prices,
        }
        for name, serve in served.items():
            method, _, path = name.partition(" ")
            app.router.add_route(method, path, cast(Any, serve))  # _wire makes responses of dicts
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close it."""
        await self._runner.cleanup()

    # -- the wire --------------------------------------------------------------------------------

    @web.middleware
    async def _wire(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Any],
    ) -> web.StreamResponse:
        request[FIELDS] = fields = nested(
            parse_qsl(await request.text(), keep_blank_values=True, strict_parsing=True)
            if request.method == "POST" and request.can_read_body
            else parse_qsl(request.query_string, keep_blank_values=True)
        )
        key = request.headers.get("Idempotency-Key")
        self.seen.append(Seen(request.method, request.path, fields, key, dict(request.headers)))
        headers = {"Request-Id": self._id("req"), "Stripe-Version": API_VERSION}
        try:
            fault = self.faults.popleft() if self.faults else None
            if callable(fault):
                await fault()
            elif fault is not None:
                await self._fault(request, fault)
            self._check(request, fields)
            status, body, replayed = await self._once(request, handler, key, fields)
            if replayed:
                headers["Idempotent-Replayed"] = "true"
            if fault == "lost":
                raise ConnectionAbortedError
        except Refusal as refusal:
            status, body = refusal.status, json.dumps(refusal.body).encode()
            if status == 429:
                headers["Stripe-Should-Retry"] = "false"
        except ConnectionAbortedError:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(
            body=body, status=status, headers=headers, content_type="application/json"
        )

    async def _fault(self, request: web.Request, fault: int | str) -> None:
        match fault:
            case "drop":
                raise ConnectionAbortedError
            case "hang":
                await asyncio.sleep(3600)
            case "lost":  # done, but the answer never arrives
                return
            case 429:
                raise Refusal(429, "invalid_request_error", "Too many.", code="rate_limit")
            case 409:
                raise Refusal(409, "invalid_request_error", "Locked.", code="lock_timeout")
            case int():
                raise Refusal(fault, "api_error", "An error on our side.")
            case _:
                raise ValueError(fault)

    def _check(self, request: web.Request, fields: dict[str, Any]) -> None:
        if request.headers.get("Authorization") != f"Bearer {SECRET_KEY}":
            raise Refusal(401, "invalid_request_error", "Invalid API Key provided.")
        if request.headers.get("Stripe-Version") != API_VERSION:
            raise Refusal(400, "invalid_request_error", "Another API version was expected.")
        resource = request.match_info.route.resource
        if resource is None:
            raise Refusal(404, "invalid_request_error", "Unrecognized request URL.")
        if request.method == "POST":
            if request.content_type != "application/x-www-form-urlencoded":
                raise Refusal(400, "invalid_request_error", "Send a form.")
            if not 1 <= len(request.headers.get("Idempotency-Key", "")) <= KEY_MAX_CHARS:
                raise Refusal(400, "invalid_request_error", "A key of 1 to 255 characters.")
        for name in set(fields) - PARAMETERS[f"{request.method} {resource.canonical}"] - {"expand"}:
            raise Refusal(
                400, "invalid_request_error", f"Received unknown parameter: {name}",
                code="parameter_unknown", param=name,
            )  # fmt: skip

    async def _once(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Any],
        key: str | None,
        fields: dict[str, Any],
    ) -> tuple[int, bytes, bool]:
        """(status, body, whether it was answered from memory)."""
        if request.method != "POST" or key is None:
            return 200, self._json(await handler(request), fields), False
        text = json.dumps([request.path, fields], sort_keys=True)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = Kept(fingerprint)
            try:
                status, body = 200, self._json(await handler(request), fields)
            except Refusal as refusal:
                status, body = refusal.status, json.dumps(refusal.body).encode()
            kept.answer = status, body
            return status, body, False
        if kept.fingerprint != fingerprint:
            raise Refusal(
                400, "idempotency_error", "Keys can only be used with the same parameters."
            )
        if kept.answer is None:
            raise Refusal(409, "idempotency_error", "A request with this key is in progress.")
        status, body = kept.answer
        return status, body, True

    def _json(self, found: dict[str, Any], fields: dict[str, Any]) -> bytes:
        shown = _public(found)
        for path in listed(fields.get("expand", {})):
            self._expand([shown], path.split("."))
        return json.dumps(shown).encode()

    def _expand(self, where: Iterable[Any], path: list[str]) -> None:
        name, *rest = path
        for one in where:
            if isinstance(one[name], str):
                one[name] = copy.deepcopy(self._objects[one[name]])
            if rest:
                inner = one[name]
                self._expand(inner if isinstance(inner, list) else [inner], rest)

    # -- the endpoints ---------------------------------------------------------------------------

    async def _new_customer(self, request: web.Request) -> dict[str, Any]:
        return self._make("customer", "cus", **request[FIELDS])

    async def _new_checkout(self, request: web.Request) -> dict[str, Any]:
        fields = request[FIELDS]
        self._customer(fields)
        lines = listed(fields["line_items"])
        for line in lines:
            self._get(line["price"], "line_items[0][price]")
        if fields["mode"] != "subscription" or not fields["success_url"].startswith("http"):
            raise Refusal(400, "invalid_request_error", "Not a subscription.", param="mode")
        session_id = self._id("cs_test")
        return self._make(
            "checkout.session",
            "cs_test",
            id=session_id,
            mode="subscription",
            customer=fields["customer"],
            client_reference_id=fields.get("client_reference_id"),
            metadata=fields.get("metadata", {}),
            success_url=fields["success_url"],
            cancel_url=fields.get("cancel_url"),
            payment_intent=None,
            expires_at=self.now() + 24 * 3600,
            url=f"https://checkout.stripe.com/c/pay/{session_id}",
            _price=lines[0]["price"],
            _subscription_metadata=fields.get("subscription_data", {}).get("metadata", {}),
        )

    async def _new_portal(self, request: web.Request) -> dict[str, Any]:
        fields = request[FIELDS]
        self._customer(fields)
        flow = fields.get("flow_data")
        for name in ("subscription_update", "subscription_cancel"):
            if flow and flow["type"] == name:
                self._get(flow[name]["subscription"], "flow_data")
        session_id = self._id("bps")
        return self._make(
            "billing_portal.session",
            "bps",
            id=session_id,
            url=f"https://billing.stripe.com/p/session/{session_id}",
            customer=fields["customer"],
            return_url=fields.get("return_url"),
            flow=flow,
        )

    async def _subscriptions(self, request: web.Request) -> dict[str, Any]:
        fields = request[FIELDS]
        self._customer(fields, deleted=True)
        mine = [
            one
            for one in self._all("subscription")
            if one["customer"] == fields["customer"]
            and (fields.get("status") == "all" or one["status"] != "canceled")
        ]
        return page(mine, fields, "/v1/subscriptions")

    async def _remove_customer(self, request: web.Request) -> dict[str, Any]:
        customer_id = self._get(request.match_info["id"], "id")["id"]
        self._customer({"customer": customer_id})
        self.delete_customer(customer_id)
        return {"id": customer_id, "object": "customer", "deleted": True}

    async def _prices(self, request: web.Request) -> dict[str, Any]:
        fields = request[FIELDS]
        keys = listed(fields.get("lookup_keys", {}))
        active = fields.get("active")
        found = [
            one
            for one in self._all("price")
            if (not keys or one["lookup_key"] in keys)
            and (active is None or one["active"] == (active == "true"))
        ]
        return page(found, fields, "/v1/prices")

    # -- objects ---------------------------------------------------------------------------------

    def now(self) -> int:
        """Unix time, here."""
        return int(time.time() + self.ahead_s)

    def _id(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count:06d}"

    def _make(self, kind: str, prefix: str, **fields: Any) -> dict[str, Any]:
        made = {
            **copy.deepcopy(OBJECTS[kind]),
            "id": self._id(prefix),
            "created": self.now(),
            "livemode": self.livemode,
            **fields,
        }
        self._objects[made["id"]] = made
        return made

    def _all(self, kind: str) -> list[dict[str, Any]]:
        """Newest first, as Stripe lists."""
        return [o for o in reversed(self._objects.values()) if o["object"] == kind]

    def _get(self, id: str, param: str) -> dict[str, Any]:
        found = self._objects.get(id)
        if found is None:
            raise Refusal(
                404 if param == "id" else 400, "invalid_request_error", f"No such object: '{id}'",
                code="resource_missing", param=param,
            )  # fmt: skip
        return found

    def _customer(self, fields: dict[str, Any], *, deleted: bool = False) -> None:
        found = self._get(fields.get("customer", ""), "customer")
        if found.get("deleted") and not deleted:
            self._get("deleted " + found["id"], "customer")

    # -- what people and time do -----------------------------------------------------------------

    def price(self, lookup_key: str | None, amount: int = 2000) -> str:
        """A recurring price, made in the dashboard; its id."""
        made = self._make("price", "price", lookup_key=lookup_key, unit_amount=amount)
        return made["id"]

    def session(self, url: str) -> dict[str, Any]:
        """The check-out or portal session behind a page's address."""
        return next(o for o in self._objects.values() if o.get("url") == url)

    def complete(self, url: str, status: str = "active") -> str:
        """A person pays on the check-out page; the subscription's id."""
        session = self.session(url)
        assert session["status"] == "open", "paid twice"
        made = self.subscribe(session["customer"], session["_price"], status)
        subscription = self._objects[made]
        subscription["metadata"] = session["_subscription_metadata"]
        session |= {"status": "complete", "payment_status": "paid", "subscription": made}
        self._event("checkout.session.completed", session)
        return made

    def subscribe(self, customer: str, price: str, status: str = "active") -> str:
        """A subscription begins; its id."""
        subscription_id, item_id = self._id("sub"), self._id("si")
        item = {
            **copy.deepcopy(OBJECTS["subscription_item"]),
            "id": item_id,
            "price": self._objects[price],
            "subscription": subscription_id,
            "current_period_start": self.now(),
            "current_period_end": self.now() + MONTH_S,
        }
        items = {
            "object": "list",
            "data": [item],
            "has_more": False,
            "url": "/v1/subscription_items",
        }
        made = self._make(
            "subscription", "sub", id=subscription_id, customer=customer, status=status, items=items
        )
        self._event("customer.subscription.created", made)
        self._invoice(made, "paid" if status in ("active", "trialing") else "open")
        return made["id"]

    def change(self, subscription_id: str, **fields: Any) -> dict[str, Any]:
        """Anything about a subscription; ``price`` is an upgrade or a downgrade."""
        subscription = self._objects[subscription_id]
        price = fields.pop("price", None)
        if price is not None:
            subscription["items"]["data"][0]["price"] = self._objects[price]
        subscription |= fields
        self._event("customer.subscription.updated", subscription)
        return subscription

    def fail_payment(self, subscription_id: str) -> None:
        """A renewal cannot be paid."""
        self._invoice(self._objects[subscription_id], "open")
        self.change(subscription_id, status="past_due")

    def pay(self, subscription_id: str) -> None:
        """The owed invoice is paid after all."""
        self._invoice(self._objects[subscription_id], "paid")
        self.change(subscription_id, status="active")

    def cancel(self, subscription_id: str) -> dict[str, Any]:
        """The subscription ends now."""
        subscription = self._objects[subscription_id]
        subscription |= {"status": "canceled", "canceled_at": self.now(), "ended_at": self.now()}
        self._event("customer.subscription.deleted", subscription)
        return subscription

    def delete_customer(self, customer_id: str) -> None:
        """Somebody deletes the customer in the dashboard; its subscriptions end."""
        for one in self._all("subscription"):
            if one["customer"] == customer_id and one["status"] != "canceled":
                self.cancel(one["id"])
        self._objects[customer_id]["deleted"] = True
        self._event("customer.deleted", self._objects[customer_id])

    def _invoice(self, subscription: dict[str, Any], status: str) -> None:
        made = self._make(
            "invoice",
            "in",
            customer=subscription["customer"],
            status=status,
            parent={
                "type": "subscription_details",
                "quote_details": None,
                "subscription_details": {"subscription": subscription["id"], "metadata": {}},
            },
        )
        subscription["latest_invoice"] = made["id"]
        self._event("invoice.paid" if status == "paid" else "invoice.payment_failed", made)

    # -- webhooks --------------------------------------------------------------------------------

    def _event(self, type: str, about: dict[str, Any]) -> None:
        """An event with a picture of the object as it is at this moment."""
        self.events.append(
            {
                **copy.deepcopy(OBJECTS["event"]),
                "id": self._id("evt"),
                "created": self.now(),
                "livemode": self.livemode,
                "type": type,
                "api_version": API_VERSION,
                "data": {"object": _public(about)},
            }
        )

    def take(self) -> list[dict[str, Any]]:
        """The events since the last call, in the order they happened."""
        taken, self.events = self.events, []
        return taken


async def deliver(
    http: aiohttp.ClientSession,
    url: str,
    event: Mapping[str, Any],
    *,
    secret: str = WEBHOOK_SECRET,
    age_s: float = 0.0,
    header: str | None = None,
) -> tuple[int, str]:
    """POST an event as Stripe does; (status, what was answered)."""
    payload = json.dumps(event, indent=2)
    signed = stripe.WebhookSignature.generate_signature_header(
        payload, secret, int(time.time() - age_s)
    )
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": signed if header is None else header,
    }
    async with http.post(url, data=payload.encode(), headers=headers) as response:
        return response.status, await response.text()


def _public(found: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without what only this server knows."""
    return {k: copy.deepcopy(v) for k, v in found.items() if not k.startswith("_")}


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """``a[b][0]=c`` as {"a": {"b": {"0": "c"}}}."""
    out: dict[str, Any] = {}
    for name, value in pairs:
        head, *rest = name.replace("]", "").split("[")
        here = out
        for part in (head, *rest)[:-1]:
            here = here.setdefault(part, {})
        here[(head, *rest)[-1]] = value
    return out


def listed(numbered: Mapping[str, Any]) -> list[Any]:
    """{"0": "a", "1": "b"} as a list."""
    return [numbered[n] for n in sorted(numbered, key=int)]


def page(found: list[dict[str, Any]], fields: Mapping[str, Any], url: str) -> dict[str, Any]:
    """A list as Stripe pages it."""
    limit = int(fields.get("limit", PAGE_DEFAULT))
    if not 1 <= limit <= PAGE_MAX:
        raise Refusal(400, "invalid_request_error", "limit is 1 to 100.", param="limit")
    after = fields.get("starting_after")
    if after is not None:
        found = found[[one["id"] for one in found].index(after) + 1 :]
    shown = found[:limit]
    return {"object": "list", "data": shown, "has_more": len(found) > limit, "url": url}
