"""Examples for the OpenAPI document: of every request, parameter and answer. Pure.

What a schema gives as an example is taken; the rest is made up from its form and from what its
fields are called, so that a new operation has examples the day it is declared. A test validates
each against its schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.api.catalogue import CATALOGUE
from shared import ids
from shared.problems import TITLES

Schema = Mapping[str, Any]
REFERENCE = "#/components/schemas/"
DEPTH_MAX = 8
NOW, EARLIER, LATER = "2026-11-23T09:30:00Z", "2026-11-20T14:05:12Z", "2026-11-24T16:00:00Z"
NUMBER = "+14155550123"
PROBLEM = "application/problem+json"
_ID = re.compile(r"^\^?([a-z]{2,6})_")
# What a field of this name holds, wherever it stands.
NAMED: Mapping[str, Any] = {
    "to": NUMBER,
    "from": NUMBER,
    "phone": NUMBER,
    "number": NUMBER,
    "body": "Your table is ready.",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "email": "ada@example.com",
    "company": "Analytical Engines",
    "name": "Acme Plumbing",
    "label": "Front desk",
    "timezone": "America/New_York",
    "region": "US",
    "carrier": "T-Mobile",
    "url": "https://example.com/hooks/8ms",
    "uri": "eightms://pair?e=https%3A%2F%2Fapi.example.com&t=8ms_pair_…",
    "created_at": EARLIER,
    "updated_at": NOW,
    "client_ref": "order-4711",
    "last_four": "x9Qz",
    "type": "sms.delivered",
    "api_version": "2026-11-01",
    "tag": "vip",
    "tags": ["vip"],
    "custom_fields": {"city": "Boston"},
    "code": "no_service",
    "detail": "The phone has no service.",
    "title": "Cannot be done",
    "reason": "quiet_hours",
    "start": "21:00",
    "end": "08:00",
    "error": None,
    "cursor": "6WqYb2J8sVw5n1YkH0cN3A",
    "next_cursor": None,
    "has_more": False,
    "progress": 100,
    "min_gap_s": 240,
    "daily_cap": 200,
}
# Of several words, the one an example says.
GOOD = ("delivered", "online", "running", "done", "enabled", "active", "outbound", "open", "member")
# What an id of this name, or of a thing of this kind, begins with.
PREFIXES: Mapping[str, str] = {
    "contact_id": "con", "conversation_id": "cnv", "message_id": "msg", "phone_id": "phn",
    "from_phone_id": "phn", "workspace_id": "ws", "campaign_id": "cmp", "endpoint_id": "whk",
    "key_id": "key", "request_id": "req", "event_id": "evt", "delivery_id": "dlv",
    "task_id": "tsk", "user_id": "usr", "target": "key", "last_message_id": "msg",
    "Contact": "con", "Conversation": "cnv", "Message": "msg", "Phone": "phn", "Workspace": "ws",
    "Campaign": "cmp", "Endpoint": "whk", "Attempt": "att", "ApiKey": "key", "NewApiKey": "key",
    "Task": "tsk", "Event": "evt", "Pairing": "pair", "Member": "mem", "Doer": "usr",
}  # fmt: skip


def add_to(document: dict[str, Any], problem_base: str) -> None:
    """Put an example wherever ``document`` lacks one: parameters, requests, answers, problems."""
    schemas = document["components"]["schemas"]
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                if "example" not in parameter:
                    parameter["example"] = _example(parameter["schema"], schemas, parameter["name"])
            for content in operation.get("requestBody", {}).get("content", {}).values():
                _fill(content, schemas, asked=True)
            for status, response in operation["responses"].items():
                for media, content in response.get("content", {}).items():
                    if media == PROBLEM:
                        content["examples"] = _problems(response, int(status), problem_base)
                    else:
                        _fill(content, schemas, asked=False)
                for name, header in response.get("headers", {}).items():
                    header.setdefault("$ref", f"#/components/headers/{name}")


def _fill(content: dict[str, Any], schemas: Schema, *, asked: bool) -> None:
    if "example" in content or "examples" in content:
        return
    schema = content["schema"]
    given = _resolved(schema, schemas).get("examples")
    if given:
        content["examples"] = {f"example_{n}": {"value": one} for n, one in enumerate(given, 1)}
    else:
        content["example"] = _example(schema, schemas, "", asked=asked)


def _problems(response: Schema, status: int, base: str) -> dict[str, Any]:
    """One example per code that the answer's description lists."""
    found: dict[str, Any] = {}
    for code in re.findall(r"^- `(\w+)`", response["description"], re.MULTILINE):
        found[code] = {
            "summary": CATALOGUE[code].meaning,
            "value": {
                "type": f"{base}/problems/{code}",
                "title": TITLES.get(status, "Problem"),
                "status": status,
                "code": code,
                "detail": CATALOGUE[code].meaning,
                "request_id": ids.derive("req", "example"),
            },
        }
    return found


