"""When an endpoint is tried again, given up, or switched off; and what an endpoint may be. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
from msgspec import Struct

from shared import events, ids
from shared.events import Actor, Event
from shared.logs import scrub

ACTOR = Actor("system", "webhooks")
JITTER = 0.2  # each delay is ±20 %, so that a server which comes back is not met by all at once
DISABLE_AFTER = timedelta(days=5)  # of failures without one success (as Svix does)
RETRY_AFTER_MAX_S = 86_400.0  # the longest step of the schedule; who asks for more is tried earlier
RESPONSE_MAX_CHARACTERS = 500  # of a failed attempt's answer: enough for an error message
GONE = 410
ALL_TYPES = "*"
ENDPOINTS_MAX = 20  # of one workspace: every event is written once for each
DESCRIPTION_MAX_CHARACTERS = 200


class Due(Struct, frozen=True, kw_only=True):
    """A delivery whose time has come. ``attempt`` counts the attempts already made.

    ``opened_by`` is the event that asks for it: what happened, or somebody's wish to have it again.
    ``failing_since`` is the endpoint's, and counts only what happened, not what was wished.
    """

    delivery_id: str
    endpoint_id: str
    workspace_id: str
    event_id: str
    event_type: str
    attempt: int
    trigger: str
    opened_by: str
    url: str
    failing_since: datetime | None = None


@dataclass(frozen=True)
class Result:
    """What one attempt came to. ``status`` is None when there was no answer; then ``error`` says
    why. ``response`` is the beginning of the answer's body."""

    duration_ms: int
    status: int | None = None
    error: str | None = None
    retry_after: str | None = None
    response: bytes = b""

    @property
    def delivered(self) -> bool:
        """2xx and nothing else."""
        return self.status is not None and 200 <= self.status < 300


def outcome(
    due: Due, result: Result, sent: str, schedule_s: Sequence[float], now: datetime
) -> list[Event]:
    """What to store after an attempt: the attempt, and that the endpoint is switched off, if so.

    ``sent`` is the body to post (empty: it is gone), ``schedule_s`` the seconds before each
    attempt. A test has one attempt, since somebody is looking; and neither it nor a replay counts
    against an endpoint.
    """
    attempt = due.attempt + 1
    gone = result.status == GONE
    last = gone or due.trigger == "test" or attempt >= len(schedule_s)
    next_at = None
    if not result.delivered and not last:
        next_at = now + timedelta(seconds=delay_s(due, attempt, result, schedule_s, now))
    attempt_id = ids.derive("att", due.delivery_id, due.opened_by, str(attempt))
    attempted = events.WebhookAttempted(
        endpoint_id=due.endpoint_id,
        attempt_id=attempt_id,
        delivery_id=due.delivery_id,
        event_id=due.event_id,
        event_type=due.event_type,
        attempt=attempt,
        trigger=due.trigger,
        outcome="delivered" if result.delivered else "failed" if next_at else "exhausted",
        url=due.url,
        duration_ms=result.duration_ms,
        status=result.status,
        error=None if result.delivered else result.error or error_of(result.status),
        response=None if result.delivered else excerpt(result.response, sent),
        next_at=next_at,
    )
    out = [_event(due, attempted, ids.derive("evt", attempt_id), now)]
    reason = None if result.delivered else _disabled_for(due, gone, now)
    if reason is not None:
        off = events.WebhookEndpointDisabled(endpoint_id=due.endpoint_id, reason=reason)
        out.append(_event(due, off, ids.derive("evt", attempt_id, "disabled"), now))
    return out


def _disabled_for(due: Due, gone: bool, now: datetime) -> str | None:
    if due.trigger != "event":
        return None
    if gone:
        return "gone"
    failing = due.failing_since is not None and now - due.failing_since >= DISABLE_AFTER
    return "failing" if failing else None


def delay_s(
    due: Due, attempt: int, result: Result, schedule_s: Sequence[float], now: datetime
) -> float:
    """Seconds from ``now`` to the attempt after ``attempt``: the schedule's, jittered, and not
    before the endpoint's Retry-After. The jitter is the delivery's own, the same however often it
    is computed.
    """
    digest = hashlib.sha256(f"{due.delivery_id} {due.opened_by} {attempt}".encode()).digest()
    spread = int.from_bytes(digest[:4], "big") / 0xFFFFFFFF  # 0 to 1
    jittered = schedule_s[attempt] * (1 + JITTER * (2 * spread - 1))
    return max(jittered, min(retry_after_s(result.retry_after, now), RETRY_AFTER_MAX_S))


def retry_after_s(header: str | None, now: datetime) -> float:
    """A Retry-After header in seconds, whether a number or a date; 0 if there is none or it is
    neither (RFC 9110, 10.2.3)."""
    if not header:
        return 0.0
    text = header.strip()[:40]
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return max(0.0, (at - now).total_seconds())


def error_of(status: int | None) -> str:
    """The error class of an answer that is not 2xx."""
    match status:
        case None:
            return "no_answer"
        case 410:
            return "gone"
        case _ if 300 <= status < 400:
            return "redirect"  # never followed: it leads where nobody checked
        case _:
            return f"http_{status // 100}xx"


def excerpt(response: bytes, sent: str) -> str | None:
    """What is kept of a failed attempt's answer: printable text, cut, without numbers and secrets.

    Nothing at all if it repeats the text of the message it was sent (some servers echo what they
    refuse): the log keeps attempts by endpoint, where a person's erasure would not find it.
    """
    text = response.decode("utf-8", "replace")
    data: dict[str, Any] = msgspec.json.decode(sent)["data"] if sent else {}
    said = [data.get(field) for field in ("body", "text")]
    if any(words and str(words) in text for words in said):
        return None
    printable = "".join(c if c.isprintable() else " " for c in text)
    return scrub(" ".join(printable.split()))[:RESPONSE_MAX_CHARACTERS] or None


def wrong_types(types: Sequence[str], known: Sequence[str]) -> list[dict[str, str]]:
    """The errors in an endpoint's list of types: none of it, or a name nobody knows."""
    if not types:
        detail = f"Name at least one type, or {ALL_TYPES} for all."
        return [{"pointer": "#/types", "code": "too_short", "detail": detail}]
    detail = f"There is no such type. Known are {', '.join(known)}, and {ALL_TYPES} for all."
    return [
        {"pointer": f"#/types/{n}", "code": "unknown_type", "detail": detail}
        for n, name in enumerate(types)
        if name != ALL_TYPES and name not in known
    ]


def wants(types: Sequence[str], event_type: str) -> bool:
    """Whether an endpoint with these types is told of ``event_type``."""
    return event_type in types or ALL_TYPES in types


def _event(due: Due, data: events.Data, event_id: str, now: datetime) -> Event:
    return events.make(
        data,
        id=event_id,
        workspace_id=due.workspace_id,
        at=now,
        actor=ACTOR,
        cause=due.opened_by,
    )
