"""Log → scheduler's rows: what waits for which phone, and what each phone has done today.

The only writer of these tables. A message moves waiting → dispatched → submitted → final; what
needs a decision (a failure, a cancellation, a command given back) is ``open`` until the event that
act.py appends moves it on.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from services.scheduler import policy
from shared import events as e
from shared.projector import Projection
from shared.rows import Rows, Table

FILTERS = (
    "send.>",
    "sms.accepted.>",
    "sms.submitted.>",
    "sms.sent.>",
    "sms.failed.>",
    "sms.unknown.>",
    "sms.cancelled.>",
    "contact.>",
    "reply.received.>",
    "phone.>",
    "workspace.>",
)
RECENT_S = 60.0  # what policy.parts_until looks back on
RECENT_MAX = policy.PARTS_PER_MINUTE  # so many fill the minute: older ones decide nothing
UNSENT = ("cancelled", "transient", "throttled", "retry")  # outcomes of what surely did not go out

OPEN_STRANDED = """
WITH forgotten AS (UPDATE contact SET phone_id = NULL WHERE phone_id = $1),
     stranded AS (UPDATE message SET state = 'open', outcome = 'unpaired'
                   WHERE dispatched_to = $1 AND state IN ('dispatched', 'submitted'))
UPDATE message SET queue = workspace_id, reason = NULL
 WHERE queue = $1 AND state = 'waiting' AND phone_id IS NULL
