"""The workspace's own event log: what of it is shown, in which shape, and from where on. Pure.

What a webhook tells is told in the webhook's words (shared/outward.py). The further facts of a text
are told likewise; everything else says what it is about by its id, and the rest is looked up. So
nothing that is internal gets out because somebody added a field.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from services.api.project import APPLY
from services.api.project.audit import LEFT_OUT, RECORDED
from services.api.shapes import events as shapes
from shared import events as e
from shared import ids, outward
from shared.problems import Problem

TYPES = tuple(cls.TYPE for cls in e.ALL if cls in APPLY and cls.TYPE not in LEFT_OUT)
"""Every type the feed shows: what the API's rows are made of."""
TEXTS = frozenset(TYPES) - RECORDED
LATEST = "latest"
MAC_BYTES = 8
SEQ_BYTES = 8


@dataclass(frozen=True, slots=True)
class Row:
    """What the rows say of the text an event is about."""

    number: str
    body: str
    parts: int
    client_ref: str | None
    campaign_id: str | None


def shown(event: e.Event, row: Row | None, cursor: str) -> shapes.Event | None:
    """``event`` as people outside see it; None if it is about a text that is no more."""
    if event.type in TEXTS and row is None:
        return None
    return shapes.Event(
        id=event.id,
        type=event.type,
        api_version=outward.API_VERSION,
        timestamp=event.at,
        workspace_id=event.workspace_id,
        data=_data(event, row),
        cursor=cursor,
    )


def _data(event: e.Event, row: Row | None) -> Any:
    data = event.data
    shape = outward.SHAPES.get(event.type)
    if row is None:
        return shape(data, outward.About()) if shape else _reference(data)
    if isinstance(data, e.ReplyReceived):  # the text as it is kept: it may have been erased
        return outward.reply_data(data, row.body)
    about = outward.About(
        to=row.number, client_ref=row.client_ref, campaign_id=row.campaign_id, parts=row.parts
    )
    if isinstance(data, e.SmsFact):
        return outward.sms_data(data, about)
    return _send(data, row)


def _reference(data: e.Data) -> Mapping[str, str]:
    told = {type(data).KEY: data.key}
    if type(data).KEY == "contact_id":
        told["conversation_id"] = ids.conversation_id(data.key)
    return told


def _send(data: Any, row: Row) -> shapes.SendData:
    """A wish to send, or what was decided about one."""
    waiting = error = None
    match data:
        case e.SendHeld(reason=reason, until=until):
            waiting = shapes.Waiting(reason, until)
        case e.SendRejected(code=code, detail=detail):
            error = shapes.Refusal(code, detail)
        case e.SendExpired():
            error = shapes.Refusal("expired", "Its time ran out before it could be sent.")
        case _:
            pass
    return shapes.SendData(
        message_id=data.message_id,
        contact_id=data.contact_id,
        conversation_id=ids.conversation_id(data.contact_id),
        to=row.number,
        phone_id=getattr(data, "phone_id", None),
        client_ref=row.client_ref,
        campaign_id=row.campaign_id,
        parts=row.parts,
        attempt=getattr(data, "attempt", None),
        body=row.body if isinstance(data, e.SendRequested) else None,
        waiting=waiting,
        error=error,
    )


def types_asked(text: str | None) -> frozenset[str] | None:
    """The types a filter names: exact ones, or ``sms.*`` for all of an entity, with commas between.

    None for no filter. A 422 Problem that names what does not exist.
    """
    if text is None:
        return None
    wanted: set[str] = set()
    for name in text.split(","):
        entity = name.removesuffix("*") if name.endswith(".*") else None
        found = {t for t in TYPES if t == name or (entity and t.startswith(entity))}
        if not found:
            raise _refused("type", "unknown_type", f"There is no event type {name}.")
        wanted |= found
    return frozenset(wanted)


@dataclass(frozen=True, slots=True)
class Places:
    """Makes and reads cursors of one workspace's feed.

    A cursor is a sequence of the log, hidden: it would tell how much others send. Its check is also
    what hides it (a synthetic initialisation vector), so that the same place has the same cursor.
    """

    key: bytes
    workspace_id: str

    def write(self, seq: int) -> str:
        """The cursor behind ``seq``."""
        plain = seq.to_bytes(SEQ_BYTES, "big")
        mac = self._hash(b"check", plain)
        return base64.urlsafe_b64encode(mac + self._hidden(mac, plain)).decode().rstrip("=")

    def read(self, cursor: str, parameter: str) -> int:
        """The sequence; a 422 Problem for what is no cursor of this workspace."""
        try:
            raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"==")
        except (binascii.Error, ValueError):
            raw = b""
        mac, plain = raw[:MAC_BYTES], self._hidden(raw[:MAC_BYTES], raw[MAC_BYTES:])
        if len(raw) != MAC_BYTES + SEQ_BYTES or not hmac.compare_digest(
            mac, self._hash(b"check", plain)
        ):
            raise _refused(parameter, "invalid_cursor", "This is no cursor of these events.")
        return int.from_bytes(plain, "big")

    def _hidden(self, mac: bytes, text: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(text, self._hash(b"mask", mac), strict=False))

    def _hash(self, use: bytes, what: bytes) -> bytes:
        digest = hashlib.blake2b(key=self.key[:64], digest_size=MAC_BYTES, person=use)
        digest.update(self.workspace_id.encode() + b"\0" + what)
        return digest.digest()


def _refused(parameter: str, code: str, detail: str) -> Problem:
    error = {"code": code, "detail": detail}
    if parameter == "Last-Event-ID":
        error["header"] = parameter
    else:
        error |= {"pointer": f"#/{parameter}", "parameter": parameter}
    return Problem(422, code, detail, errors=[error])


def wanted(types: frozenset[str] | None) -> Sequence[str] | None:
    """The filter as the statement takes it."""
    return None if types is None else sorted(types)


def data_types() -> tuple[type[Struct], ...]:
    """What stands in ``data`` where it is more than ids."""
    return (
        outward.SmsData,
        outward.ReplyData,
        outward.ConsentData,
        outward.PhoneData,
        shapes.SendData,
    )
