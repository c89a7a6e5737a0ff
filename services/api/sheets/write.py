"""Contacts as the rows of a CSV file that can be imported again. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from services.api.sheets.cells import escape
from services.api.sheets.columns import CUSTOM, folded

BOM = "\ufeff"  # without it Excel takes the file for one in the machine's old encoding
NAMED_MAX = 250  # custom fields with a column of their own; the rest share one, as JSON
STANDARD = (
    "phone", "first_name", "last_name", "email", "company", "tags", "timezone", "do_not_contact",
    "consent", "created_at", "updated_at", "id",
)  # fmt: skip
_TAG_SEPARATOR = ";"
_SPLITS = re.compile(r'[;,|\n"\[]|:::')
_json = msgspec.json.Encoder()


def tags_cell(tags: Sequence[str]) -> str:
    """Tags in one cell: with ; between them, or as JSON where a tag could be taken apart."""
    if any(_SPLITS.search(tag) or tag != tag.strip() or tag.startswith("* ") for tag in tags):
        return _json.encode(tags).decode()
    return _TAG_SEPARATOR.join(tags)


def line(cells: Iterable[str]) -> str:
    """One row of a file."""
    out = io.StringIO()
    csv.writer(out).writerow([escape(cell) for cell in cells])
    return out.getvalue()


def header(fields: Sequence[str], reserved: frozenset[str]) -> list[str]:
    """The columns of an export; a custom field with a name that is ``reserved`` (folded names mean
    something to an import) says that it is one."""
    named = [
        CUSTOM + name if folded(name) in reserved or name.startswith(CUSTOM) else name
        for name in fields[:NAMED_MAX]
    ]
    return [*STANDARD, *named, *(["custom_fields"] if len(fields) > NAMED_MAX else [])]


def row(contact: Any, fields: Sequence[str]) -> list[str]:
    """A contact (a row of the table) as the cells of an export with these custom fields."""
    custom: dict[str, str] = contact["custom_fields"] or {}
    cells = [
        contact["number"],
        contact["first_name"] or "",
        contact["last_name"] or "",
        contact["email"] or "",
        contact["company"] or "",
        tags_cell(contact["tags"] or ()),
        contact["timezone"] or "",
        "yes" if contact["opted_out"] else "",
        (contact["consent"] or {}).get("state", ""),
        contact["created_at"].isoformat(),
        contact["updated_at"].isoformat(),
        contact["id"],
    ]
    cells += [custom.get(name, "") for name in fields[:NAMED_MAX]]
    if len(fields) > NAMED_MAX:
        rest = set(fields[NAMED_MAX:])
        kept = {name: value for name, value in custom.items() if name in rest}
        cells.append(_json.encode(kept).decode() if kept else "")
    return cells
