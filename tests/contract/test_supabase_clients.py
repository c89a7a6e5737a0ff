"""Supabase's own clients, unchanged, against the embedded sign-in: sign in, refresh, sign out.

supabase-auth comes with the development requirements; @supabase/auth-js is fetched by npm for this
test alone (EIGHTMS_NODE_LIBRARIES names a folder that has it, for machines without a registry).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from supabase_auth import AsyncGoTrueClient, AsyncMemoryStorage
from supabase_auth.errors import AuthApiError

from services.api.decide import sign_in as rules
from tests.api import ApiWorld
from tests.conftest import new_nats
from tests.people import SETTINGS, People, code_in, link_in, token_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).resolve().parents[2]
AUTH_JS = "@supabase/auth-js@2"
INSTALL_TIMEOUT_S = 60.0

# Does what a line on stdin asks for, one JSON object per line, and answers each with another.
NODE_SCRIPT = """
const load = require("module").createRequire(process.argv[1] + "/");
const { AuthClient } = load("@supabase/auth-js");
const memory = () => { const held = {}; return {
  getItem: (k) => held[k] ?? null, setItem: (k, v) => { held[k] = v; },
  removeItem: (k) => { delete held[k]; } }; };
const clients = {};
const client = ({name, flow}) => clients[name] ??= new AuthClient({
  url: process.argv[2], storage: memory(), autoRefreshToken: false, persistSession: true,
  flowType: flow ?? "implicit", headers: {"X-Forwarded-For": "192.0.2.77"} });
const calls = {
  otp: (c, a) => c.signInWithOtp(a), verify: (c, a) => c.verifyOtp(a),
  exchange: (c, a) => c.exchangeCodeForSession(a), refresh: (c, a) => c.refreshSession(a),
  race: async (c, a) => ({data: await Promise.all([1, 2, 3, 4].map(() => c.refreshSession(a)))}),
  user: (c) => c.getUser(), claims: (c) => c.getClaims(), session: (c) => c.getSession(),
  signOut: (c, a) => c.signOut(a),
};
require("readline").createInterface({input: process.stdin}).on("line", async (line) => {
  const asked = JSON.parse(line);
  const {data, error} = await calls[asked.call](client(asked), asked.argument);
  const said = error && {name: error.name, code: error.code, status: error.status,
                         message: error.message};
  console.log(JSON.stringify({data: data ?? null, error: said ?? null}));
});
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ApiWorld]:
    nats = new_nats(tmp_path_factory.mktemp("nats"))
    await nats.start()
    try:
        async with ApiWorld(module_database_url, nats, **SETTINGS) as world:
            yield world
    finally:
        await nats.stop()


@pytest.fixture
def people(world: ApiWorld) -> People:
    return People(world)


def url(world: ApiWorld) -> str:
    return f"{world.instances[0].url}/auth/v1"


# -- Python ----------------------------------------------------------------------------------------


def python_client(world: ApiWorld, **options: Any) -> AsyncGoTrueClient:
    return AsyncGoTrueClient(
        url=url(world), storage=AsyncMemoryStorage(), auto_refresh_token=False, **options
    )


async def test_the_python_client_signs_in_by_code_refreshes_and_signs_out(
    world: ApiWorld, people: People
) -> None:
    email = "python@example.com"
    async with python_client(world) as client:
        await client.sign_in_with_otp({"email": email, "options": {"data": {"name": "Ada"}}})
        with pytest.raises(AuthApiError) as wrong:
            await client.verify_otp({"email": email, "token": "not it", "type": "email"})
        assert (wrong.value.status, wrong.value.code) == (403, "otp_expired")
        code = code_in(await people.mail(email))
        signed_in = await client.verify_otp({"email": email, "token": code, "type": "email"})
        assert signed_in.session is not None
        assert signed_in.user is not None
        assert signed_in.user.user_metadata == {"name": "Ada"}
        answer = await world.get("/v1/me", key=signed_in.session.access_token)
        assert answer.body["user"]["email"] == email

        claims = await client.get_claims()  # verifies our signature with our JWKS
        assert claims is not None
        assert claims["claims"].get("role") == "authenticated"
        first = signed_in.session.refresh_token
        racing = [client.refresh_session(first) for _ in range(4)]
        refreshed = {found.session.refresh_token for found in await asyncio.gather(*racing)
                     if found.session}  # fmt: skip
        assert len(refreshed) == 1
        assert first not in refreshed
        found = await client.get_user()
        assert found is not None
        assert found.user.email == email

        held = await client.get_session()
        assert held is not None
        await client.sign_out()
        assert await client.get_session() is None
        with pytest.raises(AuthApiError) as gone:
            await client.refresh_session(held.refresh_token)
        assert gone.value.code == "refresh_token_not_found"


async def test_the_python_client_signs_in_by_link_with_pkce(
    world: ApiWorld, people: People
) -> None:
    email = "pkce@example.com"
    async with python_client(world, flow_type="pkce") as client:
        await client.sign_in_with_otp(
            {"email": email, "options": {"email_redirect_to": "http://localhost:3000/cb"}}
        )
        form = f"token={token_in(await people.mail(email))}".encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        clicked = await people.post("/verify", raw=form, headers=headers)
        where, _, code = clicked.headers["Location"].partition("?code=")
        assert where == "http://localhost:3000/cb"
        signed_in = await client.exchange_code_for_session({"auth_code": code})
        assert signed_in.session is not None
        assert signed_in.session.user.email == email