def _resolved(schema: Schema, schemas: Schema) -> Schema:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].removeprefix(REFERENCE)]
    return schema


def _example(
    schema: Schema,
    schemas: Schema,
    name: str,
    kind: str = "",
    depth: int = 0,
    *,
    asked: bool = False,
) -> Any:
    """A value of ``schema``, for a field called ``name`` of a thing of this ``kind``."""
    if "$ref" in schema:
        kind = schema["$ref"].removeprefix(REFERENCE)
        name = ""
    schema = _resolved(schema, schemas)
    if schema.get("examples"):
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices and "properties" not in schema:
        return _choice(choices, schemas, name, kind, depth, asked=asked)
    if "enum" in schema:
        return next((one for one in GOOD if one in schema["enum"]), schema["enum"][0])
    type_ = schema.get("type")
    if isinstance(type_, list):
        type_ = next((one for one in type_ if one != "null"), "null")
    if type_ == "object" or "properties" in schema:
        return _object(schema, schemas, kind, depth, name, asked=asked)
    if type_ == "array":
        return _array(schema, schemas, name, depth, asked=asked)
    return _scalar(schema, type_, name, kind)


def _choice(
    choices: Sequence[Schema], schemas: Schema, name: str, kind: str, depth: int, *, asked: bool
) -> Any:
    nullable = any(choice.get("type") == "null" for choice in choices)
    if nullable and (NAMED.get(name, ...) is None or depth > DEPTH_MAX):
        return None
    rest = [choice for choice in choices if choice.get("type") != "null"]
    return _example(rest[0], schemas, name, kind, depth + 1, asked=asked)


def _object(
    schema: Schema, schemas: Schema, kind: str, depth: int, name: str, *, asked: bool
) -> Any:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    more = schema.get("additionalProperties")
    if not properties:
        if isinstance(more, dict) and more and depth < DEPTH_MAX:
            key = ids.derive("phn", "example") if name.endswith("phone") else "city"
            return {key: _example(more, schemas, "", "", depth + 1)}
        return {}
    required = schema.get("required", ())
    shown = [one for one in properties if not asked or one in required]
    return {
        name: _example(properties[name], schemas, name, kind, depth + 1, asked=asked)
        for name in shown
    }


def _array(schema: Schema, schemas: Schema, name: str, depth: int, *, asked: bool) -> Any:
    if "prefixItems" in schema:
        return [_example(one, schemas, "", "", depth + 1) for one in schema["prefixItems"]]
    items = schema.get("items")
    if not isinstance(items, dict) or depth > DEPTH_MAX:
        return []
    return [_example(items, schemas, name.removesuffix("s"), "", depth + 1, asked=asked)]


def _scalar(schema: Schema, type_: Any, name: str, kind: str) -> Any:
    pattern = schema.get("pattern", "")
    if found := _ID.match(pattern):
        return ids.derive(found[1], "example")
    if type_ == "string" and schema.get("format") == "date-time":
        return (
            LATER
            if name in ("until", "expires_at", "send_at", "next_at", "finish_at")
            else (NAMED.get(name, NOW))
        )
    if type_ == "string":
        return _text(schema, name, kind)
    if type_ in ("integer", "number"):
        named = NAMED.get(name)
        value = named if isinstance(named, int) else schema.get("default")
        if not isinstance(value, int | float):
            value = max(schema.get("minimum", 1), 1)
        return value
    if type_ == "boolean":
        return bool(schema.get("default", False))
    return None if type_ == "null" else {}


def _text(schema: Schema, name: str, kind: str) -> str:
    if schema.get("format") == "date":
        return NOW[:10]
    if schema.get("format") == "binary":
        return "phone,first_name\n+14155550123,Ada\n"
    prefix = PREFIXES.get(name) or (PREFIXES.get(kind) if name == "id" else None)
    if prefix:
        return ids.derive(prefix, "example")
    named = NAMED.get(name)
    if isinstance(named, str):
        return named
    if isinstance(schema.get("default"), str):
        return schema["default"]
    return (name.replace("_", " ") or "text")[: schema.get("maxLength", 100)]
