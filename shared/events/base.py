"""The envelope every event travels in, and what an event's data must provide.

On the wire an event is JSON: ``{id, type, v, workspace_id, at, actor, cause, data}``; ``data`` is
one of the frozen structs of this package, chosen by ``type``. Schema is append-only: add a field
with a default, or a new type; a changed meaning is a new ``v`` with an upcaster (upcast.py).
Unknown fields are ignored, so an older service reads what a newer one wrote.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from msgspec import Raw, Struct

ActorKind = Literal["user", "api_key", "phone", "system", "ghl", "stripe"]


class Actor(Struct, frozen=True):
    """Who did it: a kind and an id (for ``system`` the id is the service's name)."""

    kind: ActorKind
    id: str


class Data(Struct, frozen=True, kw_only=True):
    """What an event says. A subclass names its ``TYPE`` and the field its subject is keyed by."""

    TYPE: ClassVar[str]
    KEY: ClassVar[str]
    V: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """The last token of the subject: the id of what must be erasable together."""
        return getattr(self, self.KEY)


class Event(Struct, frozen=True, kw_only=True):
    """One fact in the log. ``id``, also its ``Nats-Msg-Id``, names the command that led here."""

    id: str
    type: str
    v: int
    workspace_id: str
    at: datetime
    actor: Actor
    cause: str | None
    data: Any  # one of the Data structs; typed as Any so that msgspec encodes the struct it finds

    @property
    def subject(self) -> str:
        """``<entity>.<verb>.<workspace_id>.<key>``, e.g. ``send.requested.ws_01J….con_01J…``."""
        return f"{self.type}.{self.workspace_id}.{self.data.key}"


class Wire(Struct, frozen=True, kw_only=True):
    """The envelope as it is read, its data still bytes until the type is known."""

    id: str
    type: str
    workspace_id: str
    at: datetime
    actor: Actor
    data: Raw
    v: int = 1
    cause: str | None = None


class Sim(Struct, frozen=True, kw_only=True):
    """A SIM as the phone reports it. ``iccid_hash`` tells a swapped SIM from the same one moved."""

    subscription_id: int
    slot: int = 0
    carrier: str = ""
    number: str | None = None
    iccid_hash: str | None = None
