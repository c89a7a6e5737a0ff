"""Workspaces and API keys. Written by api (and the CLI that creates the first workspace)."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from msgspec import Struct

from shared.events.base import Data


class QuietHours(Struct, frozen=True, kw_only=True):
    """``[start, end)`` on the recipient's clock, ``HH:MM``; may cross midnight."""

    start: str
    end: str


class WorkspaceState(Data, frozen=True, kw_only=True):
    """The whole profile, so that a projection replaces and never merges.

    ``quiet_hours`` None means none. ``failover_s`` None means a conversation never changes phones.
    ``resend_unknown`` is the workspace's stated policy for messages nobody knows the fate of.
    ``acknowledged`` holds the warnings a person accepted when loosening a default.
    """

    KEY: ClassVar[str] = "workspace_id"

    workspace_id: str
    name: str
    timezone: str
    region: str = "US"
    quiet_hours: QuietHours | None = QuietHours(start="21:00", end="08:00")
    failover_s: int | None = None
    campaign_failover_s: int = 1800
    resend_unknown: bool = False
    help_text: str | None = None
    opt_out_text: str | None = None
    acknowledged: tuple[str, ...] = ()


class WorkspaceCreated(WorkspaceState, frozen=True, kw_only=True):
    """An account begins. ``email`` is its first owner's."""

    TYPE: ClassVar[str] = "workspace.created"
    email: str = ""


class WorkspaceUpdated(WorkspaceState, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "workspace.updated"


class ApiKeyCreated(Data, frozen=True, kw_only=True):
    """A key exists: its SHA-256, never itself. ``mode`` is ``live`` or ``test``."""

    TYPE: ClassVar[str] = "api_key.created"
    KEY: ClassVar[str] = "key_id"

    key_id: str
    name: str
    mode: str
    hash: str
    last_four: str
    scopes: tuple[str, ...]
    expires_at: datetime | None = None


class ApiKeyRevoked(Data, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "api_key.revoked"
    KEY: ClassVar[str] = "key_id"

    key_id: str
