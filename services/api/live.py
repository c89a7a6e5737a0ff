"""The live part of the event feed: one reader of the log, told on to every open stream.

An event goes out once the API's rows hold it, so that whoever hears of it can look at it: what is
read is held until the projector has passed it. What a stream missed while it was away comes from
the rows (history, routes/events.py); it *gathers* what happens meanwhile, and then is live. The
reader runs only while somebody listens.

A stream costs no task beyond its handler, which sleeps. One that does not read is told so and
closed; it comes back with the id it read last and misses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from services.api import feed
from services.api.callers import Caller
from shared import events as e
from shared import sse
from shared.errors import EightMsError
from shared.problems import Problem
from shared.reader import Record
from shared.sql import UNREACHABLE

if TYPE_CHECKING:
    from services.api.api import Api

STREAMS_MAX = 20_000  # of a process
STREAMS_OF_WORKSPACE_MAX = 2_000
UNREAD_MAX_BYTES = 256 * 1024  # a stream that has so much to read yet is closed
GATHERED_MAX_BYTES = 1024 * 1024  # what happens while a stream catches up; more, and it looks again
HELD_MAX = 20_000  # events read and not yet in the rows; then the reader waits
AT_ONCE = 500  # events told on, and streams written to, before others have their turn
PING_S = 15.0
RECHECK_S = 60.0  # whether who listens still may; at once when something was taken away
GOODBYE_S = 10.0  # for a closed stream to read what is left
RETRY_S = 0.25
TOLD = frozenset(feed.TYPES)
# Taking one of these away may take away the right to listen.
RIGHTS = frozenset({"api_key", "member", "workspace"})

_encode = msgspec.json.Encoder().encode


class Stream:
    """One open stream. ``after`` is the last sequence it was told; ``done`` ends its handler;
    ``identify`` tells whether who listens still may."""

    __slots__ = (
        "after", "caller", "chunked", "done", "gathered", "gathered_bytes", "identify", "lost",
        "places", "since_s", "transport", "turn", "types",
    )  # fmt: skip

    def __init__(
        self,
        caller: Caller,
        places: feed.Places,
        types: frozenset[str] | None,
        after: int,
        transport: asyncio.Transport,
        *,
        chunked: bool,
    ) -> None:
        self.caller = caller
        self.identify: Callable[[datetime], Awaitable[Caller]] | None = None
        self.places, self.types, self.after = places, types, after
        self.transport, self.chunked = transport, chunked
        self.gathered: deque[tuple[int, bytes]] | None = deque()  # None: it is live
        self.gathered_bytes = 0
        self.lost = False  # more was gathered than there is room for
        self.since_s = time.monotonic()
        self.turn = 0  # the tick that pings it
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def workspace_id(self) -> str:
        """Whose events it is told."""
        return self.caller.workspace_id

    def tell(self, seq: int, data: bytes) -> None:
        """Write ``data``, which ends with the event ``seq``, or keep it until it is live."""
        if self.done.done() or seq <= self.after:
            return
        if self.gathered is not None:
            self.gathered_bytes += len(data)
            if self.gathered_bytes > GATHERED_MAX_BYTES:
                self.gathered.clear()
                self.lost = True
            else:
                self.gathered.append((seq, data))
        elif self.transport.get_write_buffer_size() > UNREAD_MAX_BYTES:
            self.close("slow_reader")
        else:
            self.after = seq
            self.write(data)

    def write(self, data: bytes) -> None:
        """Hand ``data`` to the transport, which never blocks."""
        if not self.transport.is_closing():
            self.transport.write(sse.chunk(data) if self.chunked else data)

    def gather(self) -> None:
        """Keep what happens from now on: the rows are about to be looked at."""
        self.gathered, self.gathered_bytes, self.lost = deque(), 0, False

    def go_live(self) -> bool:
        """Write what was gathered, and from now on what happens; False if some of it was lost."""
        if self.gathered is None or self.lost:
            return False
        gathered, self.gathered = self.gathered, None
        for seq, data in gathered:
            self.tell(seq, data)
        return True

    def close(self, reason: str) -> None:
        """Say why, and end; who does not read on is cut off."""
        if self.done.done():
            return
        self.done.set_result(reason)
        self.write(sse.frame("closed", _encode({"reason": reason})))
        asyncio.get_running_loop().call_later(GOODBYE_S, self.transport.abort)


class Live:
    """Every open stream of this process."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._streams: dict[str, set[Stream]] = {}  # by workspace
        self._count = 0
        self._held: deque[tuple[int, str, Record]] = deque()
        self._news, self._room, self._wanted = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._from = 0  # where the reader begins
        self._read_to = self._told_to = 0
        self._recheck: set[str] = set()  # workspaces in which a right was taken away
        self._turns: list[set[Stream]] = [set() for _ in range(round(PING_S))]
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False
        api.projector.on_commit.append(lambda _: self._news.set())
        api.context.metrics.gauge("event_streams", "Open event streams", lambda: self._count)

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        parts = (self._read, self._tell, self._tick, self._recheck_all)
        self._tasks = [asyncio.create_task(self._again(part)) for part in parts]

    async def stop(self) -> None:
        """Every stream goes to another instance."""
        self._draining = True
        for streams in list(self._streams.values()):
            for stream in list(streams):
                stream.close("restarting")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _again(self, part: Callable[[], Awaitable[None]]) -> None:
        """Run a part for ever: streams that hear nothing more would look alive."""
        while True:
            try:
                await part()
            except (EightMsError, *UNREACHABLE) as error:
                structlog.get_logger().warning("events wait", error=type(error).__name__)
            except Exception:  # noqa: BLE001 - said, and begun again
                structlog.get_logger().exception("events stopped")
            await asyncio.sleep(RETRY_S)

    @property
    def open(self) -> int:
        """How many streams are open and told things."""
        return sum(not s.done.done() for streams in self._streams.values() for s in streams)

    def enter(self, stream: Stream) -> None:
        """A stream begins; a Problem when there are too many."""
        streams = self._streams.setdefault(stream.workspace_id, set())
        if self._draining or self._count >= STREAMS_MAX or len(streams) >= STREAMS_OF_WORKSPACE_MAX:
            raise too_many()
        if not self._count:
            # What is committed by now is for the rows to tell.
            self._held.clear()
            self._from = self._read_to = self._told_to = self._api.projector.status.position
            self._wanted.set()
        self._count += 1
        streams.add(stream)
        stream.turn = min(range(len(self._turns)), key=lambda n: len(self._turns[n]))
        self._turns[stream.turn].add(stream)

    def leave(self, stream: Stream) -> None:
        """A stream has ended."""
        streams = self._streams.get(stream.workspace_id, set())
        if stream not in streams:
            return
        streams.remove(stream)
        self._turns[stream.turn].discard(stream)
        self._count -= 1
        if not streams:
            del self._streams[stream.workspace_id]
        if not self._count:
            self._wanted.clear()

    # -- the log ---------------------------------------------------------------------------------

    async def _read(self) -> None:
        await self._wanted.wait()
        begun = self._from
        async with contextlib.aclosing(self._api.log.read([">"], begun)) as batches:
            async for batch in batches:
                if not self._wanted.is_set() or self._from != begun:
                    return  # nobody listens, or somebody does again and from elsewhere
                for record in batch.records:
                    entity, verb, workspace_id, _ = record.subject.split(".", 3)
                    if f"{entity}.{verb}" in TOLD:
                        self._held.append((record.seq, workspace_id, record))
                if batch.records:
                    self._read_to = batch.records[-1].seq
                    self._news.set()
                while len(self._held) > HELD_MAX:
                    self._room.clear()
                    await self._room.wait()

    async def _tell(self) -> None:
        """Tell on what the rows hold by now."""
        while True:
            await self._news.wait()
            self._news.clear()
            position = self._api.projector.status.position
            while self._held and self._held[0][0] <= position:
                due: list[tuple[int, str, Record]] = []
                while self._held and self._held[0][0] <= position and len(due) < AT_ONCE:
                    due.append(self._held.popleft())
                self._room.set()
                await self._tell_on(due)
                self._told_to = max(self._told_to, due[-1][0])
            if not self._held:
                self._told_to = max(self._told_to, min(position, self._read_to))

    async def _tell_on(self, due: Sequence[tuple[int, str, Record]]) -> None:
        events = [
            (seq, e.decode(record.data))
            for seq, workspace_id, record in due
            if workspace_id in self._streams
        ]
        if not events:
            return
        while True:
            try:
                rows = await rows_of(self._api, events)
                break
            except UNREACHABLE as error:
                structlog.get_logger().warning("events wait", error=type(error).__name__)
                await asyncio.sleep(RETRY_S)
        by_workspace: dict[str, list[tuple[int, e.Event]]] = {}
        for seq, event in events:
            by_workspace.setdefault(event.workspace_id, []).append((seq, event))
        written = 0
        for workspace_id, mine in by_workspace.items():
            texts: dict[frozenset[str] | None, bytes] = {}
            streams = list(self._streams.get(workspace_id, ()))
            if not streams:
                continue
            framed = frames(mine, rows, streams[0].places)
            for stream in streams:
                if stream.types not in texts:
                    texts[stream.types] = _joined(framed, stream.types)
                if text := texts[stream.types]:
                    stream.tell(mine[-1][0], text)
                written += 1
                if written % AT_ONCE == 0:
                    await asyncio.sleep(0)
            if any(event.type.partition(".")[0] in RIGHTS for _, event in mine):
                self._recheck.add(workspace_id)

    # -- time ------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Ping every stream in its turn, sweep away what is dead."""
        turn = 0
        due_s = time.monotonic()
        while True:
            due_s = max(due_s + PING_S / len(self._turns), time.monotonic())
            await asyncio.sleep(due_s - time.monotonic())
            turn = (turn + 1) % len(self._turns)
            for stream in list(self._turns[turn]):
                if stream.transport.is_closing():
                    if not stream.done.done():
                        stream.done.set_result("gone")
                elif stream.gathered is None and not stream.done.done():
                    # With the place everything was told up to, so that a stream on which little
                    # happens need not look far when it comes back.
                    stream.after = max(stream.after, self._told_to)
                    stream.write(f"id: {stream.places.write(stream.after)}\n: ping\n\n".encode())

    async def _recheck_all(self) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            now_s = time.monotonic()
            urgent, self._recheck = self._recheck, set()
            for workspace_id, streams in list(self._streams.items()):
                for stream in list(streams):
                    if workspace_id in urgent or now_s - stream.since_s > RECHECK_S:
                        stream.since_s = now_s
                        await self._still_may(stream)

    async def _still_may(self, stream: Stream) -> None:
        if stream.identify is None:
            return
        try:
            caller = await stream.identify(self._api.clock.now())
        except Problem as problem:  # also of a person who is not in the workspace any more
            may = problem.status not in (401, 403, 404)
        except (EightMsError, *UNREACHABLE):
            return  # the next time
        else:  # without a header a person is in another of their workspaces now
            may = caller.workspace_id == stream.workspace_id and caller.may("events:read")
        if not may:
            stream.close("signed_out")


