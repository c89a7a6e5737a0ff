"""The API is killed at every step between a webhook of Stripe's and the log: what was answered with
200 is in the log, and what was not comes again and ends there once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from cli.embedded import NatsServer, free_port
from shared.vault import KeyRing
from tests.api import ApiWorld
from tests.fakes.stripe import SECRET_KEY, WEBHOOK_SECRET, FakeStripe, deliver
from tests.programs import Program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
UP_S = 60.0


class Scene:
    """A process of the API, a Stripe, and a workspace with a customer there."""

    def __init__(self, world: ApiWorld, stripe: FakeStripe, api: Program, url: str) -> None:
        self.world, self.stripe, self.api, self.url = world, stripe, api, url

    async def up(self) -> None:
        self.api.start()

        headers = {"Authorization": f"Bearer {self.world.home.key}"}

        async def ready() -> bool:
            try:
                async with self.world.http.get(self.url + "/v1/billing", headers=headers) as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        async with asyncio.timeout(UP_S):
            while not await ready():
                await asyncio.sleep(0.02)

    async def tell(self, event: dict[str, Any]) -> int:
        """The status it was answered with; 0 when nobody answered."""
        try:
            return (await deliver(self.world.http, self.url + "/stripe/webhook", event))[0]
        except aiohttp.ClientError:
            return 0

    async def states(self) -> list[str]:
        """What the log says of the workspace, oldest first."""
        return [event.data.state for event in await self.world.events("subscription.changed")]


@pytest_asyncio.fixture
async def scene(database_url: str, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Scene]:
    stripe = FakeStripe()
    await stripe.start()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {
        "DATABASE_URL": database_url,
        "NATS_URL": nats_server.urls["api"],
        "EIGHTMS_SECRET_KEY": KeyRing.generate_key(),
        "EIGHTMS_PORT": str(port),
        "EIGHTMS_PUBLIC_URL": url,
        "STRIPE_SECRET_KEY": SECRET_KEY,
        "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "STRIPE_API_BASE": stripe.url,
    }
    api = Program("api", ["-m", "services.api"], env, tmp_path / "api.log")
    async with ApiWorld(database_url, nats_server, instances=0) as world:
        scene = Scene(world, stripe, api, url)
        try:
            await scene.up()
            yield scene
        finally:
            api.kill()
    await stripe.stop()


async def test_no_moment_to_be_killed_at_loses_or_doubles_what_stripe_said(scene: Scene) -> None:
    stripe, world = scene.stripe, scene.world
    price = stripe.price("eightms_team_month")
    headers = {"Authorization": f"Bearer {world.home.key}"}
    async with world.http.post(
        scene.url + "/v1/billing/checkout", json={"plan": "team"}, headers=headers
    ) as answer:
        assert answer.status == 201, await answer.text()
        page = (await answer.json())["url"]
    customer = stripe.session(page)["customer"]
    subscription = stripe.complete(page)
    expected = ["none"]
    for n, moment in enumerate(MOMENTS):
        if n:
            (stripe.fail_payment if n % 2 else stripe.pay)(subscription)
        expected.append("past_due" if n % 2 else "active")
        event = stripe.take()[-1]
        stripe.faults.append(moment(scene))
        first = await scene.tell(event)
        scene.api.kill()
        told = await scene.states()
        assert told in (expected[:-1], expected)
        assert first == 0 or told == expected, "200 before it was stored"
        await scene.up()
        assert await scene.tell(event) == 200
        assert await scene.states() == expected
    assert SECRET_KEY not in scene.api.log()
    asked = [one for one in stripe.seen if one.path == "/v1/subscriptions"]
    assert {one.fields["customer"] for one in asked} == {customer}
    stored = await world.events("subscription.changed")
    assert {event.data.price_id for event in stored[1:]} == {price}


def _asked(scene: Scene) -> Callable[[], Any]:
    """Stripe was asked, and has not answered."""

    async def kill() -> None:
        scene.api.kill()

    return kill


def _soon_after(delay_s: float) -> Callable[[Scene], Callable[[], Any]]:
    """Stripe has answered; the append is being made, or was made and is not acknowledged, …"""

    def moment(scene: Scene) -> Callable[[], Any]:
        async def kill() -> None:
            asyncio.get_running_loop().call_later(delay_s, scene.api.kill)

        return kill

    return moment


def _never(_: Scene) -> Callable[[], Any]:
    """It may answer, and is killed only then."""

    async def nothing() -> None: ...

    return nothing


MOMENTS = (_asked, _soon_after(0.002), _soon_after(0.006), _never)
