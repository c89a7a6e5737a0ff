"""Campaigns as they are asked for and as they are shown."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from pydantic import ConfigDict, Field

from services.api.shapes.account import Failover
from services.api.shapes.contacts import CustomFields, Tags
from services.api.shapes.fields import (
    TEXT,
    Body,
    Clock,
    ContactId,
    Instant,
    Line,
    Paged,
    PhoneId,
    Query,
    Search,
    Zone,
    absent,
)

TEMPLATE_MAX_CHARS = 1530  # as a text, its blanks not filled in: ten parts
CONTACTS_MAX = 1000  # named one by one; more are found by a tag
PHONES_MAX = 100
PREVIEW_MAX = 20
EXAMPLES_MAX = 5  # contacts named for each missing variable
ACKNOWLEDGED_MAX = 50

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
State = Literal["draft", "running", "paused", "completed", "cancelled"]
TemplateText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=TEMPLATE_MAX_CHARS,
        pattern=TEXT,
        description="With `{{first_name}}` or `{{first_name|there}}` where a contact's field "
        "stands; `\\{{` for plain braces.",
        examples=["Hi {{first_name|there}}, we are open again!"],
    ),
]


class TagsFilter(Body):
    """By tags: ``any`` of these, ``all`` of these, ``none`` of these."""

    any: Tags = Field(default=[])
    all: Tags = Field(default=[])
    none: Tags = Field(default=[])


class FilterRequest(Body):
    """Whom it is for: every condition given must hold; none at all is everybody."""

    tags: TagsFilter | None = None
    q: Search | None = Field(None, description="As for contacts: names, company, number.")
    contact_ids: Annotated[list[ContactId], Field(min_length=1, max_length=CONTACTS_MAX)] | None = (
        None
    )
    opted_in: bool = Field(False, description="Only people who said yes.")
    custom_fields: CustomFields = Field(
        default={}, description="Each of these fields has exactly this value."
    )


class WindowRequest(Body):
    """When it may send, besides quiet hours: from ``start`` until ``end`` on these days."""

    days: Annotated[list[Day], Field(min_length=1, max_length=7)]
    start: Clock
    end: Clock
    timezone: Zone | None = Field(None, description="The workspace's if not given.")


Phones = Annotated[list[PhoneId], Field(max_length=PHONES_MAX)]
_EXAMPLE: dict[str, Any] = {
    "name": "Spring check-up",
    "template": "Hi {{first_name|there}}, your check-up is due. Shall we come by?",
    "contact_filter": {"tags": {"any": ["customer"], "none": ["checked"]}},
    "send_window": {
        "days": ["monday", "tuesday", "wednesday", "thursday", "friday"],
        "start": "09:00",
        "end": "17:00",
    },
}


class CampaignRequest(Body):
    """A campaign to be looked at before it is started."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: Line
    template: TemplateText
    contact_filter: FilterRequest
    send_window: WindowRequest | None = None
    phone_ids: Phones = Field(default=[], description="Only these phones; none given: any.")
    failover_s: Failover | None = Field(
        None, description="A text takes another phone after this; null: the workspace's time."
    )
    start_at: Instant | None = Field(None, description="Nothing is sent before this time.")


