"""Makes tests/fakes/tiny importable as services.tiny, as the frame expects of a service."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

import services
from shared.bus import Handler
from shared.errors import LogUnavailable
from shared.http import json_response, read_body
from shared.service import Context, Service
from shared.service import run as run_service


def register() -> None:
    """Let services.tiny be found."""
    here = str(Path(__file__).parent)
    if here not in services.__path__:
        services.__path__.append(here)


def service() -> Service:
    """The service, wired."""
    register()
    from services.tiny import act, project  # type: ignore[import-not-found]

    return Service(
        projection=project.PROJECTION,
        routes=_routes,
        answers=_answers,
        actors=lambda context: [act.Rejecter(context)],
    )


def run() -> None:
    """The process."""
    run_service(service())


def _routes(app: web.Application, context: Context) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.query["seconds"]))
        return json_response({"slept": True})

    async def echo(request: web.Request) -> web.Response:
        return json_response({"bytes": len(await read_body(request))})

    async def notes(request: web.Request) -> web.Response:
        async with context.db.tenant(request.query["workspace"]) as db:
            count = await db.fetchval("SELECT count(*) FROM note")
        return json_response({"notes": count, "fresh": context.fresh()})

    async def fail(_: web.Request) -> web.Response:
        raise RuntimeError("whatever it is, it is not told")

    async def unstored(_: web.Request) -> web.Response:
        raise LogUnavailable("no acknowledgement")

    app.router.add_get("/slow", slow)
    app.router.add_post("/echo", echo)
    app.router.add_get("/notes", notes)
    app.router.add_get("/fail", fail)
    app.router.add_get("/unstored", unstored)


def _answers(context: Context) -> Mapping[str, Handler]:
    async def count(body: dict[str, Any]) -> dict[str, Any]:
        async with context.db.tenant(body["workspace_id"]) as db:
            return {"notes": await db.fetchval("SELECT count(*) FROM note")}

    return {"count": count}
