"""Rows as the pure rules want them: accounts, handsets, texts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from services.scheduler import decide, policy
from services.scheduler.project.tables import Contact, Message
from shared import numbers


def account_of(row: Any, workspace_id: str = "") -> decide.Account:
    """The account in a workspace row or record; with None the defaults, for a workspace unknown."""
    if row is None:
        quiet = (policy.QUIET_START, policy.QUIET_END)
        return decide.Account(workspace_id, ZoneInfo("UTC"), quiet)
    get = _getter(row)
    start, end = get("quiet_start"), get("quiet_end")
    return decide.Account(
        id=get("id"),
        zone=ZoneInfo(get("timezone")),
        quiet=(time.fromisoformat(start), time.fromisoformat(end)) if start else None,
        failover_s=get("failover_s"),
        campaign_failover_s=get("campaign_failover_s"),
        resend_unknown=get("resend_unknown"),
    )


def handset_of(row: Any) -> decide.Handset:
    """A copy of the phone in a row or record, free to be counted up."""
    get = _getter(row)
    return decide.Handset(
        id=get("id"),
        account=get("workspace_id"),
        label=get("label"),
        state=get("state"),
        state_at=get("state_at"),
        simulated=get("simulated"),
        age_from=get("age_from"),
        min_gap_s=get("min_gap_s"),
        jitter_s=get("jitter_s"),
        daily_cap=get("daily_cap"),
        warmup=get("warmup"),
        last_dispatch_at=get("last_dispatch_at"),
        last_command_id=get("last_command_id"),
        recent=[(datetime.fromtimestamp(at, UTC), int(parts)) for at, parts in get("recent")],
        day=get("day"),
        sent_today=get("sent_today"),
        in_flight=get("in_flight"),
    )


def text_of(row: Any) -> decide.Text:
    """The text in a record of ``candidates`` and its like."""
    return _text(
        row.__getitem__,
        row["opted_out"],
        row["contact_seq"],
        row["contact_phone"],
        row["contact_tz"],
    )


def text_at_hand(message: Message, contact: Contact | None) -> decide.Text:
    """The text in rows that were just folded: the same as its record will say."""
    if contact is None:
        return _text(message.__getattribute__, None, None, None, None)
    of_contact = (contact.opted_out, contact.seq, contact.phone_id, contact.timezone)
    return _text(message.__getattribute__, *of_contact)


def _text(
    get: Callable[[str], Any],
    opted_out: bool | None,
    contact_seq: int | None,
    contact_phone: str | None,
    contact_tz: str | None,
) -> decide.Text:
    return decide.Text(
        id=get("id"),
        workspace_id=get("workspace_id"),
        contact_id=get("contact_id"),
        to=get("to_number"),
        body=get("body"),
        parts=get("parts"),
        source=get("source"),
        phone_id=get("phone_id"),
        subscription_id=get("subscription_id"),
        test=get("test"),
        timezone=contact_tz or get("timezone"),
        expires_at=get("expires_at"),
        queue=get("queue"),
        wake_at=get("wake_at"),
        reason=get("reason"),
        until=get("until"),
        attempt=get("attempt"),
        number_zones=numbers.timezones(get("to_number")),
        opted_out=bool(opted_out),
        contact_seq=contact_seq or 0,
        contact_phone=contact_phone,
        campaign_id=get("campaign_id"),
    )


def campaign_of(row: Any) -> decide.Campaign:
    """The rules in a campaign's row or record."""
    get = _getter(row)
    window = get("send_window")
    return decide.Campaign(
        id=get("id"),
        state=get("state"),
        window=policy.SendWindow(
            frozenset(window["days"]),
            time.fromisoformat(window["start"]),
            time.fromisoformat(window["end"]),
            ZoneInfo(window["timezone"]),
        )
        if window
        else None,
        phone_ids=frozenset(get("phone_ids")),
        failover_s=get("failover_s"),
        test=get("test"),
    )


def _getter(row: Any) -> Any:
    return (
        (lambda name: getattr(row, name)) if hasattr(row, "__struct_fields__") else row.__getitem__
    )
