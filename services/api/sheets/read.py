"""How a CSV file is written, and its rows, from bytes as they come. Pure.

Nobody says which encoding and which separator a file has, so it is found out: the encoding from all
bytes, while they are uploaded; the separator from the first lines. A file is never whole in memory,
and no row makes another one unreadable: where a quote is never closed, that line alone is lost.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from typing import Any

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_CHARS = 64 * 1024
SAMPLE_ROWS = 30
LINE_MAX_CHARS = 1_000_000  # a file without line ends is not a table
_HEAD_BYTES = 4096
_ZEROS_OF_UTF_16 = 0.3  # share of zero bytes on one side, where most letters are of Europe
# So many letters that are right for each byte that is not: a UTF-8 file with some damage, and not
# one of another encoding.
_DAMAGED_RATIO = 10


class Census:
    """Looks at every byte once; afterwards it knows the encoding and the number of lines."""

    def __init__(self) -> None:
        self.lines = 1
        self._head = bytearray()
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = False
        self._wrong = self._right = 0

    def feed(self, data: bytes) -> None:
        """The next bytes of the file."""
        if len(self._head) < _HEAD_BYTES:
            self._head += data[: _HEAD_BYTES - len(self._head)]
        self.lines += data.count(b"\n") or data.count(b"\r")
        if self._pending or not data.isascii():
            self._count(self._utf8.decode(data))
            self._pending = bool(self._utf8.getstate()[0])

    def _count(self, text: str) -> None:
        wrong = text.count("\ufffd")
        self._wrong += wrong
        self._right += len(text) - len(text.encode("ascii", "ignore")) - wrong

    @property
    def encoding(self) -> str:
        """The name of a codec that is told what the file looks like."""
        head = bytes(self._head)
        for mark, name in (
            (codecs.BOM_UTF8, "utf-8-sig"),
            (codecs.BOM_UTF32_LE, "utf-32"),
            (codecs.BOM_UTF32_BE, "utf-32"),
            (codecs.BOM_UTF16_LE, "utf-16"),
            (codecs.BOM_UTF16_BE, "utf-16"),
        ):
            if head.startswith(mark):
                return name
        half = len(head) // 2
        if half and head[1::2].count(0) > half * _ZEROS_OF_UTF_16:
            return "utf-16-le"
        if half and head[0::2].count(0) > half * _ZEROS_OF_UTF_16:
            return "utf-16-be"
        wrong = self._wrong + self._pending
        return "utf-8" if not wrong or wrong * _DAMAGED_RATIO < self._right else "cp1252"


def decoder(encoding: str) -> codecs.IncrementalDecoder:
    """Bytes into text, piece by piece; what cannot be read becomes U+FFFD."""
    made = _Utf16 if encoding == "utf-16" else codecs.getincrementaldecoder(encoding)
    return made("replace")


class _Utf16(codecs.IncrementalDecoder):
    """UTF-16 that may lack its mark: then little-endian, as Excel writes it."""

    def __init__(self, errors: str = "strict") -> None:
        super().__init__(errors)
        self._head = b""
        self._inner: codecs.IncrementalDecoder | None = None

    def decode(self, input: Any, final: bool = False) -> str:  # noqa: A002 - its base's name
        data = input
        if self._inner is None:
            self._head += data
            if len(self._head) < len(codecs.BOM_UTF16_LE) and not final:
                return ""
            marked = self._head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            name = "utf-16" if marked else "utf-16-le"
            self._inner = codecs.getincrementaldecoder(name)(self.errors)
            data = self._head
        return self._inner.decode(data, final)


def separator(sample: str, known: Sequence[str]) -> str:
    """The delimiter of a file that begins like ``sample``: one that makes columns whose names are
    ``known`` (words in lower case) and rows as long as the first one."""
    first = sample.lstrip("\ufeff").lower()
    if first.startswith(("sep=", '"sep=')):  # Excel says it itself
        return first[first.index("=") + 1]
    best, found = (0, 0.0, 0), ","
    for delimiter in DELIMITERS:
        rows = [row for row in _head_rows(sample, delimiter) if row]
        if not rows or len(rows[0]) < 2:
            continue
        names = sum(any(word in cell.lower() for word in known) for cell in rows[0])
        even = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        if (names, even, len(rows[0])) > best:
            best, found = (names, even, len(rows[0])), delimiter
    return found


def _head_rows(sample: str, delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    records = Records(delimiter)
    # The last line of a sample may be cut off in its middle; a short file's has an end.
    whole = sample if len(sample) < SAMPLE_CHARS else sample[: sample.rfind("\n") + 1]
    for row in records.feed(whole, final=True):
        rows.append(row or [])
        if len(rows) == SAMPLE_ROWS:
            break
    return rows


class TooLong(Exception):
    """A line goes on and on: this is no table."""


class _NeedMore(Exception):
    """The lines at hand are used up."""


class _Unclosed(Exception):
    """The file ends within quotes."""


class Records:
    """Rows out of text that comes in pieces. ``count`` is how many rows were given out."""

    def __init__(self, delimiter: str) -> None:
        self.count = 0
        self._lines: list[str] = []
        self._at = self._row_at = 0
        self._tail = ""
        self._final = False
        self._cr = False
        # Where the line object runs out it raises, and the reader begins the row again later.
        self._reader = csv.reader(_Lines(self), delimiter=delimiter)

    def feed(self, text: str, *, final: bool = False) -> Iterator[list[str] | None]:
        """The rows that are whole now, an empty list for an empty line; None for a line that
        cannot be read. Take all of them before the next piece."""
        if not self.count and not self._lines and not self._cr:
            self._cr = "\r" in text[:-1] and "\n" not in text  # written by a very old Macintosh
        if self._cr:
            text = text.replace("\r", "\n")
        *lines, self._tail = (self._tail + text).split("\n")
        self._lines[: self._row_at] = []
        self._at = self._row_at = 0
        self._lines += [line + "\n" for line in lines]
        if final and self._tail:
            self._lines.append(self._tail)
            self._tail = ""
        if len(self._tail) > LINE_MAX_CHARS:
            raise TooLong
        self._final = final
        return self._rows()

    def _rows(self) -> Iterator[list[str] | None]:
        while True:
            try:
                row: list[str] | None = next(self._reader)
            except (_NeedMore, StopIteration):
                self._at = self._row_at
                return
            except (csv.Error, _Unclosed):  # of all its lines only the first is lost
                row = None
                self._at = self._row_at + 1
            self._row_at = self._at
            self.count += 1
            yield row

    def next_line(self) -> str:
        """For the reader."""
        if self._at < len(self._lines):
            self._at += 1
            return self._lines[self._at - 1]
        if not self._final:
            raise _NeedMore
        raise _Unclosed if self._at > self._row_at else StopIteration


class _Lines:
    def __init__(self, records: Records) -> None:
        self._records = records

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        return self._records.next_line()
