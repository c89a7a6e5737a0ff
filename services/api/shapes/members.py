"""Members, and who is asking, as they are asked for and as they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from pydantic import ConfigDict

from services.api.callers import Caller
from services.api.shapes.fields import Body, Email, Paged

Role = Literal["owner", "member"]


class MemberInvitation(Body):
    """Whom to invite. They join by signing in with this address."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"email": "grace@example.com", "role": "member"}]}
    )

    email: Email
    role: Role = "member"


class MemberPatch(Body):
    """Another role."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "owner"}]})

    role: Role


class MemberQuery(Paged):
    pass


class Member(Struct, kw_only=True):
    """Somebody in the workspace, or invited to it."""

    id: str
    email: str
    role: Role
    state: Literal["invited", "active"]
    user_id: Annotated[str | None, Meta(description="Who did something, where `actor` says it.")]
    created_at: datetime
    joined_at: datetime | None


class MyUser(Struct):
    """A person who signed in."""

    id: str
    email: str


class MyWorkspace(Struct):
    """A workspace the person is in."""

    id: str
    name: str
    role: Role


class Me(Struct, kw_only=True):
    """Who is asking, and what they may do."""

    user: Annotated[MyUser | None, Meta(description="null: an API key asks.")]
    api_key_id: Annotated[str | None, Meta(description="null: a person asks.")]
    mode: Literal["live", "test"]
    workspace_id: Annotated[
        str, Meta(description="The one in use: an API key's own; X-8ms-Workspace, or the first.")
    ]
    role: Role | None
    scopes: list[str]
    workspaces: Annotated[
        list[MyWorkspace], Meta(description="All a person is in, the first joined first.")
    ]


def member(row: Any) -> Member:
    """A row of ``member`` as it is shown."""
    return Member(
        id=row["id"],
        email=row["email"],
        role=row["role"],
        state=row["state"],
        user_id=row["user_id"],
        created_at=row["created_at"],
        joined_at=row["joined_at"],
    )


def me(caller: Caller) -> Me:
    """The caller as it is shown."""
    person = caller.actor.kind == "user"
    return Me(
        user=MyUser(caller.actor.id, caller.email or "") if person else None,
        api_key_id=None if person else caller.actor.id,
        mode="test" if caller.mode == "test" else "live",
        workspace_id=caller.workspace_id,
        role=_role(caller.role) if caller.role else None,
        scopes=sorted(caller.scopes),
        workspaces=[MyWorkspace(m.workspace_id, m.name, _role(m.role)) for m in caller.memberships],
    )


def _role(text: str) -> Role:
    return "owner" if text == "owner" else "member"
