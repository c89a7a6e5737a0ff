"""Idempotency-Key: a request that is repeated is answered, not done, a second time.

    absent → claimed (running) → answered, kept for 24 hours
                              ↘ released (failed on our side): may be repeated at once

A key belongs to a workspace and an operation, and is bound to the request it first came with by a
fingerprint of method, path, query and body. Answers of 2xx and 4xx are kept, sealed, since they
hold texts, numbers and new secrets; 5xx, 429 and 402 are not. Rows are written in rounds
(gather.py).

The commit need not reach the disk: should PostgreSQL lose its last moments, the request is done
again, and the ids of what it stores are derived from its key, so that nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from services.api.decide.privacy import erased
from services.api.gather import Gather
from shared.clock import Clock
from shared.problems import Problem
from shared.sql import Database
from shared.vault import KeyRing

KEPT = timedelta(hours=24)
# Longer than any request takes (append 5 s, questions 3 s each, a statement 30 s): then its
# process has died, and a repeat may take over.
RUNNING = timedelta(seconds=60)
KEY_MAX_CHARS = 255
PAGE = 200  # answers looked at in one go when some are to be forgotten: a few ms
SAYING = ("privacy.request",)  # answers that tell of an erasure, by id alone, stay
_KEY = re.compile(r"[\x20-\x7e]{1,255}")


class Answer(msgspec.Struct, array_like=True):
    """An answer as it is kept."""

    status: int
    content_type: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """A request under way. ``at`` is when its key was first used: what ids are derived from."""

    operation: str
    key: str
    fingerprint: bytes
    at: datetime


@dataclass(frozen=True, slots=True)
class _Done:
    claim: Claim
    answer: Answer | None  # None: release


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Answer).decode
_json = msgspec.json.Encoder().encode
_canonical = msgspec.json.Encoder(order="deterministic").encode


def read_key(header: str) -> str:
    """The key in a header: a structured field's string, or bare. Else a 400 Problem."""
    text = header.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = re.sub(r'\\(["\\])', r"\1", text[1:-1])
    if _KEY.fullmatch(text) is None:
        detail = f"Idempotency-Key must be 1 to {KEY_MAX_CHARS} printable ASCII characters."
        error = {"header": "Idempotency-Key", "code": "invalid", "detail": detail}
        raise Problem(400, "invalid_idempotency_key", detail, errors=[error])
    return text


def fingerprint(method: str, target: str, body: bytes) -> bytes:
    """What makes two requests the same: method, path with query, and the body's meaning."""
    meant = _canonical(msgspec.json.decode(body)) if body.strip() else b""
    head = f"{method} {target}\n".encode("utf-8", "surrogatepass")
    return hashlib.sha256(head + meant).digest()


