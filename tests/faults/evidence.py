"""What a run left behind — the log, the phones' radios, the webhooks received — and what is wrong
with it.

``missing`` is what must still come: empty once the system is quiet. ``wrong`` is what must never
be, at any time. Both are lists of sentences, so that a failure names what was lost or doubled.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared import events as e
from tests.fakes.webhook_receiver import Hit

FACTS = ("sms.accepted", "sms.submitted", "sms.sent", "sms.delivered")  # in this order, if at all
ENDS = {
    "send.rejected": "rejected",
    "send.cancelled": "cancelled",
    "send.expired": "expired",
    "sms.delivered": "delivered",
    "sms.unknown": "unknown",
}
RETRIED = ("transient", "throttled")  # error classes that prove that nothing went out
ATTEMPTS_MAX = 3  # phone-protocol.md, Who re-sends
NO_RECEIPT = "receipt:none"  # asks the simulated carrier for no delivery report
SHOWN_MAX = 40  # sentences of a kind in a message; the rest is counted


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asked for and was promised with a 202."""

    to: str
    body: str


@dataclass(frozen=True, slots=True)
class Radio:
    """One call of a phone's SmsManager."""

    phone_id: str
    command_id: str
    message_id: str
    to: str
    body_hash: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """A text that arrived at a phone."""

    phone_id: str
    provider_id: str
    sender: str
    body: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook endpoint: where it listens, to what, and since which sequence of the log."""

    path: str
    types: frozenset[str]
    since: int = 0


@dataclass
class Evidence:
    """Everything there is to look at after a run."""

    log: Sequence[tuple[int, e.Event]]
    wishes: Mapping[str, Wish] = field(default_factory=dict)  # by message id
    refused: Iterable[str] = ()  # numbers refused because they opted out
    radio: Sequence[Radio] = ()
    arrived: Sequence[Arrived] = ()
    hits: Sequence[Hit] = ()
    endpoints: Sequence[Endpoint] = ()

    def __post_init__(self) -> None:
        self.of_type: dict[str, list[tuple[int, e.Event]]] = defaultdict(list)
        self.of_message: dict[str, list[tuple[int, e.Event]]] = defaultdict(list)
        for seq, event in self.log:
            self.of_type[event.type].append((seq, event))
            message_id = getattr(event.data, "message_id", None)
            if message_id and event.type.split(".")[0] in ("send", "sms"):
                self.of_message[message_id].append((seq, event))

    # -- what must still come --------------------------------------------------------------------

    def missing(self) -> list[str]:
        """What was promised and is not there yet."""
        return [*self._unfinished(), *self._unheard(), *self._untold(), *self._unanswered()]

    def _unfinished(self) -> list[str]:
        asked = {*self.wishes, *(ev.data.message_id for _, ev in self.of_type["send.requested"])}
        return [
            f"{m} has no end: {self._story(m)}" for m in sorted(asked) if self.end_of(m) is None
        ]

    def end_of(self, message_id: str) -> str | None:
        """The final state of a message by its events, None while there is none."""
        ends = self._ends(message_id)
        return ends[-1] if ends else None

    def _ends(self, message_id: str) -> list[str]:
        found: list[str] = []
        silent = any(
            isinstance(ev.data, e.SendRequested) and NO_RECEIPT in ev.data.body
            for _, ev in self.of_message[message_id]
        )
        for _, event in self.of_message[message_id]:
            match event.data:
                case e.SmsSent() if silent:
                    found.append("sent")
                case e.SmsFailed(error_class=error_class, attempt=attempt):
                    if error_class not in RETRIED or attempt >= ATTEMPTS_MAX:
                        found.append("failed")
                case _ if event.type in ENDS:
                    found.append(ENDS[event.type])
                case _:
                    pass
        return found

    def _story(self, message_id: str) -> str:
        told = [
            f"{seq}:{ev.type} {getattr(ev.data, 'reason', '')}".strip()
            for seq, ev in self.of_message[message_id]
        ]
        return ", ".join(told) or "nothing"

    def _unheard(self) -> list[str]:
        told = {
            (ev.data.phone_id, ev.data.provider_id): ev.data.message_id
            for _, ev in self.of_type["sms.received"]
        }
        threaded = {ev.data.message_id for _, ev in self.of_type["reply.received"]}
        out: list[str] = []
        for text in self.arrived:
            message_id = told.get((text.phone_id, text.provider_id))
            if message_id is None:
                out.append(f"text {text.provider_id} arrived at {text.phone_id}, not in the log")
            elif message_id not in threaded:
                out.append(f"text {message_id} never became a reply")
        return out

    def expected_hooks(self, endpoint: Endpoint) -> dict[str, e.Event]:
        """The events an endpoint must be told, by their id, which is the webhook-id."""
        return {
            event.id: event
            for seq, event in self.log
            if seq > endpoint.since and event.type in endpoint.types
        }

    def _untold(self) -> list[str]:
        out: list[str] = []
        for endpoint in self.endpoints:
            got = {h.webhook_id for h in self.hits if h.path == endpoint.path and h.answered < 300}
            out += [
                f"{endpoint.path} was never told {event.type} {event_id}"
                for event_id, event in self.expected_hooks(endpoint).items()
                if event_id not in got
            ]
        return out

    def _unanswered(self) -> list[str]:
        """Everybody who opted out by text is told so, once."""
        told = Counter(
            ev.data.contact_id
            for _, ev in self.of_type["send.requested"]
            if ev.data.source == "confirmation"
        )
        return [
            f"{ev.data.contact_id} opted out and got no confirmation"
            for _, ev in self.of_type["contact.opted_out"]
            if ev.data.source in ("keyword", "phrase") and not told[ev.data.contact_id]
        ]

    # -- what must never be ----------------------------------------------------------------------

    def wrong(self) -> list[str]:
        """Everything that was doubled, invented, or happened against a rule."""
        return [
            *self._stored_twice(),
            *self._changed_wishes(),
            *self._two_ends(),
            *self._said_twice(),
            *self._told_twice(),
            *self._invented(),
            *self._texts(),
            *self._after_stop(),
            *self._hooks(),
        ]

    def _stored_twice(self) -> list[str]:
        ids = Counter(event.id for _, event in self.log)
        out = [f"event {i} is in the log {n} times" for i, n in ids.items() if n > 1]
        requested = Counter(ev.data.message_id for _, ev in self.of_type["send.requested"])
        out += [f"{m} was requested {n} times" for m, n in requested.items() if n > 1]
        out += [
            f"{m} was answered 202 and is not in the log" for m in self.wishes if not requested[m]
        ]
        return out

    def _changed_wishes(self) -> list[str]:
        return [
            f"{event.data.message_id} is not what was asked for"
            for _, event in self.of_type["send.requested"]
            if (wish := self.wishes.get(event.data.message_id)) is not None
            and (wish.to, wish.body) != (event.data.to, event.data.body)
        ]

    def _two_ends(self) -> list[str]:
        out: list[str] = []
        for message_id in self.of_message:
            ends = self._ends(message_id)
            if len(ends) > 1:
                out.append(f"{message_id} ended {ends}: {self._story(message_id)}")
        return out

    def _said_twice(self) -> list[str]:
        """Each fact of a command once and in order; each place in a phone's journal once."""
        facts: dict[str, list[str]] = defaultdict(list)
        places: Counter[tuple[str, int, int]] = Counter()
        for _, event in self.log:
            if not event.type.startswith("sms."):
                continue
            if isinstance(event.data, e.SmsFact):
                facts[event.data.command_id].append(event.type)
            if event.data.journal_seq:
                data = event.data
                places[data.phone_id, data.generation, data.journal_seq] += 1
        out = [f"journal place {p} is in the log {n} times" for p, n in places.items() if n > 1]
        for command_id, said in facts.items():
            order = [FACTS.index(one) for one in said if one in FACTS]
            if len(set(said)) < len(said) or order != sorted(order):
                out.append(f"{command_id} was said to be {said}")
        return out

    def _told_twice(self) -> list[str]:
        """A command has one phone; a message is on the air once for each attempt, and again only
        where the attempt before is proven not to have gone out."""
        phones: dict[str, set[str]] = defaultdict(set)
        attempts: dict[str, list[str]] = defaultdict(list)
        for _, event in self.of_type["send.dispatched"]:
            phones[event.data.command_id].add(event.data.phone_id)
            attempts[event.data.message_id].append(event.data.command_id)
        out = [f"{c} was given to {sorted(p)}" for c, p in phones.items() if len(p) > 1]
        calls = Counter(call.command_id for call in self.radio)
        out += [f"{c} was submitted {n} times" for c, n in calls.items() if n > 1]
        proven = self._proven_unsent()
        for message_id, commands in attempts.items():
            on_air = [c for c in commands if calls[c]]
            unproven = [c for c in on_air if c not in proven]
            if len(unproven) > 1 or (unproven and unproven[0] != on_air[-1]):
                out.append(
                    f"{message_id} went out {len(unproven)} times: {self._story(message_id)}"
                )
        by_message = Counter(call.message_id for call in self.radio)
        out += [
            f"{m} is on the air {n} times in {len(attempts[m])} attempts"
            for m, n in by_message.items()
            if n > len(attempts[m])
        ]
        return out

    def _proven_unsent(self) -> set[str]:
        return {
            event.data.command_id
            for _, event in self.of_type["sms.failed"]
            if event.data.error_class in RETRIED
        }

    def _invented(self) -> list[str]:
        """Nothing is on the air that was not dispatched to that phone with that text, and nothing
        is said to be sent that is not on the air."""
        orders = {ev.data.command_id: ev.data for _, ev in self.of_type["send.dispatched"]}
        on_air = {call.command_id for call in self.radio}
        out: list[str] = []
        for call in self.radio:
            order = orders.get(call.command_id)
            if order is None:
                out.append(f"{call.phone_id} sent {call.command_id}, which nobody dispatched")
            elif (order.phone_id, order.to, _digest(order.body)) != (
                call.phone_id,
                call.to,
                call.body_hash,
            ):
                out.append(f"{call.phone_id} sent {call.command_id} otherwise than dispatched")
        for type_ in ("sms.sent", "sms.delivered"):
            out += [
                f"{event.data.command_id} is {type_} and was never on the air"
                for _, event in self.of_type[type_]
                if event.data.command_id not in on_air
            ]
        return out

    def _texts(self) -> list[str]:
        """A text that arrived is one text received and one reply, word for word."""
        arrived = {(text.phone_id, text.provider_id): text for text in self.arrived}
        out: list[str] = []
        times = Counter(
            (ev.data.phone_id, ev.data.provider_id) for _, ev in self.of_type["sms.received"]
        )
        out += [f"text {t} was received {n} times" for t, n in times.items() if n > 1]
        replies = Counter(ev.data.message_id for _, ev in self.of_type["reply.received"])
        out += [f"reply {m} is in the log {n} times" for m, n in replies.items() if n > 1]
        for _, event in self.of_type["sms.received"]:
            text = arrived.get((event.data.phone_id, event.data.provider_id))
            if text is None or (text.sender, text.body) != (event.data.sender, event.data.body):
                out.append(f"text {event.data.message_id} is not what arrived at the phone")
        return out

    def _after_stop(self) -> list[str]:
        """From a STOP on nothing is dispatched but one confirmation; nobody else is refused."""
        stopped: set[str] = set()
        numbers: set[str] = set()
        confirmed: dict[str, set[str]] = defaultdict(set)
        out: list[str] = []
        for seq, event in self.log:
            match event.data:
                case e.ContactOptedOut() as data:
                    stopped.add(data.contact_id)
                    numbers.add(data.number)
                case e.ContactOptedIn() as data:
                    stopped.discard(data.contact_id)
                case e.SendDispatched(source="confirmation") as data:
                    confirmed[data.contact_id].add(data.message_id)
                case e.SendDispatched() as data if data.contact_id in stopped:
                    out.append(f"{data.message_id} was dispatched at {seq}, after the STOP")
                case _:
                    pass
        out += [f"{c} got {len(m)} confirmations" for c, m in confirmed.items() if len(m) > 1]
        out += [
            "a number that never opted out was refused" for to in self.refused if to not in numbers
        ]
        return out

    def _hooks(self) -> list[str]:
        out = [f"{h.path} {h.webhook_id}: {h.fault}" for h in self.hits if h.fault]
        expected = {point.path: self.expected_hooks(point) for point in self.endpoints}
        for hit in self.hits:
            event = expected.get(hit.path, {}).get(hit.webhook_id)
            if event is None:
                out.append(f"{hit.path} was told {hit.type} {hit.webhook_id}, which did not happen")
            elif hit.type != event.type or hit.body.get("id") != hit.webhook_id:
                out.append(f"{hit.path} was told {hit.type} for {event.type} {event.id}")
        return out


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def told(sentences: Sequence[str]) -> str:
    """Sentences for the message of a failed assertion, cut to a readable number."""
    rest = len(sentences) - SHOWN_MAX
    more = [f"… and {rest} more"] if rest > 0 else []
    return "\n".join([f"{len(sentences)} found:", *sentences[:SHOWN_MAX], *more])
