"""The log as lines of JSON, out and in again: `eightms events export` and `import`.

A line is ``{"seq", "stored_at", "subject", "id", "data"}``; ``data`` is the event, byte for byte.
On import the log gives new sequences (without gaps where events were erased) and new times; order,
ids and the events themselves stay, and they are all that a projection reads.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Raw, Struct

from cli import leaders, stack, subjects
from cli.errors import CommandError, UsageError
from cli.render import Progress, counted, say
from shared.errors import LogUnavailable
from shared.events import UndecodableEvent, decode
from shared.log import Log
from shared.reader import Record

CHUNK = 2_000
"""Events on their way at once: two of the log's atomic batches."""


class _Named(Struct):
    id: str


class _Line(Struct):
    """What an exported line must have."""

    seq: int
    stored_at: datetime
    subject: str
    id: str
    data: Raw


_id_of = msgspec.json.Decoder(_Named).decode
_read_line = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.Encoder().encode


def line(record: Record) -> bytes:
    """One event as a line of JSON, without the line's end."""
    head = _encode(
        {
            "seq": record.seq,
            "stored_at": record.stored_at,
            "subject": record.subject,
            "id": _id_of(record.data).id,
        }
    )
    # Only between tokens can JSON hold a line's end, so a space there changes nothing.
    return head[:-1] + b',"data":' + record.data.replace(b"\n", b" ") + b"}"


async def pending(log: Log, filters: Sequence[str], after: int) -> int:
    """How many events the log holds under ``filters`` after sequence ``after``."""
    async with contextlib.aclosing(log.read(filters, after)) as batches:
        async for batch in batches:
            return batch.pending
    return 0


async def run_export(args: argparse.Namespace) -> int:
    """Write what is in the log now."""
    filters = subjects.filters(args.subject, args.workspace)
    async with stack.opened(args.data) as found, found.log() as log:
        end = (await log.state()).last_seq
        total = await pending(log, filters, 0)
        with contextlib.ExitStack() as shown:
            progress = None
            if not sys.stdout.isatty():  # a bar would run through the lines
                progress = shown.enter_context(Progress("Exporting", total))
            async for records in _until(log, filters, end):
                sys.stdout.buffer.writelines(line(record) + b"\n" for record in records)
                if progress is not None:
                    progress.add(len(records))
        sys.stdout.buffer.flush()
    return 0


async def _until(
    log: Log, filters: Sequence[str], end: int
) -> AsyncGenerator[Sequence[Record], None]:
    """What is under ``filters`` up to sequence ``end``."""
    async with contextlib.aclosing(log.read(filters, 0)) as batches:
        async for batch in batches:
            yield [record for record in batch.records if record.seq <= end]
            if not batch.pending or (batch.records and batch.records[-1].seq >= end):
                return


async def run_import(args: argparse.Namespace) -> int:
    """Check every line, look at what is in the log already, append the rest."""
    with _opened(args.file) as file:
        total = _check(file)
        if total == 0:
            raise UsageError("There is no event in this file.")
        async with stack.opened(args.data, make=True) as found, found.log() as log:
            await _nobody_acts(found)
            await log.ensure_stream()
            there = 0 if args.force else await _already_there(log, file, total)
            left_out = await _append(log, file, there, total)
            await _say_what_next(found, log)
    say(f"{counted(total - there - left_out, 'event')} imported.")
    if there:
        say(f"{counted(there, 'event')} were there already.")
    if left_out:
        say(f"{counted(left_out, 'event')} had an id that came before, and were left out.")
    return 0


@contextlib.contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    """The file, or standard input kept aside, since it is read twice."""
    if name == "-":
        with tempfile.TemporaryFile() as kept:
            shutil.copyfileobj(sys.stdin.buffer, kept)
            yield kept
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}.") from None
    with file:
        yield file


def _lines(file: IO[bytes]) -> Iterator[_Line]:
    file.seek(0)
    for n, raw in enumerate(file, 1):
        if not raw.strip():
            continue
        try:
            yield _read_line(raw)
        except msgspec.DecodeError:
            raise UsageError(f"Line {n} is not an exported event. Nothing was imported.") from None


def _check(file: IO[bytes]) -> int:
    """How many events there are; each can be read by this version and is what its line says."""
    count = 0
    for count, one in enumerate(_lines(file), 1):
        try:
            event = decode(bytes(one.data))
        except UndecodableEvent as error:
            raise CommandError(
                f"Event {count} of the file cannot be read by this version ({error}).",
                "Nothing was imported.",
            ) from None
        if (event.id, event.subject) != (one.id, one.subject):
            raise CommandError(f"Event {count} of the file was changed. Nothing was imported.")
    return count


async def _nobody_acts(found: stack.Stack) -> None:
    """A service that follows the import would do once more what the events tell of."""
    db = await found.database()
    try:
        acting = await leaders.leading(db, stack.installed_services())
    finally:
        await db.close()
    if acting:
        raise CommandError(
            f"These services run: {', '.join(acting)}. They would send again what was sent.",
            "Stop them, import, start them. For `eightms up`: stop it, and import with its --data.",
        )


async def _already_there(log: Log, file: IO[bytes], total: int) -> int:
    """How many events from the beginning of the file are the whole log. CommandError: others."""
    state = await log.state()
    if state.messages == 0:
        return 0
    refusal = CommandError(
        f"The log is not empty: it holds {counted(state.messages, 'event')}, not of this file.",
        "Import into an empty one, or say --force to append to these.",
    )
    if state.messages > total:
        raise refusal
    say(f"The log holds {counted(state.messages, 'event')}: are they the beginning of this file?")
    lines = _lines(file)
    async for records in _until(log, [">"], state.last_seq):
        for record in records:
            if _id_of(record.data).id != next(lines).id:
                raise refusal
    return state.messages


async def _append(log: Log, file: IO[bytes], there: int, total: int) -> int:
    """Append all but the first ``there``; how many the log knew by their id."""
    left_out, last = 0, (await log.state()).last_seq
    with Progress("Importing", total - there) as progress:
        chunk: list[asyncio.Future[int]] = []
        for n, one in enumerate(_lines(file), 1):
            if n <= there:
                continue
            chunk.append(log.restore(one.subject, one.id, bytes(one.data)))
            if len(chunk) < CHUNK and n < total:
                continue
            try:
                stored = await asyncio.gather(*chunk)
            except LogUnavailable as error:
                await asyncio.gather(*chunk, return_exceptions=True)
                raise CommandError(
                    f"The log took {counted(progress.done, 'event')} and then no more: {error}.",
                    "Run the same command again: it goes on where this one stopped.",
                ) from None
            for seq in stored:
                left_out += seq <= last
                last = max(last, seq)
            progress.add(len(chunk))
            chunk = []
    return left_out


async def _say_what_next(found: stack.Stack, log: Log) -> None:
    created = (await log.state()).created
    db = await found.database()
    try:
        others: list[str] = []
        for service in stack.installed_services():
            if await db.fetchval("SELECT to_regclass($1)", f"{service}.position") is None:
                continue
            of = await db.fetchval(f"SELECT log_created FROM {service}.position")  # noqa: S608
            if of is not None and of != created:
                others.append(service)
    finally:
        await db.close()
    if others:
        say(f"These tables are of another log: {', '.join(others)}. Next: eightms replay --all")
