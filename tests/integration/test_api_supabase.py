"""Where Supabase signs people in: its keys or its secret, one of them, and nothing of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest_asyncio

from cli.embedded import NatsServer
from services.api import serve
from services.api.outside import supabase as outside
from tests.api import ApiWorld
from tests.fakes.supabase import FakeSupabase

SECRET = "the JWT secret of an older Supabase project"


@pytest_asyncio.fixture
async def supabase() -> AsyncIterator[FakeSupabase]:
    async with FakeSupabase() as supabase:
        yield supabase


async def test_with_its_public_keys(
    database_url: str, nats_server: NatsServer, supabase: FakeSupabase
) -> None:
    settings: dict[str, Any] = {"supabase_url": supabase.url, "environment": "development"}
    async with ApiWorld(database_url, nats_server, **settings) as world:
        token = supabase.token("ada@example.com")
        mine = await world.get("/v1/me", key=token)
        assert mine.status == 200, mine.text
        assert mine.body["role"] == "owner"
        assert supabase.fetches == 1
        # No other kind of token, and none of the embedded sign-in's paths.
        hs = jwt.encode(supabase.claims("ada@example.com"), SECRET, "HS256",
                        headers={"kid": supabase.kid})  # fmt: skip
        assert (await world.get("/v1/me", key=hs)).code == "invalid_token"
        anon = supabase.token("ada@example.com", role="anon")
        assert (await world.get("/v1/me", key=anon)).code == "invalid_token"
        for path in ("otp", "verify", "token", ".well-known/jwks.json"):
            off = await world.post(f"/auth/v1/{path}", {}, key="")
            assert (off.status, off.code) == (404, "sign_in_elsewhere")
            assert off.body["sign_in_url"] == f"{supabase.url}/auth/v1"
        # Keys it does not know are asked for once in a while, however many tokens name them.
        supabase.rotate()
        newer = supabase.token("grace@example.com")
        for _ in range(5):
            assert (await world.get("/v1/me", key=newer)).code == "invalid_token"
        assert supabase.fetches == 1
        keys = world.instances[0].context.extra[serve.API].sign_in.users._keys
        keys._tried -= outside.AGAIN_S
        assert (await world.get("/v1/me", key=newer)).status == 200
        assert supabase.fetches == 2
        # Away for a while, what we have counts on; not for ever.
        supabase.down = True
        keys._fetched -= outside.FRESH_S
        keys._tried -= outside.AGAIN_S
        assert (await world.get("/v1/me", key=supabase.token("x@example.com"))).status == 200
        assert supabase.fetches == 3
        keys._fetched -= outside.STALE_MAX_S
        assert (await world.get("/v1/me", key=supabase.token("y@example.com"))).status == 401
        assert (await world.get("/v1/phones")).status == 200  # API keys are no matter of Supabase


async def test_with_its_secret_an_invitation_counts_only_for_who_was_mailed(
    database_url: str, nats_server: NatsServer, supabase: FakeSupabase
) -> None:
    settings: dict[str, Any] = {
        "supabase_url": supabase.url, "supabase_jwt_secret": SECRET, "environment": "development",
    }  # fmt: skip
    async with ApiWorld(database_url, nats_server, **settings) as world:

        def token(email: str, **more: Any) -> str:
            return jwt.encode(supabase.claims(email, **more), SECRET, "HS256")

        assert (await world.get("/v1/me", key=supabase.token("ada@example.com"))).status == 401
        assert supabase.fetches == 0
        owner = token("ada@example.com")
        home = (await world.get("/v1/me", key=owner)).body["workspace_id"]
        invited = await world.post("/v1/members", {"email": "grace@example.com"}, key=owner)
        assert invited.status == 201
        post = world.instances[0].context.extra[serve.API].sign_in.post
        ((_, mail),) = await post.listed()
        assert mail.to == "grace@example.com"
        assert "token" not in mail.text
        by_password = [{"method": "password", "timestamp": 2_000_000_000}]
        unproven = await world.get("/v1/me", key=token("grace@example.com", amr=by_password))
        assert unproven.body["workspace_id"] != home
        mine = await world.get("/v1/me", key=token("grace@example.com"))
        assert home in {one["id"] for one in mine.body["workspaces"]}
