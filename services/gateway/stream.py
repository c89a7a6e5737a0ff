"""The phones' live streams at this instance: one row lookup for all that have news, no task each.

A commit names the phones it made frames for (here, or announced by the leading instance); those
with a stream here are looked up together and written to. On the leading instance the committed rows
themselves are at hand, so a stream that is *in step* (nothing before them is still to be looked up)
gets its frame without a lookup. A stream that was just opened is looked up from the beginning:
everything its phone has not accepted is offered again. One timer pings all streams in turn, looks
again for what an announcement that got lost may have left, and lets go of those that are dead.

A stream costs no task beyond its handler, which sleeps. Frames go straight to the transport, for
aiohttp would want a coroutine per write (sse.chunk is what it does in between).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
import structlog
from aiohttp import web

from services.gateway import frames
from services.gateway.credentials import Holder
from services.gateway.presence import Presence
from services.gateway.project import OFFER, PHONE
from shared import sql, sse
from shared.errors import NotReady
from shared.projector import Saved, Wake
from shared.service import Context

FRAMES_AT_ONCE = 100  # of one phone in one lookup; what is more comes with the next
PHONES_AT_ONCE = 1000  # in one lookup
STALLED_BYTES = 64 * 1024  # a phone that has so much to read yet is written nothing more
STALLED_S = 30.0  # and is let go after this: it will come back and be offered everything again
TICK_S = 0.25  # the timer; pings are spread over the ticks of an interval
RETRY_S = 0.25
TAKEN = "gateway.streams"  # the announcement that a phone has its stream at another instance

Q = sql.queries("services.gateway")


class Stream:
    """One live stream. ``after`` is the highest frame written, ``done`` ends its handler;
    ``in_step`` while no frame between ``after`` and the rows as they stand is missing."""

    __slots__ = (
        "after", "chunked", "done", "generation", "in_step", "phone_id", "position", "since",
        "since_s", "stalled_s", "taken", "transport", "turn",
    )  # fmt: skip

    def __init__(
        self,
        holder: Holder,
        transport: asyncio.Transport,
        *,
        chunked: bool,
        since: datetime,
        position: int,
    ) -> None:
        self.phone_id, self.generation = holder.phone_id, holder.generation
        self.transport, self.chunked = transport, chunked
        self.since, self.position, self.since_s = since, position, time.monotonic()
        self.after = 0
        self.in_step = False
        self.stalled_s = 0.0
        self.turn = 0  # the tick that pings it
        self.taken = False  # the phone has its stream at another instance now
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def write(self, data: bytes) -> None:
        """Hand ``data`` to the transport, which never blocks."""
        if not self.transport.is_closing():
            self.transport.write(sse.chunk(data) if self.chunked else data)

    def end(self) -> None:
        """Let the handler end the response."""
        if not self.done.done():
            self.done.set_result(None)

    def stalled(self, now_s: float) -> bool:
        """Whether the phone does not read; one that does not for long is cut off."""
        if self.transport.get_write_buffer_size() < STALLED_BYTES:
            self.stalled_s = 0.0
            return False
        self.stalled_s = self.stalled_s or now_s
        if now_s - self.stalled_s >= STALLED_S:
            self.transport.abort()
        return True


class Streams:
    """Every live stream of this instance."""

    def __init__(self, context: Context, presence: Presence, instance: str) -> None:
        self._context, self._presence, self._instance = context, presence, instance
        self._live: dict[str, Stream] = {}
        self._news: set[str] = set()
        self._told: set[str] = set()  # phones that got all this commit has for them
        self._wake = asyncio.Event()
        self._draining = False
        ticks = max(1, round(context.settings.ping_s / TICK_S))
        self._turns: list[dict[str, Stream]] = [{} for _ in range(ticks)]
        self._tick_s = context.settings.ping_s / ticks
        context.projector.on_rows.append(self._saved)
        context.projector.on_commit.append(self._committed)
        # What was announced while NATS was away was not heard.
        context.log.on_reconnect.append(lambda: self._look(self._live))
        context.metrics.gauge("streams", "Live streams of phones", lambda: len(self._live))

    # -- one stream ------------------------------------------------------------------------------

    async def serve(self, request: web.Request, holder: Holder) -> web.StreamResponse:
        """The whole life of a stream; the phone, a newer stream or the service ends it."""
        context = self._context
        if self._draining or not context.fresh():
            raise NotReady("rows are too old to offer commands from")
        response = web.StreamResponse(headers=sse.HEADERS)
        response.force_close()
        chunked = request.version >= (1, 1)
        if chunked:
            response.enable_chunked_encoding()
        try:
            await response.prepare(request)
            await response.write(frames.config(context.settings.heartbeat_s))
        except ConnectionResetError:
            return response
        transport = request.transport
        if transport is None:  # the phone is gone again
            return response
        sse.give_up_early(transport)
        stream = Stream(
            holder,
            transport,
            chunked=chunked,
            since=context.clock.now(),
            position=context.projector.status.position,
        )
        self._enter(stream)
        try:
            await self._presence.streaming(stream.phone_id, stream.since, stream.position)
            await context.bus.announce(TAKEN, 0, {f"{self._instance} {stream.phone_id}"})
            await stream.done
        finally:
            await self._leave(stream)
        return response

    def _enter(self, stream: Stream) -> None:
        older = self._live.pop(stream.phone_id, None)
        if older is not None:
            older.end()
            del self._turns[older.turn][stream.phone_id]
        self._live[stream.phone_id] = stream
        stream.turn = min(range(len(self._turns)), key=lambda n: len(self._turns[n]))
        self._turns[stream.turn][stream.phone_id] = stream
        self._look([stream.phone_id])

    async def _leave(self, stream: Stream) -> None:
        stream.end()
        if self._live.get(stream.phone_id) is stream:
            del self._live[stream.phone_id]
            del self._turns[stream.turn][stream.phone_id]
            if not stream.taken:
                await self._presence.stream_gone(stream.phone_id)

    def stream_from(self, phone_id: str, older_s: float) -> int | None:
        """The log position at which the phone's stream began, if that is ``older_s`` ago.

        Of a stream at another instance presence tells it.
        """
        stream = self._live.get(phone_id)
        if stream is not None:
            return stream.position if time.monotonic() - stream.since_s >= older_s else None
        sign = self._presence.sign(phone_id)
        if not sign.streaming or sign.since is None:
            return None
        age_s = (self._context.clock.now() - sign.since).total_seconds()
        return sign.position if age_s >= older_s else None

    # -- what is new -----------------------------------------------------------------------------

    def _saved(self, saved: Saved) -> None:
        """This instance leads and committed these rows: write those that need no lookup."""
        offers = [row for row in saved.get(OFFER.name, {}).values() if row is not None]
        if not offers or not self._context.fresh():
            return
        now, now_s = self._context.clock.now(), time.monotonic()
        for offer in sorted(offers, key=lambda row: row.frame_seq):
            stream = self._live.get(offer.phone_id)
            if stream is None or not stream.in_step:
                continue
            if stream.stalled(now_s):
                stream.in_step = False
                self._told.discard(stream.phone_id)
                continue
            if offer.frame_seq > stream.after and (offer.cancel_wanted or not offer.accepted):
                stream.after = offer.frame_seq
                stream.write(_frame_of(msgspec.structs.asdict(offer), now))
                self._context.metrics.count("frames_total", "Frames offered")
            self._told.add(stream.phone_id)
        for phone in saved.get(PHONE.name, {}).values():
            if phone is not None and phone.id in self._told:
                stream = self._live[phone.id]
                if phone.unpaired or phone.generation != stream.generation:
                    self._told.discard(phone.id)

    def _committed(self, wake: Wake) -> None:
        told, self._told = self._told, set()
        if "*" in wake.hints:
            self._look(self._live)
        else:
            self._look(phone_id for phone_id in wake.hints if phone_id not in told)

    def _look(self, phone_ids: Iterable[str]) -> None:
        for phone_id in phone_ids:
            stream = self._live.get(phone_id)
            if stream is not None:
                stream.in_step = False
                self._news.add(phone_id)
        if self._news:
            self._wake.set()

    async def pump(self) -> None:
        """Write what is new to the streams it is for; for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._news:
                batch = [self._news.pop() for _ in range(min(len(self._news), PHONES_AT_ONCE))]
                try:
                    await self._offer(batch)
                except (NotReady, *sql.UNREACHABLE) as error:
                    self._news.update(batch)
                    structlog.get_logger().warning("offers wait", error=type(error).__name__)
                    await asyncio.sleep(RETRY_S)

    async def _offer(self, phone_ids: list[str]) -> None:
        if not self._context.fresh():
            raise NotReady("rows are too old to offer commands from")
        now_s = time.monotonic()
        streams = [self._live[p] for p in phone_ids if p in self._live]
        streams = [s for s in streams if not s.stalled(now_s)]
        if not streams:
            return
        rows = await self._context.db.owner.fetch(
            Q.frames, [s.phone_id for s in streams], [s.after for s in streams], FRAMES_AT_ONCE
        )
        now = self._context.clock.now()
        told: dict[str, list[Any]] = {}
        for row in rows:
            told.setdefault(row["phone_id"], []).append(row)
        for stream in streams:
            if self._live.get(stream.phone_id) is stream:
                self._tell(stream, told[stream.phone_id], now)

    def _tell(self, stream: Stream, rows: list[Any], now: datetime) -> None:
        if rows[0]["unpaired"] or rows[0]["generation"] != stream.generation:
            if rows[0]["unpaired"]:
                stream.write(frames.REVOKED)
            stream.end()  # paired anew: the phone must not forget its new credential
            return
        written: list[bytes] = []
        for row in rows:
            if row["frame_seq"] is not None:
                stream.after = row["frame_seq"]
                written.append(_frame_of(row, now))
        if written:
            stream.write(b"".join(written))
            self._context.metrics.count("frames_total", "Frames offered", by=len(written))
        if len(written) == FRAMES_AT_ONCE:
            self._look([stream.phone_id])
        else:
            stream.in_step = stream.phone_id not in self._news

    # -- other instances, time -------------------------------------------------------------------

    async def listen(self) -> None:
        """Hear which phones took their stream to another instance."""
        await self._context.bus.on_wake(TAKEN, self._taken)

    def _taken(self, wake: Wake) -> None:
        for hint in wake.hints:
            instance, _, phone_id = hint.partition(" ")
            stream = self._live.get(phone_id)
            if stream is not None and instance != self._instance:
                stream.taken = True
                stream.end()

    async def tick(self) -> None:
        """Ping every stream in its turn, sweep away what is dead; for ever."""
        turn = 0
        due_s = time.monotonic()
        while True:
            due_s = max(due_s + self._tick_s, time.monotonic())
            await asyncio.sleep(due_s - time.monotonic())
            turn = (turn + 1) % len(self._turns)
            for stream in [s for s in self._live.values() if s.transport.is_closing()]:
                stream.end()
            now_s = time.monotonic()
            streams = list(self._turns[turn].values())
            self._look([stream.phone_id for stream in streams])
            for stream in streams:
                if not stream.stalled(now_s):
                    stream.write(frames.PING)
                await self._presence.still_streaming(stream.phone_id, stream.since, stream.position)

    def drain(self) -> None:
        """End every stream: the phones go to another instance."""
        self._draining = True
        for stream in list(self._live.values()):
            stream.end()


def _frame_of(row: Any, now: datetime) -> bytes:
    if row["cancel_wanted"]:
        return frames.cancel(row["frame_seq"], row["command_id"])
    if row["expires_at"] <= now:  # too late to send, and the phone may know it from before
        return frames.cancel(None, row["command_id"])
    return frames.send(
        row["frame_seq"],
        command_id=row["command_id"],
        message_id=row["message_id"],
        to=row["to_number"],
        body=row["body"],
        subscription_id=row["subscription_id"],
        expires_at=row["expires_at"],
    )
