"""What Schemathesis cannot know of this API (loaded by it: SCHEMATHESIS_HOOKS)."""

import uuid
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, GenerationMode, HookContext, Response

# Codes that say: this request does not fit its own schema.
MISFITS = {"invalid_request", "malformed_json", "unsupported_media_type"}


def _positive(case: Case[Any]) -> bool:
    return case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """An Idempotency-Key names one request, a cursor comes from a page, and the part of a form that
    is JSON again is more than text: none is made up. A file has something in it."""
    if _positive(case):
        if case.headers and "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = str(uuid.uuid4())
        if case.query:
            case.query.pop("cursor", None)
        if isinstance(case.body, dict) and "mapping" in case.body:
            case.body["mapping"] = "{}"
        if isinstance(case.body, dict) and "file" in case.body:
            case.body["file"] = case.body["file"] or "phone\n"


@schemathesis.check
def what_fits_the_schema_is_not_malformed(
    ctx: CheckContext, response: Response, case: Case[Any]
) -> bool | None:
    """A request that fits may be refused for its meaning (a number that is none), not its form."""
    if _positive(case) and response.status_code in (400, 415, 422):
        problem = response.json()
        assert problem["code"] not in MISFITS, problem
    return None
