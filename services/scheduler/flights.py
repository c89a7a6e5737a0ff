"""Decisions on their way: to the log, then back into our rows. Nothing is decided twice meanwhile.

A flight ends when its event is projected, or when the log refused it. Which came first, the log's
acknowledgement or the projected row, does not matter; nor does it that a decision lands twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any


class Flight:
    """One decision. ``phone_id`` and ``contact_id`` are set of a dispatch only."""

    __slots__ = (
        "at", "command_id", "contact_id", "held_up", "message_id", "over", "parts", "phone_id",
        "seq", "settles",
    )  # fmt: skip

    def __init__(
        self,
        message_id: str,
        at: datetime,
        *,
        parts: int = 0,
        contact_id: str | None = None,
        phone_id: str | None = None,
        command_id: str = "",
    ) -> None:
        self.message_id, self.at, self.parts = message_id, at, parts
        self.contact_id, self.phone_id, self.command_id = contact_id, phone_id, command_id
        self.seq: int | None = None  # where the log has it
        self.over = False
        self.settles = False  # the message was opened meanwhile: decide about it afterwards
        # Queues in which something waits for this flight, with their workspaces and whether they
        # are timed: to be looked at again, in the same way, when it is over.
        self.held_up: dict[str, tuple[str, bool]] = {}


class Flights:
    """Every decision on its way in this term."""

    def __init__(self) -> None:
        self._of_message: dict[str, Flight] = {}
        self._of_phone: dict[str, dict[str, Flight]] = {}
        self._of_contact: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._of_message)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._of_message

    def get(self, message_id: str) -> Flight | None:
        """The decision about a message that is on its way."""
        return self._of_message.get(message_id)

    def begin(self, flight: Flight) -> None:
        """A decision is handed to the log."""
        self._of_message[flight.message_id] = flight
        if flight.phone_id is not None:
            self._of_phone.setdefault(flight.phone_id, {})[flight.message_id] = flight
        if flight.contact_id is not None:
            self._of_contact[flight.contact_id] = flight

    def end(self, flight: Flight) -> bool:
        """It is over; False if it was already, or is of an earlier term."""
        if self._of_message.get(flight.message_id) is not flight:
            return False
        del self._of_message[flight.message_id]
        if flight.phone_id is not None:
            aloft = self._of_phone[flight.phone_id]
            del aloft[flight.message_id]
            if not aloft:
                del self._of_phone[flight.phone_id]
        if flight.contact_id and self._of_contact.get(flight.contact_id) is flight:
            del self._of_contact[flight.contact_id]
        flight.over = True
        return True

    def landed(self, position: int) -> list[Flight]:
        """Those whose event the rows hold, up to ``position``."""
        flights = self._of_message.values()
        return [f for f in flights if f.seq is not None and f.seq <= position]

    def arrived(self, messages: Iterable[Any]) -> list[Flight]:
        """Dispatches that these rows hold, though the log's acknowledgement may not be here yet."""
        flights = ((self._of_message.get(row.id), row.command_id) for row in messages)
        return [f for f, command_id in flights if f and f.phone_id and f.command_id == command_id]

    def to_phone(self, phone_id: str) -> Iterable[Flight]:
        """Dispatches to a phone."""
        return self._of_phone.get(phone_id, {}).values()

    def of(self, text: Any) -> Flight | None:
        """The decision on its way about a text, or the last dispatch to the same person."""
        return self._of_message.get(text.id) or self._of_contact.get(text.contact_id)

    def as_of_now(self) -> Callable[[Any], Flight | None]:
        """``of``, but for ever as of this moment."""
        frozen = Flights()
        frozen._of_message = dict(self._of_message)
        frozen._of_contact = dict(self._of_contact)
        return frozen.of
