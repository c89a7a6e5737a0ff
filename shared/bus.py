"""What passes between processes without being history: wake-ups, questions, presence.

``wake.<service>`` tells the instances of one service that a batch is committed and what it changed.
``ask.<service>.<question>`` gets an answer that is computed, not stored. Presence is a bucket of
last signs of life, in memory, with a time to live. Losing any of it loses no fact.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec
import structlog

from shared import reader
from shared.errors import EightMsError, LogUnavailable, NoAnswer, NotReady, Refused
from shared.log import Log
from shared.problems import Problem, unavailable

ASK_TIMEOUT_S = 3.0
HINTS_MAX = 500  # more changed ids than this are announced as "*": look at everything you hold
PRESENCE = "presence"
PRESENCE_TTL_S = 24 * 3600
PRESENCE_WAIT_S = 1.0  # an answer does without it rather than wait longer

Handler = Callable[[dict[str, Any]], Awaitable[Any]]


class Wake(msgspec.Struct):
    """A committed batch: the position reached, the ids that changed (or ``*``), what is left."""

    seq: int
    hints: list[str]
    pending: int = 0


_encode = msgspec.json.Encoder().encode
_decode_wake = msgspec.json.Decoder(Wake).decode


class Bus:
    """Core NATS beside the log. Everything here is best effort and bounded in time."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def announce(self, service: str, seq: int, hints: set[str], pending: int = 0) -> None:
        """Tell the other instances of ``service`` that it committed up to ``seq``."""
        names = ["*"] if len(hints) > HINTS_MAX else sorted(hints)
        await self._publish(f"wake.{service}", _encode(Wake(seq, names, pending)))

    async def on_wake(self, service: str, heard: Callable[[Wake], None]) -> None:
        """Call ``heard`` for each announcement of ``service``."""

        def received(_: bytes, __: bytes, ___: bytes, payload: bytes) -> None:
            heard(_decode_wake(payload))

        await self._log.tap(f"wake.{service}", received)

    async def _publish(self, subject: str, payload: bytes) -> None:
        await self._log.publish(subject, payload)  # disconnected: the next wake says the same

    # -- questions -------------------------------------------------------------------------------

    async def ask(
        self, service: str, question: str, body: Any, timeout_s: float = ASK_TIMEOUT_S
    ) -> Any:
        """The answer; NoAnswer if nobody replies in time, Refused with the problem of who did."""
        try:
            msg = await self._log.request(
                f"ask.{service}.{question}", msgspec.json.encode(body), timeout_s
            )
        except LogUnavailable as error:
            raise NoAnswer(f"{service} did not answer {question}") from error
        answer: dict[str, Any] = msgspec.json.decode(msg.data)
        if "problem" in answer:
            raise Refused(answer["problem"])
        return answer.get("ok")

    async def answer(self, service: str, question: str, handler: Handler) -> None:
        """Answer ``question`` with ``handler``; one instance of the service gets each question."""
        slog = structlog.get_logger()

        async def work(msg: Any) -> None:
            try:
                reply: dict[str, Any] = {"ok": await handler(msgspec.json.decode(msg.data))}
            except Problem as problem:
                reply = {"problem": problem.document()}
            except (EightMsError, *_database_errors()) as error:
                slog.warning("question not answered", question=question, error=type(error).__name__)
                reply = {
                    "problem": unavailable(str(NotReady(f"{service} is not ready"))).document()
                }
            except Exception:  # noqa: BLE001 - whoever asked gets an answer all the same
                slog.exception("question failed", question=question)
                reply = {
                    "problem": Problem(500, "internal_error", "The question failed.").document()
                }
            await self._publish(msg.reply, msgspec.json.encode(reply))

        async def received(msg: Any) -> None:
            task = asyncio.create_task(work(msg))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        tasks: set[asyncio.Task[None]] = set()
        await self._log.subscribe(f"ask.{service}.{question}", received, queue=service)

    # -- presence --------------------------------------------------------------------------------

    async def ensure_presence(self) -> None:
        """Create the bucket. Needs the deploy user."""
        config = {
            "name": f"KV_{PRESENCE}",
            "subjects": [f"$KV.{PRESENCE}.>"],
            "storage": "memory",
            "max_msgs_per_subject": 1,
            "max_age": PRESENCE_TTL_S * 1_000_000_000,
            "discard": "new",
            "allow_direct": True,
            "allow_rollup_hdrs": True,
            "num_replicas": 1,
        }
        try:
            await self._log.api(f"STREAM.CREATE.KV_{PRESENCE}", config)
        except LogUnavailable as error:
            if "already in use" not in str(error):
                raise

    async def put_presence(self, phone_id: str, state: dict[str, Any]) -> None:
        """Store the last sign of life of a phone."""
        await self._publish(f"$KV.{PRESENCE}.{phone_id}", msgspec.json.encode(state))

    async def presence(self, phone_id: str) -> dict[str, Any] | None:
        """The last sign of life of a phone, or None."""
        try:
            msg = await self._log.request(
                f"$JS.API.DIRECT.GET.KV_{PRESENCE}.$KV.{PRESENCE}.{phone_id}", b"", PRESENCE_WAIT_S
            )
        except LogUnavailable:
            return None
        if msg.headers and msg.headers.get("Status"):
            return None
        return msgspec.json.decode(msg.data)

    async def watch_presence(self) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """(phone id, state): what is known now, then every change, for ever."""
        source = reader.read(
            self._log, f"KV_{PRESENCE}", [f"$KV.{PRESENCE}.>"], 0, last_per_subject=True
        )
        async for batch in source:
            for record in batch.records:
                if record.data:
                    yield record.subject.rpartition(".")[2], msgspec.json.decode(record.data)


def _database_errors() -> tuple[type[BaseException], ...]:
    from shared.sql import UNREACHABLE

    return UNREACHABLE
