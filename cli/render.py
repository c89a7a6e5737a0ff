"""How commands speak: tables, times, progress, and what is not shown.

Results go to standard output, everything about the way there to standard error, so that output can
be piped. On a terminal progress is a bar; elsewhere it is a line now and then.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Self, TextIO

BAR_WIDTH = 24
REDRAW_S = 0.1  # a person sees no more
LINE_S = 5.0  # between two lines of progress in a log
_WORD = re.compile(r"[a-z][a-z0-9_.]{0,39}\Z")
_ID = re.compile(r"[a-z]{2,4}_[0-9A-Z]{26}\Z")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")
PRIVATE = re.compile(
    r"(^|_)(body|text|to|from|sender|number|numbers|name|label|email|company|url|description|"
    r"detail|response|fields|tags|word|hash|note|title)(_|$)"
)
"""Fields and columns that may hold what a person wrote, a number, or where somebody is reached."""


def say(text: str = "") -> None:
    """A line about what is going on, for the person; never part of a result."""
    print(text, file=sys.stderr, flush=True)


def table(rows: Iterable[Sequence[object]], head: Sequence[str]) -> str:
    """Aligned columns under their heads; numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(h), *(len(row[n]) for row in cells)]) for n, h in enumerate(head)]
    right = [bool(cells) and all(_numeric(row[n]) for row in cells) for n in range(len(head))]
    lines = [
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [list(head), *cells]
    ]
    return "\n".join(lines)


def _cell(value: object) -> str:
    match value:
        case None:
            return "–"
        case datetime():
            return moment(value)
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def _numeric(text: str) -> bool:
    return text in ("", "–") or text.replace(",", "").replace(".", "").removeprefix("+").isdigit()


def moment(at: datetime, *, milliseconds: bool = False) -> str:
    """A time in UTC as people read it."""
    text = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{text}.{at.microsecond // 1000:03d}" if milliseconds else text


def span(seconds: float) -> str:
    """A duration: `850 ms`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} days"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 event`, `12,000 events`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def masked(field: str, value: Any) -> str:
    """A value as far as it may be seen: numbers, times, ids, our own words; else its length."""
    match value:
        case None | bool() | int() | float():
            return "none" if value is None else str(value).lower()
        case datetime():
            return moment(value, milliseconds=True)
        case str() if _ID.match(value) or _TIME.match(value):
            return value
        case str() if _WORD.match(value) and not PRIVATE.search(field):
            return value
        case str():
            return f"‹{counted(len(value), 'character')}›"
        case list() | tuple():
            return "[" + ", ".join(masked(field, one) for one in value) + "]"
        case dict():
            return f"‹{counted(len(value), 'field')}›"
        case _:
            return f"‹{type(value).__name__}›"


class Progress:
    """How far a long piece of work is, on standard error. Use it in a `with` block."""

    def __init__(self, what: str, total: int, unit: str = "events") -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._out: TextIO = sys.stderr
        self._terminal = self._out.isatty()
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        if self._terminal:
            self._show()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._terminal:
            self._show()
            self._out.write("\n")
        elif kind is None:
            say(f"{self.what}: {self.done:,} {self.unit} in {span(self.seconds)}{self._rate()}")

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def add(self, number: int) -> None:
        """So many more are done."""
        self.at(self.done + number)

    def at(self, done: int) -> None:
        """So many are done in all; there may be more than were expected."""
        self.done = done
        self.total = max(self.total, done)
        now = time.monotonic()
        if now - self._shown >= (REDRAW_S if self._terminal else LINE_S):
            self._shown = now
            self._show()

    def _show(self) -> None:
        share = self.done / self.total if self.total else 1.0
        counts = f"{self.done:,} of {self.total:,} {self.unit}"
        if not self._terminal:
            say(f"{self.what}: {share:.0%}, {counts}{self._rate()}")
            return
        full = int(share * BAR_WIDTH)
        bar = "█" * full + "░" * (BAR_WIDTH - full)
        line = f"{self.what} {bar} {share:4.0%}  {counts}{self._rate()}{self._left(share)}"
        width = shutil.get_terminal_size().columns - 1
        self._out.write(f"\r\x1b[K{line[:width]}")
        self._out.flush()

    def _rate(self) -> str:
        return f", {self.done / self.seconds:,.0f}/s" if self.seconds >= 1 and self.done else ""

    def _left(self, share: float) -> str:
        if share >= 1 or self.seconds < 3 or not self.done:
            return ""
        return f", {span(self.seconds / share - self.seconds)} left"
