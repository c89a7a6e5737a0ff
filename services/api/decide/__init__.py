"""May this be sent, cancelled, resolved, changed? Pure.

What is asked and what is known in, an event or what is wrong out; all that is wrong with one
request is said at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from shared import events as e
from shared import numbers, text
from shared.problems import Problem

TTL_DEFAULT: Final = timedelta(hours=72)
"""Life of a text whose request names none (design/policy.md, Expiry)."""
SEND_AT_MAX: Final = timedelta(days=366)
"""How far ahead a text may be scheduled: a year, leap years included."""
SEND_AT_LATE: Final = timedelta(minutes=5)
"""A time this little past means now: clocks differ and requests take their time."""
TAGS_MAX: Final = 50
FIELDS_MAX: Final = 50

CANCELLABLE: Final = frozenset({"queued", "dispatched", "accepted"})

FieldError = dict[str, str]


class Wish(Protocol):
    """What a request to send says (shapes/messages.py)."""

    @property
    def to(self) -> str | None: ...
    @property
    def contact_id(self) -> str | None: ...
    @property
    def body(self) -> str: ...
    @property
    def phone_id(self) -> str | None: ...
    @property
    def subscription_id(self) -> int | None: ...
    @property
    def send_at(self) -> datetime | None: ...
    @property
    def ttl(self) -> int | None: ...
    @property
    def category(self) -> str | None: ...
    @property
    def client_ref(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a text is for: a contact as known now, or one that begins with this text."""

    id: str
    number: str
    kind: str = "number"
    opted_out: bool = False
    timezone: str | None = None


@dataclass(frozen=True, slots=True)
class Handset:
    """What matters of the phone a request names."""

    id: str
    paired: bool
    simulated: bool


@dataclass(frozen=True, slots=True)
class Sender:
    """On whose behalf: ``source`` is the lane in a phone's queue (api, or inbox for a person)."""

    source: str
    test: bool


def field_error(pointer: str, code: str, detail: str, **more: str) -> FieldError:
    """One wrong field."""
    return {"pointer": pointer, "code": code, "detail": detail, **more}


def problem(errors: list[FieldError]) -> Problem:
    """The 422 for what is wrong by its meaning: the first error is the problem as a whole."""
    return Problem(422, errors[0]["code"], errors[0]["detail"], errors=errors)


# -- sending -------------------------------------------------------------------------------------


def addressed(to: str | None, contact_id: str | None) -> FieldError | None:
    """Whether a text names its recipient, in exactly one way."""
    if to is None and contact_id is None:
        return field_error("#/to", "missing", "to is required, or contact_id.")
    if to is not None and contact_id is not None:
        return field_error(
            "#/contact_id", "one_recipient", "Give to or contact_id, not both of them."
        )
    return None


def number(raw: str, region: str, pointer: str = "#/to") -> str | FieldError:
    """E.164 of a number somebody typed, or why it cannot be texted."""
    try:
        return numbers.parse(raw, region)
    except numbers.InvalidNumber as error:
        return field_error(pointer, "invalid_number", error.detail, reason=error.code)


def parts(body: str) -> int | FieldError:
    """How many SMS the text takes, or that it is too long."""
    count = text.segments(body).parts
    if count <= text.MAX_PARTS:
        return count
    return field_error(
        "#/body",
        "too_many_parts",
        f"The text takes {count} SMS parts; at most {text.MAX_PARTS} are sent as one message.",
    )


def schedule(send_at: datetime | None, now: datetime) -> FieldError | None:
    """Whether a text may be scheduled for ``send_at``."""
    if send_at is None:
        return None
    if send_at < now - SEND_AT_LATE:
        return field_error("#/send_at", "in_the_past", "send_at is in the past.")
    if send_at > now + SEND_AT_MAX:
        return field_error("#/send_at", "too_far_ahead", "send_at is more than a year ahead.")
    return None


def accept(
    wish: Wish,
    *,
    message_id: str,
    recipient: Recipient | FieldError,
    phone: Handset | None,
    sender: Sender,
    now: datetime,
    suppression: bool = True,
) -> e.SendRequested | list[FieldError]:
    """The wish as an event, or everything that stands against it.

    ``phone`` is the one the wish names, None if it names none or that one does not exist.
    ``suppression=False`` leaves out whether the recipient opted out, for a dry run that tells.
    """
    count = parts(wish.body)
    found = [
        _recipient_error(wish, recipient, suppression),
        count if isinstance(count, dict) else None,
        _phone_error(wish.phone_id, phone, sender),
        schedule(wish.send_at, now),
    ]
    errors = [error for error in found if error is not None]
    if errors or isinstance(recipient, dict) or isinstance(count, dict):
        return errors
    send_at = wish.send_at if wish.send_at is not None and wish.send_at > now else None
    life = TTL_DEFAULT if wish.ttl is None else timedelta(seconds=wish.ttl)
    return e.SendRequested(
        message_id=message_id,
        contact_id=recipient.id,
        to=recipient.number,
        body=wish.body,
        parts=count,
        source=sender.source,
        expires_at=(send_at or now) + life,
        category=wish.category,
        phone_id=wish.phone_id,
        subscription_id=wish.subscription_id,
        send_at=send_at,
        client_ref=wish.client_ref,
        timezone=recipient.timezone,
        test=sender.test,
    )


