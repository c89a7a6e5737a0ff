"""What happened to a message, in sentences a customer understands. Pure.

Times are told on the recipient's clock where it is known for sure, else on the workspace's; which
one it is stands in the sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

SERVICES = {"sms": "gateway", "reply": "inbound", "contact": "inbound"}
BY_API = frozenset({"send.requested", "send.cancel_requested", "send.resolved"})
SOURCES = {
    "api": "Asked for through the API",
    "inbox": "Written in the inbox",
    "crm": "Asked for by the CRM",
    "ghl": "Asked for by GoHighLevel",
    "campaign": "Asked for by a campaign",
    "confirmation": "The confirmation of an opt-out",
}
SOURCE_SERVICES = {
    "crm": "ghl_sync", "ghl": "ghl_sync", "campaign": "scheduler", "confirmation": "inbound",
}  # fmt: skip
CLASSES = {
    "transient": "for a reason that often passes",
    "throttled": "because the phone or the network limits how fast it sends",
    "permanent": "for good",
    "ambiguous": "in a way that leaves open whether the text went out",
}


def service(type_: str, detail: Mapping[str, Any]) -> str:
    """Who put a fact on record."""
    if type_ == "send.requested":
        return SOURCE_SERVICES.get(detail.get("source", ""), "api")
    if type_ in BY_API:
        return "api" if detail.get("reason", "user") == "user" else "scheduler"
    return SERVICES.get(type_.partition(".")[0], "scheduler")


CANCELS = {
    "user": "Somebody asked to cancel it.",
    "failover": "The phone is silent: it was asked to give the message back.",
    "expired": "The message's time ran out: the phone was asked to give it back.",
}
RESOLVED = {
    "retry": "Somebody decided to send it again.",
    "drop": "Somebody decided to leave it as it is.",
}
FIXED = {
    "send.cancelled": "Cancelled before any phone sent it.",
    "contact.opted_out": "Read as an opt-out: nothing more is sent to this number.",
    "contact.opted_in": "Read as an opt-in: the number may be texted again.",
}
PHONE_SAYS = {
    "sms.accepted": "{} has it.",
    "sms.submitted": "{} gave it to Android to send.",
    "sms.sent": "{} sent it to the network.",
    "sms.delivered": "The network reports that it was delivered.",
    "sms.unknown": "{} stopped while sending: it may or may not have gone out.",
    "sms.cancelled": "{} gave it back unsent.",
}
REASONS = {
    "no_phone": "there was no phone to send it",
    "phone_offline": "its phone was offline",
    "failover_wait": "its phone was offline",
    "min_gap": "its phone kept its gap between texts",
    "daily_cap": "its phone had used its limit for the day",
    "quiet_hours": "it was quiet hours at the recipient",
    "send_window": "the campaign's send window was closed",
    "campaign_paused": "its campaign was paused",
    "scheduled": "it was scheduled for later",
    "queue": "others were before it",
    "retry": "it waited to be tried again",
}


def sentence(
    type_: str, detail: Mapping[str, Any], labels: Mapping[str, str], zone: ZoneInfo
) -> str:
    """One fact. ``labels`` name phones by id; ``zone`` is the clock to tell times by."""
    phone = _phone(detail.get("phone_id"), labels)
    if type_.startswith("sms."):
        return _by_phone(type_, detail, phone)
    return _by_us(type_, detail, phone, zone)


def _by_us(type_: str, detail: Mapping[str, Any], phone: str, zone: ZoneInfo) -> str:
    match type_:
        case "send.requested":
            told = SOURCES.get(detail.get("source", ""), "Asked for")
            later = f", to go out {_at(detail['send_at'], zone)}" if "send_at" in detail else ""
            return f"{told}{later}."
        case "send.held":
            return waiting(detail["reason"], _time(detail.get("until")), zone)
        case "send.dispatched":
            again = f", attempt {detail['attempt']}" if detail["attempt"] > 1 else ""
            return f"Handed to {phone}{again}."
        case "send.cancel_requested":
            return CANCELS[detail.get("reason", "user")]
        case "send.rejected":
            return f"Refused: {detail['detail']}"
        case "send.expired":
            waited = REASONS.get(detail.get("waited_for", ""))
            return (
                f"Its time ran out{f' while {waited}' if waited else ''}. It is not sent any more."
            )
        case "send.resolved":
            return RESOLVED[detail["decision"]]
        case "reply.received":
            return f"Received by {phone}."
        case _:
            return FIXED.get(type_, "Something happened that this version has no words for.")


def _by_phone(type_: str, detail: Mapping[str, Any], phone: str) -> str:
    name = _upper(phone)
    if type_ != "sms.failed":
        return PHONE_SAYS[type_].format(name)
    how = CLASSES.get(detail.get("class", ""), "")
    said = f" {detail['explanation']}" if detail.get("explanation") else ""
    return f"{name} could not send it{f' {how}' if how else ''}.{said}"


# Waits without an end that is known.
WAITS = {
    "no_phone": "Waits for a phone: none can send it yet.",
    "phone_offline": "Waits for its phone to come back online.",
    "campaign_paused": "Waits for its campaign to be resumed.",
    "quarantined": "It may or may not have been sent. It is never sent again on its own: "
    "somebody must decide.",
}


def waiting(reason: str, until: datetime | None, zone: ZoneInfo) -> str:
    """Why a message waits, as put on record."""
    at = f" {_at(until, zone)}" if until else ""
    match reason:
        case "failover_wait":
            return f"Its phone is offline. If it stays away, another one takes over{at}."
        case "min_gap":
            return f"Waits for the gap between two texts of its phone to end{at}."
        case "daily_cap":
            return f"Its phone has used its limit for today. Waits for the next day to begin{at}."
        case "quiet_hours":
            return f"Waits for quiet hours at the recipient to end{at}."
        case "send_window":
            return f"Waits for the campaign's send window to open{at}."
        case "scheduled":
            return f"Waits for its time: it goes out{at}." if at else "Waits for its time."
        case "queue":
            return f"Others are before it on its phone.{f' Its turn comes{at}.' if at else ''}"
        case "retry":
            return f"Is tried again{at}." if at else "Is tried again."
        case _:
            return WAITS.get(reason, f"Waits{at}.")


def _at(when: datetime | str, zone: ZoneInfo) -> str:
    local = _time(when)
    if local is None:
        return ""
    local = local.astimezone(zone)
    return f"at {local:%H:%M} on {local.day} {local:%B %Y} ({zone.key})"


def _time(when: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(when) if isinstance(when, str) else when


def _phone(phone_id: str | None, labels: Mapping[str, str]) -> str:
    if phone_id is None:
        return "the phone"
    label = labels.get(phone_id)
    return f"phone “{label}”" if label else "a phone"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
