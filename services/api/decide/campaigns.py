"""May a campaign be written, started, paused; and what does one person get? Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.api.decide import FieldError, field_error
from services.api.decide import template as templates
from shared import events as e
from shared import text
from shared.problems import Problem

RECIPIENTS_MAX: Final = 250_000
"""Of one start. Twenty phones at their default cap take two months for so many."""
EDITABLE_WHEN_PAUSED: Final = frozenset(
    {"name", "template", "send_window", "phone_ids", "failover_s"}
)


@dataclass(frozen=True, slots=True)
class Text:
    """What one person would get, or why nothing: ``skipped``."""

    body: str
    segments: text.Segments
    missing: tuple[str, ...]
    skipped: str | None


def text_for(template: templates.Template, person: Any, workspace: str) -> Text:
    """The text of ``person``, a contact's row, as of now. It is the same when its turn comes."""
    fields = {
        "first_name": person["first_name"],
        "last_name": person["last_name"],
        "phone": person["number"],
        "email": person["email"],
        "company": person["company"],
    }
    values = templates.values(fields, person["custom_fields"] or {}, workspace)
    body = template.render(values)
    count = text.segments(body)
    skipped = None
    if person["kind"] != "number":
        skipped = "not_textable"
    elif person["opted_out"]:
        skipped = "opted_out"
    elif not body.strip():
        skipped = "empty"
    elif count.parts > text.MAX_PARTS:
        skipped = "too_long"
    return Text(body, count, tuple(template.missing(values)), skipped)


@dataclass(slots=True)
class Census:
    """Everybody a campaign is for, counted."""

    examples_max: int
    recipients: int = 0
    segments: int = 0
    skipped: dict[str, int] = field(default_factory=dict[str, int])
    missing: dict[str, int] = field(default_factory=dict[str, int])
    lacking: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, contact_id: str, found: Text) -> None:
        """Count one person."""
        self.recipients += 1
        if found.skipped is not None:
            self.skipped[found.skipped] = self.skipped.get(found.skipped, 0) + 1
            return
        self.segments += found.segments.parts
        for name in found.missing:
            self.missing[name] = self.missing.get(name, 0) + 1
            examples = self.lacking.setdefault(name, [])
            if len(examples) < self.examples_max:
                examples.append(contact_id)


# -- writing -------------------------------------------------------------------------------------


def template_errors(source: str) -> list[FieldError]:
    """What is wrong with a template, each at its position."""
    parsed = templates.parse(source)
    if isinstance(parsed, templates.Template):
        return []
    return [
        field_error("#/template", one.code, one.detail, position=str(one.position))
        for one in parsed
    ]


def parsed(source: str) -> templates.Template:
    """A template that was checked when it was written."""
    found = templates.parse(source)
    if not isinstance(found, templates.Template):
        raise ValueError("a template in the log does not parse")
    return found


def phone_errors(
    wanted: Sequence[str], there: Mapping[str, bool], *, test: bool
) -> list[FieldError]:
    """``there``: the phones that exist and are paired, and whether each is simulated."""
    errors = [
        field_error(f"#/phone_ids/{n}", "phone_not_found", "There is no such phone.")
        for n, phone_id in enumerate(wanted)
        if phone_id not in there
    ]
    if test:
        errors += [
            field_error(
                f"#/phone_ids/{n}",
                "test_key_real_phone",
                "A test key reaches only simulated phones, and this one is real.",
            )
            for n, phone_id in enumerate(wanted)
            if there.get(phone_id) is False
        ]
    return errors


def editable(state: str, changed: Collection[str]) -> None:
    """Whether these fields may be changed now; a 409 Problem if not."""
    if state == "draft":
        return
    if state != "paused":
        detail = "Pause it first." if state == "running" else "It is over."
        raise Problem(
            409, "campaign_not_editable", f"The campaign is {state}. {detail}", state=state
        )
    fixed = sorted(set(changed) - EDITABLE_WHEN_PAUSED)
    if fixed:
        raise Problem(
            409,
            "campaign_not_editable",
            f"{', '.join(fixed)} cannot be changed once a campaign was started.",
            state=state,
        )


# -- starting, pausing, … ------------------------------------------------------------------------


def startable(state: str) -> None:
    """A 409 Problem for what was started already."""
    if state != "draft":
        raise Problem(
            409, "campaign_started", f"The campaign was started before; it is {state}.", state=state
        )


def start(
    campaign_id: str,
    audience_id: str,
    census: Census,
    acknowledged: Collection[str],
    *,
    test: bool,
) -> e.CampaignStarted:
    """The start; a Problem for an audience of nobody or too many, or variables people lack."""
    if not census.recipients:
        raise Problem(422, "no_recipients", "Nobody matches the contact filter.")
    if census.recipients > RECIPIENTS_MAX:
        raise Problem(
            422,
            "too_many_recipients",
            f"{census.recipients} people match; a campaign has at most {RECIPIENTS_MAX}.",
        )
    accepted = {templates.key(name) for name in acknowledged}
    lacking = {name: n for name, n in census.missing.items() if name not in accepted}
    if lacking:
        raise Problem(
            422,
            "missing_variables",
            "Some people lack what the text fills in. Add a fallback, as in {{first_name|there}}, "
            "or repeat the request with these names in acknowledge_missing.",
            missing=[
                {"variable": name, "count": n, "contact_ids": census.lacking[name]}
                for name, n in sorted(lacking.items())
            ],
        )
    return e.CampaignStarted(
        campaign_id=campaign_id,
        audience_id=audience_id,
        recipients=census.recipients,
        test=test,
        acknowledged=tuple(sorted(accepted & set(census.missing))),
    )


_MOVES: Final[Mapping[str, tuple[type[e.CampaignFact], str, frozenset[str]]]] = {
    "pause": (e.CampaignPaused, "paused", frozenset({"running"})),
    "resume": (e.CampaignResumed, "running", frozenset({"paused"})),
    "cancel": (e.CampaignCancelled, "cancelled", frozenset({"running", "paused"})),
}


def move(wish: str, campaign_id: str, state: str) -> e.CampaignFact | None:
    """Pause, resume or cancel; None where it is so already. A 409 Problem where it cannot be."""
    kind, target, before = _MOVES[wish]
    if state == target:
        return None
    if state not in before:
        raise Problem(
            409,
            "campaign_not_running" if wish != "resume" else "campaign_not_paused",
            f"The campaign is {state}; there is nothing to {wish}.",
            state=state,
        )
    return kind(campaign_id=campaign_id)
