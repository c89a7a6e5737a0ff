"""Spreadsheets of contacts: read whatever way they are written, and written so that they can be
read again."""

import codecs
import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.sheets import people, read, write
from services.api.sheets.cells import escape, unescape
from services.api.sheets.columns import (
    COLUMNS_MAX,
    CUSTOM,
    WORDS,
    BadHeader,
    Column,
    assign,
    ranks,
)
from services.api.sheets.people import Known, Person

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
ZONES = frozenset({"Europe/London"})


def records(text: str, delimiter: str = ",", step: int = 1_000_000) -> list[list[str] | None]:
    found: list[list[str] | None] = []
    reader = read.Records(delimiter)
    for start in range(0, len(text), step):
        found += reader.feed(text[start : start + step])
    return found + list(reader.feed("", final=True))


def encoding(data: bytes, step: int = 3) -> str:
    census = read.Census()
    for start in range(0, len(data), step):
        census.feed(data[start : start + step])
    return census.encoding


# -- reading -------------------------------------------------------------------------------------

CELL = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\r"), max_size=8
) | st.sampled_from(["", '"', "a,b", "two\nlines", '""', '5" pipe'])


@given(st.lists(st.lists(CELL, min_size=2, max_size=4), max_size=6), st.integers(1, 7))
def test_rows_come_back_however_the_file_is_cut_into_pieces(
    rows: list[list[str]], step: int
) -> None:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    assert records(out.getvalue(), step=step) == rows


@given(st.text(st.sampled_from('a,"\n\r;'), max_size=40), st.integers(1, 5))
def test_no_text_stops_the_reader_or_depends_on_the_pieces(text: str, step: int) -> None:
    whole = records(text)
    if not text.startswith("\r") and "\r" not in text:
        assert records(text, step=step) == whole
    assert len(whole) <= text.count("\n") + text.count("\r") + 1


def test_a_quote_that_is_never_closed_loses_its_line_alone() -> None:
    assert records('a,b\n1,"x\n2,y\n3,z\n', step=4) == [["a", "b"], None, ["2", "y"], ["3", "z"]]
    long = "x" * 200_000
    assert records(f'1,"{long}\n2,y\n', step=9_999) == [None, ["2", "y"]]


def test_a_line_without_end_is_no_table() -> None:
    with pytest.raises(read.TooLong):
        records("x" * (read.LINE_MAX_CHARS + 2), step=50_000)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"), ("cp1252", "cp1252"),
    ],
)  # fmt: skip
def test_the_encoding_is_found_out_from_the_bytes(written: str, found: str) -> None:
    text = "phone,name\n4155550101,José Müller\n" * 20
    assert encoding(text.encode(written)) == found
    assert encoding(("phone\n" * 5_000 + "José").encode(written)) == found


def test_one_damaged_letter_does_not_make_another_encoding_of_a_file() -> None:
    good = "Müller, José, Åse\n".encode() * 10
    assert encoding(good + b"\xff\n" + good) == "utf-8"
    assert encoding("é".encode()[:1]) == "cp1252"


def test_lines_are_counted_while_a_file_comes_in() -> None:
    census = read.Census()
    census.feed(b"a\nb\n")
    census.feed(b"c")
    assert census.lines == 3


@pytest.mark.parametrize("delimiter", read.DELIMITERS)
def test_the_separator_is_the_one_that_makes_columns(delimiter: str) -> None:
    others = "".join(d for d in read.DELIMITERS if d != delimiter)
    lines = ["phone", "note"], ["1", f"a{others}b"], ["2", f"{others}{others}"]
    text = "".join(f'{a}{delimiter}"{b}"\n' for a, b in lines)
    assert read.separator(text, WORDS) == delimiter
    assert read.separator(f"sep={delimiter}\n{text}", WORDS) == delimiter
    assert read.separator("phone\n1\n", WORDS) == ","


# -- cells and tags ------------------------------------------------------------------------------


@given(st.text(st.sampled_from("=+-@'\t12a .,"), max_size=6))
def test_a_cell_is_made_harmless_and_comes_back(text: str) -> None:
    cell = escape(text)
    assert unescape(cell) == text
    if cell[:1] in ("=", "+", "-", "@", "\t"):
        assert not any(c.isalpha() or c in "=@'" for c in cell)