def _recipient_error(
    wish: Wish, recipient: Recipient | FieldError, suppression: bool
) -> FieldError | None:
    if isinstance(recipient, dict):
        return recipient
    pointer = "#/to" if wish.contact_id is None else "#/contact_id"
    if recipient.kind == "alphanumeric":
        return field_error(
            pointer,
            "invalid_number",
            "This sender shows a name and no number; it cannot be texted.",
            reason="alphanumeric",
        )
    if recipient.opted_out and suppression:
        return field_error(
            pointer,
            "recipient_opted_out",
            "The recipient opted out of messages from this workspace.",
        )
    return None


def _phone_error(phone_id: str | None, phone: Handset | None, sender: Sender) -> FieldError | None:
    if phone_id is None:
        return None
    if phone is None:
        return field_error("#/phone_id", "phone_not_found", "There is no such phone.")
    if not phone.paired:
        return field_error("#/phone_id", "phone_unpaired", "This phone was unpaired.")
    if sender.test and not phone.simulated:
        return field_error(
            "#/phone_id",
            "test_key_real_phone",
            "A test key reaches only simulated phones, and this one is real.",
        )
    return None


# -- messages under way --------------------------------------------------------------------------


def cancel(
    message_id: str, contact_id: str, direction: str, state: str, requested: bool
) -> e.SendCancelRequested | None:
    """Take a message back; None if that was asked before. A Problem when it is too late."""
    if direction != "outbound":
        raise Problem(409, "not_cancellable", "A received message cannot be cancelled.")
    if state not in CANCELLABLE:
        raise Problem(
            409,
            "not_cancellable",
            f"The message is {state}: it is too late to cancel it.",
            state=state,
        )
    return (
        None if requested else e.SendCancelRequested(message_id=message_id, contact_id=contact_id)
    )


def resolve(
    message_id: str, contact_id: str, waiting_reason: str | None, decision: str
) -> e.SendResolved:
    """A person's decision about a quarantined message; a Problem when it waits for none."""
    if waiting_reason != "quarantined":
        raise Problem(409, "not_quarantined", "This message does not wait for anybody's decision.")
    return e.SendResolved(message_id=message_id, contact_id=contact_id, decision=decision)


# -- contacts ------------------------------------------------------------------------------------


def contact_errors(
    tags: Collection[str],
    custom_fields: Mapping[str, str],
    zone: str | None,
    zones: Collection[str],
) -> list[FieldError]:
    """What is wrong with a contact as it would be saved."""
    errors: list[FieldError] = []
    if len(tags) > TAGS_MAX:
        errors.append(field_error("#/tags", "too_long", f"A contact has at most {TAGS_MAX} tags."))
    if len(custom_fields) > FIELDS_MAX:
        errors.append(
            field_error(
                "#/custom_fields", "too_long", f"A contact has at most {FIELDS_MAX} custom fields."
            )
        )
    return errors + zone_errors(zone, zones)


def zone_errors(zone: str | None, zones: Collection[str]) -> list[FieldError]:
    """Whether a timezone exists."""
    if zone is None or zone in zones:
        return []
    return [
        field_error(
            "#/timezone",
            "unknown_timezone",
            "timezone must be a name of the IANA database, such as America/New_York.",
        )
    ]


# -- API keys ------------------------------------------------------------------------------------


def key_errors(
    held: Collection[str],
    held_mode: str,
    mode: str,
    scopes: list[str],
    expires_at: datetime | None,
    now: datetime,
) -> tuple[int, list[FieldError]]:
    """(status, what is wrong) with a wanted key: nobody gives away more than they hold."""
    beyond = [
        field_error(f"#/scopes/{n}", "scope_exceeded", f"You do not have {scope} yourself.")
        for n, scope in enumerate(scopes)
        if scope not in held and "*" not in held
    ]
    if held_mode == "test" and mode == "live":
        beyond.append(field_error("#/mode", "scope_exceeded", "A test key makes only test keys."))
    if beyond:
        return 403, beyond
    if expires_at is not None and expires_at <= now:
        return 422, [field_error("#/expires_at", "in_the_past", "expires_at is in the past.")]
    return 422, []


# -- limits that must not be loosened unawares -----------------------------------------------------


def confirmed(warnings: list[str], acknowledged: bool) -> tuple[str, ...]:
    """The warnings a person accepted; a 409 Problem while they have not (design/policy.md)."""
    if warnings and not acknowledged:
        raise Problem(
            409,
            "confirmation_required",
            "This makes sending less safe. Read the warnings, then repeat the request with "
            '"acknowledge_risk": true.',
            warnings=warnings,
        )
    return tuple(warnings)


def merged(current: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """What stands after a change that names only what it changes."""
    return {**current, **changes}
