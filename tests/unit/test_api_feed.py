"""What the event feed shows, and its cursors."""

import json
from typing import Any

import msgspec
import pytest

from services.api import feed
from services.api.project.audit import RECORDED, note
from services.api.project.tables import AUDIT, TABLES
from services.webhooks import shapes as webhooks
from shared import events as e
from shared.outward import About
from shared.problems import Problem
from shared.rows import Rows
from tests.examples import EXAMPLES, WORKSPACE

KEY = b"k" * 32
ROW = feed.Row(
    number="+14155550123", body="As it is kept", parts=2, client_ref="order-1", campaign_id=None
)
PLACES = feed.Places(KEY, WORKSPACE)
INTERNAL = ("command_id", "journal_seq", "device_hash", "hash", "iccid_hash", "acknowledged",
            "provider_id", "proof", "generation", "phone_at")  # fmt: skip


def shown(event: e.Event) -> Any:
    row = ROW if event.type in feed.TEXTS else None
    found = feed.shown(event, row, "here")
    assert found is not None
    return json.loads(msgspec.json.encode(found))


def fields(node: Any) -> set[str]:
    """Every name within."""
    match node:
        case dict():
            return set(node) | {name for inner in node.values() for name in fields(inner)}
        case list():
            return {name for inner in node for name in fields(inner)}
        case _:
            return set()


@pytest.mark.parametrize("name", sorted(set(feed.TYPES) & set(webhooks.TYPES)))
def test_what_a_webhook_tells_the_feed_tells_in_the_same_words(name: str) -> None:
    event = EXAMPLES[name]
    told = About(to=ROW.number, client_ref=ROW.client_ref, parts=ROW.parts)
    expected = json.loads(webhooks.body(event, told))
    if event.type == "reply.received":
        expected["data"]["body"] = ROW.body
    found = shown(event)
    assert found.pop("cursor") == "here"
    assert found == expected


@pytest.mark.parametrize("name", feed.TYPES)
def test_nothing_internal_is_in_the_feed(name: str) -> None:
    event = EXAMPLES[name]
    found = shown(event)
    assert not fields(found) & set(INTERNAL)
    assert found["id"] == event.id


def test_a_text_that_is_no_more_is_not_shown() -> None:
    event = EXAMPLES["send.requested"]
    assert feed.shown(event, None, "here") is None


def test_a_filter_names_types_or_all_of_an_entity() -> None:
    assert feed.types_asked(None) is None
    assert feed.types_asked("sms.sent") == {"sms.sent"}
    phones = feed.types_asked("phone.*,sms.sent")
    assert phones is not None
    assert {"phone.online", "phone.paired", "sms.sent"} <= phones
    assert all(type_.startswith("phone.") or type_ == "sms.sent" for type_ in phones)
    for wrong in ("sms", "sms.", "*", "sms.*,", "sms.received", "webhook.attempted"):
        with pytest.raises(Problem) as refused:
            feed.types_asked(wrong)
        assert refused.value.code == "unknown_type"


@pytest.mark.parametrize("seq", [0, 1, 255, 2**40, 2**63 - 1])
def test_a_cursor_leads_back_to_its_place(seq: int) -> None:
    cursor = PLACES.write(seq)
    assert cursor == PLACES.write(seq)
    assert PLACES.read(cursor, "after") == seq


def test_a_cursor_tells_nothing_and_cannot_be_made_up() -> None:
    near = [PLACES.write(seq) for seq in (1000, 1001)]
    assert near[0][:8] != near[1][:8]
    assert near[0][11:] != near[1][11:]
    other = feed.Places(KEY, "ws_other")
    changed = near[0][:-2] + ("AA" if near[0][-2:] != "AA" else "BB")
    for wrong in (near[0][:-1], near[0] + "A", changed, "", "ä", "=" * 22, other.write(1000)):
        with pytest.raises(Problem) as refused:
            PLACES.read(wrong, "Last-Event-ID")
        assert refused.value.errors[0]["header"] == "Last-Event-ID"


def test_the_audit_list_holds_ids_and_no_texts() -> None:
    rows = Rows(TABLES)
    for seq, event in enumerate(EXAMPLES.values(), 1):
        note(rows, seq, event)
    found = rows.all(AUDIT)
    assert {row.type for row in found} == RECORDED
    assert not {row.type for row in found if row.type.startswith(("sms.", "send.", "reply."))}
    text = msgspec.json.encode(found).decode()
    for secret in ("Grace", "555", "example.com", "Acme", "STOP"):
        assert secret not in text
    assert not next(row for row in found if row.type == "phone.online").listed
