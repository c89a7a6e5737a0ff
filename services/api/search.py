"""How people and texts are found by what somebody types: words, folded alike on both sides. Pure.

"José García-López" is found by "jos", "garcia" and "lop jo"; a tag by itself, exactly. A query of
digits is a phone number, from its beginning.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

WORDS_MAX = 24  # of one contact: names, company and address have fewer; the rest is not indexed
BODY_WORDS_MAX = 60  # of one text: those of four parts
WORD_MAX_CHARS = 40  # longer ones are found by their beginning
QUERY_WORDS_MAX = 5  # of what is typed; more would not narrow it down further
TAG_SIGN = "#"  # no folded word begins with it
LAST = "\U0010ffff"  # sorts behind everything that goes on after a prefix

_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\+?[\d\s().\-/]*\d[\d\s().\-/]*")


def words(text: str) -> list[str]:
    """The words of ``text``, each once: without case, accents and punctuation."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return list(dict.fromkeys(w[:WORD_MAX_CHARS] for w in _WORD.findall(bare.casefold())))


def index(texts: Iterable[str | None], tags: Iterable[str]) -> set[str]:
    """Everything a contact with these names and tags is listed under."""
    found = words(" ".join(text for text in texts if text))[:WORDS_MAX]
    return {*found, *(tag_word(tag) for tag in tags)}


def tag_word(tag: str) -> str:
    """How a tag is listed."""
    return TAG_SIGN + tag


def ranges(query: str) -> list[tuple[str, str]]:
    """For each word typed, the first and last entry it may be the beginning of."""
    return [(word, word + LAST) for word in words(query)[:QUERY_WORDS_MAX]]


def number_ranges(query: str, country_code: int | None) -> list[tuple[str, str]]:
    """The numbers that begin with the digits typed; none when it is not a number.

    Without + it may be a national number of the workspace's country, or leave the + out.
    """
    if _NUMBER.fullmatch(query.strip()) is None:
        return []
    digits = re.sub(r"\D", "", query)
    starts = [f"+{digits}"]
    if not query.strip().startswith("+"):
        starts.append(digits)  # short codes are kept without +
        if country_code is not None:
            starts.append(f"+{country_code}{digits.removeprefix('0')}")
    return [(start, start + LAST) for start in dict.fromkeys(starts)]
