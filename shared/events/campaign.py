"""Campaigns: one text, with blanks to fill in, to many people. Keyed by the campaign.

Written by api, which knows the people; ``completed`` and ``skipped`` by scheduler, which feeds the
texts into the log as phones become free. Nothing here is about a person but a contact's id.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from msgspec import Struct, field

from shared.events.base import Data

AUDIENCE_MAX = 1000
"""Contacts in one ``campaign.audience``: some 30 KB, far below what the log takes at once."""


class SendWindow(Struct, frozen=True, kw_only=True):
    """``[start, end)`` on these days (0 is Monday) in ``timezone``; may cross midnight."""

    days: tuple[int, ...]
    start: str
    end: str
    timezone: str


class ContactFilter(Struct, frozen=True, kw_only=True):
    """Whom a campaign is for: every condition that is given must hold."""

    tags_any: tuple[str, ...] = ()
    tags_all: tuple[str, ...] = ()
    tags_none: tuple[str, ...] = ()
    q: str | None = None
    contact_ids: tuple[str, ...] | None = None
    opted_in: bool = False  # only people who said yes; who said no is never texted anyway
    custom_fields: dict[str, str] = field(default_factory=dict[str, str])


class CampaignFact(Data, frozen=True, kw_only=True):
    KEY: ClassVar[str] = "campaign_id"

    campaign_id: str


class CampaignState(CampaignFact, frozen=True, kw_only=True):
    """The whole campaign as it was written, so that a projection replaces and never merges.

    ``phone_ids``: only these phones; none means any. ``failover_s``: how long a text waits for a
    silent phone, the workspace's time if None.
    """

    name: str
    template: str
    contact_filter: ContactFilter
    send_window: SendWindow | None = None
    phone_ids: tuple[str, ...] = ()
    failover_s: int | None = None
    start_at: datetime | None = None


class CampaignCreated(CampaignState, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "campaign.created"


class CampaignUpdated(CampaignState, frozen=True, kw_only=True):
    """As a draft everything, while paused everything but whom it is for."""

    TYPE: ClassVar[str] = "campaign.updated"


class CampaignDeleted(CampaignFact, frozen=True, kw_only=True):
    """A draft nobody wants any more."""

    TYPE: ClassVar[str] = "campaign.deleted"


class CampaignAudience(CampaignFact, frozen=True, kw_only=True):
    """Some of the people a campaign is about to be started for, in the order of their turns.

    ``campaign.started`` names the ``audience_id`` that counts: what an interrupted start left
    behind belongs to none.
    """

    TYPE: ClassVar[str] = "campaign.audience"

    audience_id: str
    part: int  # from 0
    contact_ids: tuple[str, ...]


class CampaignStarted(CampaignFact, frozen=True, kw_only=True):
    """From here on it is fed. ``test``: by a test key, so only simulated phones may carry it.

    ``acknowledged`` are the variables a person let stay empty for those who lack them.
    """

    TYPE: ClassVar[str] = "campaign.started"

    audience_id: str
    recipients: int
    test: bool = False
    acknowledged: tuple[str, ...] = ()


class CampaignPaused(CampaignFact, frozen=True, kw_only=True):
    """Nothing more is fed, and what waits in a phone's line is held."""

    TYPE: ClassVar[str] = "campaign.paused"


class CampaignResumed(CampaignFact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "campaign.resumed"


class CampaignCancelled(CampaignFact, frozen=True, kw_only=True):
    """Final: what no phone has sent yet is taken back."""

    TYPE: ClassVar[str] = "campaign.cancelled"


class CampaignCompleted(CampaignFact, frozen=True, kw_only=True):
    """Final: of every recipient it is known what became of the text."""

    TYPE: ClassVar[str] = "campaign.completed"

    recipients: int
    messages: int
    skipped: int


class CampaignSkipped(Data, frozen=True, kw_only=True):
    """One recipient whose turn came and who gets nothing. Keyed by the contact, as a text is.

    ``reason``: ``opted_out``, ``erased``, ``not_textable``, ``too_long``, ``never_in_window``.
    """

    TYPE: ClassVar[str] = "campaign.skipped"
    KEY: ClassVar[str] = "contact_id"

    campaign_id: str
    contact_id: str
    reason: str
