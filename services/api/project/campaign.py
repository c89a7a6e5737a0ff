"""Campaigns: as written, started, and counted while their texts go their way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from services.api.project.tables import (
    AUDIENCE,
    CAMPAIGN,
    CAMPAIGN_COUNT,
    MESSAGE,
    SKIP,
    Audience,
    Campaign,
    CampaignCount,
    Message,
    Skip,
)
from shared import events as e
from shared.rows import Rows

FORGET_OTHERS = "DELETE FROM audience WHERE campaign_id = $1 AND audience_id <> $2"
"""What starts that were interrupted left behind."""
SLOT_MINUTES = 15
"""Dispatches are counted by so many minutes: every zone's midnight falls between two of them."""
ENDED_BADLY = frozenset({"failed", "rejected", "expired", "unknown"})


Apply = Callable[[Rows, int, e.Event, Any], None]


def _written(rows: Rows, seq: int, event: e.Event, data: e.CampaignState) -> None:
    known = rows.get(CAMPAIGN, data.campaign_id)
    rows.put(
        CAMPAIGN,
        Campaign(
            id=data.campaign_id,
            workspace_id=event.workspace_id,
            name=data.name,
            template=data.template,
            contact_filter=msgspec.to_builtins(data.contact_filter),
            phone_ids=list(data.phone_ids),
            state=known.state if known else "draft",
            test=known.test if known else False,
            recipients=known.recipients if known else 0,
            seq=seq,
            created_at=known.created_at if known else event.at,
            updated_at=event.at,
            send_window=msgspec.to_builtins(data.send_window) if data.send_window else None,
            failover_s=data.failover_s,
            start_at=data.start_at,
            audience_id=known.audience_id if known else None,
            acknowledged=known.acknowledged if known else None,
            started_at=known.started_at if known else None,
            finished_at=known.finished_at if known else None,
        ),
    )


def _deleted(rows: Rows, seq: int, event: e.Event, data: e.CampaignDeleted) -> None:
    rows.remove(CAMPAIGN, data.campaign_id)
    rows.then(FORGET_OTHERS, data.campaign_id, "")


def _audience(rows: Rows, seq: int, event: e.Event, data: e.CampaignAudience) -> None:
    campaign = rows.edit(CAMPAIGN, data.campaign_id)
    if campaign is None:
        return
    campaign.seq = seq
    rows.put(
        AUDIENCE,
        Audience(
            data.audience_id,
            data.part,
            data.campaign_id,
            event.workspace_id,
            list(data.contact_ids),
        ),
    )


def _started(rows: Rows, seq: int, event: e.Event, data: e.CampaignStarted) -> None:
    campaign = rows.edit(CAMPAIGN, data.campaign_id)
    if campaign is None or campaign.state != "draft":
        return
    campaign.state, campaign.seq, campaign.updated_at = "running", seq, event.at
    campaign.audience_id, campaign.recipients = data.audience_id, data.recipients
    campaign.test, campaign.acknowledged = data.test, list(data.acknowledged) or None
    campaign.started_at = event.at
    rows.then(FORGET_OTHERS, data.campaign_id, data.audience_id)


def _moves(state: str, *before: str) -> Apply:
    def moved(rows: Rows, seq: int, event: e.Event, data: e.CampaignFact) -> None:
        campaign = rows.edit(CAMPAIGN, data.campaign_id)
        if campaign is None:
            return
        campaign.seq = seq
        if campaign.state not in before:
            return
        campaign.state, campaign.updated_at = state, event.at
        if state in ("cancelled", "completed"):
            campaign.finished_at = event.at

    return moved


def _skipped(rows: Rows, seq: int, event: e.Event, data: e.CampaignSkipped) -> None:
    if rows.get(SKIP, data.campaign_id, data.contact_id) is not None:
        return
    skip = Skip(data.campaign_id, data.contact_id, event.workspace_id, data.reason, event.at)
    rows.put(SKIP, skip)
    _count(rows, event, data.campaign_id, "skipped", data.reason)


# -- counting what becomes of a campaign's texts -------------------------------------------------


def counted(fold: Apply) -> Apply:
    """``fold``, an event of one message, with what it changes counted for the campaign."""

    def folded(rows: Rows, seq: int, event: e.Event, data: Any) -> None:
        message = rows.get(MESSAGE, data.message_id)
        if message is None:
            fold(rows, seq, event, data)
            if (
                isinstance(data, e.SendRequested)
                and data.campaign_id is not None
                and rows.get(MESSAGE, data.message_id) is not None  # not so of who was erased
            ):
                _count(rows, event, data.campaign_id, "state", "queued")
        elif message.campaign_id is None:
            fold(rows, seq, event, data)
        else:
            _fold_counted(fold, rows, seq, event, data, message, message.campaign_id)

    return folded


def _fold_counted(
    fold: Apply, rows: Rows, seq: int, event: e.Event, data: Any, message: Message, campaign_id: str
) -> None:
    state, error, attempt = message.state, _error(message), message.attempt
    fold(rows, seq, event, data)
    if message.state != state:
        _count(rows, event, campaign_id, "state", state, by=-1)
        _count(rows, event, campaign_id, "state", message.state)
    if _error(message) != error:
        for code, by in ((error, -1), (_error(message), 1)):
            if code is not None:
                _count(rows, event, campaign_id, "error", code, by=by)
    if message.attempt != attempt:
        minute = event.at.minute - event.at.minute % SLOT_MINUTES
        slot = event.at.replace(minute=minute, second=0, microsecond=0).isoformat()
        _count(rows, event, campaign_id, "dispatched", slot, data.phone_id)


def _error(message: Message) -> str | None:
    return message.error_code or message.state if message.state in ENDED_BADLY else None


def _count(
    rows: Rows, event: e.Event, campaign_id: str, kind: str, name: str, phone: str = "", by: int = 1
) -> None:
    count = CampaignCount(campaign_id, kind, name, phone, event.workspace_id, by)
    rows.add(CAMPAIGN_COUNT, count)


APPLY: Mapping[type[e.Data], Apply] = {
    e.CampaignCreated: _written,
    e.CampaignUpdated: _written,
    e.CampaignDeleted: _deleted,
    e.CampaignAudience: _audience,
    e.CampaignStarted: _started,
    e.CampaignPaused: _moves("paused", "running"),
    e.CampaignResumed: _moves("running", "paused"),
    e.CampaignCancelled: _moves("cancelled", "running", "paused"),
    e.CampaignCompleted: _moves("completed", "running", "paused"),
    e.CampaignSkipped: _skipped,
}
