"""What the scheduler answers when asked: computed from its rows at that moment, never stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Any

from services.scheduler import decide, forecast, policy, words
from services.scheduler.desk import account_of, campaign_of, handset_of, text_of
from shared import events as e
from shared import numbers
from shared.bus import Handler
from shared.problems import Problem
from shared.service import Context
from shared.sql import queries
from shared.traces import Asked, traces

FORECASTS_MAX = 2  # at once: each takes turns with everything else this process does


def answers(context: Context) -> Mapping[str, Handler]:
    """The questions by name; each handler takes and gives JSON."""
    desk = _Answers(context)
    return {
        "explain": desk.explain,
        "preview": desk.preview,
        "phones": desk.phones,
        "limits": desk.limits,
        "loosenings": desk.loosenings,
        "parked": desk.parked,
        "forecast": desk.forecast,
        "standings": desk.standings,
        **traces(context, desk.traces),
    }


class _Answers:
    def __init__(self, context: Context) -> None:
        self._c = context
        self._sql = queries("services.scheduler")
        settings = context.settings
        self._limits = decide.Limits(settings.window, settings.lease_s, settings.unpaced_simulation)
        self._forecasting = asyncio.Semaphore(FORECASTS_MAX)

    async def _desk(self, db: Any, workspace_id: str) -> decide.Desk:
        account = account_of(
            await db.fetchrow(self._sql.desk_workspace, workspace_id), workspace_id
        )
        rows = await db.fetch(self._sql.desk_phones, workspace_id)
        return decide.Desk(account, {row["id"]: handset_of(row) for row in rows}, self._limits)

    async def explain(self, body: dict[str, Any]) -> dict[str, Any]:
        """Why a message waits: {waiting: {reason, until, detail, position?} | null}."""
        now = self._c.clock.now()
        async with self._c.db.tenant(body["workspace_id"]) as db:
            row = await db.fetchrow(self._sql.one_message, body["message_id"])
            if row is None:
                raise Problem(404, "not_found", "There is no such message.")
            desk = await self._desk(db, body["workspace_id"])
            if row["campaign_id"] is not None:
                campaign = await db.fetchrow(self._sql.one_campaign, row["campaign_id"])
                desk.campaigns = {campaign["id"]: campaign_of(campaign)} if campaign else {}
            ahead = 0
            if row["state"] == "waiting":
                ahead = await db.fetchval(
                    self._sql.ahead,
                    row["queue"],
                    row["lane"],
                    row["wake_at"],
                    row["requested_seq"],
                    now,
                )
        found = _wait(row, desk, ahead, now)
        if found is None:
            return {"waiting": None}
        reason, until, phone = found
        waiting: dict[str, Any] = {
            "reason": reason,
            "until": until,
            "detail": words.waiting(
                reason,
                until,
                desk.account.zone,
                phone=phone.label if phone else None,
                position=ahead,
                min_gap_s=phone.min_gap_s if phone else None,
                cap=decide.cap(phone, desk.account, now) if phone else None,
            ),
        }
        if reason == "queue":
            waiting["position"] = ahead + 1
        return {"waiting": waiting}

    async def preview(self, body: dict[str, Any]) -> dict[str, Any]:
        """What would happen to a message asked for now; stores nothing."""
        now = self._c.clock.now()
        async with self._c.db.tenant(body["workspace_id"]) as db:
            desk = await self._desk(db, body["workspace_id"])
            contact = await db.fetchrow(self._sql.desk_contact, body["contact_id"])
            text = _imagined(body, contact, now)
            last = 2**62  # behind everybody who is there
            lane = policy.lane(text.source)
            ahead = await db.fetchval(self._sql.ahead, text.queue, lane, text.wake_at, last, now)
        outcomes = decide.assign(desk, [text], now)
        out: dict[str, Any] = {
            "phone_id": None, "earliest_at": None, "waiting": None, "rejected": None,
        }  # fmt: skip
        match outcomes:
            case [decide.Reject(code=code, detail=detail)]:
                return out | {"rejected": {"code": code, "detail": detail}}
            case [decide.Go(phone_id=phone_id)] if not ahead:
                return out | {"phone_id": phone_id, "earliest_at": now}
            case _:
                pass
        row = {"state": "waiting", "queue": text.queue, "outcome": None, "text": text}
        found = _wait(row, desk, ahead, now)
        if found is None:
            return out | {"phone_id": text.phone_id, "earliest_at": now}
        reason, until, phone = found
        detail = words.waiting(
            reason, until, desk.account.zone, phone=phone.label if phone else None, position=ahead
        )
        waiting = {"reason": reason, "until": until, "detail": detail}
        return out | {
            "phone_id": phone.id if phone else None, "earliest_at": until, "waiting": waiting,
        }  # fmt: skip

    async def phones(self, body: dict[str, Any]) -> dict[str, Any]:
        """Caps, today's count and the next free slot of a workspace's phones."""
        async with self._c.db.tenant(body["workspace_id"]) as db:
            desk = await self._desk(db, body["workspace_id"])
        now = self._c.clock.now()
        today = now.astimezone(desk.account.zone).date().isoformat()
        wanted = body.get("phone_ids")
        return {
            "phones": {
                phone.id: {
                    "effective_daily_cap": decide.cap(phone, desk.account, now),
                    "sent_today": phone.sent_today if phone.day == today else 0,
                    "next_slot_at": decide.next_slot(desk, phone, now),
                    "age_days": policy.phone_age_days(phone.age_from, now, desk.account.zone),
                }
                for phone in desk.phones.values()
                if wanted is None or phone.id in wanted
            }
        }

    async def limits(self, _: dict[str, Any]) -> dict[str, Any]:
        """What every phone may send before anybody changes it."""
        return {
            "min_gap_s": policy.MIN_GAP_S,
            "daily_cap": policy.DAILY_CAP,
            "warmup": [{"days": days, "cap": cap} for days, cap in policy.WARMUP_CAPS],
            "parts_per_minute": policy.PARTS_PER_MINUTE,
            "attempts": policy.MAX_ATTEMPTS,
            "message_ttl_s": int(policy.TTL.total_seconds()),
        }

    async def loosenings(self, body: dict[str, Any]) -> dict[str, Any]:
        """Warnings, in words, for a change that makes a limit less safe: {warnings: […]}."""
        if "phone" in body:
            old, new = (_phone_limits(body["phone"][k]) for k in ("current", "wanted"))
        else:
            old, new = (_quiet_limits(body["workspace"][k]) for k in ("current", "wanted"))
        return {"warnings": policy.loosenings(old, new)}

    async def forecast(self, body: dict[str, Any]) -> dict[str, Any]:
        """When a campaign would end, for people in groups: forecast.py has the rules.

        ``{workspace_id, campaign, clocks, groups}``: ``campaign`` has the fields of its row,
        ``clocks`` are lists of zone names, ``groups`` are [index into clocks, phone they know or
        null, parts, how many].
        """
        now = self._c.clock.now()
        workspace_id: str = body["workspace_id"]
        async with self._c.db.tenant(workspace_id) as db:
            desk = await self._desk(db, workspace_id)
            queued = await db.fetch(self._sql.queued_ahead, workspace_id)
            others = await db.fetch(self._sql.other_campaigns, workspace_id, body["campaign"]["id"])
        async with self._forecasting:
            clockwork = forecast.prepared(desk, body, queued, others, now)
            for found in clockwork.run():
                if found is None:
                    await asyncio.sleep(0)
                else:
                    return found.answer()
        raise AssertionError("a forecast ends with what it found")

    async def parked(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Quarantined messages: what a person must decide about."""
        async with self._c.db.owner.acquire() as db:
            rows = await db.fetch(self._sql.parked, body.get("workspace_id"))
        return [dict(row) for row in rows]

    async def standings(self, body: dict[str, Any]) -> dict[str, Any]:
        """How phones stood at a message.forgotten: {phones: [use], contact_phone}."""
        async with self._c.db.tenant(body["workspace_id"]) as db:
            rows = await db.fetch(self._sql.standings, body["forgotten"])
        about = {row["id"]: row for row in rows}
        contact = about.pop(body["contact_id"], None)
        names = e.PhoneUse.__struct_fields__[1:]
        phones = [{"phone_id": id, **{n: row[n] for n in names}} for id, row in about.items()]
        return {"phones": phones, "contact_phone": contact and contact["contact_phone"]}

    async def traces(self, db: Any, asked: Asked) -> dict[str, int]:
        """Messages that are still here."""
        return {"messages": await db.fetchval(self._sql.traces, asked.message_ids)}


