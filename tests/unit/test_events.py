"""Events as bytes and back: what an older or newer writer wrote, and what is no event at all."""

from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import events as e
from shared import ids
from shared.events.base import Data
from shared.events.upcast import Upcaster, upcast
from shared.log import STREAM_CONFIG
from tests.examples import AT, CONTACT, KEY, WORKSPACE, example


def raw(**changes: Any) -> bytes:
    """The example of a request as its bytes would be with other fields."""
    wire: dict[str, Any] = msgspec.json.decode(e.encode(example(e.SendRequested)))
    return msgspec.json.encode(wire | changes)


def test_the_subject_says_type_workspace_and_key() -> None:
    event = example(e.SendRequested)
    assert event.subject == f"send.requested.{WORKSPACE}.{CONTACT}"
    assert example(e.WorkspaceCreated).subject == f"workspace.created.{WORKSPACE}.{WORKSPACE}"


def test_no_id_in_a_subject_holds_a_dot_or_a_number_of_somebody() -> None:
    for kind in e.ALL:
        subject = example(kind).subject
        assert subject.count(".") == 3
        assert "+" not in subject


def test_every_entity_is_a_subject_of_the_stream() -> None:
    assert STREAM_CONFIG["subjects"] == [f"{entity}.>" for entity in e.ENTITIES]
    assert {kind.TYPE.split(".")[0] for kind in e.ALL} == set(e.ENTITIES)


def test_types_are_unique_and_exported() -> None:
    assert len({kind.TYPE for kind in e.ALL}) == len(e.ALL)
    for kind in e.ALL:
        assert kind.__name__ in e.__all__
        assert kind.KEY in (*kind.__struct_fields__, "workspace_id")


def test_an_event_is_made_whole() -> None:
    event = e.make(
        example(e.SmsSent).data, id="evt_1", workspace_id=WORKSPACE, at=AT, actor=KEY, cause="req_1"
    )
    assert (event.type, event.v, event.cause) == ("sms.sent", 1, "req_1")
    assert e.decode(e.encode(event)) == event


def test_a_field_that_only_a_newer_writer_knows_is_ignored() -> None:
    wire: dict[str, Any] = msgspec.json.decode(raw())
    wire["data"]["mood"] = "cheerful"
    event = e.decode(msgspec.json.encode(wire | {"trace": {"a": 1}}))
    assert event == example(e.SendRequested)


def test_a_field_that_an_older_writer_did_not_know_has_its_default() -> None:
    wire: dict[str, Any] = msgspec.json.decode(raw())
    for name in ("test", "timezone", "campaign_id"):
        del wire["data"][name]
    del wire["cause"], wire["v"]
    event = e.decode(msgspec.json.encode(wire))
    assert (event.v, event.cause) == (1, None)
    assert (event.data.test, event.data.timezone, event.data.campaign_id) == (False, None, None)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"null",
        b"[]",
        b'{"id":"evt_1"}',
        b"\xff\xfe",
        raw()[:-9],
        raw(type="send.invented"),
        raw(actor={"kind": "stranger", "id": "x"}),
        raw(at="yesterday"),
        raw(data={}),
        raw(data=None),
        raw(v=0),
        raw(v="1"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_tells_no_content(broken: bytes) -> None:
    with pytest.raises(e.UndecodableEvent) as error:
        e.decode(broken)
    assert "Hello" not in str(error.value)
    assert "+1415" not in str(error.value)


def test_a_newer_version_is_not_read_as_if_it_were_ours() -> None:
    """Its fields may mean something else: a rolling update must stop here, not guess."""
    with pytest.raises(e.UndecodableEvent):
        e.decode(raw(v=2))


def test_old_versions_are_brought_up_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    class Weighed(Data, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = "send.requested"
        KEY: ClassVar[str] = "contact_id"
        V: ClassVar[int] = 3
        contact_id: str
        grams: int

    steps: dict[tuple[str, int], Upcaster] = {
        ("send.requested", 1): lambda old: {"contact_id": old["contact_id"], "kilos": 2},
        ("send.requested", 2): lambda old: {**old, "grams": old["kilos"] * 1000},
    }
    assert upcast("send.requested", 1, 3, {"contact_id": "c"}, steps)["grams"] == 2000
    assert upcast("send.requested", 3, 3, {"x": 1}, steps) == {"x": 1}
    for v, newest in ((0, 3), (4, 3)):
        with pytest.raises(KeyError):
            upcast("send.requested", v, newest, {}, steps)
    decoder = (Weighed, msgspec.json.Decoder(Weighed).decode)
    monkeypatch.setitem(e._decoders, "send.requested", decoder)
    monkeypatch.setattr(
        e, "upcast", lambda kind, v, newest, old: upcast(kind, v, newest, old, steps)
    )
    event = e.decode(raw())
    assert (event.v, event.data) == (3, Weighed(contact_id=CONTACT, grams=2000))


def test_times_are_utc_to_the_microsecond() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    event = e.make(example(e.SmsSent).data, id="evt_1", workspace_id="ws_1", at=at, actor=KEY)
    assert b'"at":"2026-01-02T03:04:05.000006Z"' in e.encode(event)
    assert e.decode(e.encode(event)).at == at


@given(st.text(), st.text(max_size=40))
def test_every_text_survives(body: str, name: str) -> None:
    """Whatever people type, zero characters and emoji too; only half characters are no text."""
    for kind, field, value in (
        (e.SendRequested, "body", body),
        (e.ContactSaved, "last_name", name),
    ):
        event = example(kind, **{field: value})
        try:
            encoded = e.encode(event)
        except UnicodeEncodeError:
            assert any("\ud800" <= c <= "\udfff" for c in value)
        else:
            assert e.decode(encoded) == event


def test_mutable_defaults_are_not_shared() -> None:
    one = e.ContactSaved(contact_id=CONTACT, number="+14155550123")
    two = e.ContactSaved(contact_id=ids.new("con"), number="+14155550124")
    assert one.custom_fields == two.custom_fields == {}
    assert one.custom_fields is not two.custom_fields
