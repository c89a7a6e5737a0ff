"""What webhooks answers to ask.webhooks.<question>: endpoints, their secrets, tests and replays.

Every body carries workspace_id and actor; another workspace's id is a 404. Lists are read from api.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar

import asyncpg
import msgspec
from aiohttp.abc import AbstractResolver
from msgspec import Meta, Struct

from services.webhooks import secrets, shapes
from services.webhooks.address import AddressError, GuardedResolver, check_url
from services.webhooks.decide import (
    DESCRIPTION_MAX_CHARACTERS,
    ENDPOINTS_MAX,
    wrong_types,
)
from services.webhooks.outside import ThreadedResolver
from services.webhooks.project import REPLAY_MAX
from shared import events, ids
from shared.bus import Handler
from shared.errors import Conflict, NotReady
from shared.events import Actor, Data, Event
from shared.log import Guard
from shared.problems import Problem
from shared.service import Context
from shared.sql import queries
from shared.traces import Asked, traces

TRIES = 3  # of a decision that somebody else overtakes
PASS_TIMEOUT_S = 2.0  # to read one's own write; the asker gives up after three
LOOKUP_TIMEOUT_S = 2.0  # of the host of a new URL
PARKED_MAX = 100

sql = queries("services.webhooks")


class _Asked(Struct, kw_only=True):
    workspace_id: str
    actor: Actor


class _Save(_Asked, kw_only=True):
    endpoint_id: str | None = None
    url: str | None = None
    types: list[str] | None = None
    enabled: bool | None = None
    ordered: bool | None = None
    description: Annotated[str, Meta(max_length=DESCRIPTION_MAX_CHARACTERS)] | None = None


class _Endpoint(_Asked, kw_only=True):
    endpoint_id: str


class _Rotate(_Endpoint, kw_only=True):
    grace_s: Annotated[int, Meta(ge=0, le=secrets.GRACE_MAX_S)] = secrets.GRACE_DEFAULT_S


class _Test(_Endpoint, kw_only=True):
    type: str


class _Resend(_Asked, kw_only=True):
    attempt_id: str


class _Replay(_Endpoint, kw_only=True):
    since: Annotated[datetime, Meta(tz=True)]
    types: list[str] | None = None
    only_failed: bool = False


A = TypeVar("A", bound=_Asked)


def _read(kind: type[A], body: dict[str, Any]) -> A:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at `$")
        pointer = "#" + path.rstrip("`").replace(".", "/").replace("[", "/").replace("]", "")
        raise Problem.at(pointer, "invalid", f"{sentence}.") from None


def answers(context: Context, resolver: AbstractResolver | None = None) -> Mapping[str, Handler]:
    """The questions and who answers them. ``resolver`` replaces the system's, in tests."""
    desk = Desk(context, resolver)
    return {
        "save_endpoint": desk.save_endpoint,
        "remove_endpoint": desk.remove_endpoint,
        "rotate_secret": desk.rotate_secret,
        "test": desk.test,
        "resend": desk.resend,
        "replay": desk.replay,
        "parked": desk.parked,
        **traces(context, _traces),
    }


async def _traces(db: Any, asked: Asked) -> dict[str, int]:
    """Payloads and deliveries of these events, recipients of these messages."""
    return dict(await db.fetchrow(sql.traces, asked.message_ids, asked.events))


