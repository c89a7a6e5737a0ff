"""Settings from the environment: each variable with its default and a sentence.

A settings class is a msgspec struct whose fields are ``Annotated[type, Var("NAME", "sentence")]``.
``load`` reads them, ``describe`` prints them for ``--help``. Wrong values name their variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Struct

S = TypeVar("S", bound="Settings")


class Var(Struct, frozen=True):
    """The environment variable of a setting and what it is for."""

    name: str
    sentence: str


class BadSetting(ValueError):
    """A variable is missing or has a value of the wrong kind; the message names it."""


class Settings(Struct, frozen=True, kw_only=True):
    """What every service needs."""

    database_url: Annotated[str, Var("DATABASE_URL", "PostgreSQL, as postgresql://…")]
    nats_url: Annotated[str, Var("NATS_URL", "NATS, as nats://user:password@host:port")]
    secret_key: Annotated[
        str,
        Var(
            "EIGHTMS_SECRET_KEY",
            "keys of the vault, [id:]base64 of 32 bytes, comma separated; the first encrypts, "
            "the last also derives ids and must never change",
        ),
    ]
    host: Annotated[str, Var("EIGHTMS_HOST", "address to listen on")] = "127.0.0.1"
    port: Annotated[int, Var("EIGHTMS_PORT", "port to listen on, 0 for any")] = 0
    environment: Annotated[
        str,
        Var("EIGHTMS_ENV", "production, or development: http webhooks to loopback are allowed"),
    ] = "production"
    public_url: Annotated[
        str, Var("EIGHTMS_PUBLIC_URL", "where the API is reached from outside")
    ] = "http://127.0.0.1:8080"
    gateway_url: Annotated[
        str, Var("EIGHTMS_GATEWAY_URL", "where phones reach the gateway; goes into the QR code")
    ] = "http://127.0.0.1:8081"
    log_level: Annotated[str, Var("EIGHTMS_LOG_LEVEL", "debug, info, warning or error")] = "info"

    @property
    def development(self) -> bool:
        """Whether this is a developer's machine."""
        return self.environment == "development"


def _variables(cls: type[Settings]) -> list[tuple[str, Var, Any]]:
    hints = get_type_hints(cls, include_extras=True)
    out: list[tuple[str, Var, Any]] = []
    for info in msgspec.structs.fields(cls):
        var = next(a for a in get_args(hints[info.name]) if isinstance(a, Var))
        out.append((info.name, var, info.default))
    return out


def load(cls: type[S], env: Mapping[str, str]) -> S:
    """The settings in ``env``; BadSetting names every variable that is missing or wrong."""
    values: dict[str, str] = {}
    missing: list[str] = []
    names: dict[str, str] = {}
    for field, var, default in _variables(cls):
        names[field] = var.name
        if env.get(var.name):
            values[field] = env[var.name]
        elif default is msgspec.NODEFAULT:
            missing.append(f"{var.name} is not set ({var.sentence})")
    if missing:
        raise BadSetting("; ".join(missing))
    try:
        return msgspec.convert(values, cls, strict=False)
    except msgspec.ValidationError as error:
        text = str(error)
        for field, name in names.items():
            text = text.replace(f"`$.{field}`", name)
        raise BadSetting(text) from error


def describe(cls: type[Settings]) -> str:
    """Every variable with its default and its sentence, for ``--help``."""
    lines: list[str] = []
    for _, var, default in _variables(cls):
        what = "required" if default is msgspec.NODEFAULT else f"default {default!r}"
        lines.append(f"  {var.name}\n      {var.sentence} ({what})")
    return "\n".join(lines)