TAG = st.text(st.sampled_from("ab ;,|[]\"':*=-"), min_size=1, max_size=6).map(
    lambda tag: " ".join(tag.split())
).filter(bool)  # fmt: skip


@given(st.lists(TAG, unique=True, max_size=4))
def test_tags_come_back_out_of_their_cell(tags: list[str]) -> None:
    cell = escape(write.tags_cell(tags)).strip()
    assert people.split_tags(unescape(cell)) == tags if tags else not cell


# -- columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        (["Given Name", "Family Name", "Phone 1 - Value", "E-mail 1 - Value", "Group Membership"],
         ["first_name", "last_name", "phone", "email", "tags"]),
        (["First Name", "Last Name", "Mobile Phone", "E-mail Address", "Company", "Home Phone"],
         ["first_name", "last_name", "phone", "email", "company", CUSTOM + "Home Phone"]),
        (["Vorname", "Nachname", "Telefon", "Handy", "Firma"],
         ["first_name", "last_name", CUSTOM + "Telefon", "phone", "company"]),
        (["prénom", "nom", "téléphone", "société"],
         ["first_name", "last_name", "phone", "company"]),
        (["NAME", "PHONE_NUMBER", "DND"], ["name", "phone", "do_not_contact"]),
        (["phone", "mobile", "id"], ["phone", CUSTOM + "mobile", "ignore"]),
        (["phone", "Notes", "Notes", ""],
         ["phone", CUSTOM + "Notes", CUSTOM + "Notes 2", "ignore"]),
    ],
)  # fmt: skip
def test_columns_are_known_by_the_names_programs_give_them(
    header: list[str], fields: list[str]
) -> None:
    columns, ignored = assign(header, {})
    assert [column.field for column in columns] == fields
    assert len(ignored) == ("" in header)


def test_a_mapping_says_otherwise_and_is_held_against_the_file() -> None:
    columns, _ = assign(["phone", "Alt", "x"], {"phone": None, "Alt": "phone", "x": "tags"})
    assert [column.field for column in columns] == ["ignore", "phone", "tags"]
    for header, mapping, code in (
        (["phone"], {"fone": "phone"}, "unknown_column"),
        (["a", "b"], {"a": "phone", "b": "phone"}, "column_twice"),
        (["name"], {}, "no_phone_column"),
        (["phone"], {"phone": None}, "no_phone_column"),
        ([f"c{n}" for n in range(COLUMNS_MAX + 1)], {}, "too_many_columns"),
    ):
        with pytest.raises(BadHeader) as refused:
            assign(header, mapping)
        assert refused.value.code == code


# -- people --------------------------------------------------------------------------------------


def person(cells: dict[str, str]) -> Person | list[people.RowError]:
    columns = [Column(name, name) for name in cells]
    return people.read(list(cells.values()), columns, "US", ZONES)


@pytest.mark.parametrize(
    "typed",
    ["(415) 555-0101", "+1 415 555 0101", "'4155550101", '="4155550101"', "4155550101.0",
     "tel:+14155550101", "+14155550101 ::: +14155550102", "  415.555.0101 "],
)  # fmt: skip
def test_numbers_are_read_as_spreadsheets_leave_them(typed: str) -> None:
    found = person({"phone": typed})
    assert isinstance(found, Person)
    assert found.number == "+14155550101"


def test_a_whole_name_is_taken_apart_where_the_parts_are_missing() -> None:
    for name, first, last in (
        ("Ada Lovelace", "Ada", "Lovelace"), ("Ada", "Ada", None),
        ("Lovelace, Ada", "Ada", "Lovelace"), ("Ada Augusta King", "Ada Augusta", "King"),
    ):  # fmt: skip
        found = person({"phone": "4155550101", "name": name})
        assert isinstance(found, Person)
        assert (found.values.get("first_name"), found.values.get("last_name")) == (first, last)


def test_everything_that_is_wrong_with_a_row_is_said_at_once() -> None:
    wrong = person({
        "phone": "12", "email": "nobody", "first_name": "x" * 200, "timezone": "Mars",
        "custom_fields.note": "x" * 2000, "custom_fields": "no json",
    })  # fmt: skip
    assert isinstance(wrong, list)
    assert {one.field for one in wrong} == {
        "phone", "email", "first_name", "timezone", "custom_fields.note", "custom_fields",
    }  # fmt: skip
    for value in ("", "4.15556E+09"):
        (only,) = person({"phone": value, "first_name": "Ada"})  # type: ignore[misc]
        assert only.field == "phone"


