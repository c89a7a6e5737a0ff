"""Cells that a spreadsheet would run, and how it is kept from that. Pure.

A spreadsheet runs a cell that begins with = + - or @. Such a cell gets an apostrophe, which the
spreadsheet shows as text and an import takes away again; a phone number, of digits and signs alone,
is left as it is.
"""

from __future__ import annotations

import re

_RUNS = re.compile(r"'*[=+\-@\t\r]")
_HARMLESS = re.compile(r"[+-]?[\d\s().,/-]*")


def escape(text: str) -> str:
    """A cell that no spreadsheet runs."""
    return "'" + text if _RUNS.match(text) and not _HARMLESS.fullmatch(text) else text


def unescape(cell: str) -> str:
    """What ``escape`` was given."""
    return cell[1:] if cell.startswith("'") and _RUNS.match(cell) else cell
