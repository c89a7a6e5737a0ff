"""The team of a workspace, and who is asking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from services.api.api import Decision
from services.api.decide import members as decide
from services.api.decide import sign_in as rules
from services.api.operation import Call, Operation, Reply
from services.api.page import Page, page
from services.api.shapes import members as shapes
from services.api.sign_in import letters
from services.api.sign_in.gotrue import AuthError
from shared import events as e
from shared import ids
from shared.log import Guard


async def who(call: Call) -> Reply:
    """GET /v1/me."""
    return Reply(shapes.me(call.caller))


async def list_members(call: Call) -> Reply:
    """GET /v1/members."""
    return await page(call, call.api.sql.members, (), shapes.member)


async def invite(call: Call) -> Reply:
    """POST /v1/members. Inviting an address again mails it again."""
    wanted: shapes.MemberInvitation = call.body
    email, member_id = rules.email(wanted.email), call.new_id("mem")
    known = await call.api.rows(call, call.api.sql.team)
    if all(row["email"] != email for row in known):
        await call.api.billing.allow(call, "seats")
    invited = await _decide(call, lambda rows: decide.invite(rows, member_id, email, wanted.role))
    await _mail(call, email or "")
    rows = await call.api.rows(call, call.api.sql.team)
    row = next(row for row in rows if row["email"] == email)
    return Reply(shapes.member(row), status=201 if invited else 200)


async def change(call: Call) -> Reply:
    """PATCH /v1/members/{id}."""
    member_id = call.path["member_id"]
    await call.api.row(call, call.api.sql.member, member_id)
    await _decide(call, lambda rows: decide.change(rows, member_id, call.body.role))
    return Reply(shapes.member(await call.api.row(call, call.api.sql.member, member_id)))


async def remove(call: Call) -> Reply:
    """DELETE /v1/members/{id}."""
    member_id = call.path["member_id"]
    await call.api.row(call, call.api.sql.member, member_id)
    await _decide(call, lambda rows: decide.remove(rows, member_id))
    return Reply()


async def _decide(call: Call, choose: Callable[[Sequence[Any]], e.Data | None]) -> bool:
    """Append what ``choose`` makes of the team, decided on its newest event; whether it did."""
    wrote = False

    async def decision() -> Decision | None:
        nonlocal wrote
        async with call.api.db.tenant(call.workspace_id) as db:
            # The event first: a team that is newer than it only makes the guard refuse.
            seq = await db.fetchval(call.api.sql.team_seq)
            rows = await db.fetch(call.api.sql.team)
        data = choose(rows)
        wrote = data is not None
        if data is None:
            return None
        return Decision(data, Guard(f"member.*.{call.workspace_id}.*", seq))

    await call.api.decide(decision, call)
    return wrote


async def _mail(call: Call, email: str) -> None:
    """Mail an invitation, where mail goes out; not more often than any other mail to an address."""
    sign_in, here = call.api.sign_in, call.api.sign_in.here
    if not sign_in.mails:
        return
    name = (await call.api.workspace(call.workspace_id))["name"]
    if here is None:  # Supabase signs them in, and mails them when they ask it to
        mail = letters.invitation(email, sign_in.home, name, signs_in=False)
        until = call.now + rules.LINK_LIVES
        async with call.api.db.owner.acquire() as db:
            await sign_in.post.put(db, ids.new("mail"), mail, call.now, until)
        sign_in.post.wake()
        return
    wanted = rules.Wanted(email, sign_in.home, {}, lives=rules.INVITATION_LIVES)

    def write(token: str, _: str) -> Any:
        url = letters.link(sign_in.issuer, token, "invite")
        return letters.invitation(email, url, name, signs_in=True)

    try:
        await here.one_time.mail(wanted, write, call.now)
    except AuthError:  # they have a mail of the last minutes; the invitation stands without another
        structlog.get_logger().info("invitation not mailed again so soon")


OPERATIONS = (
    Operation(
        name="me.get",
        method="GET",
        path="/v1/me",
        tag="Members",
        scope=None,
        handle=who,
        status=200,
        response=shapes.Me,
        summary="Who am I",
        description="Who is asking, what they may do, and the workspaces they are in.",
    ),
    Operation(
        name="members.list",
        method="GET",
        path="/v1/members",
        tag="Members",
        scope="members:read",
        handle=list_members,
        status=200,
        response=Page[shapes.Member],
        query=shapes.MemberQuery,
        paged=True,
        summary="List members",
        description="Who is in the workspace and who is invited, newest first.",
    ),
    Operation(
        name="members.invite",
        method="POST",
        path="/v1/members",
        tag="Members",
        scope="members:write",
        handle=invite,
        status=201,
        response=shapes.Member,
        also={200: shapes.Member},
        request=shapes.MemberInvitation,
        problems=("member_exists", "limit_reached", "plan_limit_reached", "changed_meanwhile"),
        summary="Invite somebody",
        description=(
            "They are mailed a link, and join by signing in with this address. Inviting an address "
            "that is invited already mails it again and answers 200. Owners may do everything; "
            "members cannot manage members, billing, or the end of the account."
        ),
    ),
    Operation(
        name="members.change",
        method="PATCH",
        path="/v1/members/{member_id}",
        ids={"member_id": "mem"},
        tag="Members",
        scope="members:write",
        handle=change,
        status=200,
        response=shapes.Member,
        request=shapes.MemberPatch,
        problems=("last_owner", "changed_meanwhile"),
        summary="Change a member's role",
        description="At once, also for requests of theirs that are on their way.",
    ),
    Operation(
        name="members.remove",
        method="DELETE",
        path="/v1/members/{member_id}",
        ids={"member_id": "mem"},
        tag="Members",
        scope="members:write",
        handle=remove,
        status=204,
        response=None,
        problems=("last_owner", "changed_meanwhile"),
        summary="Remove a member",
        description="Takes somebody out of the workspace at once, or an invitation back. API keys "
        "they made stay: revoke those too if need be.",
    ),
)
