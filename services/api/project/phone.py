"""Phones: paired, seen, configured, unpaired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from services.api.project.tables import PHONE, Phone
from shared import events as e
from shared.rows import Rows

# What a phone is set to before anybody sets it: the defaults of design/policy.md, Daily cap and
# Minimum gap, which the scheduler applies to it.
MIN_GAP_S = 240
DAILY_CAP = 200


def _paired(rows: Rows, seq: int, event: e.Event, data: e.PhonePaired) -> None:
    known = rows.get(PHONE, data.phone_id)
    rows.put(
        PHONE,
        Phone(
            id=data.phone_id,
            workspace_id=event.workspace_id,
            label=data.label,
            state="offline",  # until its stream is there
            state_at=event.at,
            paired=True,
            simulated=data.simulated,
            manufacturer=data.manufacturer,
            model=data.model,
            android=data.android,
            app_version=data.app_version,
            sims=[msgspec.to_builtins(sim) for sim in data.sims],
            min_gap_s=known.min_gap_s if known else MIN_GAP_S,
            daily_cap=known.daily_cap if known else DAILY_CAP,
            warmup=known.warmup if known else True,
            jitter_s=known.jitter_s if known else 0,
            seq=seq,
            paired_at=event.at,
            created_at=known.created_at if known else event.at,  # pairing again keeps its age
            acknowledged=known.acknowledged if known else None,
        ),
    )
    rows.hint(data.phone_id)


def _configured(rows: Rows, seq: int, event: e.Event, data: e.PhoneConfigured) -> None:
    phone = _changed(rows, seq, data.phone_id)
    if phone is not None:
        phone.label, phone.warmup = data.label, data.warmup
        phone.min_gap_s, phone.jitter_s = data.min_gap_s, data.jitter_s
        phone.daily_cap = data.daily_cap
        phone.acknowledged = list(data.acknowledged) or None


def _unpaired(rows: Rows, seq: int, event: e.Event, data: e.PhoneUnpaired) -> None:
    phone = _changed(rows, seq, data.phone_id)
    if phone is not None:
        phone.paired, phone.state, phone.state_at = False, "offline", event.at


def _sims_changed(rows: Rows, seq: int, event: e.Event, data: e.PhoneSimsChanged) -> None:
    phone = _changed(rows, seq, data.phone_id)
    if phone is not None:
        phone.sims = [msgspec.to_builtins(sim) for sim in data.sims]


def _seen(rows: Rows, seq: int, event: e.Event, data: e.Data) -> None:
    phone = _changed(rows, seq, data.key)
    if phone is not None:
        phone.state, phone.state_at = event.type.removeprefix("phone."), event.at


def _changed(rows: Rows, seq: int, phone_id: str) -> Phone | None:
    phone = rows.edit(PHONE, phone_id)
    if phone is not None:
        phone.seq = seq
        rows.hint(phone_id)
    return phone


APPLY: Mapping[type[e.Data], Callable[[Rows, int, e.Event, Any], None]] = {
    e.PhonePaired: _paired,
    e.PhoneConfigured: _configured,
    e.PhoneUnpaired: _unpaired,
    e.PhoneSimsChanged: _sims_changed,
    e.PhoneOnline: _seen,
    e.PhoneLate: _seen,
    e.PhoneOffline: _seen,
}