def _joined(framed: Sequence[tuple[str, bytes]], types: frozenset[str] | None) -> bytes:
    return b"".join(frame for type_, frame in framed if types is None or type_ in types)


async def rows_of(api: Api, events: Sequence[tuple[int, e.Event]]) -> dict[int, feed.Row | None]:
    """Those of the events that are on record, with what the rows say of their texts."""
    texts = [(seq, event) for seq, event in events if event.type in feed.TEXTS]
    others = [(seq, event) for seq, event in events if event.type not in feed.TEXTS]
    found: dict[int, feed.Row | None] = {}
    owner = api.db.owner
    if texts:
        names = [event.data.message_id for _, event in texts]
        workspaces = {seq: event.workspace_id for seq, event in texts}
        for row in await owner.fetch(api.sql.fed_messages, names, [seq for seq, _ in texts]):
            if workspaces[row["seq"]] == row["workspace_id"]:
                found[row["seq"]] = feed.Row(
                    row["number"], row["body"], row["parts"], row["client_ref"], row["campaign_id"]
                )
    if others:
        names = [event.workspace_id for _, event in others]
        for row in await owner.fetch(api.sql.fed_others, names, [seq for seq, _ in others]):
            found[row["seq"]] = None
    return found


def frames(
    events: Sequence[tuple[int, e.Event]], rows: dict[int, Any], places: feed.Places
) -> list[tuple[str, bytes]]:
    """(type, frame) of each event that is on record."""
    out: list[tuple[str, bytes]] = []
    for seq, event in events:
        if seq in rows:
            cursor = places.write(seq)
            shown = feed.shown(event, rows[seq], cursor)
            if shown is not None:
                out.append((event.type, sse.frame(event.type, _encode(shown), cursor)))
    return out


def too_many() -> Problem:
    """429: streams are few and long; one serves any number of types."""
    return Problem(
        429,
        "too_many_streams",
        f"At most {STREAMS_OF_WORKSPACE_MAX} event streams may be open at once.",
        headers={"Retry-After": "5"},
    )
