"""Structured logs that never carry a message body, a phone number or a secret.

Nothing of that kind is passed to a log call; the last processor makes sure of it all the same, in
values, in exception texts and in what a library says.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, cast

import structlog

_SECRETS = re.compile(
    r"((?:sk|rk)_(?:live|test)_)\w+"  # of Stripe
    r"|(8ms_(?:live|test)_)\w+|(whsec_)[\w+/=]+|((?:cred|reg)_)[\w-]{20,}|(Bearer )\S+"
    r"|(://[^:/@\s]+:)[^@\s]+(?=@)|([?&](?:t|token|token_hash|code)=)[\w-]+"
    r"|(eyJ)[\w-]{10,}\.[\w-]+\.[\w-]*|(8ms_refresh_)\w+|(\bre_)\w{12,}"
)
_NUMBERS = re.compile(r"(?<![\w.:-])(?!\d{4}-\d\d-\d\d\b)\+?\d[\d\-() ]{7,17}\d(?![\w:-])")
_PRIVATE = frozenset({"body", "text", "to", "from", "sender", "number", "phone", "token", "secret",
                      "credential", "password", "email", "authorization"})  # fmt: skip


def scrub(text: str) -> str:
    """``text`` with whatever looks like a secret or a phone number blotted out."""
    text = _SECRETS.sub(lambda m: next(g for g in m.groups() if g is not None) + "…", text)
    return _NUMBERS.sub("[number]", text)


def _clean(value: Any) -> Any:
    match value:
        case str():
            return scrub(value)
        case dict():
            return {k: "[private]" if k in _PRIVATE else _clean(v) for k, v in _items(value)}
        case list() | tuple() | set() | frozenset():
            return [_clean(item) for item in cast(Iterable[Any], value)]
        case _:
            return value


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return cast(Mapping[str, Any], value).items()


def _scrubbed(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key in _PRIVATE:
            event[key] = "[private]"
        elif key != "timestamp":
            event[key] = _clean(value)
    return event


def configure(service: str, level: str = "info") -> None:
    """JSON lines on stderr, or readable ones where a person looks at a terminal."""
    renderer: Any = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            _scrubbed,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=logging.WARNING, handlers=[_Bridge()], force=True)


class _Bridge(logging.Handler):
    """What libraries log, through the same scrubbing."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f" ({type(record.exc_info[1]).__name__})"
        structlog.get_logger().log(record.levelno, text, library=record.name)
