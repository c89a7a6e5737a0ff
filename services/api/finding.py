"""Which way to look for what somebody typed: always a short one, however much there is.

Words are found by their beginnings (search.py). Where few entries begin like that, all of them are
looked at, and the answer is exact. Where many do, their index would give them in the order of the
words, and putting those into the order of the list could mean all of them; but then the list
itself, newest first, soon comes upon some: so many of its rows are looked at for a page (page.py,
SIEVED_MAX).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import phonenumbers

from services.api import paging, search
from services.api.operation import Call

# Entries that may be looked at one by one: each is a step into an index for itself and for each
# further word, 3 µs on an idle machine.
FEW_MAX = 2_000
NEWEST_TEXTS = (
    1_000  # outbound texts whose bodies are read: programs' texts have no words of theirs
)
WRITTEN_MAX = 500  # texts by which conversations are found

Ranges = tuple[list[str], list[str]]


@dataclass(frozen=True, slots=True)
class Search:
    """What was typed, as ranges: words that all must be met, numbers one of which may be instead.

    The first word range is the shortest one. ``broad``: even that has too many entries.
    """

    words: Ranges
    numbers: Ranges
    broad: bool

    @property
    def few(self) -> tuple[Any, ...]:
        """The parameters of a statement that goes from the shortest range."""
        firsts, lasts = self.words
        first, last = (firsts[0], lasts[0]) if firsts else (None, None)
        return (first, last, firsts[1:], lasts[1:], *self.numbers)

    @property
    def many(self) -> tuple[Any, ...]:
        """The parameters of one that goes along the list."""
        return (*self.words, *self.numbers)


async def contacts(call: Call, q: str, tag: str | None = None) -> Search:
    """How to look for contacts; a tag's entry is a word that must be met."""
    workspace = await call.api.workspace(call.workspace_id)
    code = phonenumbers.country_code_for_region(workspace["region"]) or None
    words, numbers = search.ranges(q), search.number_ranges(q, code)
    given = words + ([(tag, tag)] if tag is not None and words else [])
    asked = (*_columns(given), *_columns(numbers))
    rows = await call.api.rows(call, call.api.sql.contact_hits, *asked, FEW_MAX + 1)
    of_words = {row["place"] - 1: row["n"] for row in rows if row["words"]}
    of_numbers = sum(row["n"] for row in rows if not row["words"])
    ordered = sorted(range(len(given)), key=lambda n: of_words[n])
    fewest = of_words[ordered[0]] if ordered else 0
    broad = fewest > FEW_MAX or of_numbers > FEW_MAX
    return Search(_columns([given[n] for n in ordered]), _columns(numbers), broad)


async def texts(call: Call, q: str) -> Search:
    """How to look for texts."""
    words = search.ranges(q)
    asked = _columns(words)
    rows = await call.api.rows(call, call.api.sql.message_hits, *asked, FEW_MAX + 1)
    ordered = sorted(range(len(words)), key=lambda n: rows[n]["n"])
    broad = bool(words) and rows[ordered[0]]["n"] > FEW_MAX
    return Search(_columns([words[n] for n in ordered]), ([], []), broad)


def in_body(q: str) -> list[str]:
    """What a body must contain, in lower case, to be found without an index."""
    return [word for word in q.lower().split() if word][: search.QUERY_WORDS_MAX]


async def written_to(call: Call, q: str) -> list[str]:
    """The contacts with whom such texts were exchanged last."""
    found = await texts(call, q)
    firsts, _ = found.words
    if not firsts:
        return []
    sql = call.api.sql
    if found.broad:
        start = (paging.START.at, paging.START.id)
        rest: tuple[Any, ...] = (in_body(q), None, *start, WRITTEN_MAX, NEWEST_TEXTS)
        rows = await call.api.rows(call, sql.messages_sieved, *rest)
    else:
        rest = (*found.few[:4], in_body(q), NEWEST_TEXTS, WRITTEN_MAX)
        rows = await call.api.rows(call, sql.written_to, *rest)
    return list({row["contact_id"] for row in rows})


def _columns(ranges: list[tuple[str, str]]) -> Ranges:
    return [first for first, _ in ranges], [last for _, last in ranges]
