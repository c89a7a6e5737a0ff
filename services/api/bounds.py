"""Every number, text and list of the OpenAPI document says how large it may be. Pure.

What a model limits is in its schema already. The rest is bounded by what it is (an id, a time), or
by what any answer can hold at all; so a client may size what it reads by the document.
"""

from __future__ import annotations

from typing import Any

from services.api.shapes.fields import INT_MAX, ULID

JSON_INT_MAX = 2**53 - 1  # what every JSON reader takes exactly (RFC 8259, 6)
INSTANT_MAX_CHARS = 40
DATE_CHARS = 10
URI_MAX_CHARS = 2048
TEXT_MAX_CHARS = 262_144  # of an answer: the longest is a QR code as SVG, some 20,000
ITEMS_MAX = 100_000
ULID_CHARS = 26
TIMES = frozenset({"at", "until", "since", "timestamp"})


def say_times(schemas: dict[str, Any]) -> None:
    """Mark what is a time by its name: answers are made of structs, whose times have no format."""
    for schema in schemas.values():
        for name, field in schema.get("properties", {}).items():
            if name.endswith("_at") or name in TIMES:
                for choice in field.get("anyOf", (field,)):
                    if choice.get("type") == "string" and "pattern" not in choice:
                        choice.setdefault("format", "date-time")


def add_to(node: Any) -> None:
    """Complete every schema within ``node``, in place."""
    if isinstance(node, list):
        for inner in node:
            add_to(inner)
    if not isinstance(node, dict):
        return
    match node.get("type"):
        case "integer":
            _integer(node)
        case "string":
            _string(node)
        case "array":
            node.setdefault("maxItems", ITEMS_MAX)
        case _:
            pass
    for name, inner in node.items():
        if name not in ("example", "examples", "default", "const", "enum"):
            add_to(inner)


def _integer(node: dict[str, Any]) -> None:
    if "enum" in node or "const" in node:
        return
    node.setdefault("minimum", -JSON_INT_MAX)
    node.setdefault("maximum", JSON_INT_MAX)
    small = node["minimum"] >= -INT_MAX and node["maximum"] <= INT_MAX
    node.setdefault("format", "int32" if small else "int64")


def _string(node: dict[str, Any]) -> None:
    if not node.keys() & {"maxLength", "enum", "const"}:
        node["maxLength"] = _longest(node.get("format", ""), node.get("pattern", ""))


def _longest(format: str, pattern: str) -> int:
    if pattern.endswith(f"_{ULID}$"):
        return len(pattern.removeprefix("^").removesuffix(f"{ULID}$")) + ULID_CHARS
    match format:
        case "date-time":
            return INSTANT_MAX_CHARS
        case "date":
            return DATE_CHARS
        case "uri":
            return URI_MAX_CHARS
        case _:
            return TEXT_MAX_CHARS
