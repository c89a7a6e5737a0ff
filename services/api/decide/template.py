"""A campaign's text with blanks: ``Hi {{first_name|there}}, see you {{custom.day}}.`` Pure.

    {{name}}           the variable's value; who lacks it is listed before the campaign starts
    {{name|fallback}}  what stands there for who lacks it; may be empty
    \\{{                two braces as they are

Variables are the fields of a contact (``first_name``, ``last_name``, ``full_name``, ``phone``,
``email``, ``company``) and ``workspace``; every other name is a custom field's. A custom field that
is called like one of these is ``custom.first_name``. Case, and spaces around a name, do not matter.

``parse`` says what is wrong and where; a template that parsed renders for everybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

FIELDS: Final = ("first_name", "last_name", "full_name", "phone", "email", "company", "workspace")
CUSTOM: Final = "custom."
VARIABLES_MAX: Final = 50  # as many custom fields as a contact has

_TOKEN = re.compile(r"\\\{\{|\{\{|\}\}")
_NAME = re.compile(r"[^\W\d][\w .\-]*")  # of letters in any script: custom fields are people's own


@dataclass(frozen=True, slots=True)
class Blank:
    """A place to fill in: ``fallback`` None means that there is none."""

    name: str
    fallback: str | None


@dataclass(frozen=True, slots=True)
class Template:
    """A text in pieces."""

    pieces: tuple[str | Blank, ...]

    @property
    def variables(self) -> tuple[str, ...]:
        """The names it fills in, each once, in the order they come."""
        return tuple(dict.fromkeys(p.name for p in self.pieces if isinstance(p, Blank)))

    def missing(self, values: Mapping[str, str]) -> list[str]:
        """What ``values`` lack and no fallback stands in for, each once."""
        lacking = (
            piece.name
            for piece in self.pieces
            if isinstance(piece, Blank) and piece.fallback is None and not values.get(piece.name)
        )
        return list(dict.fromkeys(lacking))

    def render(self, values: Mapping[str, str]) -> str:
        """The text for a person with these values; a blank nobody fills stays empty."""
        return "".join(
            piece if isinstance(piece, str) else values.get(piece.name) or piece.fallback or ""
            for piece in self.pieces
        )


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a template, in words, at ``position`` (characters from 0)."""

    code: str
    detail: str
    position: int


def parse(text: str) -> Template | list[Mistake]:
    """The template in ``text``, or everything that is wrong with it."""
    pieces: list[str | Blank] = []
    mistakes: list[Mistake] = []
    at = 0
    while (token := _TOKEN.search(text, at)) is not None:
        start = token.start()
        pieces.append(text[at:start])
        match token.group():
            case "{{":
                end = text.find("}}", start + 2)
                opened_again = text.find("{{", start + 2)
                if end < 0 or 0 <= opened_again < end:
                    detail = 'This "{{" is never closed by "}}"; write "\\{{" for plain braces.'
                    mistakes.append(Mistake("unclosed_variable", detail, start))
                    at = start + 2
                    continue
                found = _blank(text[start + 2 : end], start)
                if isinstance(found, Blank):
                    pieces.append(found)
                else:
                    mistakes.append(found)
                at = end + 2
            case "}}":
                detail = 'This "}}" closes nothing.'
                mistakes.append(Mistake("unopened_variable", detail, start))
                at = start + 2
            case _:
                pieces.append("{{")
                at = token.end()
    pieces.append(text[at:])
    template = Template(tuple(piece for piece in pieces if piece != ""))
    if len(template.variables) > VARIABLES_MAX:
        detail = f"A template has at most {VARIABLES_MAX} variables."
        mistakes.append(Mistake("too_many_variables", detail, 0))
    return mistakes or template


def _blank(inside: str, position: int) -> Blank | Mistake:
    name, bar, fallback = inside.partition("|")
    name = name.strip()
    if not name:
        return Mistake("empty_variable", "A variable needs a name between its braces.", position)
    if _NAME.fullmatch(name) is None:
        detail = (
            "A variable is written {{name}} or {{name|fallback}}; a name has letters, digits, "
            "spaces, dots, hyphens and underscores and begins with a letter."
        )
        return Mistake("unknown_syntax", detail, position)
    return Blank(key(name), fallback.strip() if bar else None)


def key(name: str) -> str:
    """How a variable is called however it is written: a contact's field, or ``custom.…``."""
    folded = name.strip().casefold()
    if folded in FIELDS or folded.startswith(CUSTOM):
        return folded
    return CUSTOM + folded


def values(
    fields: Mapping[str, str | None], custom_fields: Mapping[str, str], workspace: str
) -> dict[str, str]:
    """What a person's blanks are filled with; what is not known is not there."""
    first, last = fields.get("first_name"), fields.get("last_name")
    known: dict[str, str | None] = {
        "first_name": first,
        "last_name": last,
        "full_name": " ".join(part for part in (first, last) if part),
        "phone": fields.get("phone"),
        "email": fields.get("email"),
        "company": fields.get("company"),
        "workspace": workspace,
    }
    for name, value in custom_fields.items():
        known[CUSTOM + name.strip().casefold()] = value
    return {name: value.strip() for name, value in known.items() if value and value.strip()}
