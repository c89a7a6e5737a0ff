"""Who is in a workspace.

Every event moves the row's ``seq``, also one that repeats what is known: changes of the team are
guarded by the newest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.api.project.tables import MEMBER, Member
from shared import events as e
from shared.rows import Rows


def _invited(rows: Rows, seq: int, event: e.Event, data: e.MemberInvited) -> None:
    known = rows.edit(MEMBER, data.member_id)
    if known is not None:
        known.seq = seq
        return
    rows.put(
        MEMBER,
        Member(
            id=data.member_id,
            workspace_id=event.workspace_id,
            email=data.email,
            role=data.role,
            state="invited",
            seq=seq,
            created_at=event.at,
        ),
    )


def _joined(rows: Rows, seq: int, event: e.Event, data: e.MemberJoined) -> None:
    known = rows.edit(MEMBER, data.member_id)
    if known is not None and known.state != "invited":
        known.seq = seq
        return
    rows.put(
        MEMBER,
        Member(
            id=data.member_id,
            workspace_id=event.workspace_id,
            email=data.email,
            role=data.role,
            state="active",
            seq=seq,
            created_at=known.created_at if known else event.at,
            user_id=data.user_id,
            joined_at=event.at,
        ),
    )
    rows.hint(data.user_id)


def _changed(rows: Rows, seq: int, event: e.Event, data: e.MemberChanged) -> None:
    member = rows.edit(MEMBER, data.member_id)
    if member is None:
        return
    member.seq = seq
    if member.state != "removed":
        member.role = data.role
    if member.user_id is not None:
        rows.hint(member.user_id)


def _removed(rows: Rows, seq: int, event: e.Event, data: e.MemberRemoved) -> None:
    member = rows.edit(MEMBER, data.member_id)
    if member is None:
        return
    member.seq = seq
    if member.state != "removed":
        member.state, member.removed_at = "removed", event.at
    if member.user_id is not None:
        rows.hint(member.user_id)


APPLY: Mapping[type[e.Data], Callable[[Rows, int, e.Event, Any], None]] = {
    e.MemberInvited: _invited,
    e.MemberJoined: _joined,
    e.MemberChanged: _changed,
    e.MemberRemoved: _removed,
}
