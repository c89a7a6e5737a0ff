"""The tables a projection folds events into.

A projection declares its tables; for a batch of events the projector loads the rows they touch with
one statement, calls the pure ``apply`` on every event in order, and saves what changed and the
position with another. So a batch costs two round trips however many events it has, and ``apply`` is
tested without a database.

The whole-row load and save are the only generated SQL in 8ms (``Table.load_sql``, ``save_sql``);
every other statement is text in a ``queries.sql``. Columns that the row struct does not have (an
actor's bookkeeping) are left alone, and are not compared by ``eightms verify``.
"""
# ruff: noqa: S608 - the names of tables and columns come from code, never from data

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from shared.events import Data, Event

R = TypeVar("R", bound=Struct)
Key = tuple[str, ...]
KEPT_ROWS_MAX = 50_000  # rows of a table kept between batches; past it the table starts afresh
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_encode = msgspec.json.Encoder().encode


class Table(Generic[R]):
    """A projected table: its row struct (fields are columns, in order) and its key columns.

    ``by`` names the event fields that hold the key; an event whose data (or envelope, for
    ``workspace_id``) has them all gets that row loaded. ``keys`` adds further rows of an event.
    ``insert_only`` tables are never loaded: a row that is already there stays.
    Nor are tables with ``adds``: these columns are counts, and a saved row is added to the one
    that is there. So a count may belong to something the event does not name.
    """

    def __init__(
        self,
        name: str,
        row: type[R],
        key: tuple[str, ...] = ("id",),
        *,
        by: tuple[str, ...] = (),
        keys: Callable[[Event], Iterable[Key]] | None = None,
        insert_only: bool = False,
        adds: tuple[str, ...] = (),
    ) -> None:
        self.name, self.row, self.key = name, row, key
        self.by, self.keys, self.insert_only, self.adds = by, keys, insert_only, adds
        self.columns = row.__struct_fields__
        self.key_of: Callable[[R], Key] = _tuple_of(key)
        """The key of a row."""

        self.decode = msgspec.json.Decoder(list[row]).decode
        """Rows from what ``load_sql`` gives."""

    def load_sql(self, n: int = 1) -> str:
        """Rows by key, as one JSON array; one array parameter per key column, from ``n`` on."""
        names = ", ".join(f"t.{c}" for c in self.columns)
        if len(self.key) == 1:
            which = f"{self.name} t WHERE t.{self.key[0]} = ANY(${n}::text[])"
        else:
            arrays = ", ".join(f"${n + k}::text[]" for k in range(len(self.key)))
            on = " AND ".join(f"t.{c} = k.{c}" for c in self.key)
            keys = ", ".join(self.key)
            which = f"{self.name} t JOIN unnest({arrays}) AS k({keys}) ON {on}"
        return f"(SELECT json_agg(r)::text FROM (SELECT {names} FROM {which}) r)"

    @cached_property
    def _insert(self) -> tuple[str, str, str]:
        """What stands around the parameter of `save_sql` and its condition."""
        names = ", ".join(self.columns)
        rest = [c for c in self.columns if c not in self.key]
        if self.insert_only or not rest:
            action = "NOTHING"
        else:
            plus = {c: f"{self.name}.{c} + " for c in self.adds}
            action = "UPDATE SET " + ", ".join(f"{c} = {plus.get(c, '')}excluded.{c}" for c in rest)
        return (
            f"INSERT INTO {self.name} ({names}) SELECT {names} "
            f"FROM json_populate_recordset(NULL::{self.name}, $",
            "::text::json)",
            f" ON CONFLICT ({', '.join(self.key)}) DO {action}",
        )

    def save_sql(self, n: int = 1, condition: str = "") -> str:
        """Insert or replace rows given as one JSON array, parameter ``n``."""
        before, behind, conflict = self._insert
        where = f" WHERE {condition}" if condition else ""
        return f"{before}{n}{behind}{where}{conflict}"

    def remove_sql(self, n: int = 1, condition: str = "") -> str:
        """Delete rows by key; one array parameter per key column, from ``n`` on."""
        arrays = ", ".join(f"${n + k}::text[]" for k in range(len(self.key)))
        on = " AND ".join(f"t.{c}::text = k.{c}" for c in self.key)
        keys = ", ".join(self.key)
        on += f" AND {condition}" if condition else ""
        return f"DELETE FROM {self.name} t USING unnest({arrays}) AS k({keys}) WHERE {on}"


