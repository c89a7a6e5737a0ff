"""A row of a spreadsheet as a contact, or what is wrong with it. Pure.

A row is taken whole or not at all: what is wrong is listed, mended and uploaded again, and since
rows are merged into who is known, uploading again does no harm. An empty cell says nothing; it
never takes away what is known, and nothing in a file opts anybody in.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import pydantic

from services.api import decide
from services.api.shapes.contacts import ContactRequest
from services.api.sheets.cells import unescape
from services.api.sheets.columns import CUSTOM, Column
from services.api.validation import field_errors

TRUE = frozenset({"1", "true", "yes", "y", "x", "t", "on", "ja", "si", "sí", "oui", "sim",
                  "opted_out", "opted out", "active", "permanent", "dnd"})  # fmt: skip
EDITED = ("first_name", "last_name", "email", "company", "timezone")
_TAG_ENDS = re.compile(r"[;,|\n]|:::")
_SCIENTIFIC = re.compile(r"\+?\d[.,]\d+[eE]\+?\d+")
_WHOLE_AS_DECIMAL = re.compile(r"(\+?\d{6,})[.,]0+")
_FORMULA = re.compile(r'="?([^"]*)"?')
_BLANKS = re.compile(r"\s+")


class RowError(NamedTuple):
    """What is wrong with a cell."""

    field: str
    code: str
    detail: str


@dataclass(slots=True)
class Person:
    """What a row says about somebody."""

    number: str
    values: dict[str, str]
    tags: list[str]
    custom_fields: dict[str, str]
    opted_out: bool


@dataclass(slots=True)
class Known:
    """What is known about that somebody; all empty if nothing is."""

    saved: bool = False
    opted_out: bool = False
    values: dict[str, str] = field(default_factory=dict[str, str])
    tags: list[str] = field(default_factory=list[str])
    custom_fields: dict[str, str] = field(default_factory=dict[str, str])


def read(
    cells: Sequence[str], columns: Sequence[Column], region: str, zones: Collection[str]
) -> Person | list[RowError]:
    """The person of a row, or everything that is wrong with it."""
    if any(cell.strip() for cell in cells[len(columns) :]):
        detail = (
            f"The row has {len(cells)} cells and the file {len(columns)} columns. "
            "A cell that holds a separator must be in quotes."
        )
        return [RowError("", "too_many_cells", detail)]
    given: dict[str, Any] = {"custom_fields": {}, "tags": []}
    errors: list[RowError] = []
    for cell, column in zip(cells, columns, strict=False):
        text = _BLANKS.sub(" ", unescape(cell).strip()) if column.field != "tags" else cell.strip()
        if not text or column.field == "ignore":
            continue
        if "\ufffd" in text:
            detail = "Some characters cannot be read. Save the file as UTF-8."
            errors.append(RowError(column.field, "unreadable", detail))
            continue
        _put(given, column.field, text, errors)
    opted_out = given.pop("do_not_contact", "").casefold() in TRUE
    _split_name(given)
    if "phone" not in given:
        if not any(e.field == "phone" for e in errors):
            errors.append(RowError("phone", "missing", "There is no phone number."))
        given["phone"] = "-"
        return errors + [one for one in _validated(given) if one.field != "phone"]
    errors += _validated(given)
    number = decide.number(given["phone"], region, "#/phone")
    if isinstance(number, dict):
        errors.append(RowError("phone", number["code"], number["detail"]))
    zone_errors = decide.zone_errors(given.get("timezone"), zones)
    errors += [RowError("timezone", one["code"], one["detail"]) for one in zone_errors]
    if errors or isinstance(number, dict):
        return errors
    values = {name: given[name] for name in EDITED if name in given}
    return Person(number, values, given["tags"], given["custom_fields"], opted_out)


def _put(given: dict[str, Any], field: str, text: str, errors: list[RowError]) -> None:
    if field.startswith(CUSTOM):
        given["custom_fields"][field.removeprefix(CUSTOM)] = text
    elif field == "tags":
        given["tags"] = split_tags(unescape(text))
    elif field == "custom_fields":
        try:
            given["custom_fields"] |= msgspec.json.decode(text, type=dict[str, str])
        except msgspec.DecodeError:
            detail = "It must be a JSON object of texts."
            errors.append(RowError(field, "invalid", detail))
    elif field == "phone":
        if _SCIENTIFIC.fullmatch(text):
            detail = (
                "A spreadsheet has shortened the number. Format the column as text and fill the "
                "number in again."
            )
            errors.append(RowError(field, "shortened_number", detail))
        else:
            given[field] = typed_number(text)
    else:
        given[field] = text


def typed_number(text: str) -> str:
    """A number without what spreadsheets and address books put around it."""
    text = text.partition(":::")[0].strip()  # Google's several numbers of one person
    if (formula := _FORMULA.fullmatch(text)) is not None:
        text = formula[1]
    if (decimal := _WHOLE_AS_DECIMAL.fullmatch(text)) is not None:
        text = decimal[1]
    return text.removeprefix("tel:").lstrip("'").strip()


def split_tags(cell: str) -> list[str]:
    """The tags in a cell: a JSON list, or with ; , | or a line's end between them."""
    if cell.startswith("["):
        try:
            return list(dict.fromkeys(msgspec.json.decode(cell, type=list[str])))
        except msgspec.DecodeError:
            pass  # a tag that begins with [
    parts = (_BLANKS.sub(" ", part).strip() for part in _TAG_ENDS.split(cell))
    bare = (part.removeprefix("* ").strip() for part in parts)  # Google's own groups
    return list(dict.fromkeys(part for part in bare if part))


def _split_name(given: dict[str, Any]) -> None:
    """A whole name into first and last, as far as the file does not have these itself."""
    whole = given.pop("name", None)
    if whole is None or "first_name" in given or "last_name" in given:
        return
    first, _, last = whole.rpartition(" ")
    if "," in whole:  # Lovelace, Ada
        last, _, first = (part.strip() for part in whole.partition(","))
    given |= {"first_name": first or last} | ({"last_name": last} if first else {})


def _validated(given: Mapping[str, Any]) -> list[RowError]:
    """What the API itself would say to these values."""
    try:
        ContactRequest.model_validate(given)
    except pydantic.ValidationError as error:
        return [
            RowError(_field(entry["pointer"]), entry["code"], entry["detail"])
            for entry in field_errors(error)
        ]
    return []


def _field(pointer: str) -> str:
    parts = pointer.removeprefix("#/").split("/")
    return CUSTOM + parts[1] if parts[0] == "custom_fields" and len(parts) > 1 else parts[0]


def same(first: Person, second: Person) -> Person:
    """Two rows of one number as one: what the later one says is what counts."""
    return Person(
        first.number,
        first.values | second.values,
        list(dict.fromkeys([*first.tags, *second.tags])),
        first.custom_fields | second.custom_fields,
        first.opted_out or second.opted_out,
    )


def merged(known: Known, person: Person) -> Known | list[RowError]:
    """Who is known, with what the file says; or why it would be too much."""
    wanted = Known(
        saved=True,
        opted_out=known.opted_out or person.opted_out,
        values=known.values | person.values,
        tags=list(dict.fromkeys([*known.tags, *person.tags])),
        custom_fields=known.custom_fields | person.custom_fields,
    )
    errors = decide.contact_errors(wanted.tags, wanted.custom_fields, None, ())
    if errors:
        return [RowError(_field(one["pointer"]), one["code"], one["detail"]) for one in errors]
    return wanted