def test_an_empty_cell_takes_nothing_away_and_nobody_is_opted_in() -> None:
    known = Known(True, True, {"first_name": "Ada", "company": "Engines"}, ["a"], {"x": "1"})
    found = person({"phone": "4155550101", "first_name": "", "company": "New", "tags": "b;a"})
    assert isinstance(found, Person)
    after = people.merged(known, found)
    assert after == Known(
        True, True, {"first_name": "Ada", "company": "New"}, ["a", "b"], {"x": "1"}
    )


def test_a_merge_that_would_be_too_much_is_refused() -> None:
    known = Known(True, False, {}, [f"t{n}" for n in range(50)], {})
    found = person({"phone": "4155550101", "tags": "one more"})
    assert isinstance(found, Person)
    errors = people.merged(known, found)
    assert isinstance(errors, list)
    assert errors[0].field == "tags"


# -- out and in again ----------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=10)
CONTACT = st.fixed_dictionaries(
    {
        "number": st.integers(2_000_000, 9_999_999).map(lambda n: f"+1415{n}"),
        "first_name": st.none() | TEXT,
        "last_name": st.none() | TEXT,
        "company": st.none() | TEXT,
        "email": st.none() | st.just("ada@example.com"),
        "timezone": st.none() | st.just("Europe/London"),
        "tags": st.lists(TEXT, unique=True, max_size=3),
        "custom_fields": st.dictionaries(TEXT | st.sampled_from(sorted(ranks())), TEXT, max_size=3),
        "opted_out": st.booleans(),
    }
)


@given(CONTACT)
def test_an_exported_contact_is_the_same_when_it_is_imported(contact: dict[str, Any]) -> None:
    names = sorted(contact["custom_fields"])
    row = {**contact, "consent": None, "created_at": AT, "updated_at": AT, "id": "con_1"}
    text = write.line(write.header(names, frozenset(ranks())))
    text += write.line(write.row(row, names))
    header, cells = records(text)
    assert header is not None
    assert cells is not None
    columns, ignored = assign(header, {})
    assert not ignored
    found = people.read(cells, columns, "US", ZONES)
    assert isinstance(found, Person), found
    assert (found.number, found.opted_out) == (contact["number"], contact["opted_out"])
    assert (found.tags, found.custom_fields) == (contact["tags"], contact["custom_fields"])
    values = {name: contact[name] for name in people.EDITED if contact[name] is not None}
    assert found.values == values


def test_more_custom_fields_than_columns_share_one() -> None:
    names = [f"field {n}" for n in range(write.NAMED_MAX + 2)]
    row = {
        "number": "+14155550101", "first_name": None, "last_name": None, "email": None,
        "company": None, "tags": None, "timezone": None, "opted_out": False, "consent": None,
        "created_at": AT, "updated_at": AT, "id": "con_1",
        "custom_fields": {names[0]: "first", names[-1]: "last"},
    }  # fmt: skip
    header, cells = write.header(names, frozenset(ranks())), write.row(row, names)
    assert (header[-1], cells[-1]) == ("custom_fields", '{"field 251":"last"}')
    columns = [Column(name, field) for name, field in zip(header, header, strict=True)]
    kept = [(c, Column(n, CUSTOM + n if n.startswith("field") else f))
            for c, (n, f) in zip(cells, columns, strict=True)
            if n in ("phone", "custom_fields") or n.startswith("field")]  # fmt: skip
    found = people.read([c for c, _ in kept], [column for _, column in kept], "US", ZONES)
    assert isinstance(found, Person)
    assert found.custom_fields == row["custom_fields"]


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF16_LE])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_utf_16_is_read_with_and_without_its_mark(mark: bytes, size: int) -> None:
    data = mark + "phone;naïve\n".encode("utf-16-le")
    decoder = read.decoder("utf-16")
    pieces = [data[n : n + size] for n in range(0, len(data), size)]
    assert "".join(map(decoder.decode, pieces)) + decoder.decode(b"", True) == "phone;naïve\n"
