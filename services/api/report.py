"""A campaign's report out of its counts. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from services.api.shapes import campaigns as shapes


def report(row: Any, counts: Iterable[Any], answered: Any, zone: ZoneInfo) -> shapes.Report:
    """``row`` as of ``campaign``, ``counts`` as of ``campaign_counts``; days are of ``zone``."""
    by_day: dict[tuple[date, str], int] = {}
    by_phone: dict[str, int] = {}
    reasons: dict[str, dict[str, int]] = {"error": {}, "skipped": {}}
    for one in counts:
        if one["kind"] == "dispatched":
            day = datetime.fromisoformat(one["name"]).astimezone(zone).date()
            key, phone_id = (day, one["phone_id"]), one["phone_id"]
            by_day[key] = by_day.get(key, 0) + one["count"]
            by_phone[phone_id] = by_phone.get(phone_id, 0) + one["count"]
        else:
            reasons[one["kind"]][one["name"]] = one["count"]
    return shapes.Report(
        campaign_id=row["id"],
        state=row["state"],
        recipients=row["recipients"],
        totals=shapes.totals(row),
        by_day=[shapes.PhoneDay(day, phone, n) for (day, phone), n in sorted(by_day.items())],
        by_phone=by_phone,
        failures=[shapes.Reason(code, n) for code, n in sorted(reasons["error"].items())],
        skipped=[shapes.Reason(why, n) for why, n in sorted(reasons["skipped"].items())],
        replies=answered["replies"],
        replied=answered["replied"],
        opted_out=answered["opted_out"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )
