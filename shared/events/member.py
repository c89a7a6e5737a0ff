"""Who belongs to a workspace. Written by api (and the CLI that creates a workspace).

A member begins with an invitation to an address and is somebody once a person signed in with it;
whoever begins a workspace by signing in joins without one.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from shared.events.base import Data

Role = Literal["owner", "member"]


class MemberInvited(Data, frozen=True, kw_only=True):
    """Whoever signs in with ``email`` (lower case) joins the workspace."""

    TYPE: ClassVar[str] = "member.invited"
    KEY: ClassVar[str] = "member_id"

    member_id: str
    email: str
    role: Role


class MemberJoined(Data, frozen=True, kw_only=True):
    """A person who proved to have the address is in the workspace from now on."""

    TYPE: ClassVar[str] = "member.joined"
    KEY: ClassVar[str] = "member_id"

    member_id: str
    user_id: str
    email: str
    role: Role


class MemberChanged(Data, frozen=True, kw_only=True):
    """Another role, also of somebody who is only invited."""

    TYPE: ClassVar[str] = "member.changed"
    KEY: ClassVar[str] = "member_id"

    member_id: str
    role: Role


class MemberRemoved(Data, frozen=True, kw_only=True):
    """Not in the workspace any more, or not invited any more."""

    TYPE: ClassVar[str] = "member.removed"
    KEY: ClassVar[str] = "member_id"

    member_id: str
