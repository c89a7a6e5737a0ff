"""Campaigns: their rules, their people, and whether they are under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from services.scheduler.project.tables import (
    AUDIENCE,
    CAMPAIGN,
    SKIP,
    Audience,
    Campaign,
    Skip,
)
from shared import events as e
from shared.rows import Rows

FORGET_OTHERS = "DELETE FROM audience WHERE campaign_id = $1 AND audience_id <> $2"
"""What starts that were interrupted left behind."""

Apply = Callable[[Rows, int, e.Event, Any], None]


def _written(rows: Rows, seq: int, event: e.Event, data: e.CampaignState) -> None:
    campaign = rows.edit(CAMPAIGN, data.campaign_id) or rows.put(
        CAMPAIGN,
        Campaign(
            id=data.campaign_id,
            workspace_id=event.workspace_id,
            state="draft",
            seq=seq,
            send_window=None,
            phone_ids=[],
            failover_s=None,
            start_at=None,
            audience_id=None,
            recipients=0,
            test=False,
        ),
    )
    campaign.seq = seq
    campaign.send_window = msgspec.to_builtins(data.send_window) if data.send_window else None
    campaign.phone_ids, campaign.failover_s = list(data.phone_ids), data.failover_s
    campaign.start_at = data.start_at


def _deleted(rows: Rows, seq: int, event: e.Event, data: e.CampaignDeleted) -> None:
    rows.remove(CAMPAIGN, data.campaign_id)
    rows.then(FORGET_OTHERS, data.campaign_id, "")


def _audience(rows: Rows, seq: int, event: e.Event, data: e.CampaignAudience) -> None:
    campaign = rows.edit(CAMPAIGN, data.campaign_id)
    if campaign is None:
        return
    campaign.seq = seq
    part = Audience(
        data.audience_id, data.part, data.campaign_id, event.workspace_id, list(data.contact_ids)
    )
    rows.put(AUDIENCE, part)


def _started(rows: Rows, seq: int, event: e.Event, data: e.CampaignStarted) -> None:
    campaign = rows.edit(CAMPAIGN, data.campaign_id)
    if campaign is None or campaign.state != "draft":
        return
    campaign.state, campaign.seq, campaign.test = "running", seq, data.test
    campaign.audience_id, campaign.recipients = data.audience_id, data.recipients
    rows.then(FORGET_OTHERS, data.campaign_id, data.audience_id)


def _moves(state: str, *before: str) -> Apply:
    def moved(rows: Rows, seq: int, event: e.Event, data: e.CampaignFact) -> None:
        campaign = rows.edit(CAMPAIGN, data.campaign_id)
        if campaign is not None:
            campaign.seq = seq
            if campaign.state in before:
                campaign.state = state

    return moved


def _skipped(rows: Rows, seq: int, event: e.Event, data: e.CampaignSkipped) -> None:
    rows.put(SKIP, Skip(data.campaign_id, data.contact_id, event.workspace_id))


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
