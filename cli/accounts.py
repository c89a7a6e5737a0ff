"""What a new workspace begins with: its events and its first API key. Pure but for chance."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from shared import auth, ids
from shared import events as e

ACTOR = e.Actor("system", "eightms")
KEY_NAME = "First key"


@dataclass(frozen=True, slots=True)
class NewWorkspace:
    """A workspace that is not in the log yet. ``api_key`` is shown once and is in no event."""

    workspace_id: str
    key_id: str
    api_key: str = field(repr=False)
    email: str
    name: str
    timezone: str
    region: str

    @property
    def member_id(self) -> str:
        """Of the owner: whoever signs in with the e-mail address."""
        return ids.derive("mem", self.workspace_id, self.key_id)

    def events(self, now: datetime) -> list[e.Event]:
        """Its first events; made again they have the same ids."""
        key = auth.hash_key(self.api_key)
        facts: list[e.Data] = [
            e.WorkspaceCreated(
                workspace_id=self.workspace_id,
                name=self.name,
                timezone=self.timezone,
                region=self.region,
                email=self.email,
            ),
            e.MemberInvited(member_id=self.member_id, email=self.email.lower(), role="owner"),
            e.ApiKeyCreated(
                key_id=self.key_id,
                name=KEY_NAME,
                mode="live",
                hash=key,
                last_four=self.api_key[-4:],
                scopes=("*",),
            ),
        ]
        return [
            e.make(
                data,
                id=ids.derive("evt", self.workspace_id, data.TYPE, self.key_id),
                workspace_id=self.workspace_id,
                at=now,
                actor=ACTOR,
            )
            for data in facts
        ]


def new_workspace(email: str, name: str, timezone: str, region: str) -> NewWorkspace:
    """A workspace with ids and a live key for everything, all of them new."""
    return NewWorkspace(
        workspace_id=ids.new("ws"),
        key_id=ids.new("key"),
        api_key=auth.new_api_key("live").text,
        email=email,
        name=name,
        timezone=timezone,
        region=region,
    )