class Idempotency:
    """Claims keys and keeps answers for this process."""

    def __init__(self, db: Database, sql: Any, keys: KeyRing, clock: Clock) -> None:
        self._db, self._sql, self._keys, self._clock = db, sql, keys, clock
        self._claims: Gather[Claim, Claim | Answer | Problem] = Gather(self._claim)
        self._answers: Gather[_Done, None] = Gather(self._finish)

    async def begin(
        self, workspace_id: str, operation: str, key: str, print_: bytes
    ) -> Claim | Answer:
        """Take the key, or the answer it had before. Problems: 409 running, 422 used otherwise."""
        wanted = Claim(operation, key, print_, self._clock.now())
        result = await self._claims.ask(workspace_id, wanted)
        if isinstance(result, Problem):
            raise result
        return result

    async def settle(self, workspace_id: str, claim: Claim, answer: Answer | None) -> None:
        """Keep the answer: from here on a repeat gets it. None: it failed on our side, and the
        same request may be made again at once."""
        await self._answers.ask(workspace_id, _Done(claim, answer))

    async def forget(self, workspace_id: str, names: Sequence[bytes]) -> int:
        """Make answers that hold one of ``names`` say that what they told of is erased; how many.

        The rows stay: a repeat must still not do anything twice.
        """
        document = erased().document()
        instead = _encode(Answer(410, "application/problem+json", {}, _json(document)))
        at, count = ("", ""), 0
        while True:
            rows = await self._db.owner.fetch(self._sql.kept_answers, workspace_id, *at, PAGE)
            for row in rows:
                at = (row["operation"], row["key"])
                claim = Claim(row["operation"], row["key"], b"", self._clock.now())
                context = _context(workspace_id, claim)
                body = self._keys.open(row["answer"], context)
                if at[0] in SAYING or not any(name in body for name in names):
                    continue
                sealed = self._keys.seal(instead, context)
                await self._db.owner.execute(
                    self._sql.replace_answer, workspace_id, *at, row["answer"], 410, sealed
                )
                count += 1
            if len(rows) < PAGE:
                return count
            await asyncio.sleep(0)

    async def _claim(
        self, workspace_id: str, wanted: Sequence[Claim]
    ) -> Sequence[Claim | Answer | Problem]:
        firsts = {(c.operation, c.key): c for c in reversed(wanted)}
        rows = sorted(firsts.values(), key=lambda c: (c.operation, c.key))  # one order: no deadlock
        now = self._clock.now()
        taken: dict[tuple[str, str], Any] = {}
        async with self._db.tenant(workspace_id, durable=False) as db:
            got = {
                (row["operation"], row["key"]): row["claimed_at"]
                for row in await db.fetch(
                    self._sql.claim,
                    [workspace_id] * len(rows),
                    [c.operation for c in rows],
                    [c.key for c in rows],
                    [c.fingerprint for c in rows],
                    now,
                    now + RUNNING,
                    now + KEPT,
                )
            }
            if len(got) < len(rows):
                rest = [c for c in rows if (c.operation, c.key) not in got]
                names = [c.operation for c in rest], [c.key for c in rest]
                for row in await db.fetch(self._sql.claimed, *names):
                    taken[row["operation"], row["key"]] = row
        results: list[Claim | Answer | Problem] = []
        for claim in wanted:
            name = (claim.operation, claim.key)
            if firsts[name] is claim and name in got:
                results.append(Claim(*name, claim.fingerprint, got[name]))
            elif name in got:  # the same key twice in one round: the first one runs
                results.append(_other(claim, firsts[name].fingerprint))
            else:
                results.append(self._earlier(workspace_id, claim, taken.get(name)))
        return results

    def _earlier(self, workspace_id: str, claim: Claim, row: Any) -> Answer | Problem:
        if row is None:  # released and swept between two statements: as good as running
            return _running()
        if row["fingerprint"] != claim.fingerprint:
            return reused()
        if row["status"] is None:
            return _running()
        return _decode(self._keys.open(row["answer"], _context(workspace_id, claim)))

    async def _finish(self, workspace_id: str, done: Sequence[_Done]) -> Sequence[None]:
        kept = [d for d in done if d.answer is not None]
        released = [d.claim for d in done if d.answer is None]
        async with self._db.tenant(workspace_id, durable=False) as db:
            if kept:
                await db.execute(
                    self._sql.complete,
                    *_names([d.claim for d in kept]),
                    [d.answer.status if d.answer else 0 for d in kept],
                    [
                        self._keys.seal(_encode(d.answer), _context(workspace_id, d.claim))
                        for d in kept
                    ],
                )
            if released:
                await db.execute(self._sql.release, *_names(released), self._clock.now())
        return [None] * len(done)


def _names(claims: Sequence[Claim]) -> tuple[list[str], list[str], list[datetime]]:
    return (
        [c.operation for c in claims],
        [c.key for c in claims],
        [c.at for c in claims],
    )


def _context(workspace_id: str, claim: Claim) -> str:
    return f"api.idempotency:{workspace_id}:{claim.operation}:{claim.key}"


def _other(claim: Claim, first: bytes) -> Problem:
    return _running() if claim.fingerprint == first else reused()


def _running() -> Problem:
    return Problem(
        409,
        "request_in_progress",
        "The first request with this Idempotency-Key is still running. Repeat yours in a moment.",
        headers={"Retry-After": "1"},
    )


def reused() -> Problem:
    """422: the key came with another request before."""
    detail = "This Idempotency-Key was used with another request. Use a new key for a new request."
    error = {"header": "Idempotency-Key", "code": "idempotency_key_reused", "detail": detail}
    return Problem(422, "idempotency_key_reused", detail, errors=[error])