async def test_the_python_client_understands_a_limit(world: ApiWorld) -> None:
    async with python_client(world) as client:
        await client.sign_in_with_otp({"email": "often@example.com"})
        with pytest.raises(AuthApiError) as often:
            await client.sign_in_with_otp({"email": "often@example.com"})
        assert (often.value.status, often.value.code) == (429, "over_email_send_rate_limit")


# -- JavaScript ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which node finds auth-js; skips, and says why, where there can be none."""
    given = os.environ.get("EIGHTMS_NODE_LIBRARIES")
    if given:
        return Path(given)
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("auth_js")
    (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", AUTH_JS]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {AUTH_JS} within {INSTALL_TIMEOUT_S:g} s")
    if done.returncode != 0:
        pytest.skip(f"npm cannot install {AUTH_JS}: {done.stderr.strip()[-300:]}")
    return folder


class Node:
    """auth-js in a process of node."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(self, call: str, argument: Any = None, **client: Any) -> Any:
        """One method of a client, which ``client`` names; its data, its error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"call": call, "argument": argument, "name": "main", **client}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), 20)
        assert line, "node ended"
        return json.loads(line)

    async def good(self, call: str, argument: Any = None, **client: Any) -> Any:
        """The data of a call that must succeed."""
        said = await self.call(call, argument, **client)
        assert said["error"] is None, said
        return said["data"]


@pytest_asyncio.fixture(loop_scope="module")
async def node(world: ApiWorld, node_folder: Path) -> AsyncIterator[Node]:
    process = await asyncio.create_subprocess_exec(
        "node", "-e", NODE_SCRIPT, str(node_folder), url(world),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    yield Node(process)
    process.kill()
    await process.wait()


async def test_auth_js_signs_in_refreshes_in_a_race_and_signs_out(
    world: ApiWorld, people: People, node: Node
) -> None:
    email = "js@example.com"
    world.clock.ahead = timedelta()
    wrong = await node.call("otp", {"email": "nobody"})
    assert (wrong["error"]["status"], wrong["error"]["code"]) == (400, "validation_failed")
    await node.good("otp", {"email": email, "options": {"data": {"name": "Ada"}}})
    token = token_in(await people.mail(email))
    signed_in = await node.good("verify", {"type": "email", "token_hash": token})
    assert signed_in["user"]["user_metadata"] == {"name": "Ada"}
    again = await node.call("verify", {"type": "email", "token_hash": token}, name="other")
    assert (again["error"]["status"], again["error"]["code"]) == (403, "otp_expired")
    assert (await node.good("user"))["user"]["email"] == email
    claims = await node.good("claims")
    assert claims["header"]["alg"] == "ES256"
    assert claims["claims"]["email"] == email
    session = signed_in["session"]
    raced = await node.good("race", {"refresh_token": session["refresh_token"]})
    assert [one["error"] for one in raced] == [None] * 4
    newest = {one["data"]["session"]["refresh_token"] for one in raced}
    assert len(newest) == 1
    held = {"refresh_token": newest.pop()}
    world.clock.ahead = timedelta(seconds=rules.REUSE_S + 1)
    refreshed = await node.good("refresh", held)
    assert (await world.get("/v1/me", key=refreshed["session"]["access_token"])).status == 200
    world.clock.ahead += timedelta(seconds=rules.REUSE_S + 1)
    stolen = await node.call("refresh", held, name="thief")
    assert stolen["error"]["code"] == "refresh_token_already_used"
    assert (await world.get("/v1/me", key=refreshed["session"]["access_token"])).status == 401
    out = await node.call("signOut", {"scope": "global"})  # a session that is over already: fine
    assert out["error"] is None
    assert (await node.good("session"))["session"] is None


async def test_auth_js_signs_in_by_link_with_pkce_and_signs_out_everywhere(
    world: ApiWorld, people: People, node: Node
) -> None:
    email = "js-pkce@example.com"
    world.clock.ahead = timedelta()
    browser = {"name": "browser", "flow": "pkce"}
    to = {"options": {"emailRedirectTo": "http://localhost:3000/cb"}}
    await node.good("otp", {"email": email, **to}, **browser)
    mail = await people.mail(email)
    assert (await people.get(link_in(mail).partition("/auth/v1")[2])).status == 200
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    form = f"token={token_in(mail)}".encode()
    clicked = await people.post("/verify", raw=form, headers=headers)
    code = clicked.headers["Location"].partition("?code=")[2]
    stranger = await node.call("exchange", code, name="stranger", flow="pkce")
    assert stranger["error"] is not None  # it has no verifier, and so uses nothing up
    signed_in = await node.good("exchange", code, **browser)
    assert signed_in["session"]["user"]["email"] == email
    await node.good("signOut", {"scope": "global"}, **browser)
    assert (await world.get("/v1/me", key=signed_in["session"]["access_token"])).status == 401
