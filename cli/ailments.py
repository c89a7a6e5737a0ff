"""What `eightms doctor` looks at: each function one thing, its answer a sentence."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import platform
import shutil
import stat
import sys
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import asyncpg

from cli import identity, stack
from cli.errors import CommandError
from cli.lag import measure
from cli.nats_permissions import PRESENCE_BUCKET
from cli.plan import PORT_BASE, Plan, check_ports
from cli.render import counted, span
from shared.errors import EightMsError, LogUnavailable
from shared.log import STREAM, STREAM_CONFIG, Log
from shared.settings import Settings, Var
from shared.sql import migrations
from shared.vault import KeyRing, VaultError

OK, WARNING, BAD = "ok", "warning", "bad"
PYTHON_MIN = (3, 11)
PACKAGES = ("asyncpg", "nats-py", "aiohttp", "msgspec", "cryptography", "phonenumbers", "uvloop")
POSTGRES_MIN = 160_000  # GRANT … TO CURRENT_USER as the migrations use it
NATS_MIN = (2, 12)  # atomic batches
DISK_LOW_BYTES = 2 * 1024**3
DISK_FULL_BYTES = 256 * 1024**2
CLOCK_OFF_S = 2.0
CONNECTIONS_WANTED = 120  # six services with two pools each, and the command line
BEHIND_MANY = 10_000
SECRET_FILES = (stack.KEY_FILE, stack.WORKSPACE_FILE, stack.STACK_FILE, "credentials.json")
INTEGRATIONS: Mapping[str, tuple[str, ...]] = {
    "sign-in by Supabase": ("SUPABASE_URL",),
    "e-mail by Resend": ("RESEND_API_KEY",),
    "e-mail by SMTP": ("EIGHTMS_SMTP_URL",),
    "reply intent by Anthropic": ("ANTHROPIC_API_KEY",),
    "billing by Stripe": ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"),
    "GoHighLevel": ("GHL_CLIENT_ID", "GHL_CLIENT_SECRET"),
    "errors to Sentry": ("SENTRY_DSN",),
    "traces by OpenTelemetry": ("OTEL_EXPORTER_OTLP_ENDPOINT",),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """``state`` is ok, warning or bad; ``next_step`` says what to do."""

    state: str
    what: str
    detail: str
    next_step: str = ""


# -- this machine ---------------------------------------------------------------------------------


def python() -> Finding:
    """The interpreter and its time zones."""
    version = platform.python_version()
    if sys.version_info < PYTHON_MIN:
        return Finding(BAD, "python", f"{version} is too old.", "Use Python 3.11 or newer.")
    try:
        ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        return Finding(BAD, "python", "has no time zones.", "pip install tzdata")
    return Finding(OK, "python", f"{version} on {platform.system()} {platform.machine()}")


def packages() -> Finding:
    """The libraries, with their versions."""
    versions: list[str] = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            return Finding(BAD, "packages", f"{name} is not installed.", "make venv")
    return Finding(OK, "packages", ", ".join(versions))


def disk(data: Path) -> Finding:
    """Room where the data is, or will be."""
    place = next(path for path in (data.absolute(), *data.absolute().parents) if path.exists())
    usage = shutil.disk_usage(place)
    free = f"{usage.free / 1024**3:.1f} GB free of {usage.total / 1024**3:.0f} GB at {place}"
    if usage.free < DISK_FULL_BYTES:
        return Finding(BAD, "disk", f"{free}: nothing can be stored soon.", "Make room.")
    if usage.free < DISK_LOW_BYTES:
        return Finding(WARNING, "disk", f"{free}: that is little.", "Make room.")
    return Finding(OK, "disk", free)


def private_files(data: Path) -> Iterable[Finding]:
    """Files with secrets must be their owner's alone."""
    found = [data / name for name in SECRET_FILES if (data / name).exists()]
    for path in found:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield Finding(BAD, "permissions", f"{path} can be read by others.", f"chmod 600 {path}")
            return
    if found:
        yield Finding(OK, "permissions", f"{counted(len(found), 'secret file')} of the owner alone")


def ports(data: Path) -> Finding:
    """Whether the next `eightms up` can listen where the last one did, or where it would."""
    last: dict[str, int] = stack.read_private(data / stack.STACK_FILE).get("ports", {})
    plan = Plan.make(data, last.get("api", PORT_BASE), None, os.environ)
    try:
        check_ports(plan)
    except CommandError as error:
        return Finding(WARNING, "ports", str(error), error.next_step)
    return Finding(
        OK, "ports", f"{min(plan.ports.values())} to {max(plan.ports.values())} are free"
    )


