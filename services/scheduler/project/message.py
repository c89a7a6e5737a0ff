"""Messages: what waits for which phone, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from services.scheduler import policy
from services.scheduler.project.contact import contact_of, is_erased, local_date
from services.scheduler.project.tables import (
    CAMPAIGN,
    CONTACT,
    MESSAGE,
    PHONE,
    WORKSPACE,
    Message,
)
from shared import events as e
from shared.rows import Rows

RECENT_S = 60.0  # what policy.parts_until looks back on
RECENT_MAX = policy.PARTS_PER_MINUTE  # so many fill the minute: older ones decide nothing
UNSENT = ("cancelled", "transient", "throttled", "retry")  # outcomes of what surely did not go out


def _requested(rows: Rows, seq: int, event: e.Event, data: e.SendRequested) -> None:
    if rows.get(MESSAGE, data.message_id) is not None:
        return  # the same request again, after the log's own window for repeats
    if is_erased(rows, data.contact_id):
        return
    contact = rows.get(CONTACT, data.contact_id)
    last_phone = contact.phone_id if contact else None
    if data.campaign_id is not None:
        campaign = rows.get(CAMPAIGN, data.campaign_id)
        if campaign is not None and campaign.phone_ids and last_phone not in campaign.phone_ids:
            last_phone = None
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
            campaign_id=data.campaign_id,
        ),
    )


def _dispatched(rows: Rows, seq: int, event: e.Event, data: e.SendDispatched) -> None:
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
    contact_of(rows, event, data.contact_id).phone_id = data.phone_id
    today = local_date(rows, event)
    if phone.day != today:
        phone.day, phone.sent_today = today, 0
    phone.sent_today += 1
    phone.in_flight += 1
    now_s = event.at.timestamp()
    recent = [r for r in phone.recent[1 - RECENT_MAX :] if r[0] > now_s - RECENT_S]
    phone.recent = [*recent, [now_s, float(data.parts)]]
    phone.last_dispatch_at, phone.last_command_id = event.at, data.command_id


def _held(rows: Rows, seq: int, event: e.Event, data: e.SendHeld) -> None:
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


def _cancel_requested(rows: Rows, seq: int, event: e.Event, data: e.SendCancelRequested) -> None:
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


def _final(
    rows: Rows, seq: int, event: e.Event, data: e.SendRejected | e.SendCancelled | e.SendExpired
) -> None:
    message = rows.edit(MESSAGE, data.message_id)
    if message is not None and message.state != "final":
        unheard = isinstance(data, e.SendExpired) and data.phone_id == message.dispatched_to
        if unheard and message.state == "dispatched":
            give_back(rows, message, submitted=False)
        message.state, message.body = "final", ""


def _resolved(rows: Rows, seq: int, event: e.Event, data: e.SendResolved) -> None:
    message = rows.edit(MESSAGE, data.message_id)
    if message is not None and message.state == "open" and message.outcome == "quarantined":
        if data.decision == "retry":
            message.outcome = "retry"
        else:
            message.state, message.body = "final", ""


def _progress(rows: Rows, seq: int, event: e.Event, data: e.SmsFact) -> None:
    message = rows.get(MESSAGE, data.message_id)
    if message is None or message.command_id != data.command_id:
        return
    if isinstance(data, e.SmsAccepted):
        if message.state == "dispatched":
            rows.edit(MESSAGE, data.message_id)
            message.accepted = True
        return
    if message.state == "dispatched":
        give_back(rows, message, submitted=True)
    if message.state in ("dispatched", "submitted"):
        rows.edit(MESSAGE, data.message_id)
        message.accepted = True
        message.state = "submitted"
    if isinstance(data, e.SmsSent) and message.state in ("submitted", "open"):
        rows.edit(MESSAGE, data.message_id)  # open: the phone could not tell, and now it can
        message.state, message.body = "final", ""


def _failed(rows: Rows, seq: int, event: e.Event, data: e.SmsFailed) -> None:
    _opened(rows, data, data.error_class)


def _unknown(rows: Rows, seq: int, event: e.Event, data: e.SmsUnknown) -> None:
    _opened(rows, data, "unknown")


def _cancelled(rows: Rows, seq: int, event: e.Event, data: e.SmsCancelled) -> None:
    _opened(rows, data, "cancelled")


def _opened(rows: Rows, data: e.SmsFact, outcome: str) -> None:
    message = rows.get(MESSAGE, data.message_id)
    if message is None or message.command_id != data.command_id:
        return
    if outcome == "cancelled" and message.state != "dispatched":
        return  # what was submitted cannot be taken back
    if message.state in ("dispatched", "submitted"):
        if message.state == "dispatched":
            give_back(rows, message, submitted=False)
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


def give_back(rows: Rows, message: Message, *, submitted: bool) -> None:
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


APPLY: Mapping[type[e.Data], Callable[[Rows, int, e.Event, Any], None]] = {
    e.SendRequested: _requested,
    e.SendDispatched: _dispatched,
    e.SendHeld: _held,
    e.SendCancelRequested: _cancel_requested,
    e.SendRejected: _final,
    e.SendCancelled: _final,
    e.SendExpired: _final,
    e.SendResolved: _resolved,
    e.SmsAccepted: _progress,
    e.SmsSubmitted: _progress,
    e.SmsSent: _progress,
    e.SmsFailed: _failed,
    e.SmsUnknown: _unknown,
    e.SmsCancelled: _cancelled,
}
