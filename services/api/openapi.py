"""The OpenAPI 3.1 document, made from the operations that are served. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, get_type_hints
from urllib.parse import urlsplit

import msgspec
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from services.api import bounds, examples
from services.api.catalogue import CATALOGUE
from services.api.operation import Download, Operation, Streamed
from services.api.shapes.fields import KINDS, ULID
from shared import outward
from shared.problems import TITLES

VERSION = "1.0.0"
REFERENCE = "#/components/schemas/"
_PAGE = re.compile(r"\bPage_(\w+)_\b")
JSON, PROBLEM = "application/json", "application/problem+json"
EVENT_STREAM = "text/event-stream"

TAGS = {
    "Messages": "Send texts, and see what became of them.",
    "Conversations": "The inbox: who said what.",
    "Contacts": "People, their tags, and whether they may be texted.",
    "Campaigns": "One text to many people, at the pace phones bear.",
    "Phones": "The phones that send and receive.",
    "Simulated phones": "Phones without a SIM, for trying things out.",
    "Webhooks": "Be told what happens.",
    "Tasks": "Work that takes long.",
    "Developers": "Limits, and what you asked.",
    "Events": "Everything that happens, to pull or as it happens; and who did what.",
    "Privacy": "Have people erased, and see what came of it.",
    "Workspace": "Profile and sending rules.",
    "API keys": "Who may call.",
    "Billing": "The plan, and paying for it.",
    "Members": "Who is in the workspace, and who is asking.",
}
DESCRIPTION = """\
Send and receive SMS through your own Android phones.

- **Sign in** with `Authorization: Bearer` and an API key (`POST /v1/api-keys`, or the dashboard). A
  key can do what its scopes say; one that begins `8ms_test_` reaches only simulated phones.
- **Errors** are `application/problem+json` (RFC 9457) with a stable `code`; `errors` names every
  wrong field at once, with a JSON Pointer.
- **Repeating** a POST or PATCH with the same `Idempotency-Key` within 24 hours is answered and not
  done again; the answer carries `Idempotent-Replayed: true`.
- **Lists** come newest first, in pages: `has_more`, `next_cursor`, and a `Link` header.
- **Rate limits** are told by `RateLimit` on every answer; beyond them comes 429 with
  `Retry-After`.
- **Times** are RFC 3339 in UTC. Unknown fields and parameters are refused. A body has at most
  1 MiB.
"""
# What any operation may be answered with, whatever it does.
ALWAYS = ("unauthorized", "invalid_api_key", "expired_api_key", "invalid_token", "no_workspace",
          "missing_scope", "internal_error", "unavailable", "invalid_request",
          "method_not_allowed", "rate_limited")  # fmt: skip
WITH_ID = ("not_found",)
WITH_BODY = ("malformed_json", "unsupported_media_type", "body_too_large")
REPEATABLE = ("invalid_idempotency_key", "idempotency_key_reused", "request_in_progress")


EVERYWHERE = ("X-Request-Id", "RateLimit", "RateLimit-Policy")


class _Untitled(GenerateJsonSchema):
    """Without a title per field, which would only be its name again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def document(operations: Sequence[Operation], public_url: str) -> dict[str, Any]:
    """The document of ``operations`` as served at ``public_url``."""
    made = _renamed(_document(operations, public_url))
    bounds.say_times(made["components"]["schemas"])
    examples.add_to(made, public_url)
    bounds.add_to(made["paths"])
    bounds.add_to(made["components"])
    return made


def _renamed(node: Any) -> Any:
    """The same with MessagePage where msgspec says Page_Message_, and Markdown's backquotes."""
    match node:
        case dict():
            return {_PAGE.sub(r"\1Page", name): _renamed(inner) for name, inner in node.items()}
        case list():
            return [_renamed(inner) for inner in node]
        case str():
            return _PAGE.sub(r"\1Page", node).replace("``", "`")
        case _:
            return node


