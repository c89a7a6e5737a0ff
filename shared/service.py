"""The frame of a service process: settings, log, pools, migration, projector, workers, HTTP.

``run(Service(...))`` is all a ``__main__.py`` calls. It comes up without NATS or PostgreSQL, says
what it waits for, and needs no restart when they come back. SIGTERM drains: readiness goes red, new
work is refused, what is under way ends, then the connections close.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
import uvloop
from aiohttp import web

from shared import http, logs, sql
from shared.bus import Bus, Handler
from shared.clock import Clock, SystemClock
from shared.errors import NewerSchema
from shared.log import Log
from shared.projector import Projection, Projector
from shared.settings import BadSetting, Settings, describe, load
from shared.telemetry import Metrics
from shared.vault import KeyRing
from shared.worker import Actor, Worker

DRAIN_S = 10.0
FRESH_S = 60.0  # rows older than this are too old to decide by; half the log's duplicate window


@dataclass
class Context:
    """Everything a handler or an actor of one process may use."""

    settings: Any
    log: Log
    bus: Bus
    db: sql.Database
    projector: Projector
    keys: KeyRing
    metrics: Metrics
    clock: Clock
    extra: dict[str, Any] = field(default_factory=dict)

    def fresh(self) -> bool:
        """Whether the rows were at the end of the log recently enough to decide by."""
        return self.projector.status.head_age_s() < FRESH_S


CONTEXT = web.AppKey("CONTEXT", Context)


@dataclass(frozen=True)
class Service:
    """One service: its projection and, where it has them, routes, answers, actors."""

    projection: Projection
    settings: type[Settings] = Settings
    routes: Callable[[web.Application, Context], None] | None = None
    answers: Callable[[Context], Mapping[str, Handler]] | None = None
    actors: Callable[[Context], Sequence[Actor]] | None = None
    start: Callable[[Context], Awaitable[None]] | None = None
    stop: Callable[[Context], Awaitable[None]] | None = None


def run(service: Service) -> None:
    """The whole life of the process; returns when it has drained."""
    name = service.projection.service
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{name}",
        description=sys.modules[f"services.{name}"].__doc__,
        epilog="Environment:\n" + describe(service.settings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    try:
        settings = load(service.settings, os.environ)
        keys = KeyRing.parse(settings.secret_key)
    except (BadSetting, ValueError) as error:
        sys.exit(f"{name}: {error}")
    logs.configure(name, settings.log_level)
    uvloop.run(_main(service, settings, keys))


async def _main(service: Service, settings: Settings, keys: KeyRing) -> None:
    name = service.projection.service
    slog = structlog.get_logger()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    metrics = Metrics(name)
    holder: dict[str, Projector] = {}
    frame = http.Frame(metrics, settings.public_url, lambda: _ready(holder, stop))
    app = http.make_app(frame)
    started: asyncio.Future[Context] = asyncio.ensure_future(
        _start(service, settings, keys, metrics)
    )
    halted = asyncio.ensure_future(stop.wait())
    await asyncio.wait({started, halted}, return_when=asyncio.FIRST_COMPLETED)
    if not started.done():
        started.cancel()
        return
    try:
        context = started.result()
    except NewerSchema as error:
        sys.exit(f"{name}: {error}")
    holder["projector"] = context.projector
    app[CONTEXT] = context
    if service.routes:
        service.routes(app, context)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=DRAIN_S)
    await runner.setup()
    site = web.TCPSite(runner, settings.host, settings.port, backlog=4096)
    await site.start()
    slog.info("serving", address="{}:{}".format(*runner.addresses[0][:2]))
    tasks = await _launch(service, context)
    await stop.wait()
    slog.info("draining")
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(*tasks[1:], return_exceptions=True)
    if service.stop:
        await service.stop(context)
    await runner.cleanup()
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(context.log.close(), DRAIN_S)
    await context.db.close()
    slog.info("stopped", position=context.projector.status.position)


async def _start(service: Service, settings: Settings, keys: KeyRing, metrics: Metrics) -> Context:
    name = service.projection.service
    slog = structlog.get_logger()
    admin = await sql.wait_for_database(settings.database_url, name)
    try:
        await sql.migrate(admin, name, say=lambda text: slog.info("migrated", file=text))
    finally:
        await admin.close()
    db = await sql.Database.open(settings.database_url, name)
    log = await connect_log(settings.nats_url, name)
    bus = Bus(log)
    projector = Projector(service.projection, log, db, bus, settings.database_url)
    metrics.gauge("position", "Log sequence reached", lambda: projector.status.position)
    metrics.gauge("lag_events", "Events not yet projected", lambda: projector.status.pending)
    metrics.gauge("leading", "1 while this instance leads", lambda: projector.status.leading)
    metrics.gauge("projected_events", "Events projected here", lambda: projector.status.events)
    return Context(settings, log, bus, db, projector, keys, metrics, SystemClock())


async def connect_log(url: str, name: str) -> Log:
    """A connection to the log; says that it waits, and waits as long as it takes."""
    slog = structlog.get_logger()
    while True:
        try:
            return await Log.connect(url, name)
        except Exception as error:  # nats-py raises a dozen kinds while the server is not there
            slog.warning("waiting for NATS", error=type(error).__name__)
            await asyncio.sleep(0.5)


async def _launch(service: Service, context: Context) -> list[asyncio.Task[None]]:
    """Projector first, then answers and actors. The first task of the list is the projector."""
    name = service.projection.service
    tasks = [asyncio.create_task(context.projector.run())]
    if service.start:
        await service.start(context)
    if service.answers:
        for question, handler in service.answers(context).items():
            await context.bus.answer(name, question, handler)
    for actor in service.actors(context) if service.actors else ():
        worker = Worker(f"{name}.{type(actor).__name__}", context.projector, actor)
        tasks.append(asyncio.create_task(worker.run()))
    return tasks


def _ready(holder: dict[str, Projector], stop: asyncio.Event) -> dict[str, Any]:
    if stop.is_set():
        return {"ready": False, "why": "draining"}
    projector = holder.get("projector")
    if projector is None:
        return {"ready": False, "why": "waiting for PostgreSQL and NATS"}
    status = projector.status
    state = {"leading": status.leading, "position": status.position, "lag": status.pending}
    if status.failed:
        return {"ready": False, "why": status.failed, **state}
    if not projector.log.connected:
        return {"ready": False, "why": "no connection to NATS", **state}
    return {"ready": True, "why": "leading" if status.leading else "standing by", **state}
