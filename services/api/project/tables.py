"""The rows the API answers from, and how events find them.

Fields are columns, in order. Whatever may be NULL has the default None and is left out of what is
sent to PostgreSQL; so no other field may have a default.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from shared.events import ContactErased, Event, WorkspaceState
from shared.rows import Table


class Workspace(Struct, omit_defaults=True):
    """An account and its sending rules."""

    workspace_id: str
    name: str
    timezone: str
    region: str
    campaign_failover_s: int
    resend_unknown: bool
    seq: int
    created_at: datetime
    updated_at: datetime
    quiet_start: str | None = None
    quiet_end: str | None = None
    failover_s: int | None = None
    help_text: str | None = None
    opt_out_text: str | None = None
    acknowledged: list[str] | None = None


class ApiKey(Struct, omit_defaults=True):
    """A key by its hash; a revoked one stays, so that what it did can be told."""

    id: str
    workspace_id: str
    name: str
    mode: str
    hash: str
    last_four: str
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class Member(Struct, omit_defaults=True):
    """Somebody in a workspace, or invited to it; one who was removed stays."""

    id: str
    workspace_id: str
    email: str
    role: str
    state: str
    seq: int
    created_at: datetime
    user_id: str | None = None
    joined_at: datetime | None = None
    removed_at: datetime | None = None


class Phone(Struct, omit_defaults=True):
    """A phone; one that was unpaired stays for the messages it carried."""

    id: str
    workspace_id: str
    label: str
    state: str
    state_at: datetime
    paired: bool
    simulated: bool
    manufacturer: str
    model: str
    android: str
    app_version: str
    sims: list[Any]
    min_gap_s: int
    daily_cap: int
    warmup: bool
    jitter_s: int
    seq: int
    paired_at: datetime
    created_at: datetime
    acknowledged: list[str] | None = None


class Contact(Struct, omit_defaults=True):
    """A person, or what else may text: ``seq`` is of the newest contact.* event, 0 before any."""

    id: str
    workspace_id: str
    number: str
    kind: str
    generation: int
    saved: bool
    opted_out: bool
    seq: int
    created_at: datetime
    updated_at: datetime
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    company: str | None = None
    tags: list[str] | None = None
    custom_fields: dict[str, str] | None = None
    timezone: str | None = None
    consent: dict[str, Any] | None = None


# Whose a contact's row is that no tenant may see: row-level security hides what is nobody's.
GONE = "erased"  # the person was erased; nothing that still comes under the id brings them back
NEXT = "unborn"  # whose number it is after that, until somebody writes or is written to


class ContactWord(Struct):
    """One word a contact is found by (search.py)."""

    workspace_id: str
    word: str
    contact_id: str
    created_at: datetime


class ContactField(Struct):
    """A custom field some contact has or had."""

    workspace_id: str
    name: str


class Conversation(Struct):
    """The thread with a contact."""

    contact_id: str
    workspace_id: str
    state: str
    unread: int
    last_message_id: str
    last_at: datetime
    created_at: datetime


class Message(Struct, omit_defaults=True):
    """A text out or in, as far as it got. ``seen`` is project/message.py's."""

    id: str
    workspace_id: str
    contact_id: str
    direction: str
    state: str
    number: str
    body: str
    parts: int
    attempt: int
    seen: int
    test: bool
    created_at: datetime
    updated_at: datetime
    source: str | None = None
    phone_id: str | None = None
    subscription_id: int | None = None
    waiting_reason: str | None = None
    waiting_until: datetime | None = None
    error_class: str | None = None
    error_code: str | None = None
    error_detail: str | None = None
    category: str | None = None
    client_ref: str | None = None
    campaign_id: str | None = None
    send_at: datetime | None = None
    expires_at: datetime | None = None
    cancel_requested: bool | None = None


class MessageWord(Struct):
    """One word a text is found by (search.py)."""

    workspace_id: str
    word: str
    message_id: str
    contact_id: str
    created_at: datetime


class Timeline(Struct, omit_defaults=True):
    """One fact about a message."""

    message_id: str
    seq: int
    workspace_id: str
    at: datetime
    type: str
    detail: dict[str, Any] | None = None


class Endpoint(Struct, omit_defaults=True):
    """A customer's webhook endpoint; its secret is in the vault of webhooks."""

    id: str
    workspace_id: str
    url: str
    types: list[str]
    enabled: bool
    ordered: bool
    description: str
    seq: int
    created_at: datetime
    updated_at: datetime
    disabled_reason: str | None = None


class Attempt(Struct, omit_defaults=True):
    """One try to deliver one event to one endpoint."""

    id: str
    workspace_id: str
    endpoint_id: str
    delivery_id: str
    event_id: str
    event_type: str
    attempt: int
    trigger: str
    outcome: str
    url: str
    duration_ms: int
    at: datetime
    status: int | None = None
    error: str | None = None
    response: str | None = None
    next_at: datetime | None = None


class Audit(Struct, omit_defaults=True):
    """Something that happened besides texts; ``listed`` if somebody did it (project/audit.py)."""

    workspace_id: str
    seq: int
    at: datetime
    type: str
    target: str
    actor_kind: str
    actor_id: str
    listed: bool
    cause: str | None = None


