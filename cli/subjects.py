"""Which events a person means: `--subject` and `--workspace` as filters of the log."""

from __future__ import annotations

from collections.abc import Sequence

from cli.errors import UsageError
from shared import ids
from shared.events import ALL, ENTITIES

HEAD = 2  # entity and verb; workspace and key follow
TOKENS = 4


def filters(subjects: Sequence[str], workspace: str | None) -> list[str]:
    """Filters for ``log.read``: `sms`, `sms.delivered`, or a whole subject with wildcards.

    UsageError names what cannot be meant.
    """
    if workspace is not None and not ids.is_id("ws", workspace):
        raise UsageError(f"{workspace!r} is not the id of a workspace.", "It begins with ws_.")
    if not subjects:
        return [f"*.*.{workspace}.>"] if workspace else [">"]
    return _distinct([_filter(subject, workspace) for subject in subjects])


def _distinct(wanted: list[str]) -> list[str]:
    """Without those that others cover. UsageError for two that overlap, which NATS refuses."""
    kept = [
        one
        for one in dict.fromkeys(wanted)
        if not any(one != other and _overlap(other, one, wide_only=True) for other in wanted)
    ]
    for n, one in enumerate(kept):
        for other in kept[n + 1 :]:
            if _overlap(one, other):
                raise UsageError(f"{one} and {other} overlap.", "Ask for one after the other.")
    return kept


def _overlap(a: str, b: str, *, wide_only: bool = False) -> bool:
    """Whether a subject may be under both; ``wide_only``: whether all of ``b`` are under ``a``."""
    ours, theirs = a.split("."), b.split(".")
    for one, other in zip(ours, theirs, strict=False):
        if one == ">":
            return True
        if other == ">":
            return not wide_only
        if one not in ("*", other) and (wide_only or other != "*"):
            return False
    return len(ours) == len(theirs)


def _filter(subject: str, workspace: str | None) -> str:
    tokens = subject.removesuffix(".>").split(".")
    if tokens == [">"]:
        tokens = ["*"]
    _check(subject, tokens)
    if workspace is None:
        return ".".join(tokens) + (".>" if len(tokens) < TOKENS else "")
    if len(tokens) > HEAD:
        raise UsageError(f"{subject!r} names a workspace itself: leave out --workspace.")
    return ".".join([*tokens, *["*"] * (HEAD - len(tokens)), workspace, ">"])


def _check(subject: str, tokens: list[str]) -> None:
    entity = tokens[0]
    if entity != "*" and entity not in ENTITIES:
        raise UsageError(f"There are no {entity!r} events.", f"There are: {', '.join(ENTITIES)}.")
    kinds = sorted({cls.TYPE for cls in ALL if entity in ("*", cls.TYPE.split(".", maxsplit=1)[0])})
    if len(tokens) > 1 and tokens[1] != "*":
        known = {kind.split(".", maxsplit=1)[1] for kind in kinds}
        if tokens[1] not in known:
            raise UsageError(f"There is no {subject!r} event.", f"There are: {', '.join(kinds)}.")
    if len(tokens) > TOKENS or "" in tokens or ">" in tokens:
        raise UsageError(f"{subject!r} is not <entity>.<verb>.<workspace>.<key>.")
