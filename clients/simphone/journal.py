"""Group commit: what every phone writes in one moment becomes durable in one transaction.

The event loop fills a batch; one thread writes batches, one at a time. While it writes, the next
batch fills, and goes on filling for a moment: one commit for a hundred phones costs hardly more
than one for one. When a batch is written, whatever waited for it goes on: nothing that a restart
must not repeat happens before the row that remembers it is on disk.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from clients.simphone import storage
from clients.simphone.errors import StorageFailed

log = logging.getLogger("simphone")

CANNOT_WRITE = "phones.db cannot be written, or a step that follows a write failed."
COMMIT_EVERY_S = 0.008  # at most so often: a step of a text can wait for those of other phones
JOIN_TIMEOUT_S = 30.0  # a disk that takes longer to write one batch has failed


class Owner(Protocol):
    """A phone, as the journal sees it."""

    phone_id: str

    def row(self) -> Sequence[Any]:
        """The phone's row for the statement `phone`."""
        ...

    def journaled(self, seq: int, entry: bytes | None, command_id: str | None) -> None:
        """The entry is durable and may be told to the gateway (None: a heartbeat)."""
        ...


class Batch:
    """What is written together. Filled on the event loop only."""

    __slots__ = ("acked", "after", "entries", "futures", "jobs", "owners", "rows", "states")

    def __init__(self) -> None:
        self.rows: dict[str, storage.Rows] = {}
        self.states: dict[tuple[str, str], str] = {}
        self.acked: dict[str, int] = {}
        self.owners: dict[str, Owner] = {}
        self.entries: list[tuple[Owner, int, bytes | None, str | None]] = []
        self.after: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.jobs: list[storage.Job] = []
        self.futures: list[asyncio.Future[Any]] = []

    def close(self) -> None:
        """Take the rows that must be as of now, and once for each key: the last one counts."""
        if self.owners:
            self.rows["phone"] = [owner.row() for owner in self.owners.values()]
        if self.states:
            self.rows["state"] = [(*key, state) for key, state in self.states.items()]
        if self.acked:
            self.rows["acked"] = list(self.acked.items())

    def __bool__(self) -> bool:
        return bool(self.rows or self.owners or self.states or self.after or self.jobs)


class Journal:
    """The durable side of all phones of a process. Every method but the thread's own belongs to
    the event loop that called `open`."""

    def __init__(self, path: Path, *, fsync: bool) -> None:
        self._path, self._fsync = path, fsync
        self._queue: SimpleQueue[Batch | None] = SimpleQueue()
        self._batch = self._written = Batch()
        self._scheduled = self._writing = self._closing = False
        self._next_s = 0.0  # when the next batch may be written, by the loop's clock
        self._thread: threading.Thread | None = None
        self.commits = 0

    def open(self) -> None:
        """Open the file and start the writer; sqlite3.Error when the file cannot be used."""
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._idle = asyncio.Event()
        self._idle.set()
        self._path.touch(mode=0o600)
        self._writer = storage.connect(self._path, fsync=self._fsync)
        self.reader = storage.connect(self._path, fsync=self._fsync)
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def seen(self, phone_id: str, command_id: str) -> bool:
        return storage.seen(self.reader, phone_id, command_id)

    def put(self, statement: str, row: Sequence[Any]) -> None:
        """Add a row for one of `storage.WRITES`."""
        self._batch.rows.setdefault(statement, []).append(row)
        self._schedule()

    def state(self, phone_id: str, command_id: str, state: str) -> None:
        """A command has come to `state`."""
        self._batch.states[phone_id, command_id] = state
        self._schedule()

    def acked(self, owner: Owner, seq: int) -> None:
        """The gateway has stored everything up to `seq`: forget it."""
        self._batch.acked[owner.phone_id] = seq
        self.touch(owner)

    def touch(self, owner: Owner) -> None:
        """Write the phone's row, as it stands when the batch is closed."""
        self._batch.owners[owner.phone_id] = owner
        self._schedule()

    def entry(self, owner: Owner, seq: int, entry: bytes | None, command_id: str | None) -> None:
        """Add a journal entry; a heartbeat (None) takes its number and no row."""
        self._batch.entries.append((owner, seq, entry, command_id))
        if entry is not None:
            self.put("journal", (owner.phone_id, seq, command_id, entry.decode()))
        else:
            self.touch(owner)

    def after(self, callback: Callable[..., None], *args: Any) -> None:
        """Call back on the event loop once everything put so far is durable."""
        self._batch.after.append((callback, args))
        self._schedule()

    def run(self, job: storage.Job) -> asyncio.Future[Any]:
        """Run a job at the end of the current batch, inside its transaction; StorageFailed when
        that is not possible."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.failed.done():
            future.set_exception(StorageFailed(CANNOT_WRITE))
            return future
        self._batch.jobs.append(job)
        self._batch.futures.append(future)
        self._schedule()
        return future

    async def settle(self) -> None:
        """Wait until nothing is unwritten (and what waited for that has run)."""
        while not self._idle.is_set():
            writing = asyncio.ensure_future(self._idle.wait())
            await asyncio.wait({writing, self.failed}, return_when=asyncio.FIRST_COMPLETED)
            if self.failed.done():
                writing.cancel()
                return

    async def close(self) -> None:
        """Write what is left and close the file. Nothing may be put afterwards."""
        if self._thread is None:
            return  # it was never open
        await self.settle()
        self._closing = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, JOIN_TIMEOUT_S)
        self.reader.close()
        self._writer.close()
        self.failed.cancel()

    def _schedule(self) -> None:
        if self._closing:
            raise StorageFailed("The journal is closed.")
        self._idle.clear()
        if not self._scheduled and not self._writing:
            self._scheduled = True
            if self._next_s > self._loop.time():
                self._loop.call_at(self._next_s, self._hand_over)
            else:
                self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._scheduled, self._writing = False, True
        self._next_s = self._loop.time() + COMMIT_EVERY_S
        batch, self._batch = self._batch, Batch()
        self._written = batch
        batch.close()
        self._queue.put(batch)

    def _committed(self, batch: Batch, results: list[Any]) -> None:
        self._writing = False
        self.commits += 1
        try:
            for owner, seq, entry, command_id in batch.entries:
                owner.journaled(seq, entry, command_id)
            for future, result in zip(batch.futures, results, strict=True):
                if not future.done():
                    future.set_result(result)
            for callback, args in batch.after:
                callback(*args)
        except Exception as error:
            # A step that was not taken must not be mistaken for one that was: stop the process.
            self.broken(error)
            raise
        if self._batch:
            self._schedule()
        else:
            self._idle.set()

    def broken(self, error: BaseException) -> None:
        """Something went wrong that must stop the process: `failed` says so to whoever waits."""
        if self.failed.done():
            return
        # The name of the error alone: its text may quote a row.
        log.error("the journal stopped: %s", type(error).__name__)
        self.failed.set_exception(StorageFailed(CANNOT_WRITE))
        for future in self._written.futures + self._batch.futures:
            if not future.done():
                future.set_exception(StorageFailed(CANNOT_WRITE))

    def _write(self) -> None:
        while (batch := self._queue.get()) is not None:
            try:
                results = storage.write(self._writer, batch.rows, batch.jobs)
            except (sqlite3.Error, ValueError) as error:
                self._loop.call_soon_threadsafe(self.broken, error)
                return
            self._loop.call_soon_threadsafe(self._committed, batch, results)
