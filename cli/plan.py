"""What `eightms up` is going to run: which services, on which ports, with which environment."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit, urlunsplit

import psutil

from cli import stack
from cli.errors import CommandError, UsageError
from cli.nats_permissions import SERVICES, password_variable

SIMULATOR = "simphone"
OUTWARD = ("api", "gateway", "ghl_sync")
"""Who is reached from other machines; the others answer health and metrics on loopback."""

LOOPBACK = "127.0.0.1"
PORT_BASE = 8080
PORT_BASE_MAX = 65_535 - len(SERVICES)
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")


@dataclass(frozen=True)
class Plan:
    """``ports`` holds every service that runs, and the simulated phones' control port."""

    data: Path
    ports: Mapping[str, int]
    host: str
    environment: str
    public_url: str
    gateway_url: str
    given: Mapping[str, str]

    @classmethod
    def make(cls, data: Path, base: int, only: str | None, env: Mapping[str, str]) -> Self:
        """From the arguments and the environment. UsageError: one of them cannot be used."""
        if not 1 <= base <= PORT_BASE_MAX:
            raise UsageError(f"--port-base is 1 to {PORT_BASE_MAX}.")
        services = _chosen(only)
        ports = {name: base + n for n, name in enumerate(SERVICES) if name in services}
        if "gateway" in services:
            ports[SIMULATOR] = base + len(SERVICES)
        embedded = not (env.get("DATABASE_URL") or env.get("NATS_URL"))
        return cls(
            data=data,
            ports=ports,
            host=env.get("EIGHTMS_HOST") or LOOPBACK,
            environment=env.get("EIGHTMS_ENV") or ("development" if embedded else "production"),
            public_url=env.get("EIGHTMS_PUBLIC_URL") or f"http://{LOOPBACK}:{base}",
            gateway_url=env.get("EIGHTMS_GATEWAY_URL") or f"http://{LOOPBACK}:{base + 1}",
            given=env,
        )

    @property
    def services(self) -> list[str]:
        """The services that run."""
        return [name for name in self.ports if name != SIMULATOR]

    @property
    def simulator_url(self) -> str:
        """Where the host of simulated phones is controlled; empty if there is none."""
        port = self.ports.get(SIMULATOR)
        return f"http://{LOOPBACK}:{port}" if port else ""

    def environment_of(
        self, service: str, database_url: str, nats_url: str, secret_key: str
    ) -> dict[str, str]:
        """What ``service`` is told: everything given, and what only this start knows."""
        own = {
            "DATABASE_URL": database_url,
            "NATS_URL": nats_url,
            "EIGHTMS_SECRET_KEY": secret_key,
            "EIGHTMS_HOST": self.host if service in OUTWARD else LOOPBACK,
            "EIGHTMS_PORT": str(self.ports[service]),
            "EIGHTMS_ENV": self.environment,
            "EIGHTMS_PUBLIC_URL": self.public_url,
            "EIGHTMS_GATEWAY_URL": self.gateway_url,
            "EIGHTMS_SIMULATOR_URL": self.given.get("EIGHTMS_SIMULATOR_URL") or self.simulator_url,
        }
        return importable(dict(self.given)) | own

    def nats_url_of(self, service: str, url: str) -> str:
        """A NATS of one's own, as this service's user where NATS_<USER>_PASSWORD is set."""
        password = self.given.get(password_variable(service))
        if not password:
            return url
        parts = urlsplit(url)
        where = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{service}:{quote(password, safe='')}@{where}"))


def importable(env: dict[str, str]) -> dict[str, str]:
    """``env``, in which this checkout's packages are found from any folder."""
    root = str(Path(__file__).parents[1])
    return env | {"PYTHONPATH": ":".join(filter(None, (root, env.get("PYTHONPATH"))))}


def simulator_environment(env: Mapping[str, str]) -> dict[str, str]:
    """What the simulated phones see: no secret of the services."""
    return importable({name: env[name] for name in PASSED_ON if name in env})


def _chosen(only: str | None) -> list[str]:
    known = stack.installed_services()
    if only is None:
        return known
    chosen = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        names = ", ".join(unknown) or repr(only)
        raise UsageError(f"There is no service {names}.", f"Services: {', '.join(known)}.")
    return chosen


def check_ports(plan: Plan) -> None:
    """CommandError names the first port that somebody else has, and who if that can be seen."""
    for name, port in plan.ports.items():
        host = plan.host if name in OUTWARD else LOOPBACK
        try:
            _try(host, port)
        except PermissionError:
            raise UsageError(
                f"Port {port} (for {name}) may be opened by root only.",
                "Use a --port-base of 1024 on.",
            ) from None
        except OSError as error:
            raise CommandError(
                f"Port {port} on {host} (for {name}) is not free{_holder(port)}: {error.strerror}.",
                "Stop what uses it, or choose other ports: --port-base 9080.",
            ) from None


def _try(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        probe.listen(1)


def _holder(port: int) -> str:
    try:
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr[1:2] == (port,) and one.pid:
                return f", {psutil.Process(one.pid).name()} (process {one.pid}) has it"
    except psutil.Error:
        pass
    return ""
