"""What the gateway decides about a journal call. Pure: rows, the call and the time in, events out.

The rules are the phone protocol's. Entries count in the order of ``seq``: one at or below the head
is a repeat, one beyond a gap waits until the phone has sent what is missing, one that is wrong is
set aside but counts as told. What is news becomes an event whose id names the entry, so that a call
that is repeated after a crash is stored once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from services.gateway import codes, entries
from services.gateway.codes import Receipt
from services.gateway.entries import Call, Rejected, clean
from services.gateway.facts import Fact, is_news
from shared import events as e
from shared import ids, numbers

DEFAULT_REGION = "US"  # shared/events/account.py's default: for a workspace not yet seen
_GAP = "Entries before this one have not come up yet: send from acked_seq + 1."
_UNKNOWN_COMMAND = "This phone was never given a command with this id."
_TP_CLASS = "permanent"  # the network tried for as long as the message was valid


class PhoneView(Struct, frozen=True, kw_only=True):
    """A phone's row, with the head of its journal from rows and vault together."""

    id: str
    workspace_id: str
    generation: int
    unpaired: bool
    head: int
    sims: list[e.Sim]
    sims_seq: int
    region: str | None = None
    renewals: bool = False  # somebody of the workspace was erased


class CommandView(Struct, kw_only=True):
    """A command's row, with the parts that were reported one by one. Changed while deciding."""

    id: str
    phone_id: str
    message_id: str
    contact_id: str
    attempt: int
    parts: int
    facts: int
    cause: str
    sent: list[int] = []
    delivered: list[int] = []
    frame_seq: int = 0  # of the cancel frame, where a cancel is wanted


@dataclass(frozen=True)
class Known:
    """What the rows say about a call. ``cancels`` are commands to be taken back, not accepted.

    ``stream_from`` is the log position the phone's present stream began at, None where it has none
    or one so young that an inventory may be older than it. ``first_seq`` is a gap's far side that
    the phone insists on: what is before it is lost to both. ``renewed``: of contacts in generation
    0 who were erased, whose the number is now.
    """

    phone: PhoneView
    commands: Mapping[str, CommandView]
    received: frozenset[str]
    cancels: Iterable[CommandView] = ()
    stream_from: int | None = None
    first_seq: int | None = None
    renewed: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass
class Verdict:
    """What follows from a call. ``parts`` must be stored before the events, the head after them."""

    acked_seq: int
    events: list[e.Event] = field(default_factory=list[e.Event])
    rejected: list[Rejected] = field(default_factory=list[Rejected])
    parts: dict[str, CommandView] = field(default_factory=dict[str, CommandView])
    vitals: dict[str, Any] = field(default_factory=dict[str, Any])
    told_seq: int = 0  # the highest seq whose event the log will hold
    gap_at: int | None = None  # the first entry beyond a gap


def message_of(phone_id: str, entry: entries.Received) -> str:
    """The id of a received text: the same for every sweep that finds it again."""
    at = entry.received_at.astimezone(UTC).isoformat()
    return ids.derive("msg", phone_id, str(entry.provider_id), at)


def first_contact(identity_key: bytes, phone: PhoneView, sender: numbers.Sender) -> str:
    """Who texts, had nobody with that number ever been erased."""
    return ids.contact_id(identity_key, phone.workspace_id, sender.value, 0)


def sender_of(phone: PhoneView, entry: entries.Received) -> numbers.Sender:
    """Whom a text says it is from, as a number or an opaque address."""
    return numbers.parse_sender(clean(entry.sender), phone.region or DEFAULT_REGION)


def journal(call: Call, known: Known, now: datetime, identity_key: bytes) -> Verdict:
    """What a call becomes. ``identity_key`` derives contacts from numbers (shared/vault.py)."""
    decision = _Decision(known, now, identity_key)
    decision.take_entries(call)
    if call.inventory is not None:
        decision.take_inventory(call.inventory)
    return decision.verdict