def _wait(
    row: Any, desk: decide.Desk, ahead: int, now: datetime
) -> tuple[str, datetime | None, decide.Handset | None] | None:
    if row["state"] == "open" and row["outcome"] == "quarantined":
        return "quarantined", None, None
    if row["state"] != "waiting":
        return None
    text: decide.Text = row["text"] if "text" in row else text_of(row)
    own = decide.message_outcome(text, desk.account, now, desk.campaign(text))
    if isinstance(own, decide.Hold):
        return own.reason, own.until, None
    phone = desk.phones.get(text.phone_id or text.contact_phone or text.queue)
    if phone is not None:
        moves_at = decide.failover_at(text, phone, desk.account, desk.campaign(text))
        if phone.state != "online":
            return ("phone_offline" if moves_at is None else "failover_wait"), moves_at, phone
        block = decide.phone_block(phone, text, desk.account, desk.limits, now)
    else:
        usable = [p for p in desk.phones.values() if decide.may_carry(desk, p, text)]
        online = [p for p in usable if p.state == "online"]
        if not online:
            phone = usable[0] if len(usable) == 1 else None
            return ("phone_offline" if usable else "no_phone"), None, phone
        block = decide.earliest(online, text, desk, now)
        phone = online[0] if len(online) == 1 else None
    if ahead and (block is None or block[0] in ("min_gap", "queue")):
        until = block[1] if block else None
        if until is not None and phone is not None:
            until += timedelta(seconds=ahead * phone.min_gap_s)
        return "queue", until, phone
    return (*block, phone) if block else None


