"""People in workspaces: the first sign-in, invitations, roles, several workspaces, leaving."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from services.api.decide import sign_in as rules
from shared import events as e
from shared import ids
from tests.api import PATIENCE_S, ApiWorld
from tests.conftest import new_nats
from tests.people import SETTINGS, People, Tokens, link_in, token_in, tokens

pytestmark = pytest.mark.asyncio(loop_scope="module")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_world(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ApiWorld]:
    nats = new_nats(tmp_path_factory.mktemp("nats"))
    await nats.start()
    try:
        async with ApiWorld(module_database_url, nats, instances=2, **SETTINGS) as world:
            yield world
    finally:
        await nats.stop()


@pytest.fixture
def world(shared_world: ApiWorld) -> ApiWorld:
    shared_world.clock.ahead = timedelta()
    return shared_world


@pytest.fixture
def people(world: ApiWorld) -> People:
    return People(world)


def address() -> str:
    return f"{secrets.token_hex(6)}@example.com"


async def me(world: ApiWorld, who: Tokens, **options: Any) -> Any:
    answer = await world.get("/v1/me", key=who.access_token, **options)
    assert answer.status == 200, answer.text
    return answer.body


async def join(people: People, owner: Tokens, email: str, role: str = "member") -> Tokens:
    """Invite somebody, who signs in with the invitation's link."""
    body = {"email": email, "role": role}
    invited = await people.world.post("/v1/members", body, key=owner.access_token)
    assert invited.status == 201, invited.text
    token = token_in(await people.mail(email))
    return tokens(await people.post("/verify", {"type": "invite", "token_hash": token}))


def in_workspace(workspace_id: str) -> dict[str, str]:
    return {"X-8ms-Workspace": workspace_id}


# -- the first sign-in -----------------------------------------------------------------------------


async def test_the_first_sign_in_begins_a_workspace_once(world: ApiWorld, people: People) -> None:
    email = address()
    wishes = {"timezone": "Europe/Berlin", "workspace_name": "Grüner Daumen", "region": "DE"}
    held = await people.sign_in(email, data=wishes)
    asked = [me(world, held, instance=n % 2) for n in range(8)]
    found = await asyncio.gather(*asked)
    assert len({one["workspace_id"] for one in found}) == 1
    mine = found[0]
    assert mine["user"]["email"] == email
    assert ids.is_id("usr", mine["user"]["id"])
    assert (mine["role"], mine["scopes"], mine["api_key_id"]) == ("owner", ["*"], None)
    assert [one["name"] for one in mine["workspaces"]] == ["Grüner Daumen"]
    workspace = (await world.get("/v1/workspace", key=held.access_token)).body
    assert (workspace["timezone"], workspace["region"]) == ("Europe/Berlin", "DE")
    created = [
        event for event in await world.events("workspace.created")
        if event.workspace_id == mine["workspace_id"]
    ]  # fmt: skip
    assert len(created) == 1
    assert created[0].actor == e.Actor("user", mine["user"]["id"])

    world.clock.ahead = rules.MAIL_GAP + timedelta(seconds=1)
    again = await people.sign_in(email)
    assert (await me(world, again))["workspace_id"] == mine["workspace_id"]
    assert again.user["id"] == held.user["id"]


async def test_wishes_that_are_no_good_are_left_out(world: ApiWorld, people: People) -> None:
    held = await people.sign_in(
        address(), data={"timezone": "Mars/Olympus", "region": 7, "workspace_name": "\x07"}
    )
    workspace = (await world.get("/v1/workspace", key=held.access_token)).body
    assert (workspace["timezone"], workspace["region"]) == ("UTC", "US")
    assert workspace["name"] == held.user["email"].partition("@")[0]


async def test_what_a_person_does_is_on_record_as_theirs(world: ApiWorld, people: People) -> None:
    held = await people.sign_in(address())
    mine = await me(world, held)
    sent = await world.post(
        "/v1/sms/send", {"to": "+14155550177", "body": "Hello"}, key=held.access_token
    )
    assert sent.status == 202, sent.text
    (event,) = [
        one for one in await world.events("send.requested")
        if one.workspace_id == mine["workspace_id"]
    ]  # fmt: skip
    assert event.actor == e.Actor("user", mine["user"]["id"])
    assert event.data.source == "inbox"  # a person's texts go before a program's
    headers = {"Idempotency-Key": "once"}
    body = {"name": "Mine", "scopes": ["*"]}
    twice = [
        await world.post("/v1/api-keys", body, key=held.access_token, headers=headers)
        for _ in range(2)
    ]
    assert [one.status for one in twice] == [201, 201]
    assert twice[1].headers["Idempotent-Replayed"] == "true"
    assert (await world.get("/v1/me", key=twice[0].body["key"])).body["user"] is None


# -- invitations -----------------------------------------------------------------------------------


async def test_an_invited_address_joins_by_signing_in(world: ApiWorld, people: People) -> None:
    owner, email = await people.sign_in(address()), address()
    home = (await me(world, owner))["workspace_id"]
    invited = await world.post("/v1/members", {"email": email.upper()}, key=owner.access_token)
    assert invited.status == 201
    shown = invited.body
    assert (shown["email"], shown["role"], shown["state"]) == (email, "member", "invited")
    mail = await people.mail(email)
    assert mail.subject.startswith("You are invited to ")
    page = await people.get(link_in(mail).partition("/auth/v1")[2])
    assert page.status == 200  # opening it joins nothing
    listed = await world.get("/v1/members", key=owner.access_token)
    assert {one["state"] for one in listed.body["data"]} == {"active", "invited"}
    colleague = tokens(
        await people.post("/verify", {"type": "invite", "token_hash": token_in(mail)})
    )
    theirs = await me(world, colleague)
    assert (theirs["workspace_id"], theirs["role"]) == (home, "member")
    assert len(theirs["workspaces"]) == 1  # no workspace of their own was begun
    listed = await world.get("/v1/members", key=owner.access_token)
    joined = next(one for one in listed.body["data"] if one["id"] == shown["id"])
    assert (joined["state"], joined["user_id"]) == ("active", theirs["user"]["id"])


async def test_who_is_signed_in_joins_with_the_next_sign_in(
    world: ApiWorld, people: People
) -> None:
    owner, guest = await people.sign_in(address()), await people.sign_in(address())
    own, home = await me(world, guest), await me(world, owner)
    world.clock.ahead = timedelta(seconds=2)
    invited = await world.post(
        "/v1/members", {"email": guest.user["email"]}, key=owner.access_token
    )
    assert invited.status == 201
    refreshed = tokens(await people.refresh(guest.refresh_token))
    assert len((await me(world, refreshed))["workspaces"]) == 1  # refreshing is no sign-in
    world.clock.ahead = rules.MAIL_GAP + timedelta(seconds=2)
    again = await people.sign_in(guest.user["email"])
    mine = await me(world, again)
    assert mine["workspace_id"] == own["workspace_id"]  # the first one joined stays the default
    assert [one["id"] for one in mine["workspaces"]] == [own["workspace_id"], home["workspace_id"]]
    there = await me(world, again, headers=in_workspace(home["workspace_id"]))
    assert (there["workspace_id"], there["role"]) == (home["workspace_id"], "member")
    for nowhere in (world.other.id, "nonsense", ids.new("ws")):
        answer = await world.get("/v1/me", key=again.access_token, headers=in_workspace(nowhere))
        assert (answer.status, answer.code) == (404, "not_found")


async def test_an_invitation_is_mailed_again_and_taken_back(
    world: ApiWorld, people: People
) -> None:
    owner, email = await people.sign_in(address()), address()
    body = {"email": email}
    first = await world.post("/v1/members", body, key=owner.access_token)
    again = await world.post("/v1/members", body, key=owner.access_token)
    assert (first.status, again.status) == (201, 200)
    assert first.body == again.body
    assert len(await people.mails(email)) == 1  # not so soon
    world.clock.ahead = rules.MAIL_GAP + timedelta(seconds=1)
    await world.post("/v1/members", body, key=owner.access_token)
    assert len(await people.mails(email)) == 2
    other = await world.post("/v1/members", body | {"role": "owner"}, key=owner.access_token)
    assert (other.status, other.code) == (409, "member_exists")
    assert other.body["member_id"] == first.body["id"]
    path = f"/v1/members/{first.body['id']}"
    assert (await world.delete(path, key=owner.access_token)).status == 204
    assert (await world.delete(path, key=owner.access_token)).status == 404
    token = token_in(await people.mail(email))
    signed_in = tokens(await people.post("/verify", {"type": "invite", "token_hash": token}))
    assert (await me(world, signed_in))["role"] == "owner"  # of a workspace of their own


