"""SQL as text: named statements, migrations, roles, row-level security, pools.

Each service has a schema ``<service>`` of projected tables, which a replay may drop and rebuild,
and a schema ``<service>_vault`` of ``vault_*`` tables, which no replay touches. Statements name
tables without a schema; the search path decides, so the same SQL runs in a rebuild beside the live
tables.

Two roles per service: ``eightms_<service>`` owns and projects, ``eightms_<service>_tenant`` serves
requests under row-level security keyed on ``app.workspace_id``.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable
from importlib import resources
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import msgspec
import structlog

from shared.errors import NewerSchema

OWNER_POOL_MAX = 6
TENANT_POOL_MAX = 10
# Longer than any statement of a service takes: what takes longer has a dead connection.
STATEMENT_TIMEOUT_S = 10
REBUILD_TIMEOUT_S = 300  # beside the live tables, whole tables are read and written
CONNECT_TIMEOUT_S = 5
# A connection is waited for so long; and one whose statement timed out has so long to confirm that
# it was cancelled, before it is closed. A dead one never will.
POOL_TIMEOUT_S = 5
# A prepared statement keeps the plan it was given while the tables were nearly empty, when a
# sequential scan looks cheap. Ours go by an index wherever there is one.
PLANNER = {"jit": "off", "enable_seqscan": "off"}
# The owner's statements find rows by their keys: one plan is right for all values, and planning
# takes longer than running them. A tenant's lists have filters that come and go.
OWNER = {"plan_cache_mode": "force_generic_plan"}
MIGRATION_LOCK = 0x8E5  # one migration at a time in a database; any constant of ours will do
_ID = re.compile(r"[A-Za-z0-9_]{1,64}\Z")
_NAME = re.compile(r"^-- name: (\w+)[^\n]*\n", re.MULTILINE)

UNREACHABLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,  # another connection's process crashed: all begin again
    asyncpg.InsufficientResourcesError,  # disk full, too many connections
    asyncpg.ReadOnlySQLTransactionError,  # a primary that was demoted
    asyncpg.QueryCanceledError,  # timed out; or a cancellation came late and hit the next one
    asyncpg.InternalClientError,  # the connection went away in the middle of a conversation
)

REBUILT = (
    asyncpg.UndefinedTableError,  # dropped: `eightms replay` brings them back
    asyncpg.InvalidSchemaNameError,
    asyncpg.InvalidCachedStatementError,  # swapped for tables with other columns
)
"""The tables went away under a statement: asking again helps, now or after a replay."""

MIGRATION = """
CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, applied_at timestamptz DEFAULT now());
"""

POSITION = """
CREATE TABLE IF NOT EXISTS position (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq bigint NOT NULL DEFAULT 0 CHECK (seq >= 0),
    log_created timestamptz
);
INSERT INTO position DEFAULT VALUES ON CONFLICT DO NOTHING;
"""

SECURE = """
DO $$ DECLARE t text; BEGIN
    FOR t IN SELECT c.table_name FROM information_schema.columns c
               JOIN information_schema.tables i USING (table_schema, table_name)
              WHERE c.table_schema = '{schema}' AND c.column_name = 'workspace_id'
                AND i.table_type = 'BASE TABLE'
                -- Each of these statements locks the whole table, and two of them can lock each
                -- other out with a leader at work: what is secured already is left alone.
                AND (SELECT count(*) FROM pg_policies p WHERE p.schemaname = c.table_schema
                       AND p.tablename = c.table_name AND p.policyname IN ('owner', 'tenant')) < 2
              LOOP
        EXECUTE format('ALTER TABLE {schema}.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE {schema}.%I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('DROP POLICY IF EXISTS owner ON {schema}.%I', t);
        EXECUTE format('DROP POLICY IF EXISTS tenant ON {schema}.%I', t);
        EXECUTE format('CREATE POLICY owner ON {schema}.%I TO {owner} USING (true)', t);
        EXECUTE format('CREATE POLICY tenant ON {schema}.%I TO {tenant} USING '
            || '(workspace_id = current_setting(''app.workspace_id'', true))', t);
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA {schema} TO {tenant};
GRANT {rights} ON ALL TABLES IN SCHEMA {schema} TO {tenant};
"""

# In a vault, what belongs to no workspace is the service's own: no request's role reaches it.
WITHHOLD = """
DO $$ DECLARE t text; BEGIN
    FOR t IN SELECT i.table_name FROM information_schema.tables i
              WHERE i.table_schema = '{schema}' AND NOT EXISTS (
                    SELECT FROM information_schema.columns c
                     WHERE c.table_schema = i.table_schema AND c.table_name = i.table_name
                       AND c.column_name = 'workspace_id')
              LOOP
        EXECUTE format('REVOKE ALL ON {schema}.%I FROM {tenant}', t);
    END LOOP;
END $$;
"""


def queries(package: str) -> SimpleNamespace:
    """A package's statements: each ``-- name: x`` block of ``queries.sql`` as attribute ``x``.

    A service with many has a folder ``queries/`` instead, one file a subject, one name space.
    """
    home = resources.files(package)
    folder = home.joinpath("queries")
    files = sorted(folder.iterdir(), key=str) if folder.is_dir() else [home.joinpath("queries.sql")]
    named: dict[str, str] = {}
    for file in files:
        parts = _NAME.split(file.read_text())[1:]
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            if name in named:
                raise ValueError(f"two statements of {package} are called {name}")
            named[name] = text.strip()
    return SimpleNamespace(**named)


class _Pool(asyncpg.Pool):
    """A pool that waits for nothing without an end, neither for a connection nor to get rid of one.

    asyncpg's own waits for ever where no timeout is given, and release() has that of acquire().
    """

    def acquire(self, *, timeout: float | None = None) -> Any:
        return super().acquire(timeout=POOL_TIMEOUT_S if timeout is None else timeout)

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:
        try:
            await super().release(connection, timeout=timeout)
        except TimeoutError:  # it is dead, and the others went the same way: all are made anew
            await self.expire_connections()
            raise


class Database:
    """The pools of one service on one database.

    ``projecting`` is the owner's as well, with one connection whose commits wait for no disk: what
    a crash of PostgreSQL takes from a projection is read from the log again.
    """

    def __init__(
        self, service: str, owner: asyncpg.Pool, projecting: asyncpg.Pool, tenant: asyncpg.Pool
    ) -> None:
        self.service = service
        self.owner = owner
        self.projecting = projecting
        self._tenant = tenant

    @classmethod
    async def open(cls, url: str, service: str, *, schema: str | None = None) -> Database:
        """Pools as the service's roles, on ``schema`` (default: the service's live one)."""
        path = f"{schema or service}, {service}_vault"

        def pool(role: str, most: int, extra: dict[str, str]) -> Any:
            return _Pool(
                url,
                init_size=1,
                min_size=1,
                max_size=most,
                max_queries=50_000,
                max_inactive_connection_lifetime=0,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=STATEMENT_TIMEOUT_S if schema is None else REBUILD_TIMEOUT_S,
                connect=None,
                setup=None,
                init=_codecs,
                reset=_end_transaction,  # we set nothing outside transactions
                loop=None,
                connection_class=asyncpg.Connection,
                record_class=asyncpg.Record,
                server_settings={"role": role, "search_path": path} | PLANNER | extra,
            )

        owner = await pool(f"eightms_{service}", OWNER_POOL_MAX, OWNER)
        projecting = await pool(f"eightms_{service}", 1, OWNER | {"synchronous_commit": "off"})
        tenant = await pool(f"eightms_{service}_tenant", TENANT_POOL_MAX, {})
        return cls(service, owner, projecting, tenant)

    @contextlib.asynccontextmanager
    async def tenant(
        self, workspace_id: str, *, durable: bool = True
    ) -> AsyncGenerator[asyncpg.Connection]:
        """A transaction that sees and touches the rows of one workspace only.

        Without ``durable`` its commit waits for no disk: a crash of PostgreSQL may undo it.
        """
        if not _ID.match(workspace_id):
            raise ValueError("not an id")
        async with self._tenant.acquire() as connection:
            db = cast(asyncpg.Connection, connection)
            # One round trip: the id is checked above, the simple protocol takes several statements.
            commit = "" if durable else "SET LOCAL synchronous_commit = off; "
            await db.execute(
                f"BEGIN; {commit}SELECT set_config('app.workspace_id', '{workspace_id}', true)"
            )
            try:
                yield db
            except BaseException:
                with contextlib.suppress(*UNREACHABLE):
                    await db.execute("ROLLBACK")
                raise
            await db.execute("COMMIT")

    async def tenant_fetch(self, statement: str, *args: Any) -> list[asyncpg.Record]:
        """The rows of one statement that itself sets whose rows it sees: a single round trip.

        Only for a call of a function that begins with set_config('app.workspace_id', …, true);
        any other statement sees no row.
        """
        return await self._tenant.fetch(statement, *args)

    async def close(self) -> None:
        """Close both pools, at once where a query hangs."""
        for pool in (self.owner, self.projecting, self._tenant):
            try:
                await asyncio.wait_for(pool.close(), 5)
            except TimeoutError:
                pool.terminate()


async def _end_transaction(db: asyncpg.Connection) -> None:
    """What a cancelled request left open ends here; else connections go back as they are."""
    if db.is_in_transaction():
        await db.execute("ROLLBACK")


async def _codecs(db: asyncpg.Connection) -> None:
    def encode(value: Any) -> str:
        return msgspec.json.encode(value).decode()

    for kind in ("json", "jsonb"):
        await db.set_type_codec(
            kind, schema="pg_catalog", encoder=encode, decoder=msgspec.json.decode
        )


async def wait_for_database(url: str, service: str) -> asyncpg.Connection:
    """A connection as the configured user; says that it waits, and waits as long as it takes."""
    log = structlog.get_logger()
    delay_s = 0.1
    while True:
        try:
            return await asyncpg.connect(url, timeout=5)
        except UNREACHABLE as error:
            log.warning("waiting for PostgreSQL", service=service, error=type(error).__name__)
        await asyncio.sleep(delay_s)
        delay_s = min(delay_s * 2, 2.0)


def migrations(service: str, folder: str) -> list[tuple[str, str]]:
    """(name, SQL) of the numbered files in ``services/<service>/<folder>``, in order."""
    root = resources.files(f"services.{service}").joinpath(folder)
    if not root.is_dir():
        return []
    files = sorted((f for f in root.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(f.name, f.read_text()) for f in files]


async def migrate(
    db: asyncpg.Connection,
    service: str,
    *,
    schema: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Bring roles, schema and vault of ``service`` up to this version; NewerSchema if ahead.

    ``schema`` builds the projected tables under another name, for a rebuild beside the live ones.
    """
    target, vault = schema or service, f"{service}_vault"
    owner, tenant = f"eightms_{service}", f"eightms_{service}_tenant"
    await db.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
    try:
        for role in (owner, tenant):
            if not await db.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
                with contextlib.suppress(
                    asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError
                ):
                    await db.execute(f"CREATE ROLE {role} NOLOGIN")
            await db.execute(f"GRANT {role} TO CURRENT_USER")
        for name, folder, rights in (
            (target, "schema", "SELECT"),
            (vault, "vault", "SELECT, INSERT, UPDATE, DELETE"),
        ):
            async with db.transaction():
                await db.execute(f"CREATE SCHEMA IF NOT EXISTS {name} AUTHORIZATION {owner}")
                await db.execute(f"SET LOCAL ROLE {owner}")
                await db.execute(f"SET LOCAL search_path TO {name}, {vault}")
                await db.execute(MIGRATION + (POSITION if folder == "schema" else ""))
                await _apply(db, name, migrations(service, folder), say)
                await db.execute(
                    SECURE.format(schema=name, owner=owner, tenant=tenant, rights=rights)
                )
                if folder == "vault":
                    await db.execute(WITHHOLD.format(schema=name, tenant=tenant))
    finally:
        await db.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)


async def _apply(
    db: asyncpg.Connection, schema: str, files: list[tuple[str, str]], say: Callable[[str], None]
) -> None:
    done = {row["name"] for row in await db.fetch("SELECT name FROM migration")}
    unknown = done - {name for name, _ in files}
    if unknown:
        raise NewerSchema(f"{schema} was migrated by a newer version: {', '.join(sorted(unknown))}")
    for name, text in files:
        if name not in done:
            await db.execute(text)
            await db.execute("INSERT INTO migration (name) VALUES ($1)", name)
            say(f"{schema}: {name}")