class Move(NamedTuple):
    """From which position to which, in which table of positions: compare, then set."""

    seq: int
    reached: int
    tables: int


MOVED = (
    "moved AS (UPDATE position SET seq = $2::bigint "
    "WHERE seq = $1::bigint AND tableoid = $3::oid RETURNING 1)"
)
IF_MOVED = "EXISTS (SELECT FROM moved)"  # makes PostgreSQL move the position before it saves


class Rows:
    """The rows at hand while a batch is folded: all that ``apply`` reads and writes.

    ``empty`` says that the tables hold nothing yet: what is not at hand is not looked for, as long
    as all that was put in is at hand. ``kept_max`` rows of a table stay so between batches.
    """

    def __init__(
        self,
        tables: Iterable[Table[Any]],
        *,
        empty: bool = False,
        kept_max: int = KEPT_ROWS_MAX,
    ) -> None:
        self.tables = tuple(tables)
        self._kept_max = kept_max
        self._whole = {t.name for t in self.tables} if empty else set[str]()
        self._loads = False  # rows come from a database, not from a test alone
        self.hints: set[str] = set()
        self.barrier: tuple[str, tuple[Any, ...]] | None = None
        self.saved: dict[str, dict[Key, Any]] = {}
        self._rows: dict[str, dict[Key, Any]] = {t.name: {} for t in self.tables}
        self._changed: dict[str, dict[Key, Any]] = {t.name: {} for t in self.tables}
        self._plan: dict[type[Data], list[tuple[Table[Any], Callable[[Event], Any]]]] = {}
        self._keyed = [(t, t.keys) for t in self.tables if t.keys is not None]

    # -- for apply -------------------------------------------------------------------------------

    def get(self, table: Table[R], *key: str) -> R | None:
        """The row as it stands, for reading; None if there is none."""
        try:
            return self._rows[table.name][key]
        except KeyError:
            return self._absent(table, key)

    def edit(self, table: Table[R], *key: str) -> R | None:
        """The row, to be changed in place; it will be saved. None if there is none."""
        row = self.get(table, *key)
        if row is not None:
            self._changed[table.name][key] = row
        return row

    @property
    def changed(self) -> Mapping[str, Mapping[Key, Any]]:
        """What the next ``save`` will write: table → key → row (None: deleted)."""
        return self._changed

    def at_hand(self, table: Table[Any], *key: str) -> bool:
        """Whether ``get`` knows: after a batch, of what the batch touched."""
        return key in self._rows[table.name]

    def _absent(self, table: Table[Any], key: Key) -> None:
        """There is no such row, unless nobody looked: then whatever follows from it is wrong."""
        if self._loads and table.name not in self._whole:
            raise LookupError(f"{table.name} {key} is not at hand: its by or keys must name it")

    def put(self, table: Table[R], row: R) -> R:
        """Insert ``row`` or put it in the place of the one with its key."""
        key = table.key_of(row)
        if not table.insert_only:
            self._rows[table.name][key] = row
        self._changed[table.name][key] = row
        return row

    def add(self, table: Table[R], row: R) -> None:
        """Add the counts of ``row`` to those of the row with its key."""
        changed = self._changed[table.name]
        sum_ = changed.setdefault(table.key_of(row), row)
        if sum_ is not row:
            for name in table.adds:
                setattr(sum_, name, getattr(sum_, name) + getattr(row, name))

    def remove(self, table: Table[R], *key: str) -> None:
        """Delete the row, if it is there."""
        self._rows[table.name][key] = None
        self._changed[table.name][key] = None

    def then(self, statement: str, *args: Any) -> None:
        """Run ``statement`` (SQL text) after this event: for one event that moves many rows.

        What was folded so far is saved first, and rows are read again afterwards.
        """
        self.barrier = (statement, args)

    def hint(self, what: str) -> None:
        """Tell every instance of this service what changed (an id), once the batch is committed."""
        self.hints.add(what)

    # -- for the projector -----------------------------------------------------------------------

    def _keys(self, event: Event) -> Iterable[tuple[Table[Any], Key]]:
        data: Data = event.data
        kind = type(data)
        plan = self._plan.get(kind)
        if plan is None:
            plan = self._plan[kind] = self._planned(kind)
        for table, key_of in plan:
            key = key_of(event)
            if None not in key:
                yield table, key
        for table, keys in self._keyed:
            for key in keys(event):
                yield table, key

    def _planned(self, kind: type[Data]) -> list[tuple[Table[Any], Callable[[Event], Any]]]:
        fields = {*kind.__struct_fields__, "workspace_id"}
        return [
            (t, _tuple_of([n if n == "workspace_id" else f"data.{n}" for n in t.by]))
            for t in self.tables
            if t.by and fields.issuperset(t.by)
        ]

    async def load(self, db: Any, events: Iterable[Event]) -> None:
        """Read every row the events touch that is not at hand yet."""
        self._loads = True
        if len(self._whole) == len(self.tables):
            return
        missing: dict[str, set[Key]] = {}
        for event in events:
            for table, key in self._keys(event):
                name = table.name
                if key not in self._rows[name] and name not in self._whole:
                    missing.setdefault(name, set()).add(key)
        tables = [table for table in self.tables if missing.get(table.name)]
        if not tables:
            return
        parts: list[str] = []
        args: list[list[str]] = []
        for table in tables:
            keys = missing[table.name]
            self._rows[table.name].update(dict.fromkeys(keys))
            parts.append(table.load_sql(len(args) + 1))
            args += map(list, zip(*keys, strict=True))
        found = await db.fetchrow(f"SELECT {', '.join(parts)}", *args)
        for table, text in zip(tables, found, strict=True):
            if text is not None:
                rows = table.decode(text)
                self._rows[table.name].update((table.key_of(row), row) for row in rows)

    async def save(self, db: Any, move: Move | None = None) -> bool:
        """Write every changed row, of all tables with one statement: a round trip costs as much.

        With ``move`` the same statement moves the position, or writes nothing: False then.
        """
        parts: list[str] = []
        args: list[Any] = []
        condition = ""
        if move is not None:
            args += move
            condition = IF_MOVED
        for table in self.tables:
            changed = self._changed[table.name]
            if not changed:
                continue
            gone = [key for key, row in changed.items() if row is None]
            kept = [row for row in changed.values() if row is not None]
            if gone:
                parts.append(table.remove_sql(len(args) + 1, condition))
                args += ([str(k) for k in column] for column in zip(*gone, strict=True))
            if kept:
                parts.append(table.save_sql(len(args) + 1, condition))
                args.append(_json(kept))
            self.saved.setdefault(table.name, {}).update(changed)
            changed.clear()
        each = [f"part{n} AS ({part})" for n, part in enumerate(parts)]
        if move is not None:
            each.insert(0, MOVED)
            return bool(
                await db.fetchval(f"WITH {', '.join(each)} SELECT count(*) FROM moved", *args)
            )
        if len(parts) > 1:
            await db.execute(f"WITH {', '.join(each)} SELECT", *args)
        elif parts:
            await db.execute(parts[0], *args)
        return True

    def forget(self, *, all_rows: bool) -> None:
        """Drop what is at hand: everything after a failure, else only tables grown too large."""
        for table in self.tables:
            if all_rows:
                self._changed[table.name].clear()
            if all_rows or len(self._rows[table.name]) > self._kept_max:
                self._rows[table.name].clear()
                self._whole.discard(table.name)
        self.hints.clear()
        self.saved = {}
        self.barrier = None

    def all(self, table: Table[R]) -> list[R]:
        """Every row at hand of ``table``: what a test looks at."""
        rows = {**self._rows[table.name], **self._changed[table.name]}
        return [row for row in rows.values() if row is not None]


def _tuple_of(names: Sequence[str]) -> Callable[[Any], Any]:
    """What reads these attributes (dotted ones too) as a tuple, without a loop in Python."""
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda of: (get(of),)


def _json(rows: list[Any]) -> str:
    """Rows as PostgreSQL takes them: it cannot store U+0000, which JSON and a text may hold."""
    text = _encode(rows).decode()
    return _NUL.sub(r"\1\\ufffd", text) if r"\u0000" in text else text


def fold(
    rows: Rows, apply: Callable[[Rows, int, Event], None], events: list[tuple[int, Event]]
) -> int:
    """Apply events in order until done or until one asks for a statement; how many were applied."""
    for n, (seq, event) in enumerate(events, 1):
        apply(rows, seq, event)
        if rows.barrier is not None:
            return n
    return len(events)