async def test_inviting_twice_at_once_invites_once(world: ApiWorld, people: People) -> None:
    owner, email = await people.sign_in(address()), address()
    await me(world, owner)
    calls = [
        world.post("/v1/members", {"email": email}, key=owner.access_token, instance=n % 2)
        for n in range(4)
    ]
    answers = await asyncio.gather(*calls)
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 201]
    assert len({answer.body["id"] for answer in answers}) == 1


# -- roles -----------------------------------------------------------------------------------------


async def test_a_member_does_everything_but_what_is_the_owners(
    world: ApiWorld, people: People
) -> None:
    owner = await people.sign_in(address())
    member = await join(people, owner, address())
    mine = await me(world, member)
    assert not {"*", "members:write", "billing:write", "account:write"} & set(mine["scopes"])
    key = member.access_token
    assert (await world.get("/v1/members", key=key)).status == 200
    assert (await world.get("/v1/contacts", key=key)).status == 200
    refused = [
        await world.post("/v1/members", {"email": address()}, key=key),
        await world.patch(f"/v1/members/{ids.new('mem')}", {"role": "owner"}, key=key),
        await world.delete(f"/v1/members/{ids.new('mem')}", key=key),
    ]
    for answer in refused:
        assert (answer.status, answer.code) == (403, "missing_scope")
        assert answer.body["detail"] == "Only an owner of the workspace may do this."
    for scopes in (["*"], ["members:write"], ["billing:write"]):
        more = await world.post("/v1/api-keys", {"name": "x", "scopes": scopes}, key=key)
        assert (more.status, more.code) == (403, "scope_exceeded")
    less = await world.post("/v1/api-keys", {"name": "x", "scopes": ["messages:write"]}, key=key)
    assert less.status == 201


async def test_a_role_changes_at_once_on_every_instance(world: ApiWorld, people: People) -> None:
    owner, member = await people.sign_in(address()), None
    member = await join(people, owner, address())
    listed = await world.get("/v1/members", key=owner.access_token)
    member_id = next(one["id"] for one in listed.body["data"] if one["role"] == "member")
    for instance in (0, 1):
        assert (await me(world, member, instance=instance))["role"] == "member"
    path = f"/v1/members/{member_id}"
    changed = await world.patch(path, {"role": "owner"}, key=owner.access_token)
    assert (changed.status, changed.body["role"]) == (200, "owner")
    assert (await me(world, member))["role"] == "owner"

    async def elsewhere() -> bool:
        return (await me(world, member, instance=1))["role"] == "owner"

    await world.until(elsewhere, "the other instance knows")
    assert (await world.patch(path, {"role": "owner"}, key=owner.access_token)).status == 200
    wrong = await world.patch(path, {"role": "admin"}, key=owner.access_token)
    assert (wrong.status, wrong.pointers) == (422, {"#/role"})


async def test_the_last_owner_stays_also_when_two_leave_at_once(
    world: ApiWorld, people: People
) -> None:
    first = await people.sign_in(address())
    second = await join(people, first, address(), "owner")
    await me(world, second)
    listed = await world.get("/v1/members", key=first.access_token)
    ids_ = [one["id"] for one in listed.body["data"]]
    both = await asyncio.gather(
        world.delete(f"/v1/members/{ids_[0]}", key=first.access_token),
        world.delete(f"/v1/members/{ids_[1]}", key=first.access_token, instance=1),
    )
    codes = sorted(answer.status for answer in both)
    assert codes in ([204, 409], [204, 403], [204, 401])
    remaining = [
        row["state"]
        for row in await world.rows("SELECT state FROM member WHERE id = ANY($1)", ids_)
    ]
    assert sorted(remaining) == ["active", "removed"]
    left = await world.rows("SELECT id FROM member WHERE id = ANY($1) AND state = 'active'", ids_)
    stays = left[0]["id"]
    workspace_id = (await world.rows("SELECT workspace_id FROM member WHERE id = $1", stays))[0][0]
    key, _ = await world.new_key(workspace_id)
    last = await world.delete(f"/v1/members/{stays}", key=key)
    assert (last.status, last.code) == (409, "last_owner")
    demoted = await world.patch(f"/v1/members/{stays}", {"role": "member"}, key=key)
    assert (demoted.status, demoted.code) == (409, "last_owner")
    await world.post("/v1/members", {"email": address(), "role": "owner"}, key=key)
    assert (await world.delete(f"/v1/members/{stays}", key=key)).code == "last_owner"