def _document(operations: Sequence[Operation], public_url: str) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "8ms API",
            "version": VERSION,
            "description": DESCRIPTION,
            "contact": {"name": "8ms", "url": public_url},
        },
        "servers": [_server(public_url)],
        "security": [{"api_key": []}, {"access_token": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "webhooks": {type_: _webhook(type_, shape) for type_, shape in _told().items()},
        "components": {
            "schemas": _schemas(operations),
            "headers": _HEADERS,
            "securitySchemes": {
                "api_key": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "8ms_live_… or 8ms_test_…",
                    "description": "An API key. A test key reaches only simulated phones.",
                },
                "access_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The access token of a person who signed in (docs/accounts.md), "
                    "checked as RFC8725 asks: one issuer, one list of algorithms, every claim. "
                    "X-8ms-Workspace names one of their workspaces; without it the first they "
                    "joined is meant.",
                },
            },
        },
    }


def _server(public_url: str) -> dict[str, Any]:
    local = urlsplit(public_url).hostname in ("127.0.0.1", "::1", "localhost")
    said = "A local server, for trying things out." if local else "The production server."
    return {"url": public_url, "description": said, "x-internal": False}


def _told() -> dict[str, Any]:
    """What a webhook tells, by type: the struct its shape returns."""
    return {name: get_type_hints(shape)["return"] for name, shape in outward.SHAPES.items()}


def _webhook(type_: str, data: Any) -> dict[str, Any]:
    """A webhook as OpenAPI describes it: the request we make."""
    envelope = {"$ref": REFERENCE + outward.Body.__name__}
    told = {"type": {"const": type_}, "data": {"$ref": REFERENCE + data.__name__}}
    return {
        "post": {
            "operationId": f"webhook.{type_}",
            "tags": ["Webhooks"],
            "summary": type_,
            "description": f"Sent to endpoints that subscribe to `{type_}`, signed (see the "
            "README). Answer 2xx within 15 seconds; anything else is tried again.",
            "requestBody": {
                "required": True,
                "content": {JSON: {"schema": {"allOf": [envelope, {"properties": told}]}}},
            },
            "responses": {"200": {"description": "Taken."}},
        }
    }


def codes(operation: Operation) -> list[str]:
    """Every problem code ``operation`` may answer with."""
    found = [*ALWAYS, *operation.problems]
    if operation.ids:
        found += WITH_ID
    if operation.request is not None or operation.repeatable:
        found += WITH_BODY
    if operation.repeatable:
        found += REPEATABLE
    if operation.paged:
        found.append("invalid_cursor")
    return list(dict.fromkeys(found))


def _operation(operation: Operation) -> dict[str, Any]:
    out: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": f"{operation.description}{_scope(operation)}",
        "parameters": [*_path_parameters(operation), *_query_parameters(operation)],
        "responses": _responses(operation),
    }
    if operation.repeatable:
        out["parameters"].append(_KEY_PARAMETER)
    if operation.form is not None:
        content = {"multipart/form-data": {"schema": operation.form}}
        out["requestBody"] = {"required": True, "content": content}
    if operation.request is not None:
        schema = {"$ref": REFERENCE + operation.request.__name__}
        out["requestBody"] = {
            "required": operation.body_required,
            "content": {JSON: {"schema": schema}},
        }
    return out


def _scope(operation: Operation) -> str:
    return f"\n\nNeeds the scope `{operation.scope}`." if operation.scope else ""


_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes repeating the request safe for 24 hours. A UUID is fine.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^[!-~]([ -~]*[!-~])?$",
    },
    "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
}


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": f"The id of {KINDS[prefix]}.",
            "schema": {"type": "string", "pattern": f"^{prefix}_{ULID}$"},
        }
        for name, prefix in operation.ids.items()
    ]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    schema = operation.query.model_json_schema(schema_generator=_Untitled)
    required = set(schema.get("required", ()))
    out: list[dict[str, Any]] = []
    for name, field in schema.get("properties", {}).items():
        schema = _not_null(field)
        description = schema.pop("description", None)
        parameter = {"name": name, "in": "query", "required": name in required, "schema": schema}
        out.append(parameter | ({"description": description} if description else {}))
    return out


def _not_null(field: dict[str, Any]) -> dict[str, Any]:
    """A parameter is there or not; it cannot be null."""
    kept = dict(field)
    choices = [c for c in kept.pop("anyOf", []) if c != {"type": "null"}]
    if kept.get("default", ...) is None:
        del kept["default"]
    if len(choices) == 1:
        kept = {**choices[0], **kept}
    return kept


