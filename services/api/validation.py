"""What is wrong with a request, field by field, in words. Pure.

Every field error at once, each with a JSON Pointer into the body, or the name of the query
parameter; the same shape that decisions give for what is wrong by its meaning (decide.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import pydantic
from multidict import MultiMapping

from services.api.shapes.fields import SENTENCES, Query
from shared.problems import Problem

Q = TypeVar("Q", bound=Query)
FieldError = dict[str, str]

CODES = {
    "missing": "missing",
    "extra_forbidden": "unknown_field",
    "json_invalid": "malformed_json",
    "string_too_long": "too_long",
    "string_too_short": "too_short",
    "too_long": "too_long",
    "too_short": "too_short",
    "less_than_equal": "too_large",
    "greater_than_equal": "too_small",
    "literal_error": "not_one_of",
}
KINDS = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}


def field_errors(error: pydantic.ValidationError, *, query: bool = False) -> list[FieldError]:
    """One entry per wrong field of a body, or of a query string."""
    return [_entry(e, query) for e in error.errors(include_url=False, include_input=False)]


def refusal(errors: list[FieldError]) -> Problem:
    """The problem of a request with these field errors; there is at least one."""
    if errors[0]["code"] == "malformed_json":
        return Problem(400, "malformed_json", "The body is not valid JSON.", errors=errors)
    return Problem(422, "invalid_request", errors[0]["detail"], errors=errors)


def read_query(model: type[Q], given: MultiMapping[str]) -> tuple[Q | None, list[FieldError]]:
    """The query parameters as ``model``, or what is wrong with them."""
    twice = sorted({name for name in given if len(given.getall(name)) > 1})
    errors = [_query_error(name, "repeated", f"{name} may be given only once.") for name in twice]
    try:
        found = model.model_validate({name: given[name] for name in given})
    except pydantic.ValidationError as error:
        errors += [e for e in field_errors(error, query=True) if e["parameter"] not in twice]
        return None, errors
    return (None if errors else found), errors


def pointer(loc: Iterable[int | str]) -> str:
    """A JSON Pointer as a URI fragment (RFC 6901, 6)."""
    parts = [str(p).replace("~", "~0").replace("/", "~1") for p in loc]
    return "#" + "".join(f"/{p}" for p in parts)


def _entry(error: Mapping[str, Any], query: bool) -> FieldError:
    loc = [part for part in error["loc"] if part != "[key]"]
    name = ".".join(map(str, loc)) or "The body"
    entry = {
        "pointer": pointer(loc),
        "code": CODES.get(error["type"], "invalid"),
        "detail": _sentence(name, error, query),
    }
    if query:
        entry["parameter"] = str(loc[0]) if loc else ""
    return entry


def _query_error(name: str, code: str, detail: str) -> FieldError:
    return {"pointer": pointer([name]), "code": code, "detail": detail, "parameter": name}


def _sentence(name: str, error: Mapping[str, Any], query: bool) -> str:
    context: Mapping[str, Any] = error.get("ctx") or {}
    match error["type"]:
        case "missing":
            return f"{name} is required."
        case "extra_forbidden" if query:
            return f"{name} is not a parameter of this request."
        case "extra_forbidden":
            return f"{name} is not a field of this request."
        case "json_invalid":
            return "The body is not valid JSON."
        case "string_pattern_mismatch":
            said = SENTENCES.get(context["pattern"], f"must match {context['pattern']}")
            return f"{name} {said}."
        case "string_too_short" if context.get("min_length") == 1:
            return f"{name} must not be empty."
        case "literal_error":
            return f"{name} must be one of {context['expected']}."
        case kind if kind in KINDS:
            return f"{name} {KINDS[kind]}."
        case _:
            text: str = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
            text = text.removeprefix("String ").removeprefix("List ")
            return f"{name} {text[:1].lower()}{text[1:]}."
