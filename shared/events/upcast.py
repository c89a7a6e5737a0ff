"""Old events become new ones here, before anybody sees them.

An upcaster is ``(type, old v) -> function on the decoded JSON data``; they chain until the newest
version. There is none yet: every event is in its first version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTERS: Mapping[tuple[str, int], Upcaster] = {}


def upcast(
    type_: str,
    v: int,
    newest: int,
    data: dict[str, Any],
    upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
) -> dict[str, Any]:
    """``data`` of version ``v`` as ``newest``; KeyError if a step is missing or ``v`` is newer."""
    if v > newest:
        raise KeyError((type_, v))  # written by a newer version: its meaning is not known here
    for step in range(v, newest):
        data = upcasters[(type_, step)](data)
    return data