"""
"""An unpaired phone's queue becomes anybody's, except what asked for this very phone. What it was
handed and did not report on is opened: nobody will ever know from the phone."""


class Workspace(Struct):
    id: str
    workspace_id: str
    timezone: str
    quiet_start: str | None
    quiet_end: str | None
    failover_s: int | None
    campaign_failover_s: int
    resend_unknown: bool


class Phone(Struct):
    id: str
    workspace_id: str
    label: str
    state: str
    state_at: datetime
    simulated: bool
    age_from: datetime
    iccids: list[str]
    min_gap_s: int
    jitter_s: int
    daily_cap: int
    warmup: bool
    last_dispatch_at: datetime | None
    last_command_id: str | None
    recent: list[list[float]]
    day: str
    sent_today: int
    in_flight: int


class Contact(Struct):
    id: str
    workspace_id: str
    opted_out: bool
    timezone: str | None
    phone_id: str | None
    seq: int


class Message(Struct):
    id: str
    workspace_id: str
    contact_id: str
    to_number: str
    body: str
    parts: int
    source: str
    lane: int
    phone_id: str | None
    subscription_id: int | None
    test: bool
    timezone: str | None
    requested_seq: int
    expires_at: datetime
    state: str
    queue: str
    wake_at: datetime
    reason: str | None
    until: datetime | None
    attempt: int
    command_id: str | None
    dispatched_to: str | None
    dispatched_at: datetime | None
    accepted: bool
    cancel: str | None
    outcome: str | None


WORKSPACE = Table("workspace", Workspace, by=("workspace_id",))
PHONE = Table("phone", Phone, by=("phone_id",))
CONTACT = Table("contact", Contact, by=("contact_id",))
MESSAGE = Table("message", Message, by=("message_id",))


def apply(rows: Rows, seq: int, event: e.Event) -> None:
    """One event into rows; pure."""
    match event.data:
        case e.SendRequested() as data:
            _requested(rows, seq, event, data)
        case e.SendDispatched() as data:
            _dispatched(rows, event, data)
        case e.SendHeld() as data:
            _held(rows, event, data)
        case e.SendCancelRequested() as data:
            _cancel_requested(rows, data)
        case e.SendRejected() | e.SendCancelled() | e.SendExpired() as data:
            _final(rows, data)
        case e.SendResolved() as data:
            _resolved(rows, data)
        case e.SmsAccepted() | e.SmsSubmitted() | e.SmsSent() as data:
            _progress(rows, data)
        case e.SmsFailed() as data:
            _opened(rows, data, data.error_class)
        case e.SmsUnknown() as data:
            _opened(rows, data, "unknown")
        case e.SmsCancelled() as data:
            _opened(rows, data, "cancelled")
        case e.ReplyReceived() as data:
            _contact(rows, event, data.contact_id).phone_id = data.phone_id
        case e.ContactSaved() as data:
            contact = _contact(rows, event, data.contact_id)
            contact.timezone, contact.seq = data.timezone, seq
        case e.ContactOptedOut() | e.ContactOptedIn() as data:
            contact = _contact(rows, event, data.contact_id)
            contact.opted_out, contact.seq = isinstance(data, e.ContactOptedOut), seq
        case e.WorkspaceState() as data:
            _workspace(rows, data)
        case _ if event.type.startswith("contact."):
            _contact(rows, event, event.data.contact_id).seq = seq  # what guards compare with
        case _:
            _phone_event(rows, event)


# -- messages ------------------------------------------------------------------------------------


def _requested(rows: Rows, seq: int, event: e.Event, data: e.SendRequested) -> None:
    if rows.get(MESSAGE, data.message_id) is not None:
        return  # the same request again, after the log's own window for repeats
    contact = rows.get(CONTACT, data.contact_id)
    last_phone = contact.phone_id if contact else None
    queue = data.phone_id or last_phone or event.workspace_id
    rows.put(
        MESSAGE,
        Message(
            id=data.message_id,
            workspace_id=event.workspace_id,
            contact_id=data.contact_id,
            to_number=data.to,
            body=data.body,
            parts=data.parts,
            source=data.source,
            lane=policy.lane(data.source),
            phone_id=data.phone_id,
            subscription_id=data.subscription_id,
            test=data.test,
            timezone=data.timezone,
            requested_seq=seq,
            expires_at=data.expires_at,
            state="waiting",
            queue=queue,
            wake_at=data.send_at or event.at,
            reason=None,
            until=None,
            attempt=0,
            command_id=None,
            dispatched_to=None,
            dispatched_at=None,
            accepted=False,
            cancel=None,
            outcome=None,
        ),
    )


def _dispatched(rows: Rows, event: e.Event, data: e.SendDispatched) -> None:
    message = rows.get(MESSAGE, data.message_id)
    if message is None or data.attempt != message.attempt + 1:
        return  # decided twice by two instances: the first is the one the gateway offers
    overtaken = message.state == "open" and message.outcome == "cancelled"
    if message.state != "waiting" and not overtaken:
        return
    rows.edit(MESSAGE, data.message_id)
    message.state = "dispatched"
    message.attempt, message.command_id = data.attempt, data.command_id
    message.dispatched_to, message.dispatched_at = data.phone_id, event.at
    message.queue = data.phone_id
    message.accepted, message.reason, message.until = False, None, None
    # Cancelled between the decision and its record: the gateway could not know of which command, so
    # act.py recalls this one.
    message.outcome = "cancelled" if overtaken else None
    phone = rows.edit(PHONE, data.phone_id)
    if phone is None or phone.state == "unpaired":
        message.state, message.outcome = "open", "cancelled"  # there is nobody it could go to
        return
    _contact(rows, event, data.contact_id).phone_id = data.phone_id
    today = _local_date(rows, event)
    if phone.day != today:
        phone.day, phone.sent_today = today, 0
    phone.sent_today += 1
    phone.in_flight += 1
    now_s = event.at.timestamp()
    recent = [r for r in phone.recent[1 - RECENT_MAX :] if r[0] > now_s - RECENT_S]
    phone.recent = [*recent, [now_s, data.parts]]
    phone.last_dispatch_at, phone.last_command_id = event.at, data.command_id


def _held(rows: Rows, event: e.Event, data: e.SendHeld) -> None:
    message = rows.get(MESSAGE, data.message_id)
    if message is None or message.state not in ("waiting", "open"):
        return
    if message.state == "open" and message.outcome == "cancelled" and message.cancel == "user":
        return  # decided before it was taken back, recorded after
    rows.edit(MESSAGE, data.message_id)
    message.reason, message.until = data.reason, data.until
    if data.queue:
        message.queue = data.queue
    if data.reason in ("quiet_hours", "send_window", "scheduled", "retry") and data.until:
        message.wake_at = data.until
    if data.reason == "quarantined":
        message.state, message.outcome = "open", "quarantined"
    elif message.state == "open":
        message.state, message.command_id, message.cancel = "waiting", None, None
        if data.reason != "retry":
            message.wake_at = event.at


def _cancel_requested(rows: Rows, data: e.SendCancelRequested) -> None:
    message = rows.edit(MESSAGE, data.message_id)
    if message is None:
        return
    if message.state == "waiting" and data.reason == "user":
        message.state, message.outcome, message.cancel = "open", "cancelled", "user"
    elif message.state == "dispatched" and data.command_id in (None, message.command_id):
        message.outcome = None  # the gateway knows of which command
        if message.cancel != "user":  # a person's word stands above a recall
            message.cancel = data.reason
    elif message.state == "open" and data.reason == "user":
        message.cancel = "user"
        if message.outcome in UNSENT:
            message.outcome = "cancelled"


def _final(rows: Rows, data: e.SendRejected | e.SendCancelled | e.SendExpired) -> None:
    message = rows.edit(MESSAGE, data.message_id)
    if message is not None and message.state != "final":
        unheard = isinstance(data, e.SendExpired) and data.phone_id == message.dispatched_to
        if unheard and message.state == "dispatched":
            _give_back(rows, message, submitted=False)
        message.state, message.body = "final", ""


def _resolved(rows: Rows, data: e.SendResolved) -> None:
    message = rows.edit(MESSAGE, data.message_id)
    if message is not None and message.state == "open" and message.outcome == "quarantined":
        if data.decision == "retry":
            message.outcome = "retry"
        else:
            message.state, message.body = "final", ""


def _progress(rows: Rows, data: e.SmsFact) -> None:
    message = rows.get(MESSAGE, data.message_id)
    if message is None or message.command_id != data.command_id:
        return
    if isinstance(data, e.SmsAccepted):
        if message.state == "dispatched":
            rows.edit(MESSAGE, data.message_id)
            message.accepted = True
        return
    if message.state == "dispatched":
        _give_back(rows, message, submitted=True)
    if message.state in ("dispatched", "submitted"):
        rows.edit(MESSAGE, data.message_id)
        message.accepted = True
        message.state = "submitted"
    if isinstance(data, e.SmsSent) and message.state in ("submitted", "open"):
        rows.edit(MESSAGE, data.message_id)  # open: the phone could not tell, and now it can
        message.state, message.body = "final", ""


def _opened(rows: Rows, data: e.SmsFact, outcome: str) -> None:
    message = rows.get(MESSAGE, data.message_id)
    if message is None or message.command_id != data.command_id:
        return
    if outcome == "cancelled" and message.state != "dispatched":
        return  # what was submitted cannot be taken back
    if message.state in ("dispatched", "submitted"):
        if message.state == "dispatched":
            _give_back(rows, message, submitted=False)
        rows.edit(MESSAGE, data.message_id)
        message.outcome = outcome
        message.state = "final" if _hopeless(message, outcome) else "open"
        if message.state == "final":
            message.body = ""


def _hopeless(message: Message, outcome: str) -> bool:
    """Whether a failure is the end: permanent, or its attempts are used up."""
    if outcome in ("transient", "throttled"):
        return policy.retry_delay_s(message.attempt, outcome) is None
    return outcome == "permanent"


def _give_back(rows: Rows, message: Message, *, submitted: bool) -> None:
    """A command left the phone's hands: its window has room again.

    A dispatch the phone never submitted gives its place under the cap back (design: Daily cap).
    """
    phone = rows.edit(PHONE, message.dispatched_to) if message.dispatched_to else None
    if phone is None:
        return
    phone.in_flight = max(0, phone.in_flight - 1)
    if not submitted and message.dispatched_at is not None:
        workspace = rows.get(WORKSPACE, message.workspace_id)
        zone = ZoneInfo(workspace.timezone if workspace else "UTC")
        if message.dispatched_at.astimezone(zone).date().isoformat() == phone.day:
            phone.sent_today = max(0, phone.sent_today - 1)


# -- contacts, workspaces, phones ----------------------------------------------------------------


def _contact(rows: Rows, event: e.Event, contact_id: str) -> Contact:
    contact = rows.edit(CONTACT, contact_id)
    if contact is None:
        contact = rows.put(CONTACT, Contact(contact_id, event.workspace_id, False, None, None, 0))
    return contact


def _workspace(rows: Rows, data: e.WorkspaceState) -> None:
    quiet = data.quiet_hours
    rows.put(
        WORKSPACE,
        Workspace(
            id=data.workspace_id,
            workspace_id=data.workspace_id,
            timezone=data.timezone,
            quiet_start=quiet.start if quiet else None,
            quiet_end=quiet.end if quiet else None,
            failover_s=data.failover_s,
            campaign_failover_s=data.campaign_failover_s,
            resend_unknown=data.resend_unknown,
        ),
    )


def _local_date(rows: Rows, event: e.Event) -> str:
    workspace = rows.get(WORKSPACE, event.workspace_id)
    zone = ZoneInfo(workspace.timezone if workspace else "UTC")
    return event.at.astimezone(zone).date().isoformat()


def _phone_event(rows: Rows, event: e.Event) -> None:
    match event.data:
        case e.PhonePaired() as data:
            _paired(rows, event, data)
        case e.PhoneConfigured() as data:
            phone = rows.edit(PHONE, data.phone_id)
            if phone is not None:
                phone.label, phone.min_gap_s, phone.jitter_s = (
                    data.label,
                    data.min_gap_s,
                    data.jitter_s,
                )
                phone.daily_cap, phone.warmup = data.daily_cap, data.warmup
        case e.PhoneSimsChanged() as data:
            phone = rows.edit(PHONE, data.phone_id)
            if phone is not None:
                _sims(phone, data.sims, event.at)
        case e.PhoneUnpaired() as data:
            _state(rows, event, "unpaired")
            phone = rows.get(PHONE, data.phone_id)
            if phone is not None:
                phone.in_flight = 0  # what it held is opened
            rows.then(OPEN_STRANDED, data.phone_id)
        case e.PhoneOnline() | e.PhoneLate() | e.PhoneOffline():
            _state(rows, event, event.type.removeprefix("phone."))
        case _:
            pass


def _paired(rows: Rows, event: e.Event, data: e.PhonePaired) -> None:
    known = rows.edit(PHONE, data.phone_id)
    if known is not None:  # re-pairing keeps the phone's age and history
        known.label, known.state, known.state_at = data.label, "offline", event.at
        known.simulated = data.simulated
        _sims(known, data.sims, event.at)
        return
    rows.put(
        PHONE,
        Phone(
            id=data.phone_id,
            workspace_id=event.workspace_id,
            label=data.label,
            state="offline",
            state_at=event.at,
            simulated=data.simulated,
            age_from=event.at,
            iccids=[s.iccid_hash for s in data.sims if s.iccid_hash],
            min_gap_s=int(policy.MIN_GAP_S),
            jitter_s=0,
            daily_cap=policy.DAILY_CAP,
            warmup=True,
            last_dispatch_at=None,
            last_command_id=None,
            recent=[],
            day="",
            sent_today=0,
            in_flight=0,
        ),
    )


def _sims(phone: Phone, sims: tuple[Any, ...], at: datetime) -> None:
    new = {s.iccid_hash for s in sims if s.iccid_hash} - set(phone.iccids)
    if new and phone.iccids:
        phone.age_from = at  # a SIM the carrier does not know from here starts small again
    phone.iccids = sorted(set(phone.iccids) | new)


def _state(rows: Rows, event: e.Event, state: str) -> None:
    phone = rows.edit(PHONE, event.data.phone_id)
    if phone is not None and phone.state != state:
        phone.state, phone.state_at = state, event.at
        rows.hint(phone.id)


PROJECTION = Projection("scheduler", FILTERS, (WORKSPACE, PHONE, CONTACT, MESSAGE), apply)
