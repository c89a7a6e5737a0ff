"""One handset: what it does with frames, texts and the carrier's answers. No network in here.

Every step is written first and done when the row is durable (`Journal.after`):

    send frame → accepted ┄ durable → submitted ┄ durable → the radio ┄ durable → sent → delivered
                    └→ cancelled (a cancel came, or expires_at passed)       └→ failed

so a process killed between two steps finds, when it comes back: accepted → submits it now;
submitted → `unknown`, because nobody can say whether the radio had it; sent → awaits the receipt.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from clients.simphone import protocol, storage
from clients.simphone.carrier import (
    RESULT_INVALID_ARGUMENTS,
    RESULT_OK,
    RESULT_RADIO_OFF,
    TP_PERMANENT_FROM,
    Outcome,
    part_count,
)
from clients.simphone.protocol import CancelCommand, Frame, PhoneConfig, SendCommand
from clients.simphone.surroundings import Held, Surroundings

log = logging.getLogger("simphone")


class Phone:
    """A paired handset. `next_seq` is the next journal number, `pending` what is durable and not
    yet acknowledged (None stands for a heartbeat), `head` the highest durable number, `held` the
    open commands. `credential` is None once the gateway has unpaired the phone."""

    __slots__ = (
        "_around",
        "_beat_timer",
        "_beats_pending",
        "acked_seq",
        "battery",
        "charging",
        "config",
        "connected",
        "credential",
        "device_id",
        "endpoint",
        "head",
        "held",
        "label",
        "last_event_id",
        "next_seq",
        "online",
        "pending",
        "phone_id",
        "retired",
        "sims",
        "stream_url",
    )

    def __init__(self, stored: storage.StoredPhone, around: Surroundings) -> None:
        self._around = around
        self.phone_id, self.device_id = stored.phone_id, stored.device_id
        self.label, self.sims = stored.label, stored.sims
        self.endpoint, self.stream_url = stored.endpoint, stored.stream_url
        self.credential, self.config = stored.credential, stored.config
        self.next_seq, self.acked_seq = stored.next_seq, stored.acked_seq
        self.last_event_id = stored.last_event_id
        self.online, self.battery, self.charging = stored.online, stored.battery, stored.charging
        self.pending: deque[storage.Pending] = deque(stored.pending)
        self.head = stored.next_seq - 1
        self._beats_pending = sum(1 for _, entry, _ in stored.pending if entry is None)
        self._beat_timer: asyncio.TimerHandle | None = None
        self.connected = self.retired = False
        self.held: dict[str, Held] = {}

    # What is told about the phone

    def row(self) -> Sequence[Any]:
        """The phone's row for the journal's statement `phone`."""
        return (
            self.phone_id,
            self.next_seq,
            self.acked_seq,
            self.last_event_id,
            self.online,
            self.battery,
            self.charging,
            protocol.encode(self.config).decode(),
            self.credential,
        )

    def inventory(self) -> dict[str, Any]:
        """What the phone holds. A command whose facts are still on their way up counts as held:
        one that is not listed may be given to another phone."""
        on_the_way = {command_id for _, _, command_id in self.pending if command_id}
        return {
            "open_commands": sorted(on_the_way | self.held.keys()),
            "journal_head": self.head,
            **self.health(),
            "app_version": protocol.APP_VERSION,
            "sims": self.sims,
        }

    def health(self) -> dict[str, Any]:
        network = "wifi" if self.online else "none"
        return {"battery": self.battery, "charging": self.charging, "network": network}

    def summary(self) -> dict[str, Any]:
        """The phone as the control interface lists it."""
        state = "connected" if self.connected else "connecting"
        if not self.online:
            state = "offline"
        return {
            "phone_id": self.phone_id,
            "label": self.label,
            "state": state if self.credential is not None else "unpaired",
            **self.health(),
            "device_id": self.device_id,
            "sims": self.sims,
            "journal_head": self.head,
            "acked_seq": self.acked_seq,
            "open_commands": len(self.held),
        }

    # Journal

    def journaled(self, seq: int, entry: bytes | None, command_id: str | None) -> None:
        """An entry became durable: it may go up."""
        self.head = seq
        self.pending.append((seq, entry, command_id))
        self._around.mark(self)

    def _write(self, kind: str, command_id: str | None = None, **fields: Any) -> None:
        if command_id is not None:
            fields = {"command_id": command_id, **fields}
        entry = protocol.encode_entry(self.next_seq, self._around.now(), kind, fields)
        self.next_seq += 1
        self._around.journal.entry(self, self.next_seq - 1, entry, command_id)

    def beat(self) -> None:
        """Journal a heartbeat, unless one still waits to go up."""
        if self._beats_pending == 0:
            self._beats_pending = 1
            self.next_seq += 1
            self._around.journal.entry(self, self.next_seq - 1, None, None)

    def start_beating(self) -> None:
        """A heartbeat now and one every `heartbeat_s` from now on. The second comes earlier, by
        chance, so that thousands of phones that start together do not beat together."""
        self.stop_beating()
        self.beat()
        first_s = self.config.beat_s() * self._around.carrier.rng.uniform(0.5, 1.0)
        self._beat_timer = self._around.loop.call_later(first_s, self._beat_on)

    def _beat_on(self) -> None:
        self.beat()
        self._beat_timer = self._around.loop.call_later(self.config.beat_s(), self._beat_on)

    def stop_beating(self) -> None:
        if self._beat_timer is not None:
            self._beat_timer.cancel()
            self._beat_timer = None

    def acknowledged(self, seq: int) -> None:
        """The gateway has stored everything up to `seq`."""
        while self.pending and self.pending[0][0] <= seq:
            self.forget_first()
        if seq <= self.acked_seq:
            return
        if seq >= self.next_seq:
            # Only a state folder put back from an older copy can be behind its gateway.
            log.warning("phone %s: gateway is ahead, acked %d", self.phone_id, seq)
            self.next_seq, self.head = seq + 1, seq
        self.acked_seq = seq
        self._around.journal.acked(self, seq)

    def forget_first(self) -> None:
        """Drop the oldest pending entry."""
        _, entry, _ = self.pending.popleft()
        if entry is None:
            self._beats_pending -= 1

    def unpair(self) -> None:
        """Forget the credential. What was not submitted will not be sent from here any more."""
        self.stop_beating()
        self.credential = None
        self._around.journal.touch(self)
        for held in list(self.held.values()):
            if held.state == storage.ACCEPTED:
                self._end(held, storage.CANCELLED)

    def retire(self) -> None:
        """Another object takes this phone over, from what is stored: timers find nothing to do."""
        self.retired = True
        for held in self.held.values():
            self._around.on_air -= held.state == storage.SUBMITTED
            held.state = "retired"

    # Frames

    def frame(self, frame: Frame, at: float) -> None:
        """Take one frame of the stream; one that cannot be read is counted and ignored."""
        around = self._around
        around.counters.frames += 1
        try:
            if around.on_frame is not None:
                around.on_frame(self.phone_id, frame.event, protocol.decode(frame.data, object), at)
            if frame.id is not None:
                self.last_event_id = frame.id
            match frame.event:
                case "send":
                    self._send(protocol.decode(frame.data, SendCommand))
                case "cancel":
                    self._cancel(protocol.decode(frame.data, CancelCommand).command_id)
                case "config":
                    self._configure(protocol.decode(frame.data, PhoneConfig))
                case "revoked":
                    around.dismiss(self)
                case _:
                    pass  # ping, or something newer than this phone
        except protocol.Malformed:
            around.counters.malformed += 1
            log.warning("phone %s: malformed %s frame ignored", self.phone_id, frame.event[:20])

    def _known(self, command_id: str) -> bool:
        return command_id in self.held or self._around.journal.seen(self.phone_id, command_id)

    def _send(self, command: SendCommand) -> None:
        if self._known(command.command_id):
            self._around.counters.repeated += 1
            return
        held = Held.from_frame(command)
        self._remember(held)
        self._around.counters.accepted += 1
        self._write("accepted", held.command_id)
        self._around.journal.after(self._accepted, held)

    def _remember(self, held: Held) -> None:
        self.held[held.command_id] = held
        self._around.journal.put("command", held.row(self.phone_id, self._around.now()))

    def _cancel(self, command_id: str) -> None:
        """Confirm that the command will never be sent by this phone, or ignore it if too late.
        One never heard of is remembered too: its `send` may be behind on an older connection."""
        held = self.held.get(command_id)
        if held is None and not self._around.journal.seen(self.phone_id, command_id):
            held = Held(command_id, "", "", "", None, None)
            self._remember(held)
        if held is not None and held.state == storage.ACCEPTED:
            self._end(held, storage.CANCELLED)

    def _configure(self, config: PhoneConfig) -> None:
        self.config = config
        self._around.journal.touch(self)
        if self._beat_timer is not None:
            self.start_beating()

    # A text on its way out

    def _step(self, held: Held, step: str) -> None:
        if self._around.on_step is not None:
            self._around.on_step(self.phone_id, held.command_id, step)

    def _accepted(self, held: Held) -> None:
        self._step(held, "accepted")
        self._around.later(self._around.carrier.hold_ms, self._submit, held)

    def _submit(self, held: Held) -> None:
        if self._around.closing or held.state != storage.ACCEPTED:
            return  # cancelled meanwhile; or the phone is being switched off and sends it later
        if held.expired(self._around.now()):
            self._end(held, storage.CANCELLED)
            return
        held.state = storage.SUBMITTED
        self._around.counters.submitted += 1
        self._around.on_air += 1
        self._around.journal.state(self.phone_id, held.command_id, storage.SUBMITTED)
        self._write("submitted", held.command_id, attempt=1, parts=held.parts)
        self._around.journal.after(self._submitted, held)

    def _submitted(self, held: Held) -> None:
        """`submitted` is on disk: call the simulated SmsManager."""
        self._step(held, "submitted")
        if not self.online:
            outcome = Outcome(RESULT_RADIO_OFF)
        elif held.subscription_id not in (None, *(sim.subscription_id for sim in self.sims)):
            outcome = Outcome(RESULT_INVALID_ARGUMENTS)
        else:
            outcome = self._around.carrier.outcome(held.to, held.body)
        digest = hashlib.sha256(held.body.encode()).hexdigest()
        at = self._around.now()
        self._around.journal.put(
            "radio", (self.phone_id, held.command_id, held.message_id, held.to, digest, at)
        )
        self._around.journal.after(self._on_air, held, outcome)

    def _on_air(self, held: Held, outcome: Outcome) -> None:
        self._step(held, "radio")
        self._around.later(self._around.carrier.delay_ms, self._result, held, outcome)

    def _result(self, held: Held, outcome: Outcome) -> None:
        if held.state != storage.SUBMITTED:
            return
        self._around.on_air -= 1
        if outcome.result_code != RESULT_OK:
            fields: dict[str, Any] = {"result_code": outcome.result_code, "part": 1}
            if outcome.error_code is not None:
                fields["error_code"] = outcome.error_code
            self._end(held, storage.FAILED, **fields)
            return
        parts = [{"n": n + 1, "result_code": RESULT_OK} for n in range(held.parts)]
        if outcome.tp_status is None:
            self._end(held, storage.SENT, parts=parts)
        else:
            held.state = storage.AWAITING
            self._around.counters.sent += 1
            self._around.journal.state(self.phone_id, held.command_id, storage.AWAITING)
            self._write("sent", held.command_id, parts=parts)
            self._around.journal.after(self._step, held, "sent")
            self._around.later(
                self._around.carrier.delay_ms, self._receipt, held, outcome.tp_status
            )
        if outcome.reply is not None:
            # The person reads first: the answer comes after the receipt.
            delay_ms = 2 * self._around.carrier.delay_ms
            self._around.later(delay_ms, self._reply, held.to, outcome.reply, held.subscription_id)

    def _receipt(self, held: Held, tp_status: int) -> None:
        if self._around.closing or held.state != storage.AWAITING:
            return  # when closing it stays open: the report comes after the next start
        parts = [{"n": n + 1, "tp_status": tp_status} for n in range(held.parts)]
        state = storage.FAILED if tp_status >= TP_PERMANENT_FROM else storage.DELIVERED
        self._end(held, state, "delivered", parts=parts)

    def _end(self, held: Held, state: str, /, kind: str = "", **fields: Any) -> None:
        """Journal the last fact of a command (`kind`, where it is not named like the state) and
        let go of it once that is durable."""
        held.state = state
        counters = self._around.counters
        setattr(counters, state, getattr(counters, state) + 1)
        self._around.journal.state(self.phone_id, held.command_id, state)
        self._write(kind or state, held.command_id, **fields)
        self._around.journal.after(self._ended, held, state)

    def _ended(self, held: Held, state: str) -> None:
        self.held.pop(held.command_id, None)
        self._step(held, state)

    def resume(self, commands: list[storage.StoredCommand]) -> None:
        """Go on where the process ended."""
        for one in commands:
            held = Held.from_stored(one)
            self.held[held.command_id] = held
            delay_ms = self._around.carrier.delay_ms
            match one.state:
                case storage.ACCEPTED:
                    self._accepted(held)
                case storage.SUBMITTED:
                    self._end(held, storage.UNKNOWN)
                case _:
                    tp_status = self._around.carrier.receipt(held.to, held.body)
                    if tp_status is None:
                        self._around.journal.state(self.phone_id, held.command_id, storage.SENT)
                        del self.held[held.command_id]
                    else:
                        self._around.later(delay_ms, self._receipt, held, tp_status)

    # Texts in

    def _reply(self, sender: str, body: str, subscription_id: int | None) -> None:
        if not self._around.closing and not self.retired:
            self.receive(sender, body, subscription_id)

    def receive(self, sender: str, body: str, subscription_id: int | None = None) -> str:
        """A text arrives; returns its provider id. It goes up when the phone has a network."""
        around = self._around
        around.counters.received += 1
        provider_id, around.next_provider_id = around.next_provider_id, around.next_provider_id + 1
        sim = subscription_id if subscription_id is not None else self.sims[0].subscription_id
        at = around.now()
        around.journal.put("inbox", (provider_id, self.phone_id, sender, body, sim, at))
        self._write(
            "received",
            **{"from": sender},
            body=body,
            subscription_id=sim,
            received_at=at,
            provider_id=str(provider_id),
            parts=part_count(body),
        )
        return str(provider_id)