class Subscription(Struct, omit_defaults=True):
    """What a workspace pays for: the newest subscription.changed, field by field."""

    workspace_id: str
    customer_id: str
    livemode: bool
    state: str
    others: int
    seq: int
    updated_at: datetime
    plan: str | None = None
    subscription_id: str | None = None
    price_id: str | None = None
    period_end: datetime | None = None
    ends_at: datetime | None = None
    grace_until: datetime | None = None


class Campaign(Struct, omit_defaults=True):
    """A campaign as it stands."""

    id: str
    workspace_id: str
    name: str
    template: str
    contact_filter: Any
    phone_ids: list[str]
    state: str
    test: bool
    recipients: int
    seq: int
    created_at: datetime
    updated_at: datetime
    send_window: Any | None = None
    failover_s: int | None = None
    start_at: datetime | None = None
    audience_id: str | None = None
    acknowledged: list[str] | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Audience(Struct):
    """Up to a thousand recipients of a start."""

    audience_id: str
    part: int
    campaign_id: str
    workspace_id: str
    contact_ids: list[str]


class Skip(Struct):
    """A recipient who gets nothing."""

    campaign_id: str
    contact_id: str
    workspace_id: str
    reason: str
    at: datetime


class CampaignCount(Struct):
    """How many of one kind."""

    campaign_id: str
    kind: str
    name: str
    phone_id: str
    workspace_id: str
    count: int


class Renewed(Struct):
    """Whose a number is since its person was erased; ``id`` is the number's keyed hash."""

    id: str
    workspace_id: str
    contact_id: str
    generation: int
    suppressed: bool


class PrivacyRequest(Struct, omit_defaults=True):
    """An erasure or an export that was asked for."""

    id: str
    workspace_id: str
    kind: str
    scope: str
    state: str
    requested_by: str
    created_at: datetime
    seq: int
    contact_id: str | None = None
    message_id: str | None = None
    before: datetime | None = None
    counts: dict[str, Any] | None = None
    fulfilled_at: datetime | None = None


def _successor(event: Event) -> tuple[tuple[str, ...], ...]:
    data = event.data
    return ((data.successor_id,),) if isinstance(data, ContactErased) else ()


def _root(event: Event) -> tuple[tuple[str, ...], ...]:
    data = event.data
    return ((data.root_id,),) if isinstance(data, ContactErased) else ()


def _of_workspace(event: Event) -> tuple[tuple[str, ...], ...]:
    """Only events about the workspace itself need its row, though every event names one."""
    return ((event.workspace_id,),) if isinstance(event.data, WorkspaceState) else ()


WORKSPACE = Table("workspace", Workspace, ("workspace_id",), keys=_of_workspace)
API_KEY = Table("api_key", ApiKey, by=("key_id",))
MEMBER = Table("member", Member, by=("member_id",))
PHONE = Table("phone", Phone, by=("phone_id",))
CONTACT = Table("contact", Contact, by=("contact_id",), keys=_successor)
CONTACT_WORD = Table("contact_word", ContactWord, ("workspace_id", "word", "contact_id"))
CONTACT_FIELD = Table("contact_field", ContactField, ("workspace_id", "name"), insert_only=True)
CONVERSATION = Table("conversation", Conversation, ("contact_id",), by=("contact_id",))
MESSAGE = Table("message", Message, by=("message_id",))
MESSAGE_WORD = Table(
    "message_word", MessageWord, ("message_id", "word", "workspace_id"), insert_only=True
)
TIMELINE = Table("timeline", Timeline, ("message_id", "seq"), insert_only=True)
ENDPOINT = Table("endpoint", Endpoint, by=("endpoint_id",))
ATTEMPT = Table("attempt", Attempt, insert_only=True)
AUDIT = Table("audit", Audit, ("workspace_id", "seq"), insert_only=True)
SUBSCRIPTION = Table("subscription", Subscription, ("workspace_id",))  # put whole, never read
CAMPAIGN = Table("campaign", Campaign, by=("campaign_id",))
AUDIENCE = Table("audience", Audience, ("audience_id", "part"), insert_only=True)
SKIP = Table("skip", Skip, ("campaign_id", "contact_id"), by=("campaign_id", "contact_id"))
CAMPAIGN_COUNT = Table(
    "campaign_count",
    CampaignCount,
    ("campaign_id", "kind", "name", "phone_id"),
    adds=("count",),
)
RENEWED = Table("renewed", Renewed, keys=_root)
PRIVACY_REQUEST = Table("privacy_request", PrivacyRequest, by=("request_id",))

TABLES = (
    WORKSPACE,
    API_KEY,
    MEMBER,
    PHONE,
    CONTACT,
    CONTACT_WORD,
    CONTACT_FIELD,
    CONVERSATION,
    MESSAGE,
    MESSAGE_WORD,
    TIMELINE,
    ENDPOINT,
    ATTEMPT,
    AUDIT,
    SUBSCRIPTION,
    CAMPAIGN,
    AUDIENCE,
    SKIP,
    CAMPAIGN_COUNT,
    RENEWED,
    PRIVACY_REQUEST,
)
