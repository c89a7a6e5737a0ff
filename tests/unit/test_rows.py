"""The rows at hand while a batch is folded, over a database that remembers what it is asked."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from shared import events as e
from shared.rows import Rows, Table, fold
from tests.examples import CONTACT, MESSAGE, PHONE, WORKSPACE, example


class Note(Struct):
    id: str
    body: str
    count: int = 0


class Pair(Struct):
    workspace_id: str
    contact_id: str
    n: int


class Seen(Struct):
    id: str


NOTE = Table("note", Note, by=("message_id",))
PAIR = Table("pair", Pair, ("workspace_id", "contact_id"), by=("workspace_id", "contact_id"))
SEEN = Table("seen", Seen, insert_only=True)


def of_phone(event: e.Event) -> list[tuple[str, ...]]:
    return [(event.data.phone_id,)] if isinstance(event.data, e.PhoneOnline) else []


PHONES = Table("phones", Note, keys=of_phone)


COLUMNS = {table.name: table.columns for table in (NOTE, PAIR, SEEN, PHONES)}


BY_KEY = r" FROM (\w+) t (?:WHERE t\.\w+ = ANY\(\$|JOIN unnest\(\$)(\d+)(::text\[\], )?"


class Database:
    """Answers loads from ``stored`` and remembers what it was told."""

    def __init__(self, **stored: list[tuple[Any, ...]]) -> None:
        self.stored = stored
        self.loads: list[tuple[str, tuple[Any, ...]]] = []
        self.writes: list[tuple[str, tuple[Any, ...]]] = []

    async def fetchrow(self, statement: str, *args: Any) -> list[str | None]:
        """One column a table: its rows as JSON, as PostgreSQL puts them together."""
        found: list[str | None] = []
        self.loads.append((statement, args))
        for table, first, of_pair in re.findall(
            r" FROM (\w+) t (?:WHERE t\.\w+ = ANY\(\$|JOIN unnest\(\$)(\d+)(::text\[\], )?",
            statement,
        ):
            width = 2 if of_pair else 1
            keys = args[int(first) - 1 : int(first) - 1 + width]
            wanted = set(zip(*keys, strict=True))
            rows = [row for row in self.stored.get(table, []) if row[:width] in wanted]
            found.append(json.dumps([dict(zip(COLUMNS[table], row, strict=True)) for row in rows]))
        return found

    async def execute(self, statement: str, *args: Any) -> None:
        self.writes.append((statement, args))

    @property
    def saved(self) -> list[Any]:
        """Rows that were written, one list for each table of each time."""
        return [json.loads(arg) for _, args in self.writes for arg in args if isinstance(arg, str)]


@pytest.fixture
def rows() -> Rows:
    return Rows((NOTE, PAIR, SEEN, PHONES))


# -- what apply does -------------------------------------------------------------------------------


def test_what_is_put_is_there(rows: Rows) -> None:
    assert rows.get(NOTE, "msg_1") is None
    note = rows.put(NOTE, Note("msg_1", "Hi"))
    assert rows.get(NOTE, "msg_1") is note
    assert rows.edit(NOTE, "msg_1") is note
    assert rows.all(NOTE) == [note]


def test_what_is_removed_is_gone_until_it_is_put_again(rows: Rows) -> None:
    rows.put(NOTE, Note("msg_1", "Hi"))
    rows.remove(NOTE, "msg_1")
    assert rows.get(NOTE, "msg_1") is None
    assert rows.edit(NOTE, "msg_1") is None
    assert rows.all(NOTE) == []
    rows.put(NOTE, Note("msg_1", "Again"))
    assert rows.all(NOTE) == [Note("msg_1", "Again")]


def test_a_key_of_several_columns_names_one_row(rows: Rows) -> None:
    rows.put(PAIR, Pair("ws_1", "con_1", 1))
    rows.put(PAIR, Pair("ws_2", "con_1", 2))
    found = rows.get(PAIR, "ws_2", "con_1")
    assert found is not None
    assert found.n == 2


def test_fold_stops_behind_the_event_that_asks_for_a_statement(rows: Rows) -> None:
    seen: list[int] = []

    def apply(at: Rows, seq: int, _: e.Event) -> None:
        seen.append(seq)
        if seq == 3:
            at.then("UPDATE x", "a", 1)

    events = [(n, example(e.SmsSent)) for n in range(1, 6)]
    assert fold(rows, apply, events) == 3
    assert seen == [1, 2, 3]
    assert rows.barrier == ("UPDATE x", ("a", 1))
    rows.barrier = None
    assert fold(rows, apply, events[3:]) == 2


# -- loading ---------------------------------------------------------------------------------------


async def test_the_rows_of_a_batch_come_in_one_statement(rows: Rows) -> None:
    db = Database(note=[(MESSAGE, "Hi", 7)])
    events = [example(e.SendRequested), example(e.SmsSent), example(e.SendHeld)]
    await rows.load(db, events)
    assert len(db.loads) == 1
    assert rows.get(NOTE, MESSAGE) == Note(MESSAGE, "Hi", 7)
    assert rows.get(PAIR, WORKSPACE, CONTACT) is None


async def test_what_is_at_hand_is_not_loaded_again(rows: Rows) -> None:
    db = Database()
    await rows.load(db, [example(e.SendRequested)])
    loads = len(db.loads)
    await rows.load(db, [example(e.SendRequested), example(e.SendHeld)])
    assert len(db.loads) == loads


async def test_keys_may_come_from_a_function(rows: Rows) -> None:
    db = Database(phones=[(PHONE, "x", 1)])
    await rows.load(db, [example(e.PhoneOnline)])
    assert rows.get(PHONES, PHONE) == Note(PHONE, "x", 1)


async def test_a_key_that_is_none_names_no_row(rows: Rows) -> None:
    table = Table("note", Note, by=("phone_id",))
    one = Rows((table,))
    db = Database()
    await one.load(db, [example(e.SendRequested, phone_id=None)])
    assert db.loads == []


async def test_a_row_nobody_asked_for_is_an_error_not_an_absence(rows: Rows) -> None:
    """Else an event that names its row in no field would silently be folded into nothing."""
    db = Database(note=[("msg_other", "there", 1)])
    await rows.load(db, [example(e.SendRequested)])
    with pytest.raises(LookupError, match="note"):
        rows.get(NOTE, "msg_other")
    with pytest.raises(LookupError):
        rows.edit(PHONES, PHONE)
    rows.put(NOTE, Note("msg_other", "new"))
    assert rows.get(NOTE, "msg_other") is not None


async def test_with_empty_tables_nothing_is_asked_for() -> None:
    rows = Rows((NOTE, PAIR), empty=True)
    db = Database()
    await rows.load(db, [example(e.SendRequested)])
    assert db.loads == []
    assert rows.get(NOTE, "msg_other") is None


# -- saving ----------------------------------------------------------------------------------------


async def test_only_what_changed_is_written_once(rows: Rows) -> None:
    db = Database(note=[(MESSAGE, "Hi", 7)])
    await rows.load(db, [example(e.SendRequested)])
    rows.get(NOTE, MESSAGE)
    await rows.save(db)
    assert db.writes == []
    note = rows.edit(NOTE, MESSAGE)
    assert note is not None
    note.count = 8
    rows.put(SEEN, Seen("evt_1"))
    rows.put(SEEN, Seen("evt_1"))
    await rows.save(db)
    assert db.saved == [[{"id": MESSAGE, "body": "Hi", "count": 8}], [{"id": "evt_1"}]]
    assert rows.saved["note"] == {(MESSAGE,): note}
    await rows.save(db)
    assert len(db.writes) == 1


async def test_removed_rows_are_deleted_by_key(rows: Rows) -> None:
    db = Database()
    rows.remove(PAIR, "ws_1", "con_1")
    rows.remove(PAIR, "ws_1", "con_2")
    await rows.save(db)
    statement, args = db.writes[0]
    assert statement.startswith("DELETE FROM pair t ")
    assert [list(column) for column in args] == [["ws_1", "ws_1"], ["con_1", "con_2"]]
    assert rows.saved["pair"] == {("ws_1", "con_1"): None, ("ws_1", "con_2"): None}


async def test_after_a_failure_nothing_is_remembered(rows: Rows) -> None:
    db = Database()
    await rows.load(db, [example(e.SendRequested)])
    rows.put(NOTE, Note(MESSAGE, "lost"))
    rows.hint("a")
    rows.then("UPDATE x")
    rows.forget(all_rows=True)
    await rows.save(db)
    assert db.writes == []
    assert (rows.hints, rows.barrier, rows.saved) == (set(), None, {})
    await rows.load(db, [example(e.SendRequested)])
    assert rows.get(NOTE, MESSAGE) is None


async def test_between_batches_rows_stay_up_to_a_limit() -> None:
    rows = Rows((NOTE,), kept_max=3)
    for n in range(3):
        rows.put(NOTE, Note(f"msg_{n}", ""))
    rows.forget(all_rows=False)
    assert len(rows.all(NOTE)) == 3
    await rows.save(Database())
    rows.put(NOTE, Note("msg_3", ""))
    await rows.save(Database())
    rows.forget(all_rows=False)
    assert rows.all(NOTE) == []


def test_statements_replace_rows_and_leave_insert_only_ones_alone() -> None:
    assert NOTE.save_sql().endswith("DO UPDATE SET body = excluded.body, count = excluded.count")
    assert SEEN.save_sql(3).endswith("$3::text::json) ON CONFLICT (id) DO NOTHING")
    assert SEEN.save_sql(3, "x").endswith("$3::text::json) WHERE x ON CONFLICT (id) DO NOTHING")
    assert "t.id = ANY($1::text[])" in NOTE.load_sql()
    assert "unnest($2::text[], $3::text[]) AS k(workspace_id, contact_id)" in PAIR.load_sql(2)


@given(st.text(alphabet=st.sampled_from("a\x00\\u0\ufffd\"'\n"), max_size=30))
async def test_what_is_written_is_json_that_postgresql_takes(body: str) -> None:
    rows, db = Rows((NOTE,)), Database()
    rows.put(NOTE, Note("msg_1", body))
    await rows.save(db)
    assert db.saved[0][0]["body"] == body.replace("\x00", "\ufffd")


class Tally(Struct):
    id: str
    count: int


TALLY = Table("tally", Tally, adds=("count",))


def test_counts_of_one_row_are_added_up_and_saved_as_an_addition() -> None:
    rows = Rows((TALLY,))
    rows.add(TALLY, Tally("a", 2))
    rows.add(TALLY, Tally("a", -1))
    rows.add(TALLY, Tally("b", 5))
    assert {row.id: row.count for row in rows.all(TALLY)} == {"a": 1, "b": 5}
    assert "SET count = tally.count + excluded.count" in TALLY.save_sql()