async def test_who_is_removed_is_out_at_once_and_begins_anew_by_signing_in(
    world: ApiWorld, people: People
) -> None:
    owner, email = await people.sign_in(address()), address()
    member = await join(people, owner, email)
    home = (await me(world, member))["workspace_id"]
    listed = await world.get("/v1/members", key=owner.access_token)
    member_id = next(one["id"] for one in listed.body["data"] if one["email"] == email)
    removed = await world.delete(f"/v1/members/{member_id}", key=owner.access_token)
    assert removed.status == 204
    out = await world.get("/v1/me", key=member.access_token)
    assert (out.status, out.code) == (403, "no_workspace")

    async def out_elsewhere() -> bool:
        return (await world.get("/v1/me", key=member.access_token, instance=1)).status == 403

    await world.until(out_elsewhere, "the other instance refuses")
    world.clock.ahead = rules.MAIL_GAP + timedelta(seconds=1)
    again = await people.sign_in(email)
    anew = await me(world, again)
    assert anew["workspace_id"] != home
    assert anew["role"] == "owner"


async def test_who_is_removed_hears_no_more_of_the_workspace(
    world: ApiWorld, people: People
) -> None:
    owner, guest = await people.sign_in(address()), await people.sign_in(address())
    await me(world, guest)  # has a workspace of their own
    home = (await me(world, owner))["workspace_id"]
    world.clock.ahead = rules.MAIL_GAP + timedelta(seconds=1)
    member = await join(people, owner, guest.user["email"])
    listed = await world.get("/v1/members", key=owner.access_token)
    member_id = next(one["id"] for one in listed.body["data"] if one["role"] == "member")
    url = f"{world.instances[0].url}/v1/events/stream"
    headers = {"Authorization": f"Bearer {member.access_token}", **in_workspace(home)}
    async with world.http.get(url, headers=headers) as stream:
        assert stream.status == 200
        removed = await world.delete(f"/v1/members/{member_id}", key=owner.access_token)
        assert removed.status == 204
        async with asyncio.timeout(PATIENCE_S):
            told = (await stream.content.read()).decode()
    assert "signed_out" in told
    again = await world.get("/v1/me", key=member.access_token, headers=in_workspace(home))
    assert (again.status, again.code) == (404, "not_found")


async def test_another_workspaces_members_are_not_found(world: ApiWorld, people: People) -> None:
    owner, stranger = await people.sign_in(address()), await people.sign_in(address())
    listed = await world.get("/v1/members", key=owner.access_token)
    path = f"/v1/members/{listed.body['data'][0]['id']}"
    for key in (stranger.access_token, world.other.key):
        assert (await world.patch(path, {"role": "member"}, key=key)).status == 404
        assert (await world.delete(path, key=key)).status == 404


# -- tokens at the door ----------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [
    {"role": "service_role"}, {"is_anonymous": True}, {"iss": "http://evil.example/auth/v1"},
    {"aud": "anon"}, {"exp": 1}, {"session_id": "00000000-0000-4000-8000-000000000000"},
])  # fmt: skip
async def test_a_token_we_would_not_give_is_refused_with_one_sentence(
    world: ApiWorld, people: People, changes: dict[str, Any]
) -> None:
    import jwt

    held = await people.sign_in(address())
    said = jwt.decode(held.access_token, options={"verify_signature": False})
    here = people.sign_in_desk.here
    assert here is not None
    assert (await world.get("/v1/me", key=await here.keys.sign(said))).status == 200
    forged = await here.keys.sign(said | changes)
    answer = await world.get("/v1/me", key=forged)
    assert (answer.status, answer.code) == (401, "invalid_token")
    assert answer.body["detail"] == "This access token is not valid (any more). Sign in again."
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    unsigned = held.access_token.rpartition(".")[0] + "."
    assert (await world.get("/v1/me", key=unsigned)).code == "invalid_token"
    huge = jwt.encode(said | {"x": "y" * 9000}, "k" * 32, "HS256")
    assert (await world.get("/v1/me", key=huge)).status in (400, 401)


async def test_a_token_is_good_only_while_it_lasts(world: ApiWorld, people: People) -> None:
    held = await people.sign_in(address())
    assert (await world.get("/v1/me", key=held.access_token)).status == 200
    world.clock.ahead = rules.ACCESS_LIVES + timedelta(minutes=1)
    assert (await world.get("/v1/me", key=held.access_token)).code == "invalid_token"
