"""Phones: paired, seen, configured, unpaired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from services.scheduler import policy
from services.scheduler.project.tables import PHONE, Phone
from shared import events as e
from shared.rows import Rows

OPEN_STRANDED = """
WITH forgotten AS (UPDATE contact SET phone_id = NULL WHERE phone_id = $1),
     stranded AS (UPDATE message SET state = 'open', outcome = 'unpaired'
                   WHERE dispatched_to = $1 AND state IN ('dispatched', 'submitted'))
UPDATE message SET queue = workspace_id, reason = NULL
 WHERE queue = $1 AND state = 'waiting' AND phone_id IS NULL
"""
"""An unpaired phone's queue becomes anybody's, except what asked for this very phone. What it was
handed and did not report on is opened: nobody will ever know from the phone."""


def _configured(rows: Rows, seq: int, event: e.Event, data: e.PhoneConfigured) -> None:
    phone = rows.edit(PHONE, data.phone_id)
    if phone is not None:
        phone.label, phone.min_gap_s, phone.jitter_s = data.label, data.min_gap_s, data.jitter_s
        phone.daily_cap, phone.warmup = data.daily_cap, data.warmup


def _sims_changed(rows: Rows, seq: int, event: e.Event, data: e.PhoneSimsChanged) -> None:
    phone = rows.edit(PHONE, data.phone_id)
    if phone is not None:
        _sims(phone, data.sims, event.at)


def _unpaired(rows: Rows, seq: int, event: e.Event, data: e.PhoneUnpaired) -> None:
    _seen(rows, seq, event, data)
    phone = rows.get(PHONE, data.phone_id)
    if phone is not None:
        phone.in_flight = 0  # what it held is opened
    rows.then(OPEN_STRANDED, data.phone_id)


def _paired(rows: Rows, seq: int, event: e.Event, data: e.PhonePaired) -> None:
    known = rows.edit(PHONE, data.phone_id)
    if known is not None:  # re-pairing keeps the phone's age and history
        known.label, known.state, known.state_at = data.label, "offline", event.at
        known.simulated = data.simulated
        _sims(known, data.sims, event.at)
        return
    rows.put(
        PHONE,
        Phone(
            id=data.phone_id,
            workspace_id=event.workspace_id,
            label=data.label,
            state="offline",
            state_at=event.at,
            simulated=data.simulated,
            age_from=event.at,
            iccids=[s.iccid_hash for s in data.sims if s.iccid_hash],
            min_gap_s=int(policy.MIN_GAP_S),
            jitter_s=0,
            daily_cap=policy.DAILY_CAP,
            warmup=True,
            last_dispatch_at=None,
            last_command_id=None,
            recent=[],
            day="",
            sent_today=0,
            in_flight=0,
        ),
    )


def _sims(phone: Phone, sims: tuple[Any, ...], at: datetime) -> None:
    new = {s.iccid_hash for s in sims if s.iccid_hash} - set(phone.iccids)
    if new and phone.iccids:
        phone.age_from = at  # a SIM the carrier does not know from here starts small again
    phone.iccids = sorted(set(phone.iccids) | new)


def _seen(rows: Rows, seq: int, event: e.Event, data: Any) -> None:
    """Online, late, offline or unpaired, as the event is called."""
    state = event.type.removeprefix("phone.")
    phone = rows.edit(PHONE, data.phone_id)
    if phone is not None and phone.state != state:
        phone.state, phone.state_at = state, event.at
        rows.hint(phone.id)


APPLY: Mapping[type[e.Data], Callable[[Rows, int, e.Event, Any], None]] = {
    e.PhonePaired: _paired,
    e.PhoneConfigured: _configured,
    e.PhoneSimsChanged: _sims_changed,
    e.PhoneUnpaired: _unpaired,
    e.PhoneOnline: _seen,
    e.PhoneLate: _seen,
    e.PhoneOffline: _seen,
}
