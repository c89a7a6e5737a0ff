"""Rows as the pure rules want them: accounts, handsets, texts."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from services.scheduler import decide, policy
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
    return decide.Text(
        id=row["id"],
        workspace_id=row["workspace_id"],
        contact_id=row["contact_id"],
        to=row["to_number"],
        body=row["body"],
        parts=row["parts"],
        source=row["source"],
        phone_id=row["phone_id"],
        subscription_id=row["subscription_id"],
        test=row["test"],
        timezone=row["contact_tz"] or row["timezone"],
        expires_at=row["expires_at"],
        queue=row["queue"],
        wake_at=row["wake_at"],
        reason=row["reason"],
        until=row["until"],
        attempt=row["attempt"],
        number_zones=numbers.timezones(row["to_number"]),
        opted_out=bool(row["opted_out"]),
        contact_seq=row["contact_seq"] or 0,
        contact_phone=row["contact_phone"],
        campaign_id=row["campaign_id"],
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
