"""Mail on its way out: a row in the vault, sealed, until it is sent or not worth sending any more.

Whoever answers a request only puts the row down, in the same transaction as what the mail is about,
so how long an answer takes tells nobody anything. Every instance carries mail: a row is taken for a
while, sent under an idempotency key that is its id, and deleted. In development, where no mail
server is set, the rows stay: `eightms mail` and /dev/mail show them.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from shared.clock import Clock
from shared.errors import MailFailed
from shared.mail import Mail, Mailer
from shared.sql import UNREACHABLE, Database
from shared.vault import KeyRing

ROUND_MAX = 20
TAKEN_FOR = timedelta(seconds=90)  # longer than the mailer tries
AGAIN_AFTER = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15))
ATTEMPTS_MAX = len(AGAIN_AFTER) + 1
LOOK_EVERY_S = 30.0  # for what another instance took and did not send
LISTED_MAX = 50

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Mail).decode


def context(mail_id: str) -> str:
    """What a mail is sealed for."""
    return f"api.mail:{mail_id}"


def opened(ring: KeyRing, row: Any) -> Mail:
    """The mail of a row."""
    return _decode(ring.open(row["sealed"], context(row["id"])))


class Postman:
    """Puts mail down and carries it. ``mailer`` None: nothing is carried."""

    def __init__(
        self, db: Database, sql: Any, ring: KeyRing, clock: Clock, mailer: Mailer | None
    ) -> None:
        self._db, self._sql, self._ring, self._clock = db, sql, ring, clock
        self.mailer = mailer
        self._wake = asyncio.Event()
        self._carrying: asyncio.Task[None] | None = None

    async def put(self, db: Any, mail_id: str, mail: Mail, now: datetime, until: datetime) -> None:
        """Put a mail down inside the caller's transaction; ``wake`` once that is committed."""
        sealed = self._ring.seal(_encode(mail), context(mail_id))
        await db.execute(self._sql.post, mail_id, sealed, now, until)

    def wake(self) -> None:
        """There is mail."""
        self._wake.set()

    async def listed(self) -> list[tuple[datetime, Mail]]:
        """The newest mail that has not gone out."""
        rows = await self._db.owner.fetch(self._sql.mail_listed, LISTED_MAX)
        return [(row["created_at"], opened(self._ring, row)) for row in rows]

    async def start(self) -> None:
        """Begin to carry."""
        if self.mailer is not None:
            self._carrying = asyncio.create_task(self._carry())

    async def stop(self) -> None:
        """Stop: what is being sent is sent by somebody else, under the same key."""
        if self._carrying is not None:
            self._carrying.cancel()
            await asyncio.gather(self._carrying, return_exceptions=True)
        if self.mailer is not None:
            await self.mailer.close()

    async def _carry(self) -> None:
        while True:
            self._wake.clear()
            try:
                carried = await self.carry_once()
            except UNREACHABLE as error:
                structlog.get_logger().warning("mail waits", error=type(error).__name__)
                carried = 0
            except Exception:  # noqa: BLE001 - one mail that cannot be read must not stop the rest
                structlog.get_logger().exception("mail failed")
                carried = 0
            if carried < ROUND_MAX:
                try:
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def carry_once(self) -> int:
        """Send what is due; how many were tried."""
        now = self._clock.now()
        rows = await self._db.owner.fetch(
            self._sql.take_mail, now, now + TAKEN_FOR, ROUND_MAX, ATTEMPTS_MAX
        )
        await asyncio.gather(*(self._send(row) for row in rows))
        return len(rows)

    async def _send(self, row: Any) -> None:
        assert self.mailer is not None  # noqa: S101 - nothing is carried without
        slog = structlog.get_logger().bind(mail_id=row["id"])
        try:
            await self.mailer.send(opened(self._ring, row), row["id"])
        except MailFailed as failed:
            attempts = row["attempts"]
            if failed.for_good or attempts >= ATTEMPTS_MAX:
                slog.error("mail not sent", reason=failed.reason)
                await self._db.owner.execute(self._sql.mail_sent, row["id"])
                return
            slog.warning("mail waits", reason=failed.reason, attempts=attempts)
            again = self._clock.now() + AGAIN_AFTER[attempts - 1]
            await self._db.owner.execute(self._sql.mail_failed, row["id"], again)
            return
        await self._db.owner.execute(self._sql.mail_sent, row["id"])
