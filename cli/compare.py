"""The same tables in two schemas, compared row by row by the database.

Each side hashes its rows into buckets; only buckets that differ are read. So tables of any size are
compared in the time it takes to read them, and equal ones send a few thousand numbers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.render import masked
from shared.rows import Table

BUCKETS = 4096
FOUND_MAX = 1_000
"""Differing rows described; more of them say no more."""

Side = tuple[Any, str]
"""A connection and the schema to look at."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not the same: what is where, values masked (cli.render.masked)."""

    table: str
    key: str
    columns: Mapping[str, tuple[str, str]]  # column → (live, from the log)
    only: str | None = None  # "live" or "log", where the row is on one side alone

    def __str__(self) -> str:
        if self.only == "live":
            return f"{self.table} {self.key}: in the live tables, not in the log"
        if self.only == "log":
            return f"{self.table} {self.key}: missing in the live tables"
        pairs = (
            f"{name} is {live}, the log says {log}" for name, (live, log) in self.columns.items()
        )
        return f"{self.table} {self.key}: {'; '.join(pairs)}"

    def document(self) -> dict[str, Any]:
        """For --json."""
        columns = {n: {"live": live, "log": log} for n, (live, log) in self.columns.items()}
        return {"table": self.table, "key": self.key, "only": self.only, "columns": columns}


async def differences(
    tables: Sequence[Table[Any]], live: Side, new: Side
) -> tuple[list[Difference], int]:
    """Every row that differs (up to FOUND_MAX), and how many rows the live tables have."""
    found: list[Difference] = []
    rows = 0
    for table in tables:
        ours, theirs = await asyncio.gather(_buckets(table, live), _buckets(table, new))
        rows += sum(count for count, _ in ours.values())
        suspects = [n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n)]
        for bucket in sorted(suspects):
            if len(found) >= FOUND_MAX:
                return found, rows
            pair = await asyncio.gather(_read(table, live, bucket), _read(table, new, bucket))
            found += _describe(table, *pair)
    return found, rows


def _bucket_of(table: Table[Any]) -> str:
    key = " || '/' || ".join(f"{column}::text" for column in table.key)
    return f"hashtext({key}) & {BUCKETS - 1}"


def _as_text(column: str) -> str:
    """One text for one value, whatever the column's type: json has that only as jsonb."""
    return f"to_jsonb({column})::text"


async def _buckets(table: Table[Any], side: Side) -> dict[int, tuple[int, int]]:
    """Bucket → (rows, sum of their hashes)."""
    db, schema = side
    row = " || '|' || ".join(f"coalesce({_as_text(column)}, '-')" for column in table.columns)
    records = await db.fetch(
        f"SELECT {_bucket_of(table)} AS bucket, count(*) AS rows,"  # noqa: S608 - our own names
        f" sum(hashtextextended({row}, 0)::numeric)::text AS hashes"
        f" FROM {schema}.{table.name} GROUP BY bucket"
    )
    return {r["bucket"]: (r["rows"], int(r["hashes"])) for r in records}


async def _read(table: Table[Any], side: Side, bucket: int) -> dict[str, Row]:
    """Key → row of one bucket."""
    db, schema = side
    columns = ", ".join(f"{_as_text(column)} AS {column}" for column in table.columns)
    records = await db.fetch(
        f"SELECT {columns} FROM {schema}.{table.name}"  # noqa: S608 - as above
        f" WHERE ({_bucket_of(table)}) = $1",
        bucket,
    )
    return {"/".join(str(r[c]) for c in table.key): r for r in records}


def _describe(table: Table[Any], live: dict[str, Row], new: dict[str, Row]) -> list[Difference]:
    out: list[Difference] = []
    for key in sorted(live.keys() | new.keys()):
        ours, theirs = live.get(key), new.get(key)
        shown = _shown_key(table, ours or theirs or {})
        if ours is None or theirs is None:
            out.append(Difference(table.name, shown, {}, "log" if ours is None else "live"))
            continue
        columns = {
            name: (_shown(name, ours[name]), _shown(name, theirs[name]))
            for name in table.columns
            if ours[name] != theirs[name]
        }
        if columns:
            out.append(Difference(table.name, shown, columns))
    return out


def _shown_key(table: Table[Any], row: Row) -> str:
    return "/".join(_shown(column, row[column]) for column in table.key)


def _shown(column: str, text: str | None) -> str:
    return masked(column, None if text is None else json.loads(text))