def configuration() -> Iterable[Finding]:
    """What the environment switches on, of what the installed services know."""
    known = {var.name for service in stack.installed_services() for var in _variables(service)}
    for name, variables in INTEGRATIONS.items():
        if not known.issuperset(variables):
            continue
        missing = [v for v in variables if not os.environ.get(v)]
        if not missing:
            yield Finding(OK, "integration", f"{name} is on")
        elif len(missing) < len(variables):
            yield Finding(
                BAD, "integration", f"{name} is half set up.", f"Set {', '.join(missing)} as well."
            )
        else:
            yield Finding(OK, "integration", f"{name} is off ({', '.join(missing)} not set)")
    environment = os.environ.get("EIGHTMS_ENV", "")
    if environment not in ("", "development", "production"):
        yield Finding(
            BAD, "configuration", f"EIGHTMS_ENV is {environment!r}.", "production or development"
        )
    mails = os.environ.get("RESEND_API_KEY") or os.environ.get("EIGHTMS_SMTP_URL")
    if mails and "@" not in os.environ.get("EIGHTMS_MAIL_FROM", ""):
        yield Finding(
            BAD, "configuration", "E-mail has no sender.", "Set EIGHTMS_MAIL_FROM to an address."
        )
    if environment == "production" and not mails and not os.environ.get("SUPABASE_URL"):
        yield Finding(
            WARNING,
            "configuration",
            "Nobody can sign in by mail, for no mail server is set.",
            "Set RESEND_API_KEY or EIGHTMS_SMTP_URL, and EIGHTMS_MAIL_FROM (docs/accounts.md).",
        )
    for variable in ("EIGHTMS_PUBLIC_URL", "EIGHTMS_GATEWAY_URL"):
        url = os.environ.get(variable, "")
        if url and not url.startswith(("http://", "https://")):
            yield Finding(BAD, "configuration", f"{variable} is no http(s) address.", "Correct it.")


def _variables(service: str) -> Iterable[Var]:
    try:
        module = importlib.import_module(f"services.{service}.settings")
    except ModuleNotFoundError:
        return
    for one in vars(module).values():
        if isinstance(one, type) and issubclass(one, Settings):
            for hint in one.__annotations__.values():
                yield from (a for a in getattr(hint, "__metadata__", ()) if isinstance(a, Var))


# -- the servers ----------------------------------------------------------------------------------


async def of_servers(found: stack.Stack) -> AsyncGenerator[Finding, None]:
    """PostgreSQL, NATS, the key, the services."""
    db = await found.database()
    try:
        yield await _postgres(db)
        async for finding in _tables(db):
            yield finding
        async with found.log() as log:
            yield _nats(log)
            try:
                yield await _stream(log)
                yield await _presence(log)
                yield await _clock(db, log)
                yield await _key(found, log)
                async for finding in _services(found, db, log):
                    yield finding
            except EightMsError as error:
                yield Finding(BAD, "event log", f"{error}.", "`eightms up` makes the stream.")
    finally:
        await db.close()


async def _postgres(db: Any) -> Finding:
    number = int(await db.fetchval("SHOW server_version_num"))
    version = await db.fetchval("SHOW server_version")
    if number < POSTGRES_MIN:
        return Finding(BAD, "postgresql", f"{version} is too old.", "Use 16 or newer.")
    may_create = await db.fetchval(
        "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
    )
    if not may_create:
        return Finding(
            BAD,
            "postgresql",
            f"{version}, but this user may not create roles, and each service has two.",
            "Give it CREATEROLE.",
        )
    connections = int(await db.fetchval("SHOW max_connections"))
    if connections < CONNECTIONS_WANTED:
        return Finding(
            WARNING,
            "postgresql",
            f"{version} allows {connections} connections; all services together may want more.",
            f"Set max_connections to {CONNECTIONS_WANTED} or more.",
        )
    return Finding(OK, "postgresql", f"{version}, up to {connections} connections")


async def _tables(db: Any) -> AsyncGenerator[Finding, None]:
    for service in stack.installed_services():
        for schema, folder in ((service, "schema"), (f"{service}_vault", "vault")):
            if await db.fetchval("SELECT to_regclass($1)", f"{schema}.migration") is None:
                continue
            done = {r[0] for r in await db.fetch(f"SELECT name FROM {schema}.migration")}  # noqa: S608
            known = {name for name, _ in migrations(service, folder)}
            if done - known:
                yield Finding(
                    BAD,
                    "tables",
                    f"{schema} was migrated by a newer version of 8ms.",
                    "Start that version.",
                )
            elif known - done:
                yield Finding(
                    WARNING,
                    "tables",
                    f"{schema} is of an older version; its service migrates it when it starts.",
                )


def _nats(log: Log) -> Finding:
    version = log.nc.connected_server_version
    text = f"{version.major}.{version.minor}.{version.patch}"
    if (version.major, version.minor) < NATS_MIN:
        return Finding(BAD, "nats", f"{text} is too old.", "Use 2.12 or newer.")
    return Finding(OK, "nats", text)


async def _stream(log: Log) -> Finding:
    info = await log.api(f"STREAM.INFO.{STREAM}")
    config, state = info["config"], info["state"]
    wrong = [
        name
        for name, wanted in STREAM_CONFIG.items()
        if name != "num_replicas" and config.get(name, wanted) != wanted
    ]
    size = f"{counted(state['messages'], 'event')}, {state['bytes'] / 1024**2:,.0f} MB"
    if wrong:
        return Finding(
            BAD,
            "event log",
            f"{size}, but configured otherwise: {', '.join(sorted(wrong))}.",
            "`eightms up` sets it right.",
        )
    return Finding(OK, "event log", size)


async def _presence(log: Log) -> Finding:
    try:
        await log.api(f"STREAM.INFO.KV_{PRESENCE_BUCKET}")
    except LogUnavailable:
        return Finding(BAD, "presence", "The bucket is not there.", "`eightms up` makes it.")
    return Finding(OK, "presence", "the bucket is there")


async def _clock(db: Any, log: Log) -> Finding:
    began = time.monotonic()
    of_database = await db.fetchval("SELECT clock_timestamp()")
    of_nats = datetime.fromisoformat((await log.api(f"STREAM.INFO.{STREAM}"))["ts"])
    took_s = time.monotonic() - began
    now = datetime.now(UTC)
    off = {
        "PostgreSQL": abs((now - of_database).total_seconds()) - took_s,
        "NATS": abs((now - of_nats).total_seconds()) - took_s,
    }
    wrong = [f"{name} by {span(by)}" for name, by in off.items() if by > CLOCK_OFF_S]
    if wrong:
        return Finding(
            BAD,
            "clock",
            f"differs from {' and '.join(wrong)}: quiet hours and gaps would be off.",
            "Switch time synchronisation on (timedatectl set-ntp true).",
        )
    return Finding(OK, "clock", f"agrees with both servers ({now:%Y-%m-%d %H:%M:%S} UTC)")


async def _key(found: stack.Stack, log: Log) -> Finding:
    try:
        ring: KeyRing = found.ring()
        known = await identity.stored(log)
    except (CommandError, VaultError) as error:
        step = error.next_step if isinstance(error, CommandError) else "Correct it."
        return Finding(BAD, "secret key", str(error), step)
    if known is not None and known != ring.identity_check:
        return Finding(
            BAD,
            "secret key",
            "the oldest key is not the one this log began with: known numbers would become new"
            " contacts, and opt-outs would be lost.",
            "Put the right key back as the last one.",
        )
    on_record = "" if known else "; not on record yet, `eightms up` puts it there"
    return Finding(OK, "secret key", f"{counted(len(ring.key_ids), 'key')}{on_record}")


async def _services(found: stack.Stack, db: Any, log: Log) -> AsyncGenerator[Finding, None]:
    ports: dict[str, int] = found.facts.get("ports", {}) if found.running else {}
    for service in stack.installed_services():
        try:
            lag = await measure(log, db, service)
        except asyncpg.PostgresError as error:
            yield Finding(BAD, service, f"its tables cannot be read ({type(error).__name__}).")
            continue
        if service in ports and (why := await asyncio.to_thread(_why_not_ready, ports[service])):
            yield Finding(BAD, service, f"is not ready: {why}", "docs/operations.md")
        elif lag.leader is None:
            state = WARNING if found.running else OK
            yield Finding(state, service, "nobody runs it" if lag.position is not None else "new")
        elif lag.pending > BEHIND_MANY:
            behind = counted(lag.pending, "event")
            yield Finding(WARNING, service, f"is {behind} behind", "`eightms lag`: does it grow?")
        else:
            yield Finding(OK, service, f"led by {lag.leader}, at {lag.position:,}")


def _why_not_ready(port: int) -> str | None:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return None if answer.status == 200 else "?"
    except OSError as error:
        read: Any = getattr(error, "read", None)
        if read is None:
            return f"it does not answer on port {port}"
        return str(json.loads(read()).get("why"))