class CampaignPatch(Body):
    """What to change: of a draft everything, while paused all but whom it is for and its time."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"template": "Hi {{first_name|there}}, last call!"}]}
    )

    name: Line = absent()
    template: TemplateText = absent()
    contact_filter: FilterRequest = absent()
    send_window: WindowRequest | None = None
    phone_ids: Phones = absent()
    failover_s: Failover | None = None
    start_at: Instant | None = None


class PreviewRequest(Body):
    """Whose texts to show; without it the first of those it is for."""

    contact_ids: Annotated[list[ContactId], Field(min_length=1, max_length=PREVIEW_MAX)] | None = (
        None
    )


class StartRequest(Body):
    """Variables that may stay empty for people who lack them."""

    acknowledge_missing: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=80)]],
        Field(max_length=ACKNOWLEDGED_MAX),
    ] = Field(default=[], examples=[["first_name"]])


class CampaignQuery(Paged):
    state: State | None = None


class ReportQuery(Query):
    pass


# -- shown ---------------------------------------------------------------------------------------


class TagsShown(Struct):
    any: list[str]
    all: list[str]
    none: list[str]


class Filter(Struct, kw_only=True):
    """Whom it is for."""

    tags: TagsShown
    q: str | None
    contact_ids: list[str] | None
    opted_in: bool
    custom_fields: dict[str, str]


class Window(Struct):
    """When it may send, besides quiet hours."""

    days: list[Day]
    start: str
    end: str
    timezone: str


class Totals(Struct, kw_only=True):
    """How many recipients are where. ``pending``: their text is not asked for yet."""

    pending: int = 0
    queued: int = 0
    dispatched: int = 0
    accepted: int = 0
    submitted: int = 0
    sent: int = 0
    delivered: int = 0
    rejected: int = 0
    cancelled: int = 0
    expired: int = 0
    failed: int = 0
    unknown: int = 0
    skipped: int = 0


class Campaign(Struct, kw_only=True):
    """A text to many people, and how far it is."""

    id: str
    name: str
    state: State
    template: str
    variables: Annotated[list[str], Meta(description="What the template fills in.")]
    contact_filter: Filter
    send_window: Window | None
    phone_ids: list[str]
    failover_s: int | None
    start_at: datetime | None
    recipients: Annotated[int, Meta(description="People it was started for; 0 for a draft.")]
    totals: Totals
    test: bool
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Reason(Struct):
    """How many, and why."""

    reason: str
    count: int


class Missing(Struct, kw_only=True):
    """A variable without fallback that people lack."""

    variable: str
    count: int
    contact_ids: Annotated[list[str], Meta(description="Some of them.")]


class PreviewText(Struct, kw_only=True):
    """What one person would get."""

    contact_id: str
    to: str
    body: str
    segments: int
    encoding: Literal["gsm7", "ucs2"]
    missing: Annotated[list[str], Meta(description="Variables this person lacks.")]
    skipped: Annotated[str | None, Meta(description="Why this person gets nothing.")]


class Preview(Struct, kw_only=True):
    """Real texts, and everybody counted."""

    data: list[PreviewText]
    recipients: int
    segments: Annotated[int, Meta(description="SMS parts of all texts together.")]
    skipped: list[Reason]
    missing: list[Missing]


class DayCount(Struct):
    """Texts a phone sends on a day of the workspace's calendar."""

    date: date
    phone_id: str
    messages: int


class Forecast(Struct, kw_only=True):
    """What would happen, by the scheduler's own rules on a virtual clock."""

    finish_at: Annotated[
        datetime | None,
        Meta(description="When the last text leaves; null if it never would: see `waiting`."),
    ]
    by_day: list[DayCount]
    skipped: list[Reason]
    segments: int
    recipients: int
    messages: Annotated[int, Meta(description="Texts that would be sent.")]
    waiting: Annotated[
        str | None, Meta(description="What it would wait for without an end: no_phone, …")
    ]
    computed_at: datetime


class PhoneDay(Struct):
    """Texts handed to a phone on a day of the workspace's calendar."""

    date: date
    phone_id: str
    messages: int


class Report(Struct, kw_only=True):
    """What became of a campaign."""

    campaign_id: str
    state: State
    recipients: int
    totals: Totals
    by_day: list[PhoneDay]
    by_phone: dict[str, int]
    failures: list[Reason]
    skipped: list[Reason]
    replies: Annotated[int, Meta(description="Texts people answered this campaign's text with.")]
    replied: Annotated[int, Meta(description="People who did.")]
    opted_out: Annotated[int, Meta(description="People whose answer was an opt-out.")]
    started_at: datetime | None
    finished_at: datetime | None


def filter_shown(stored: dict[str, Any]) -> Filter:
    """A filter as it is kept in the log, as it is shown."""
    return Filter(
        tags=TagsShown(stored["tags_any"], stored["tags_all"], stored["tags_none"]),
        q=stored["q"],
        contact_ids=stored["contact_ids"],
        opted_in=stored["opted_in"],
        custom_fields=stored["custom_fields"],
    )


def window_shown(stored: dict[str, Any] | None) -> Window | None:
    """A send window as it is kept in the log, as it is shown."""
    if stored is None:
        return None
    days: list[Any] = [DAYS[n] for n in stored["days"]]
    return Window(days, stored["start"], stored["end"], stored["timezone"])


def totals(row: Any) -> Totals:
    """The counts of a campaign's row: whoever is not counted elsewhere is still to come."""
    by_state: dict[str, int] = {k: v for k, v in (row["by_state"] or {}).items() if v}
    skipped = row["skipped"] or 0
    pending = row["recipients"] - sum(by_state.values()) - skipped
    known = {k: v for k, v in by_state.items() if k in Totals.__struct_fields__}
    return Totals(pending=max(0, pending), skipped=skipped, **known)


def campaign(row: Any, variables: list[str]) -> Campaign:
    """A row of ``campaign`` with its counts as it is shown."""
    return Campaign(
        id=row["id"],
        name=row["name"],
        state=row["state"],
        template=row["template"],
        variables=variables,
        contact_filter=filter_shown(row["contact_filter"]),
        send_window=window_shown(row["send_window"]),
        phone_ids=row["phone_ids"],
        failover_s=row["failover_s"],
        start_at=row["start_at"],
        recipients=row["recipients"],
        totals=totals(row),
        test=row["test"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )
