"""What an endpoint is: declared once, and both served (dispatch.py) and documented (openapi.py)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from services.api.callers import Caller
from services.api.shapes.fields import Body, Query
from services.api.validation import FieldError
from shared import events as e
from shared import ids
from shared.auth import Scope
from shared.problems import Problem

if TYPE_CHECKING:
    from services.api.api import Api

_PATH_NAME = re.compile(r"\{(\w+)\}")


@dataclass(slots=True)
class Call:
    """One request, past its checks. ``query`` and ``body`` are the operation's models."""

    api: Api
    operation: Operation
    caller: Caller
    path: Mapping[str, str]
    query: Any
    body: Any
    request_id: str
    now: datetime
    key: str | None = None  # the Idempotency-Key
    claimed_at: datetime | None = None  # when that key was first used

    @property
    def workspace_id(self) -> str:
        """The workspace everything happens in."""
        return self.caller.workspace_id

    def new_id(self, prefix: str, *parts: str) -> str:
        """An id for what this request makes: the same again when the request is repeated."""
        if self.key is None or self.claimed_at is None:
            return ids.new(prefix)
        return ids.derive_keyed(
            self.api.identity_key,
            prefix,
            self.workspace_id,
            self.operation.name,
            self.key,
            self.claimed_at.isoformat(),
            *parts,
        )

    def insist(self, scope: Scope) -> None:
        """A 403 Problem unless the caller may do what needs ``scope``."""
        if not self.caller.may(scope):
            detail = f"This API key lacks the scope {scope}."
            if self.caller.role is not None:
                detail = "Only an owner of the workspace may do this."
            scopes = sorted(self.caller.scopes)
            raise Problem(403, "missing_scope", detail, required_scope=scope, scopes=scopes)

    def event(self, data: e.Data, *, id: str | None = None) -> e.Event:
        """``data`` as an event of this request; ``id`` if it is named by more than the request."""
        return e.make(
            data,
            id=id or self.new_id("evt", data.TYPE),
            workspace_id=self.workspace_id,
            at=self.now,
            actor=self.caller.actor,
            cause=self.request_id,
        )


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a handler answers that goes on by itself: ``run`` has the request and sees to it all."""

    run: Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Download:
    """A file as an answer: made while it is sent, so that its length does not matter."""

    content: AsyncIterator[bytes]
    media_type: str
    name: str


@dataclass(slots=True)
class Reply:
    """What a handler answers, a ``Download`` too; ``status`` if it is not the operation's own."""

    data: Any = None
    status: int | None = None
    headers: dict[str, str] | None = None


Handle = Callable[[Call], Awaitable[Reply]]
Receive = Callable[[Call, web.Request], Awaitable[bytes]]


@dataclass(frozen=True)
class Operation:
    """An endpoint.

    ``response`` is the type of the answer (None: no content) and ``also`` those of other good
    statuses. ``problems`` are the codes beyond those every operation can answer with. ``further``
    looks at a body that failed validation for what else is wrong with it; ``lenient`` reads a body
    whose items are judged one by one. ``receive`` takes a body that is not JSON while it comes in,
    leaves what it made of it in the call, and returns JSON that two equal bodies have in common;
    ``form`` is the schema of its multipart form.
    ``reads_own``: it shows what was sent just before. A ``scope`` of None leaves it to the handler
    to ``insist``. ``response`` is ``Download`` for a file of one of the types in ``media``,
    ``Streamed`` for server-sent events.
    """

    name: str
    method: str
    path: str
    tag: str
    scope: Scope | None
    handle: Handle
    status: int
    response: Any
    summary: str
    description: str
    request: type[Body] | None = None
    query: type[Query] = Query
    body_required: bool = True
    problems: Sequence[str] = ()
    also: Mapping[int, Any] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)
    further: Callable[[Call, Any, frozenset[str]], Awaitable[list[FieldError]]] | None = None
    lenient: Callable[[bytes], Any] | None = None
    receive: Receive | None = None
    form: Mapping[str, Any] | None = None
    media: Sequence[str] = ("application/octet-stream",)
    paged: bool = False
    located: bool = False
    reads_own: bool = True

    @property
    def route(self) -> str:
        """The path as aiohttp matches it: an id begins with its prefix, so that no word of another
        path is taken for one."""
        return _PATH_NAME.sub(lambda name: f"{{{name[1]}:{self.ids[name[1]]}_[^/]*}}", self.path)

    @property
    def repeatable(self) -> bool:
        """Whether an Idempotency-Key is honoured."""
        return self.method in ("POST", "PATCH")
