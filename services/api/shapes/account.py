"""The workspace and its API keys as they are asked for and as they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from pydantic import ConfigDict, Field

from services.api.shapes.fields import (
    INTEGRAL,
    TEXT,
    Body,
    Clock,
    Instant,
    Line,
    Paged,
    Zone,
    absent,
)
from shared.auth import Scope

FAILOVER_MIN_S, FAILOVER_MAX_S = 60, 7 * 24 * 3600
HELP_MAX_CHARS = 320

AnswerText = Annotated[str, Field(min_length=1, max_length=HELP_MAX_CHARS, pattern=TEXT)]
Failover = Annotated[int, Field(ge=FAILOVER_MIN_S, le=FAILOVER_MAX_S), INTEGRAL]


class QuietHoursRequest(Body):
    """From ``start`` until ``end`` on the recipient's clock; may cross midnight."""

    start: Clock
    end: Clock


class WorkspacePatch(Body):
    """What to change. Loosening quiet hours needs ``acknowledge_risk``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"timezone": "America/New_York"},
                {"quiet_hours": {"start": "20:00", "end": "09:00"}},
            ]
        }
    )

    name: Line = absent()
    timezone: Zone = absent()
    region: Annotated[str, Field(pattern="^[A-Z]{2}$", examples=["US"])] = absent(
        "Country of numbers written without +."
    )
    quiet_hours: QuietHoursRequest | None = Field(None, description="null: none at all.")
    failover_s: Failover | None = Field(
        None, description="A conversation takes another phone after this; null: never."
    )
    campaign_failover_s: Failover = absent()
    resend_unknown: bool = absent("Send again, by itself, what may or may not have been sent.")
    help_text: AnswerText | None = Field(None, description="The answer to HELP; null: none.")
    opt_out_text: AnswerText | None = Field(
        None, description="The confirmation of an opt-out; null: ours."
    )
    acknowledge_risk: bool = False


class ApiKeyRequest(Body):
    """A new key; it can have no more than the key that makes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "Booking system", "scopes": ["messages:write", "messages:read"]}]
        }
    )

    name: Line
    mode: Literal["live", "test"] = Field(
        "live", description="A test key reaches only simulated phones."
    )
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=30)]
    expires_at: Instant | None = None


class ApiKeyQuery(Paged):
    pass


class QuietHours(Struct):
    """Nobody is texted between these times of their day."""

    start: str
    end: str


class Workspace(Struct, kw_only=True):
    """An account and its sending rules."""

    id: str
    name: str
    timezone: str
    region: str
    quiet_hours: QuietHours | None
    failover_s: int | None
    campaign_failover_s: int
    resend_unknown: bool
    help_text: str | None
    opt_out_text: str | None
    created_at: datetime
    updated_at: datetime


class ApiKey(Struct, kw_only=True):
    """An API key, without the key itself."""

    id: str
    name: str
    mode: Literal["live", "test"]
    last_four: str
    scopes: list[str]
    expires_at: datetime | None
    last_used_at: Annotated[datetime | None, Meta(description="To within half a minute.")]
    created_at: datetime


class NewApiKey(ApiKey, kw_only=True):
    """An API key with the key itself, which is shown only now."""

    key: Annotated[str, Meta(examples=["8ms_live_…"])]


def workspace(row: Any) -> Workspace:
    """A row of ``workspace`` as it is shown."""
    start, end = row["quiet_start"], row["quiet_end"]
    return Workspace(
        id=row["workspace_id"],
        name=row["name"],
        timezone=row["timezone"],
        region=row["region"],
        quiet_hours=QuietHours(start, end) if start is not None else None,
        failover_s=row["failover_s"],
        campaign_failover_s=row["campaign_failover_s"],
        resend_unknown=row["resend_unknown"],
        help_text=row["help_text"],
        opt_out_text=row["opt_out_text"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def api_key(row: Any) -> ApiKey:
    """A row of ``api_key`` with its last use as it is shown."""
    return ApiKey(
        id=row["id"],
        name=row["name"],
        mode=row["mode"],
        last_four=row["last_four"],
        scopes=row["scopes"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        created_at=row["created_at"],
    )
