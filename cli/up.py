"""`eightms up`: everything of 8ms on this machine, as processes under one parent.

PostgreSQL and NATS first (unless theirs are named), then the stream, then the services and the host
of simulated phones side by side. A child that dies is started again. Ctrl-C stops them in the other
order; a second one does not wait. `make run` is this command.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli import first_start, greeting, mail, sign_in, stack
from cli.accounts import NewWorkspace
from cli.deploy import deploy
from cli.embedded import Embedded
from cli.errors import CommandError, UsageError
from cli.fleet import Fleet
from cli.plan import PORT_BASE, SIMULATOR, Plan, check_ports
from cli.render import say
from shared.bus import Bus
from shared.errors import EightMsError
from shared.log import Log
from shared.vault import KeyRing

PHONES_MAX = 10_000
MAIL_SERVERS = ("RESEND_API_KEY", "EIGHTMS_SMTP_URL")
RENEW_SIGNAL = signal.SIGUSR1
"""Tells a running `up` that the secret key in its folder has changed (eightms keys rotate)."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.description = (
        "Start PostgreSQL and NATS (unless DATABASE_URL or NATS_URL name yours), every service, and"
        " a host of simulated phones; keep them running; print how to send the first text. A second"
        " start finds everything as it was."
    )
    stack.data_argument(parser)
    parser.add_argument(
        "--port-base",
        type=int,
        default=PORT_BASE,
        metavar="B",
        help="api listens on B, gateway on B+1, and so on to B+6 (default %(default)s)",
    )
    parser.add_argument(
        "--simulated-phones",
        type=int,
        default=1,
        metavar="N",
        help="pair as many with the first workspace (default %(default)s)",
    )
    parser.add_argument("--only", metavar="SERVICE,…", help="start these services and no other")
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Run until a signal ends it."""
    if not 0 <= args.simulated_phones <= PHONES_MAX:
        raise UsageError(f"--simulated-phones is 0 to {PHONES_MAX:,}.")
    data = args.data.absolute()
    plan = Plan.make(data, args.port_base, args.only, os.environ)
    data.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    with _held(data / stack.LOCK_FILE, data):
        check_ports(plan)
        return await _Up(plan, args.simulated_phones).run()


@contextlib.contextmanager
def _held(path: Path, data: Path) -> Iterator[None]:
    """The data folder is this process's; CommandError if another's."""
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(held, 20).decode().strip()
        os.close(held)
        raise CommandError(
            f"`eightms up` runs on {data} already (process {holder}).",
            "Stop that one, or name another folder with --data DIR and --port-base.",
        ) from None
    os.ftruncate(held, 0)
    os.write(held, f"{os.getpid()}\n".encode())
    try:
        yield
    finally:
        os.close(held)


def report(text: str) -> None:
    """Something worth knowing, with the time of day."""
    say(f"{datetime.now().astimezone():%H:%M:%S} {text}")


class _Up:
    """One run of the command."""

    def __init__(self, plan: Plan, phones: int) -> None:
        self._plan, self._phones = plan, phones
        self._asked = asyncio.Event()  # to stop
        self._renew = asyncio.Event()  # the key
        self._forced = False
        self._kill: list[Callable[[], object]] = []
        self._stage_in_memory: Callable[[], None] = lambda: None  # of a NATS of our own

    async def run(self) -> int:
        """Bring everything up, wait, take everything down. 1 if it was not left to drain."""
        self._listen()
        stack.write_private(self._plan.data / stack.STACK_FILE, {"pid": os.getpid()})
        async with contextlib.AsyncExitStack() as exits:
            if await self._unless_asked(self._bring_up(exits)):
                while await self._unless_asked(self._renew.wait()):
                    self._renew.clear()
                    await self._unless_asked(self._take_new_key())
        report("Stopped." if not self._forced else "Killed. The next start recovers.")
        return 1 if self._forced else 0

    # -- signals ---------------------------------------------------------------------------------

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: the terminal may go
            loop.add_signal_handler(signal.SIGHUP, self._stop)
        loop.add_signal_handler(RENEW_SIGNAL, self._renew.set)

    def _stop(self) -> None:
        if self._asked.is_set():
            self._forced = True
            for kill in self._kill:
                kill()
            return
        report("Stopping: services first, then NATS and PostgreSQL. Again to kill them.")
        self._asked.set()

    async def _unless_asked(self, work: Coroutine[Any, Any, Any]) -> bool:
        """Do ``work``; False if a signal ended it before it was done."""
        doing = asyncio.create_task(work)
        asked = asyncio.create_task(self._asked.wait())
        try:
            await asyncio.wait({doing, asked}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
            return not self._asked.is_set()
        finally:
            for task in (doing, asked):
                task.cancel()
            await asyncio.gather(doing, asked, return_exceptions=True)

    # -- up --------------------------------------------------------------------------------------

    async def _bring_up(self, exits: contextlib.AsyncExitStack) -> None:
        plan, data = self._plan, self._plan.data
        key = first_start.secret_key(data, os.environ.get("EIGHTMS_SECRET_KEY"))
        ring = KeyRing.parse(key)
        database_url, own_url, nats_urls = await self._servers(exits)
        log = await stack.connect_log(nats_urls["ops"])
        exits.push_async_callback(log.close)
        await deploy(log, ring)
        self._stage_in_memory()
        self._fleet = self._make_fleet(own_url, nats_urls, key, exits)
        self._facts = {
            "pid": os.getpid(),
            "database_url": database_url,
            "nats_url": nats_urls["ops"],
            "public_url": plan.public_url,
            "gateway_url": plan.gateway_url,
            "simulator_url": plan.simulator_url,
            "environment": plan.environment,
            "ports": dict(plan.ports),
            "key_ids": ring.key_ids,
        }
        stack.write_private(data / stack.STACK_FILE, self._facts)
        first = await first_start.first_workspace(data, log)
        await self._fleet.ready()
        if first is not None:
            await self._fleet.takes_key(first.api_key)
        phones = await self._simulated_phones(log, first)
        sign_in_url = await self._people(exits, database_url, ring, first)
        print(
            greeting.text(
                public_url=plan.public_url,
                gateway_url=plan.gateway_url,
                environment=plan.environment,
                data=_short(data),
                services=plan.services,
                api_key=first.api_key if first else None,
                sign_in_url=sign_in_url,
                phones=phones,
                now=datetime.now(UTC),
            ),
            flush=True,
        )

    async def _people(
        self,
        exits: contextlib.AsyncExitStack,
        database_url: str,
        ring: KeyRing,
        first: NewWorkspace | None,
    ) -> str | None:
        """A sign-in link for the owner; and mail is printed here where no mail server takes it."""
        plan = self._plan
        if "api" not in plan.services:
            return None
        url = None
        if first is not None:
            db = await stack.connect_database(database_url)
            try:
                url = await sign_in.link(
                    db, ring, plan.public_url, first.email, plan.given.get("SUPABASE_URL")
                )
            finally:
                await db.close()
        if plan.environment == "development" and not any(map(plan.given.get, MAIL_SERVERS)):
            watching = asyncio.create_task(mail.watch(database_url, self._ring, report))
            exits.callback(watching.cancel)
        return url

    def _ring(self) -> KeyRing:
        given = os.environ.get("EIGHTMS_SECRET_KEY")
        return KeyRing.parse(first_start.secret_key(self._plan.data, given))

    async def _servers(self, exits: contextlib.AsyncExitStack) -> tuple[str, str, dict[str, str]]:
        """PostgreSQL for people and for services, and NATS by user: embedded, or as named."""
        plan = self._plan
        database_url, nats_url = plan.given.get("DATABASE_URL"), plan.given.get("NATS_URL")
        own_url = database_url or ""
        nats_urls: dict[str, str] = {}
        if nats_url:
            nats_urls = {name: plan.nats_url_of(name, nats_url) for name in plan.services}
            nats_urls["ops"] = nats_url
        if not (database_url and nats_url):
            servers = await exits.enter_async_context(
                Embedded(plan.data, postgres=not database_url, nats=not nats_url)
            )
            if not nats_url:
                self._stage_in_memory = servers.nats.stage_in_memory
            watching = asyncio.create_task(servers.supervise(report))
            exits.callback(watching.cancel)
            self._kill += [watching.cancel, servers.kill]
            nats_urls = nats_urls or servers.nats_urls
            if not database_url:
                database_url, own_url = servers.database_url, servers.database_socket_url
        assert database_url is not None  # noqa: S101 - named or embedded
        await (await stack.connect_database(database_url)).close()
        return database_url, own_url, nats_urls

    def _make_fleet(
        self, url: str, nats_urls: dict[str, str], key: str, exits: contextlib.AsyncExitStack
    ) -> Fleet:
        plan = self._plan
        environments = {
            name: plan.environment_of(name, url, nats_urls[name], key) for name in plan.services
        }
        fleet = Fleet(plan, environments, report)
        exits.push_async_callback(fleet.stop_simulator)
        exits.push_async_callback(fleet.stop_services)
        self._kill.insert(0, fleet.kill)
        fleet.start()
        return fleet

    async def _simulated_phones(self, log: Log, first: NewWorkspace | None) -> list[str]:
        plan = self._plan
        if SIMULATOR not in plan.ports or first is None:
            return []
        try:
            return await first_start.simulated_phones(
                Bus(log), plan.simulator_url, first.workspace_id, self._phones
            )
        except (EightMsError, CommandError) as error:
            report(f"The simulated phones are not complete: {error}")
            return []

    async def _take_new_key(self) -> None:
        key = first_start.secret_key(self._plan.data, os.environ.get("EIGHTMS_SECRET_KEY"))
        ring = KeyRing.parse(key)
        report(f"The secret key is now {ring.key_ids[0]}: starting the services again with it.")
        await self._fleet.restart_services(key)
        self._facts["key_ids"] = ring.key_ids
        stack.write_private(self._plan.data / stack.STACK_FILE, self._facts)
        report("The services are back.")


def _short(path: Path) -> Path:
    """Relative to here where that is shorter."""
    with contextlib.suppress(ValueError):
        return path.relative_to(Path.cwd())
    return path