class _Decision:
    def __init__(self, known: Known, now: datetime, identity_key: bytes) -> None:
        self.known, self.now, self.identity_key = known, now, identity_key
        self.phone = known.phone
        self.received = set(known.received)
        self.verdict = Verdict(acked_seq=known.phone.head)

    # -- entries ---------------------------------------------------------------------------------

    def take_entries(self, call: Call) -> None:
        verdict = self.verdict
        numbered: list[tuple[int, entries.AnyEntry | Rejected]] = [
            (entry.seq, entry) for entry in call.entries
        ]
        for wrong in call.rejected:
            if wrong.seq:
                numbered.append((wrong.seq, wrong))
            else:
                verdict.rejected.append(wrong)
        numbered.sort(key=lambda pair: pair[0])
        if numbered and numbered[0][0] == self.known.first_seq:
            verdict.acked_seq = max(verdict.acked_seq, numbered[0][0] - 1)
        for seq, entry in numbered:
            if seq <= verdict.acked_seq:
                continue
            if seq > verdict.acked_seq + 1:
                verdict.gap_at = verdict.gap_at or seq
                verdict.rejected.append(Rejected(seq, "gap", _GAP))
                continue
            verdict.acked_seq = seq
            if isinstance(entry, Rejected):
                verdict.rejected.append(entry)
            else:
                self._take(entry)

    def _take(self, entry: entries.AnyEntry) -> None:
        match entry:
            case entries.Health():
                self._vitals(entry)
            case entries.Received():
                self._received(entry)
            case _:
                command = self.known.commands.get(entry.command_id)
                if command is None or command.phone_id != self.phone.id:
                    self._reject(entry.seq, "unknown_command", _UNKNOWN_COMMAND)
                else:
                    self._command_entry(entry, command)

    def _command_entry(self, entry: entries.CommandEntry, command: CommandView) -> None:
        match entry:
            case entries.Accepted():
                self._fact(Fact.ACCEPTED, e.SmsAccepted, entry, command)
            case entries.Submitted():
                if self._fact(Fact.SUBMITTED, e.SmsSubmitted, entry, command, parts=entry.parts):
                    command.parts = entry.parts
            case entries.Sent():
                self._sent(entry, command)
            case entries.Delivered():
                self._delivered(entry, command)
            case entries.Failed():
                self._failed(entry, command)
            case entries.Unknown():
                self._fact(Fact.UNKNOWN, e.SmsUnknown, entry, command)
            case entries.Cancelled():
                self._fact(Fact.CANCELLED, e.SmsCancelled, entry, command, proof="journal")
            case _:
                raise TypeError(type(entry).__name__)

    def _sent(self, entry: entries.Sent, command: CommandView) -> None:
        for part in entry.parts:
            if part.result_code != codes.RESULT_OK:
                self._result(entry, command, part.result_code)
                return
        total = self._total(command, (part.n for part in entry.parts))
        command.sent = sorted({*command.sent, *(part.n for part in entry.parts)})
        if _complete(command.sent, total):
            self._fact(Fact.SENT, e.SmsSent, entry, command, parts=total)
        elif is_news(Fact.SENT, command.facts):
            self.verdict.parts[command.id] = command

    def _delivered(self, entry: entries.Delivered, command: CommandView) -> None:
        arrived: set[int] = set()
        for part in entry.parts:
            report = codes.of_tp_status(part.tp_status)
            if report.receipt is Receipt.FAILED:
                self._fact(
                    Fact.FAILED,
                    e.SmsFailed,
                    entry,
                    command,
                    error_class=_TP_CLASS,
                    code=report.code,
                    detail=report.detail,
                )
                return
            if report.receipt is Receipt.DELIVERED:
                arrived.add(part.n)
        total = self._total(command, (part.n for part in entry.parts))
        command.delivered = sorted({*command.delivered, *arrived})
        if _complete(command.delivered, total):
            self._fact(Fact.DELIVERED, e.SmsDelivered, entry, command)
        elif arrived and is_news(Fact.DELIVERED, command.facts):
            self.verdict.parts[command.id] = command

    def _failed(self, entry: entries.Failed, command: CommandView) -> None:
        if entry.result_code == codes.RESULT_OK:
            self._reject(entry.seq, "invalid_entry", "Result code -1 is success, not a failure.")
            return
        self._result(entry, command, entry.result_code, entry.error_code)

    def _result(
        self,
        entry: entries.CommandEntry,
        command: CommandView,
        result_code: int,
        error_code: int | None = None,
    ) -> None:
        if not is_news(Fact.SENT, command.facts):
            return  # every part was out already
        result = codes.of_result(result_code)
        self._fact(
            Fact.FAILED,
            e.SmsFailed,
            entry,
            command,
            error_class=result.error_class,
            code=result.code,
            detail=result.detail,
            result_code=result_code,
            error_code=error_code,
        )

    def _total(self, command: CommandView, parts: Iterable[int]) -> int:
        """How many parts there are: as counted when it was submitted, else as this entry says."""
        return command.parts if command.facts & Fact.SUBMITTED else max(parts)

    def _fact(
        self,
        fact: Fact,
        cls: type[e.SmsFact],
        entry: entries.CommandEntry,
        command: CommandView,
        **more: Any,
    ) -> bool:
        if not is_news(fact, command.facts):
            return False
        command.facts |= fact
        data = self._data(cls, command, entry.seq, entry.at, more)
        self._append(entry.seq, data, self._entry_id(entry.seq), command.cause)
        return True

    def _data(
        self,
        cls: type[e.SmsFact],
        command: CommandView,
        seq: int,
        phone_at: datetime,
        more: dict[str, Any],
    ) -> e.SmsFact:
        return cls(
            message_id=command.message_id,
            contact_id=command.contact_id,
            command_id=command.id,
            phone_id=self.phone.id,
            attempt=command.attempt,
            journal_seq=seq,
            phone_at=phone_at.astimezone(UTC),
            generation=self.phone.generation,
            **more,
        )

    def _received(self, entry: entries.Received) -> None:
        message_id = message_of(self.phone.id, entry)
        if message_id in self.received:
            return
        self.received.add(message_id)
        sender = sender_of(self.phone, entry)
        contact_id = first_contact(self.identity_key, self.phone, sender)
        data = e.SmsReceived(
            contact_id=self.known.renewed.get(contact_id, contact_id),
            message_id=message_id,
            phone_id=self.phone.id,
            sender=sender.value,
            sender_kind=sender.kind,
            body=clean(entry.body),
            parts=entry.parts,
            received_at=entry.received_at.astimezone(UTC),
            provider_id=clean(str(entry.provider_id)),
            journal_seq=entry.seq,
            subscription_id=entry.subscription_id,
            generation=self.phone.generation,
        )
        self._append(entry.seq, data, ids.derive("evt", message_id), None)

    def _vitals(self, vitals: entries.Health | entries.Inventory) -> None:
        if vitals.battery is not None:
            self.verdict.vitals["battery"] = round(vitals.battery)
        if vitals.charging is not None:
            self.verdict.vitals["charging"] = vitals.charging
        if vitals.network is not None:
            self.verdict.vitals["network"] = clean(vitals.network)

    # -- inventory -------------------------------------------------------------------------------

    def take_inventory(self, inventory: entries.Inventory) -> None:
        self._vitals(inventory)
        if inventory.app_version is not None:
            self.verdict.vitals["app_version"] = clean(inventory.app_version)
        if inventory.sims is not None:
            self._sims([_sim(card) for card in inventory.sims])
        # A phone with facts that have not come up may have accepted what it no longer lists.
        all_told = self.verdict.gap_at is None and inventory.journal_head <= self.verdict.acked_seq
        if inventory.open_commands is not None and all_told:
            self._not_held(set(inventory.open_commands))

    def _sims(self, sims: list[e.Sim]) -> None:
        if _in_order(sims) == _in_order(self.phone.sims):
            return
        seen = "|".join(map(repr, _in_order(sims)))
        event_id = ids.derive("evt", self.phone.id, "sims", str(self.phone.sims_seq), seen)
        data = e.PhoneSimsChanged(phone_id=self.phone.id, sims=tuple(sims))
        self._append(0, data, event_id, None)

    def _not_held(self, held: set[str]) -> None:
        """Commands to be taken back that the phone proves not to have.

        It proves that only on a stream that began after the cancel was wanted: that one offered the
        cancel alone, and an older one, on which the text may still be on its way, is closed.
        """
        since = self.known.stream_from
        if since is None:
            return
        for command in self.known.cancels:
            now_known = self.known.commands.get(command.id, command)
            if command.id in held or command.frame_seq > since or now_known.facts:
                continue
            data = self._data(e.SmsCancelled, command, 0, self.now, {"proof": "inventory"})
            event_id = ids.derive("evt", command.id, "cancelled", "inventory")
            self._append(0, data, event_id, command.cause)

    # -- events ----------------------------------------------------------------------------------

    def _entry_id(self, seq: int) -> str:
        return ids.derive("evt", self.phone.id, str(self.phone.generation), str(seq))

    def _append(self, seq: int, data: e.Data, event_id: str, cause: str | None) -> None:
        self.verdict.told_seq = max(self.verdict.told_seq, seq)
        self.verdict.events.append(
            e.make(
                data,
                id=event_id,
                workspace_id=self.phone.workspace_id,
                at=self.now,
                actor=e.Actor("phone", self.phone.id),
                cause=cause,
            )
        )

    def _reject(self, seq: int, code: str, detail: str) -> None:
        self.verdict.rejected.append(Rejected(seq, code, detail))


def _complete(parts: list[int], total: int) -> bool:
    return set(parts).issuperset(range(1, total + 1))


def _sim(card: entries.SimCard) -> e.Sim:
    return e.Sim(
        subscription_id=card.subscription_id,
        slot=card.slot,
        carrier=clean(card.carrier or ""),
        number=clean(card.number) if card.number else None,
        iccid_hash=clean(card.iccid_hash) if card.iccid_hash else None,
    )


def _in_order(sims: Iterable[e.Sim]) -> list[tuple[Any, ...]]:
    return sorted(
        (sim.slot, sim.subscription_id, sim.carrier, sim.number or "", sim.iccid_hash or "")
        for sim in sims
    )
