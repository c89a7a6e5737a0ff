"""Who may be invited, changed, removed, and what a person begins with. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from services.api.decide import field_error, problem
from shared import events as e
from shared.problems import Problem

MEMBERS_MAX: Final = 200
"""In a workspace, the invited included: a bound, not a plan's limit."""
NAME_MAX_CHARS: Final = 120
SAME_MOMENT: Final = timedelta(seconds=1)
"""Times in access tokens are whole seconds: who was invited in that second was invited before."""


def invite(
    rows: Sequence[Any], member_id: str, email: str | None, role: e.Role
) -> e.MemberInvited | None:
    """Invite an address; None if it is invited with this role already. ``rows`` are those of the
    workspace that were not removed. Problems: no address, a member already, too many."""
    if email is None:
        raise problem([field_error("#/email", "invalid", "email must be an e-mail address.")])
    known = next((row for row in rows if row["email"] == email), None)
    if known is not None and known["state"] == "invited" and known["role"] == role:
        return None
    if known is not None:
        raise Problem(
            409,
            "member_exists",
            "This address is a member, or invited with another role. Change that one with PATCH.",
            member_id=known["id"],
        )
    if len(rows) >= MEMBERS_MAX:
        raise Problem(409, "limit_reached", f"A workspace has at most {MEMBERS_MAX} members.")
    return e.MemberInvited(member_id=member_id, email=email, role=role)


def change(rows: Sequence[Any], member_id: str, role: e.Role) -> e.MemberChanged | None:
    """Give a member another role; None if they have it. A Problem for the last owner."""
    row = next(row for row in rows if row["id"] == member_id)
    if row["role"] == role:
        return None
    if role != "owner":
        _keep_an_owner(rows, row)
    return e.MemberChanged(member_id=member_id, role=role)


def remove(rows: Sequence[Any], member_id: str) -> e.MemberRemoved:
    """Take a member out, or an invitation back. A Problem for the last owner."""
    _keep_an_owner(rows, next(row for row in rows if row["id"] == member_id))
    return e.MemberRemoved(member_id=member_id)


def _keep_an_owner(rows: Sequence[Any], leaving: Any) -> None:
    """Somebody must be able to manage the workspace: an owner who is there, not one invited."""
    owners = [row for row in rows if row["role"] == "owner" and row["state"] == "active"]
    if [row["id"] for row in owners] == [leaving["id"]]:
        raise Problem(
            409, "last_owner", "A workspace needs an owner: make somebody else one first."
        )


def accepts(invited_at: datetime, signed_in_at: datetime, by_mail: bool) -> bool:
    """Whether a sign-in accepts an invitation: it came later, and showed to have the address."""
    return by_mail and invited_at <= signed_in_at + SAME_MOMENT


def begins_anew(removed_at: Sequence[datetime], signed_in_at: datetime) -> bool:
    """Whether a person in no workspace begins one: not those who were removed while signed in."""
    return all(at < signed_in_at for at in removed_at)


def first_workspace(
    workspace_id: str,
    email: str,
    metadata: Mapping[str, Any],
    zones: Collection[str],
    regions: Collection[str],
) -> e.WorkspaceCreated:
    """What a person's workspace begins with. They may have named it, its timezone and its country
    when they asked for the link; whatever is no good there is left out."""
    name, zone, region = (metadata.get(key) for key in ("workspace_name", "timezone", "region"))
    named = isinstance(name, str) and 0 < len(name.strip()) <= NAME_MAX_CHARS and name.isprintable()
    return e.WorkspaceCreated(
        workspace_id=workspace_id,
        name=str(name).strip() if named else email.partition("@")[0][:NAME_MAX_CHARS],
        timezone=zone if isinstance(zone, str) and zone in zones else "UTC",
        region=region if isinstance(region, str) and region in regions else "US",
        email=email,
    )