def _imagined(body: dict[str, Any], contact: Any, now: datetime) -> decide.Text:
    send_at = body.get("send_at")
    last = contact["phone_id"] if contact else None
    return decide.Text(
        id="msg_preview",
        workspace_id=body["workspace_id"],
        contact_id=body["contact_id"],
        to=body["to"],
        body="",
        parts=body["parts"],
        source=body["source"],
        phone_id=body.get("phone_id"),
        subscription_id=body.get("subscription_id"),
        test=body.get("test", False),
        timezone=(contact and contact["timezone"]) or body.get("timezone"),
        expires_at=now + policy.TTL,
        queue=body.get("phone_id") or last or body["workspace_id"],
        wake_at=max(datetime.fromisoformat(send_at), now) if send_at else now,
        reason=None,
        until=None,
        attempt=0,
        number_zones=numbers.timezones(body["to"]),
        opted_out=bool(contact and contact["opted_out"]),
        contact_phone=last,
    )


def _phone_limits(limits: dict[str, Any]) -> policy.Limits:
    return policy.Limits(
        min_gap_s=limits["min_gap_s"], daily_cap=limits["daily_cap"], warmup=limits["warmup"]
    )


def _quiet_limits(limits: dict[str, Any]) -> policy.Limits:
    quiet = limits["quiet_hours"]
    if quiet is None:
        return policy.Limits(quiet_hours=None)
    start, end = time.fromisoformat(quiet["start"]), time.fromisoformat(quiet["end"])
    return policy.Limits(quiet_hours=policy.QuietHours(start, end))
