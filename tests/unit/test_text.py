"""Parts of a text: a table of known counts, and agreement with packing character by character."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.text import MAX_PARTS, Segments, segments

# 3GPP TS 23.038, 6.2.1 and 6.2.1.1, written out again in the order of the code points there.
GSM_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENSION = "\f^{}\\[~]|€"


def packed_slowly(body: str) -> Segments:
    """The reference: put one character after the other into the part that still has room."""
    if all(char in GSM_BASIC + GSM_EXTENSION for char in body):
        encoding, single, part = "gsm7", 160, 153
        sizes = [2 if char in GSM_EXTENSION else 1 for char in body]
    else:
        encoding, single, part = "ucs2", 70, 67
        sizes = [2 if ord(char) > 0xFFFF else 1 for char in body]
    units = sum(sizes)
    if units <= single:
        return Segments(encoding, units, 1)
    parts, used = 1, 0
    for size in sizes:
        if used + size > part:
            parts, used = parts + 1, 0
        used += size
    return Segments(encoding, units, parts)


def runs(alphabet: str) -> st.SearchStrategy[str]:
    """Texts of a few long runs, so that sizes around the ends of parts are common."""
    run = st.tuples(st.sampled_from(alphabet), st.integers(0, 160)).map(lambda run: run[0] * run[1])
    return st.lists(run, max_size=8).map("".join)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", Segments("gsm7", 0, 1)),
        ("Hello", Segments("gsm7", 5, 1)),
        ("a" * 160, Segments("gsm7", 160, 1)),
        ("a" * 161, Segments("gsm7", 161, 2)),
        ("a" * 306, Segments("gsm7", 306, 2)),
        ("a" * 307, Segments("gsm7", 307, 3)),
        ("a" * 1530, Segments("gsm7", 1530, 10)),
        ("a" * 1531, Segments("gsm7", 1531, 11)),
        ("€" * 80, Segments("gsm7", 160, 1)),
        ("€" * 81, Segments("gsm7", 162, 2)),
        ("€" * 76 * 2, Segments("gsm7", 304, 2)),
        ("€" * 153, Segments("gsm7", 306, 3)),
        ("a" * 158 + "€", Segments("gsm7", 160, 1)),
        ("a" * 159 + "€", Segments("gsm7", 161, 2)),
        ("a" * 152 + "€" + "b" * 152, Segments("gsm7", 306, 3)),
        ("a" * 151 + "€" + "b" * 153, Segments("gsm7", 306, 2)),
        ("é" * 160, Segments("gsm7", 160, 1)),
        ("Ж" * 70, Segments("ucs2", 70, 1)),
        ("Ж" * 71, Segments("ucs2", 71, 2)),
        ("Ж" * 134, Segments("ucs2", 134, 2)),
        ("Ж" * 135, Segments("ucs2", 135, 3)),
        ("😀", Segments("ucs2", 2, 1)),
        ("😀" * 35, Segments("ucs2", 70, 1)),
        ("😀" * 36, Segments("ucs2", 72, 2)),
        ("😀" * 67, Segments("ucs2", 134, 3)),
        ("Ж" * 66 + "😀" + "Ж" * 66, Segments("ucs2", 134, 3)),
        ("Ж" * 65 + "😀" + "Ж" * 67, Segments("ucs2", 134, 2)),
        ("a" * 70 + "ç", Segments("ucs2", 71, 2)),
    ],
)
def test_known_texts_have_known_parts(body: str, expected: Segments) -> None:
    assert segments(body) == expected


@pytest.mark.parametrize("char", GSM_BASIC)
def test_every_basic_character_is_one_septet(char: str) -> None:
    assert segments(char) == Segments("gsm7", 1, 1)


@pytest.mark.parametrize("char", GSM_EXTENSION)
def test_every_extension_character_is_two_septets(char: str) -> None:
    assert segments(char) == Segments("gsm7", 2, 1)


@pytest.mark.parametrize("char", ["ç", "á", "`", "\t", "\u00a0", "“", "’", "–", "…", "\x1b", "\0"])
def test_one_character_outside_the_alphabet_makes_the_text_ucs2(char: str) -> None:
    assert segments("hello" + char) == Segments("ucs2", 6, 1)


def test_the_basic_alphabet_has_every_code_but_the_escape() -> None:
    assert len(set(GSM_BASIC)) == 127


def test_ten_parts_are_the_most_that_may_be_sent() -> None:
    assert MAX_PARTS == 10


def test_halves_of_a_surrogate_pair_that_arrive_apart_stay_together() -> None:
    halves = "Ж" * 66 + "\ud83d" + "\ude00" + "Ж" * 66
    assert segments(halves) == Segments("ucs2", 134, 3)


def test_a_lone_surrogate_counts_one_unit() -> None:
    assert segments("\ud83d") == Segments("ucs2", 1, 1)


@given(runs("aé€{\f"))
@example("a" * 152 + "€" + "b" * 152)
def test_gsm_parts_agree_with_packing_one_by_one(body: str) -> None:
    assert segments(body) == packed_slowly(body)


@given(runs("aЖ😀€𝕊"))
@example("Ж" * 66 + "😀" * 67)
def test_ucs2_parts_agree_with_packing_one_by_one(body: str) -> None:
    assert segments(body) == packed_slowly(body)


@given(st.text(max_size=400))
def test_any_text_agrees_with_packing_one_by_one(body: str) -> None:
    assert segments(body) == packed_slowly(body)


@given(st.text(st.characters(), max_size=300), st.text(st.characters(), max_size=30))
def test_a_longer_text_never_has_fewer_units_or_parts(body: str, more: str) -> None:
    shorter, longer = segments(body), segments(body + more)
    if shorter.encoding == longer.encoding:
        assert longer.units >= shorter.units
        assert longer.parts >= shorter.parts
