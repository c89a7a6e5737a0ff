"""Whom a campaign is for: the people its filter finds, read in slices so that others get a turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import phonenumbers

from services.api import search
from services.api.decide import campaigns as decide
from shared import numbers
from shared.sql import Database

SLICE = 250  # people a turn of the loop is spent on: a few milliseconds
NANP_PREFIX, PREFIX = 5, 8  # what of a number tells its timezones: area code, or its first digits


async def everybody(
    db: Database, sql: Any, workspace_id: str, wanted: dict[str, Any], region: str
) -> list[str]:
    """The contacts who may match ``wanted``, a filter as in the log, by its narrowest part."""
    if wanted["contact_ids"] is not None:
        return sorted(set(wanted["contact_ids"]))
    all_, any_ = _entries(wanted["tags_all"]), _entries(wanted["tags_any"])
    if all_ or any_:
        statement, args = sql.tagged, (all_ or any_, len(all_ or ()) or 1)
    elif wanted["q"] is not None:
        statement, args = sql.found, search_ranges(wanted["q"], region)
    else:
        statement, args = sql.everybody, ()
    async with db.tenant(workspace_id) as connection:
        rows = await connection.fetch(statement, *args)
    return sorted(row["id"] for row in rows)  # ids are hashes: no import's order decides who waits


async def people(
    db: Database, sql: Any, workspace_id: str, wanted: dict[str, Any], region: str
) -> AsyncGenerator[list[Any], None]:
    """Everybody who matches ``wanted``, as rows in slices, in the order of their turns."""
    ids = await everybody(db, sql, workspace_id, wanted, region)
    if wanted["q"] is not None and (
        wanted["contact_ids"] or wanted["tags_all"] or wanted["tags_any"]
    ):
        async with db.tenant(workspace_id) as connection:
            rows = await connection.fetch(sql.found, *search_ranges(wanted["q"], region))
        found = {row["id"] for row in rows}
        ids = [one for one in ids if one in found]
    conditions = (
        _entries(wanted["tags_any"]),
        _entries(wanted["tags_all"]),
        _entries(wanted["tags_none"]),
        wanted["opted_in"],
        wanted["custom_fields"] or None,
    )
    async for rows in these(db, sql, workspace_id, ids, conditions):
        yield rows


async def these(
    db: Database,
    sql: Any,
    workspace_id: str,
    ids: Sequence[str],
    conditions: tuple[Any, ...] = (None, None, None, False, None),
) -> AsyncGenerator[list[Any], None]:
    """These contacts, as rows in slices, as far as they exist and meet the conditions."""
    async with db.tenant(workspace_id) as connection:
        cursor = await connection.cursor(sql.recipients_in_full, list(ids), *conditions)
        while rows := await cursor.fetch(SLICE):
            yield rows
            await asyncio.sleep(0)


def search_ranges(q: str, region: str) -> tuple[list[str], list[str], list[str], list[str]]:
    """What is typed, as ranges of words and of numbers: firsts and lasts of each."""
    code = phonenumbers.country_code_for_region(region) or None
    words, known = search.ranges(q), search.number_ranges(q, code)
    return (
        [first for first, _ in words],
        [last for _, last in words],
        [first for first, _ in known],
        [last for _, last in known],
    )


def _entries(tags: Sequence[str]) -> list[str] | None:
    return [search.tag_word(tag) for tag in dict.fromkeys(tags)] or None


class Groups:
    """People as a forecast counts them: by the clocks they may live by, their phone, the parts.

    A number's timezones are looked up once for an area code (elsewhere, for its first digits): to
    ask for each of a hundred thousand numbers would take three seconds by itself.
    """

    def __init__(self) -> None:
        self.clocks: list[list[str]] = []
        self._clock_of: dict[tuple[str, ...], int] = {}
        self._of_prefix: dict[str, int] = {}
        self._counts: dict[tuple[int, str | None, int], int] = {}

    def add(self, person: Any, found: decide.Text) -> None:
        """Count one person who would get ``found``."""
        zone = person["timezone"]
        clock = self._clock((zone,)) if zone else self._by_number(person["number"])
        key = (clock, person["phone_id"], found.segments.parts)
        self._counts[key] = self._counts.get(key, 0) + 1

    def listed(self) -> list[tuple[int, str | None, int, int]]:
        """(index into ``clocks``, phone or None, parts, how many)."""
        return [(*key, count) for key, count in self._counts.items()]

    def _by_number(self, number: str) -> int:
        prefix = number[: NANP_PREFIX if number.startswith("+1") else PREFIX]
        clock = self._of_prefix.get(prefix)
        if clock is None:
            zones = tuple(zone.key for zone in numbers.timezones(number))
            clock = self._clock(zones)
            if zones:  # of a number nobody has the neighbours are asked
                self._of_prefix[prefix] = clock
        return clock

    def _clock(self, zones: tuple[str, ...]) -> int:
        clock = self._clock_of.get(zones)
        if clock is None:
            clock = self._clock_of[zones] = len(self.clocks)
            self.clocks.append(list(zones))
        return clock