class Desk:
    """Answers questions from the rows and appends what was asked for."""

    def __init__(self, context: Context, resolver: AbstractResolver | None = None) -> None:
        self._context = context
        self._development: bool = context.settings.development
        self._resolver = GuardedResolver(
            development=self._development, resolver=resolver or ThreadedResolver()
        )

    async def save_endpoint(self, body: dict[str, Any]) -> dict[str, Any]:
        """Make an endpoint, or change what is given of one; its secret only when it is made."""
        asked = _read(_Save, body)
        await self._judge(asked)
        made = None if asked.endpoint_id else ids.new("whk")
        secret = None
        for _ in range(TRIES):
            before, guard = await self._read_for_save(asked)
            if made and secret is None:  # before the event: without it nothing could be signed
                secret = await self._first_secret(asked.workspace_id, made)
            saved = _merged(asked, made, before)
            try:
                await self._store(self._event(asked, saved), guard)
            except Conflict as conflict:
                await self._context.projector.passed(conflict.last_seq, PASS_TIMEOUT_S)
                continue
            answer = {"endpoint": _shown(saved, before, self._context.clock.now())}
            return answer | ({"secret": secret} if secret else {})
        raise NotReady("other endpoints of the workspace are being saved")

    async def _judge(self, asked: _Save) -> None:
        """Refuse a URL we would not post to and types nobody knows, all at once."""
        errors: list[dict[str, str]] = []
        if asked.url is not None:
            errors += await self._wrong_url(asked.url)
        elif asked.endpoint_id is None:
            errors.append({"pointer": "#/url", "code": "missing", "detail": "url is required."})
        if asked.types is not None:
            errors += wrong_types(asked.types, shapes.TYPES)
        elif asked.endpoint_id is None:
            errors.append({"pointer": "#/types", "code": "missing", "detail": "types is required."})
        if errors:
            raise Problem(422, errors[0]["code"], errors[0]["detail"], errors=errors)

    async def _wrong_url(self, url: str) -> list[dict[str, str]]:
        try:
            target = check_url(url, development=self._development)
            if not target.literal:
                async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                    await self._resolver.resolve(target.host, target.port)
        except AddressError as error:
            return [{"pointer": "#/url", "code": error.code, "detail": error.detail}]
        except OSError:
            return []  # no answer in time: the name may not be set up yet, and attempts look again
        return []

    async def _read_for_save(self, asked: _Save) -> tuple[Any, Guard]:
        """The endpoint as it stands, and the guard of a decision made on it."""
        self._fresh()
        async with self._context.db.tenant(asked.workspace_id) as db:
            before: Any = None
            if asked.endpoint_id is not None:
                before = await _existing(db, asked.endpoint_id)
            workspace: Any = await db.fetchrow(sql.workspace_endpoints)
        if before is None and workspace["endpoints"] >= ENDPOINTS_MAX:
            detail = f"A workspace has at most {ENDPOINTS_MAX} endpoints."
            raise Problem(409, "limit_reached", detail)
        saves = f"{events.WebhookEndpointSaved.TYPE}.{asked.workspace_id}.*"
        return before, Guard(saves, workspace["saved_seq"])

    async def _first_secret(self, workspace_id: str, endpoint_id: str) -> str:
        context = self._context
        async with context.db.tenant(workspace_id) as db:
            return await secrets.add(
                db, context.keys, workspace_id, endpoint_id, context.clock.now()
            )

    async def remove_endpoint(self, body: dict[str, Any]) -> dict[str, Any]:
        """Remove an endpoint, its open deliveries and its secrets."""
        asked = _read(_Endpoint, body)
        await self._endpoint(asked)
        gone = events.WebhookEndpointRemoved(endpoint_id=asked.endpoint_id)
        await self._store(self._event(asked, gone))
        async with self._context.db.tenant(asked.workspace_id) as db:
            await db.execute(sql.drop_secrets, asked.endpoint_id)
        return {"id": asked.endpoint_id, "removed": True}

    async def rotate_secret(self, body: dict[str, Any]) -> dict[str, Any]:
        """A new secret; the old one signs along for ``grace_s``."""
        asked = _read(_Rotate, body)
        context = self._context
        now = context.clock.now()
        async with context.db.tenant(asked.workspace_id) as db:
            await _existing(db, asked.endpoint_id)
            try:
                secret = await secrets.replace(
                    db, context.keys, asked.workspace_id, asked.endpoint_id, asked.grace_s, now
                )
            except asyncpg.UniqueViolationError:
                raise Problem(409, "conflict", "The secret is being replaced already.") from None
        return {"secret": secret}

    async def test(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send an example of a type now, to an endpoint that is off as well."""
        asked = _read(_Test, body)
        if asked.type not in shapes.TYPES:
            raise Problem.at("#/type", "unknown_type", f"Known are {', '.join(shapes.TYPES)}.")
        await self._endpoint(asked)
        wish = events.WebhookTestRequested(endpoint_id=asked.endpoint_id, event_type=asked.type)
        event = self._event(asked, wish)
        await self._store(event)
        return {
            "event_id": event.id,
            "delivery_id": ids.derive("dlv", asked.endpoint_id, event.id),
        }

    async def resend(self, body: dict[str, Any]) -> dict[str, Any]:
        """Make the delivery of an attempt again, whatever came of it."""
        asked = _read(_Resend, body)
        async with self._context.db.tenant(asked.workspace_id) as db:
            row = await db.fetchrow(sql.delivery_of_attempt, asked.attempt_id)
        if row is None:
            raise Problem(404, "not_found", "There is no such attempt, or it is too old.")
        _must_be_enabled(row["enabled"])
        wish = events.WebhookResendRequested(
            endpoint_id=row["endpoint_id"], delivery_id=row["delivery_id"]
        )
        await self._store(self._event(asked, wish))
        return {"delivery_id": row["delivery_id"]}

    async def replay(self, body: dict[str, Any]) -> dict[str, Any]:
        """Deliver again what an endpoint got, or missed, since a time; at most REPLAY_MAX."""
        asked = _read(_Replay, body)
        types = asked.types or []
        errors = wrong_types(types, shapes.TYPES) if types else []
        if errors:
            raise Problem(422, errors[0]["code"], errors[0]["detail"], errors=errors)
        _must_be_enabled((await self._endpoint(asked))["enabled"])
        chosen = None if not types or "*" in types else types
        async with self._context.db.tenant(asked.workspace_id) as db:
            count = await db.fetchval(
                sql.count_replay,
                asked.endpoint_id,
                asked.since,
                chosen,
                asked.only_failed,
                REPLAY_MAX,
            )
        wish = events.WebhookReplayRequested(
            endpoint_id=asked.endpoint_id,
            since=asked.since,
            types=tuple(chosen or ()),
            only_failed=asked.only_failed,
        )
        await self._store(self._event(asked, wish))
        return {"deliveries": count}

    async def parked(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The newest deliveries that were given up."""
        asked = _read(_Asked, body)
        async with self._context.db.tenant(asked.workspace_id) as db:
            rows = await db.fetch(sql.parked, PARKED_MAX)
        return [dict(row) for row in rows]

    # -- shared by the above ---------------------------------------------------------------------

    def _fresh(self) -> None:
        if not self._context.fresh():
            raise NotReady("the rows are too old to decide by")

    async def _endpoint(self, asked: _Endpoint) -> Any:
        self._fresh()
        async with self._context.db.tenant(asked.workspace_id) as db:
            return await _existing(db, asked.endpoint_id)

    def _event(self, asked: _Asked, data: Data) -> Event:
        return events.make(
            data,
            id=ids.new("evt"),
            workspace_id=asked.workspace_id,
            at=self._context.clock.now(),
            actor=asked.actor,
        )

    async def _store(self, event: Event, guard: Guard | None = None) -> None:
        """Append, and wait until the rows hold it, so that who asked reads it."""
        seq = await self._context.log.append(event, guard)
        await self._context.projector.passed(seq, PASS_TIMEOUT_S)


async def _existing(db: Any, endpoint_id: str) -> Any:
    row = await db.fetchrow(sql.endpoint, endpoint_id)
    if row is None:
        raise Problem(404, "not_found", "There is no such endpoint.")
    return row


def _must_be_enabled(enabled: bool) -> None:
    if not enabled:
        raise Problem(409, "endpoint_disabled", "The endpoint is off. Switch it on first.")


def _merged(asked: _Save, made: str | None, before: Any) -> events.WebhookEndpointSaved:
    """The endpoint as it will be: what is given, else what it was."""

    def value(name: str, default: Any) -> Any:
        given = getattr(asked, name)
        if given is not None:
            return given
        return default if before is None else before[name]

    return events.WebhookEndpointSaved(
        endpoint_id=made or before["id"],
        url=value("url", ""),
        types=tuple(dict.fromkeys(value("types", ()))),
        enabled=value("enabled", True),
        ordered=value("ordered", False),
        description=value("description", ""),
    )


def _shown(saved: events.WebhookEndpointSaved, before: Any, now: datetime) -> dict[str, Any]:
    was = None if before is None else before["disabled_reason"]
    return {
        "id": saved.endpoint_id,
        "url": saved.url,
        "types": saved.types,
        "state": "enabled" if saved.enabled else "disabled",
        "enabled": saved.enabled,
        "ordered": saved.ordered,
        "description": saved.description,
        "disabled_reason": None if saved.enabled else was or "user",
        "created_at": now if before is None else before["created_at"],
        "updated_at": now,
    }
