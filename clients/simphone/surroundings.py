"""What all phones of a host share, and the plain records a phone works with."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clients.simphone import storage
from clients.simphone.carrier import Carrier, part_count
from clients.simphone.journal import Journal
from clients.simphone.protocol import SendCommand

if TYPE_CHECKING:
    from clients.simphone.phone import Phone

OnFrame = Callable[[str, str, Any, float], None]
OnStep = Callable[[str, str, str], None]


@dataclass(slots=True)
class Counters:
    """What the phones of one host did since it started."""

    frames: int = 0
    malformed: int = 0
    repeated: int = 0
    accepted: int = 0
    submitted: int = 0
    sent: int = 0
    delivered: int = 0
    failed: int = 0
    cancelled: int = 0
    unknown: int = 0
    received: int = 0
    connects: int = 0
    journal_calls: int = 0
    journal_failures: int = 0
    rejected: int = 0


@dataclass(slots=True)
class Surroundings:
    """What all phones of a host share."""

    journal: Journal
    carrier: Carrier
    loop: asyncio.AbstractEventLoop
    next_provider_id: int
    mark: Callable[["Phone"], None]  # something is ready to go up
    dismiss: Callable[["Phone"], None]  # the gateway unpaired it
    now: Callable[[], datetime]
    on_frame: OnFrame | None = None
    on_step: OnStep | None = None
    counters: Counters = field(default_factory=Counters)
    on_air: int = 0  # texts submitted whose result is still to come
    closing: bool = False  # being switched off: nothing new is begun
    closed: bool = False  # switched off: nothing happens any more

    def later(self, delay_ms: int, then: Callable[..., None], *args: Any) -> None:
        """Call back after `delay_ms` (at once for 0), unless the host was closed meanwhile."""
        if delay_ms:
            self.loop.call_later(delay_ms / 1000, self._unless_closed, then, args)
        else:
            then(*args)

    def _unless_closed(self, then: Callable[..., None], args: tuple[Any, ...]) -> None:
        if not self.closed:
            then(*args)


@dataclass(slots=True)
class Held:
    """A command between `accepted` and its end; `state` is one of storage's."""

    command_id: str
    message_id: str
    to: str
    body: str
    subscription_id: int | None
    expires_at: datetime | None
    state: str = storage.ACCEPTED
    parts: int = field(init=False)

    def __post_init__(self) -> None:
        self.parts = part_count(self.body)

    def expired(self, now: datetime) -> bool:
        """Whether it may not be sent any more."""
        return self.expires_at is not None and self.expires_at <= now

    @classmethod
    def from_frame(cls, command: SendCommand) -> "Held":
        return cls(
            command.command_id,
            command.message_id,
            command.to,
            command.body,
            command.subscription_id,
            command.expires_at,
        )

    @classmethod
    def from_stored(cls, row: storage.StoredCommand) -> "Held":
        expires_at = datetime.fromisoformat(row.expires_at) if row.expires_at else None
        return cls(
            row.command_id,
            row.message_id,
            row.to,
            row.body,
            row.subscription_id,
            expires_at,
            row.state,
        )

    def row(self, phone_id: str, now: datetime) -> Sequence[Any]:
        """For the journal's statement `command`."""
        return (
            phone_id,
            self.command_id,
            self.message_id,
            self.to,
            self.body,
            self.subscription_id,
            self.expires_at,
            self.state,
            now,
        )


def utc_now() -> datetime:
    """The phone's clock."""
    return datetime.now(UTC)
