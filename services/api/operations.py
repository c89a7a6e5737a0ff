"""All operations of the API, in the order of its documentation. Two that share a path's shape are
listed with the literal one first: the first that matches serves."""

from __future__ import annotations

from services.api.operation import Operation
from services.api.routes import (
    account,
    billing,
    campaign_runs,
    campaigns,
    contacts,
    conversations,
    events,
    limits,
    members,
    messages,
    phones,
    privacy,
    sheets,
    simulated,
    sms,
    tasks,
    webhooks,
)

OPERATIONS: tuple[Operation, ...] = (
    *sms.OPERATIONS,
    *messages.OPERATIONS,
    *conversations.OPERATIONS,
    *sheets.OPERATIONS,
    *contacts.OPERATIONS,
    *campaigns.OPERATIONS,
    *campaign_runs.OPERATIONS,
    *simulated.OPERATIONS,
    *phones.OPERATIONS,
    *webhooks.OPERATIONS,
    *tasks.OPERATIONS,
    *events.OPERATIONS,
    *limits.OPERATIONS,
    *privacy.OPERATIONS,
    *account.OPERATIONS,
    *billing.OPERATIONS,
    *members.OPERATIONS,
)
