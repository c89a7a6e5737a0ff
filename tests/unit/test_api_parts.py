"""The small parts of the API: cursors, search words, sentences, rounds, caches, keys of repeats."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import search, words
from services.api.gather import ROUND_MAX, Gather
from services.api.hinted import Hinted
from services.api.idempotency import fingerprint, read_key
from services.api.paging import START, Cursors, Position, next_link, scope
from services.api.project.message import APPLY as MESSAGE_EVENTS
from services.api.routes.messages import clock
from shared.bus import Wake
from shared.problems import Problem
from tests.examples import EXAMPLES

KEY = b"k" * 32


# -- cursors -------------------------------------------------------------------------------------


@given(
    st.integers(0, 250_000_000_000_000_000).map(
        lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    ),
    st.text(alphabet="abcXYZ_0123", max_size=40),
)
def test_a_cursor_comes_back_as_it_was(at: datetime, id_: str) -> None:
    cursors = Cursors(KEY, "here")
    assert cursors.read(cursors.write(Position(at, id_))) == Position(at, id_)


def test_without_a_cursor_a_list_begins_at_the_start() -> None:
    assert Cursors(KEY, "here").read(None) == START


@given(st.text(max_size=60))
def test_no_text_is_a_cursor(text: str) -> None:
    with pytest.raises(Problem) as refused:
        Cursors(KEY, "here").read(text)
    assert refused.value.code == "invalid_cursor"


def test_a_cursor_fits_its_list_its_workspace_and_its_filters_only() -> None:
    def of(operation: str, workspace: str, **filters: Any) -> Cursors:
        return Cursors(KEY, scope(operation, workspace, filters))

    mine = of("messages.list", "ws_1", state="queued", phone_id=None)
    cursor = mine.write(START)
    assert of("messages.list", "ws_1", state="queued").read(cursor) == START
    for other in (
        of("messages.list", "ws_1"),
        of("messages.list", "ws_1", state="sent"),
        of("messages.list", "ws_2", state="queued"),
        of("contacts.list", "ws_1", state="queued"),
        Cursors(b"x" * 32, mine.scope),
    ):
        with pytest.raises(Problem):
            other.read(cursor)


def test_a_changed_cursor_is_refused() -> None:
    cursors = Cursors(KEY, "here")
    cursor = cursors.write(START)
    for n in range(0, len(cursor), 5):
        other = "A" if cursor[n] != "A" else "B"
        with pytest.raises(Problem):
            cursors.read(cursor[:n] + other + cursor[n + 1 :])


def test_the_link_keeps_the_filters() -> None:
    link = next_link("http://x/v1/contacts", {"q": "a b&c", "opted_out": True, "tag": None}, "CUR")
    assert link == '<http://x/v1/contacts?q=a+b%26c&opted_out=true&cursor=CUR>; rel="next"'


# -- search --------------------------------------------------------------------------------------


def test_words_are_folded() -> None:
    assert search.words("José  García-López, O'Neil ＡＢＣ Straße") == [
        "jose", "garcia", "lopez", "o", "neil", "abc", "strasse",
    ]  # fmt: skip
    assert search.words("!! _ 👋") == []
    assert search.index(["Ada", None, "ada lovelace"], ["VIP"]) == {"ada", "lovelace", "#VIP"}


@given(st.text(max_size=30), st.text(max_size=30))
def test_what_is_listed_is_found_by_its_beginning(name: str, more: str) -> None:
    listed = search.index([name, more], [])
    for word in search.words(name):
        for length in range(1, len(word) + 1):
            ((first, last),) = search.ranges(word[:length]) or [(word, word)]
            assert any(first <= entry <= last for entry in listed)


@pytest.mark.parametrize(
    ("query", "firsts"),
    [
        ("+44 20", ["+4420"]),
        ("415-555", ["+415555", "415555", "+1415555"]),
        ("0171", ["+0171", "0171", "+1171"]),
        ("ada", []),
        ("+", []),
        ("24 hours", []),
    ],
)
def test_digits_are_the_beginning_of_a_number(query: str, firsts: list[str]) -> None:
    assert [first for first, _ in search.number_ranges(query, 1)] == firsts


# -- words ---------------------------------------------------------------------------------------

UTC_ZONE = ZoneInfo("UTC")


def test_there_is_a_sentence_for_every_fact_of_a_timeline() -> None:
    for example in EXAMPLES.values():
        if type(example.data) in MESSAGE_EVENTS:
            names = example.data.__struct_fields__
            detail = {n: getattr(example.data, n) for n in names}
            detail |= {"class": detail.get("error_class"), "explanation": detail.get("detail")}
            said = words.sentence(example.type, detail, {}, UTC_ZONE)
            assert said.endswith(".")
            assert "no words" not in said
            assert "None" not in said
            assert words.service(example.type, detail) in (
                "api", "scheduler", "gateway", "inbound", "ghl_sync",
            )  # fmt: skip


@pytest.mark.parametrize(
    "reason",
    ["no_phone", "phone_offline", "min_gap", "daily_cap", "quiet_hours", "send_window",
     "scheduled", "queue", "retry", "failover_wait", "quarantined", "something_new"],
)  # fmt: skip
def test_every_wait_is_told_with_and_without_its_end(reason: str) -> None:
    at = datetime(2026, 7, 4, 12, 5, tzinfo=UTC)
    open_ended = words.waiting(reason, None, UTC_ZONE)
    assert open_ended.endswith(".")
    assert "  " not in open_ended
    if reason not in ("no_phone", "phone_offline", "quarantined"):
        new_york = ZoneInfo("America/New_York")
        assert "at 08:05 on 4 July 2026 (America/New_York)" in words.waiting(reason, at, new_york)


def test_the_recipients_clock_is_used_where_it_is_sure() -> None:
    assert clock("Europe/Paris", "+14155550100", "UTC").key == "Europe/Paris"
    assert clock(None, "+14155550100", "UTC").key == "America/Los_Angeles"
    assert clock(None, "+18005550100", "Asia/Tokyo").key == "Asia/Tokyo"  # toll-free: anywhere
    assert clock(None, "55555", "Asia/Tokyo").key == "Asia/Tokyo"


# -- rounds --------------------------------------------------------------------------------------


async def test_what_waits_together_is_served_together() -> None:
    rounds: list[tuple[str, list[int]]] = []
    release = asyncio.Event()

    async def serve(workspace_id: str, items: Sequence[int]) -> Sequence[int]:
        rounds.append((workspace_id, list(items)))
        await release.wait()
        return [item * 2 for item in items]

    gather: Gather[int, int] = Gather(serve)
    first = [gather.ask("a", n) for n in range(3)]
    await asyncio.sleep(0)
    later = [gather.ask("a", n) for n in range(3, ROUND_MAX + 10)]
    other = gather.ask("b", 7)
    await asyncio.sleep(0)
    assert [(of, len(items)) for of, items in rounds] == [("a", 3), ("a", ROUND_MAX), ("b", 1)]
    later += [gather.ask("a", ROUND_MAX + 10)]  # two are under way: it waits
    await asyncio.sleep(0)
    assert len(rounds) == 3
    release.set()
    assert await asyncio.gather(*first, *later) == [n * 2 for n in range(ROUND_MAX + 11)]
    assert await other == 14
    assert [len(items) for _, items in rounds[3:]] == [8]
    assert await gather.ask("a", 1) == 2


async def test_a_round_that_fails_fails_for_its_own_and_for_nobody_else() -> None:
    async def serve(_: str, items: Sequence[int]) -> Sequence[int]:
        if 0 in items:
            raise OSError
        return items

    gather: Gather[int, int] = Gather(serve)
    bad = gather.ask("a", 0)
    await asyncio.sleep(0)
    good = gather.ask("a", 1)
    with pytest.raises(OSError):
        await bad
    assert await good == 1


# -- caches --------------------------------------------------------------------------------------


async def test_a_value_is_kept_until_a_hint_drops_it() -> None:
    loads: list[str] = []

    async def load(key: str) -> str | None:
        loads.append(key)
        return None if key == "none" else key.upper()

    cache: Hinted[str] = Hinted(load)
    assert [await cache.get("a") for _ in range(3)] == ["A"] * 3
    assert loads == ["a"]
    cache.heard(Wake(1, ["b"]))
    assert cache.known("a") == "A"
    cache.heard(Wake(2, ["a"]))
    assert cache.known("a") is None
    for forget in (lambda: cache.heard(Wake(3, ["*"])), cache.forget):
        await cache.get("a")
        forget()
        assert cache.known("a") is None
    assert await cache.get("none") is None
    assert cache.known("none") is None


async def test_a_value_that_changes_while_it_is_read_is_not_kept() -> None:
    async def load(_: str) -> str:
        cache.heard(Wake(1, ["a"]))
        return "old"

    cache: Hinted[str] = Hinted(load)
    assert await cache.get("a") == "old"
    assert cache.known("a") is None


# -- keys of repeats -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        ('"a\\"b\\\\c"', 'a"b\\c'),
        ("a b", "a b"),
        ('"', '"'),
        ("x" * 255, "x" * 255),
    ],
)
def test_a_key_is_read_bare_and_quoted(header: str, key: str) -> None:
    assert read_key(header) == key


@pytest.mark.parametrize("header", ["", '""', "é", "a\x7f", "x" * 256])
def test_what_is_no_key_is_refused(header: str) -> None:
    with pytest.raises(Problem) as refused:
        read_key(header)
    assert refused.value.status == 400


def test_requests_are_the_same_by_their_meaning() -> None:
    first = fingerprint("POST", "/a", b'{"x": 1, "y": [1, 2]}')
    assert first == fingerprint("POST", "/a", b'{"y":[1,2],"x":1}')
    for other in (
        fingerprint("PATCH", "/a", b'{"x": 1, "y": [1, 2]}'),
        fingerprint("POST", "/b", b'{"x": 1, "y": [1, 2]}'),
        fingerprint("POST", "/a", b'{"x": 1, "y": [2, 1]}'),
        fingerprint("POST", "/a", b""),
    ):
        assert other != first