def _responses(operation: Operation) -> dict[str, Any]:
    out: dict[str, Any] = {str(operation.status): _good(operation, operation.response)}
    for status, response in operation.also.items():
        out[str(status)] = _good(operation, response, plain=True)
    by_status: dict[int, list[str]] = {}
    for code in codes(operation):
        by_status.setdefault(CATALOGUE[code].status, []).append(code)
    for status in sorted(by_status):
        out[str(status)] = _bad(status, by_status[status])
    return out


def _good(operation: Operation, response: Any, *, plain: bool = False) -> dict[str, Any]:
    names = [*EVERYWHERE]
    names += ["Location"] if operation.located and not plain else []
    names += ["Link"] if operation.paged else []
    names += ["Idempotent-Replayed"] if operation.repeatable and not plain else []
    headers = _headers(names)
    out: dict[str, Any] = {"description": "Done.", "headers": headers}
    if response is None:
        out["description"] = "Done; there is nothing to show."
        return out
    out["description"] = {202: "Accepted.", 201: "Made."}.get(operation.status, "Done.")
    if response is Download:
        file = {"schema": {"type": "string", "format": "binary"}}
        out["content"] = dict.fromkeys(operation.media, file)
        return out
    if response is Streamed:
        out["content"] = {EVENT_STREAM: {"schema": {"type": "string"}}}
        return out
    (schema,), _ = msgspec.json.schema_components([response], ref_template=REFERENCE + "{name}")
    out["content"] = {JSON: {"schema": schema}}
    return out


def _bad(status: int, found: Sequence[str]) -> dict[str, Any]:
    also = {
        401: "WWW-Authenticate",
        405: "Allow",
        429: "Retry-After",
        503: "Retry-After",
    }.get(status)
    lines = [f"- `{code}`: {CATALOGUE[code].meaning}" for code in found]
    return {
        "description": TITLES.get(status, "Problem") + ":\n\n" + "\n".join(lines),
        "headers": _headers([*EVERYWHERE, *([also] if also else [])]),
        "content": {PROBLEM: {"schema": {"$ref": REFERENCE + "Problem"}}},
    }


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _header(description: str, *, required: bool = False, **schema: str) -> dict[str, Any]:
    return {
        "description": description,
        "required": required,
        "schema": {"type": "string", **schema},
    }


_HEADERS = {
    "X-Request-Id": _header(
        "Names this request, for questions about it.", required=True, pattern=f"^req_{ULID}$"
    ),
    "RateLimit": _header(
        "Requests left (`r`) and seconds until the bucket is full (`t`), for each policy "
        "(draft-ietf-httpapi-ratelimit-headers-10).",
        required=True,
    ),
    "RateLimit-Policy": _header(
        "Requests (`q`) in a window of seconds (`w`), for each policy.", required=True
    ),
    "Location": _header("The address of what was made.", required=True),
    "Link": _header("The next page, where there is one (RFC 8288)."),
    "Idempotent-Replayed": _header("`true` when the request was not done again."),
    "WWW-Authenticate": _header("How to sign in (RFC 6750).", required=True),
    "Allow": _header("The methods this address knows.", required=True),
    "Retry-After": _header("Seconds to wait before repeating.", required=True),
}


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    requests = {op.request: None for op in operations if op.request is not None}
    _, asked = models_json_schema(
        [(model, "validation") for model in requests],
        ref_template=REFERENCE + "{model}",
        schema_generator=_Untitled,
    )
    responses: dict[Any, None] = {}
    for op in operations:
        for response in (op.response, *op.also.values()):
            if response not in (None, Download, Streamed):
                responses[response] = None
    responses |= dict.fromkeys((outward.Body, *_told().values()))
    _, answered = msgspec.json.schema_components(list(responses), ref_template=REFERENCE + "{name}")
    return {**asked["$defs"], **answered, "Problem": _PROBLEM}


_PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "A problem document (RFC 9457). Some codes have members of their own.",
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "A page about this code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; what a program looks at."},
        "detail": {"type": "string", "description": "What is wrong here, for people."},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "Everything that is wrong, each with where it is.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "A JSON Pointer: `#/to`."},
                    "parameter": {"type": "string", "description": "The query parameter's name."},
                    "header": {"type": "string", "description": "The header's name."},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                    "reason": {"type": "string"},
                },
                "required": ["code", "detail"],
            },
        },
        "warnings": {"type": "array", "items": {"type": "string"}},
        "contact_id": {"type": "string"},
        "member_id": {"type": "string"},
    },
    "required": ["type", "title", "status", "code", "detail"],
}
