"""The frame of a service process: settings, log, pools, migration, projector, workers, HTTP.

``run(Service(...))`` is all a ``__main__.py`` calls. It comes up without NATS or PostgreSQL, says
what it waits for (the log, ``/readyz``), answers everything else with 503 meanwhile, and needs no
restart when they come back. SIGTERM drains: readiness goes red, new work is refused, what is under
way ends, then the connections close.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
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
AGAIN_S = 0.5  # between two tries to begin, while PostgreSQL comes and goes
BACKLOG = 4096  # phones that come back all at once
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
    extra: dict[str, Any] = field(default_factory=dict[str, Any])

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
    code = uvloop.run(_main(service, settings, keys))
    if code:
        sys.exit(code)


@dataclass
class _Standing:
    """How the process stands, for ``/readyz``."""

    waits_for: str = "PostgreSQL"
    projector: Projector | None = None
    draining: bool = False

    def ready(self) -> dict[str, Any]:
        """``{ready, why, …}``, why in words."""
        if self.draining:
            return {"ready": False, "why": "draining"}
        if self.projector is None:
            return {"ready": False, "why": f"waiting for {self.waits_for}"}
        status = self.projector.status
        state = {"leading": status.leading, "position": status.position, "lag": status.pending}
        if status.failed:
            return {"ready": False, "why": status.failed, **state}
        if not self.projector.log.connected:
            return {"ready": False, "why": "no connection to NATS", **state}
        return {"ready": True, "why": "leading" if status.leading else "standing by", **state}


async def _main(service: Service, settings: Settings, keys: KeyRing) -> int:
    name = service.projection.service
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    standing = _Standing()
    frame = http.Frame(Metrics(name), settings.public_url, standing.ready)
    with _listen(name, settings) as port:
        # Health is answered from the first moment. The port goes over to the real application once
        # there is one, so that no request pays for the time before.
        porter = await _serve(http.waiting_app(frame), port.dup())
        try:
            context = await _started(service, settings, keys, frame.metrics, standing, stop)
            if context is None:
                return 0
            standing.projector = context.projector
            app = http.make_app(frame)
            app[CONTEXT] = context
            if service.routes:
                service.routes(app, context)
            tasks = await _launch(service, context)
            runner = await _serve(app, port.dup())
        finally:
            await porter.cleanup()
    structlog.get_logger().info("serving", address="{}:{}".format(*runner.addresses[0][:2]))
    code = await _until_stopped(stop, context, tasks)
    standing.draining = True
    await _drain(service, context, runner, tasks)
    return code


def _listen(name: str, settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = (settings.host, settings.port)
    try:
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        sys.exit(f"{name}: cannot listen on {settings.host}:{settings.port}: {error.strerror}")


async def _serve(app: web.Application, port: socket.socket) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=DRAIN_S)
    await runner.setup()
    await web.SockSite(runner, port, backlog=BACKLOG).start()
    return runner


async def _started(
    service: Service,
    settings: Settings,
    keys: KeyRing,
    metrics: Metrics,
    standing: _Standing,
    stop: asyncio.Event,
) -> Context | None:
    """The context once there are a database and a log; None when told to stop before."""

    def waits(what: str) -> None:
        standing.waits_for = what

    starting = asyncio.create_task(_start(service, settings, keys, metrics, waits))
    halted = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, halted}, return_when=asyncio.FIRST_COMPLETED)
    halted.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return None
    try:
        return starting.result()
    except (NewerSchema, asyncpg.PostgresError) as error:
        sys.exit(f"{service.projection.service}: {type(error).__name__}: {error.args[0]}")


async def _until_stopped(
    stop: asyncio.Event, context: Context, tasks: list[asyncio.Task[None]]
) -> int:
    """0 once asked to stop; 1 if a part ended by itself, for whoever restarts us."""
    asked = asyncio.create_task(stop.wait())
    cut_off = asyncio.create_task(context.log.closed.wait())
    await asyncio.wait({asked, cut_off, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    slog = structlog.get_logger()
    slog.info("draining")
    if asked.done():
        cut_off.cancel()
        return 0
    asked.cancel()
    cut_off.cancel()
    if cut_off.done():
        slog.error("NATS refuses us for good")
    for task in tasks:
        if task.done():
            slog.error("a part of the service ended", exc_info=task.exception())
    return 1


async def _drain(
    service: Service,
    context: Context,
    runner: web.AppRunner,
    tasks: list[asyncio.Task[None]],
) -> None:
    """Actors stop, requests under way end, then the projector and the connections."""
    projecting, *acting = tasks
    for task in acting:
        task.cancel()
    await asyncio.gather(*acting, return_exceptions=True)
    if service.stop:
        await service.stop(context)
    await runner.cleanup()
    projecting.cancel()
    await asyncio.gather(projecting, return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(context.log.close(), DRAIN_S)
    await context.db.close()
    structlog.get_logger().info("stopped", position=context.projector.status.position)


async def _start(
    service: Service,
    settings: Settings,
    keys: KeyRing,
    metrics: Metrics,
    waits: Callable[[str], None] = lambda _: None,
) -> Context:
    """Migrated, connected, nothing running yet. ``waits`` is told what it waits for."""
    name = service.projection.service
    slog = structlog.get_logger()
    while True:
        try:
            await _migrate(settings.database_url, name)
            db = await sql.Database.open(settings.database_url, name)
            break
        except (*sql.UNREACHABLE, asyncpg.TransactionRollbackError) as error:
            # It went away again meanwhile; or a migration and a leader's work stood in each other's
            # way, and PostgreSQL ended this one.
            slog.warning("waiting for PostgreSQL", error=type(error).__name__)
            await asyncio.sleep(AGAIN_S)
    waits("NATS")
    log = await Log.connect(settings.nats_url, name)
    bus = Bus(log)
    projector = Projector(service.projection, log, db, bus, settings.database_url)
    metrics.gauge("position", "Log sequence reached", lambda: projector.status.position)
    metrics.gauge("lag_events", "Events not yet projected", lambda: projector.status.pending)
    metrics.gauge("leading", "1 while this instance leads", lambda: projector.status.leading)
    metrics.gauge("projected_events", "Events projected here", lambda: projector.status.events)
    return Context(settings, log, bus, db, projector, keys, metrics, SystemClock())


async def _migrate(url: str, name: str) -> None:
    slog = structlog.get_logger()
    admin = await sql.wait_for_database(url, name)
    try:
        await sql.migrate(admin, name, say=lambda text: slog.info("migrated", file=text))
    finally:
        await admin.close()


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
