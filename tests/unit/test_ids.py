"""Ids: they sort by time, derive the same way for ever, and are read strictly."""

import hashlib
import hmac
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import ids

KEY = bytes(range(32))
KINDS = [
    "ws",
    "con",
    "msg",
    "phn",
    "cmd",
    "key",
    "whk",
    "att",
    "evt",
    "cnv",
    "pair",
    "usr",
    "req",
    "cmp",
    "tsk",
]


def base32(value: int) -> str:
    """26 characters, worked out the slow and obvious way."""
    text = ""
    for _ in range(26):
        value, digit = divmod(value, 32)
        text = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[digit] + text
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_id_is_its_prefix_and_26_characters(kind: str) -> None:
    made = ids.new(kind)
    assert made.startswith(f"{kind}_")
    assert len(made) == len(kind) + 27
    assert ids.is_id(kind, made)
    assert "." not in made


def test_the_time_is_written_as_the_ulid_specification_writes_it() -> None:
    assert ids.new("msg", 1469918176385, bytes(10)) == "msg_01ARYZ6S41" + "0" * 16


def test_the_greatest_ulid_is_the_one_of_the_specification() -> None:
    assert ids.new("msg", (1 << 48) - 1, b"\xff" * 10) == "msg_7ZZZZZZZZZZZZZZZZZZZZZZZZZ"


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))
def test_an_id_is_its_128_bits_in_base32_and_tells_its_time(ms: int, entropy: bytes) -> None:
    made = ids.new("evt", ms, entropy)
    assert made == "evt_" + base32(ms << 80 | int.from_bytes(entropy, "big"))
    assert ids.created_ms(made) == ms
    assert ids.is_id("evt", made)


@given(st.integers(0, (1 << 48) - 2), st.binary(min_size=10, max_size=10))
def test_a_later_id_sorts_after_an_earlier_one(ms: int, entropy: bytes) -> None:
    assert ids.new("evt", ms, b"\xff" * 10) < ids.new("evt", ms + 1, entropy)


def test_ids_made_at_once_differ_and_carry_the_present_time() -> None:
    before = time.time_ns() // 1_000_000
    made = [ids.new("evt") for _ in range(10_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(made)) == len(made)
    assert all(before <= ids.created_ms(one) <= after for one in made)


@pytest.mark.parametrize("ms", [-1, 1 << 48])
def test_a_time_that_does_not_fit_is_refused(ms: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        ids.new("evt", ms)


@pytest.mark.parametrize("entropy", [b"", bytes(9), bytes(11)])
def test_entropy_of_another_length_is_refused(entropy: bytes) -> None:
    with pytest.raises(ValueError, match="10 bytes"):
        ids.new("evt", 0, entropy)


def test_a_derived_id_is_sha256_over_parts_with_their_lengths() -> None:
    framed = b"\0\0\0\x03cmd" + b"\0\0\0\x02ab" + b"\0\0\0\x02\xc3\xa9"
    value = int.from_bytes(hashlib.sha256(framed).digest()[:16], "big")
    assert ids.derive("cmd", "ab", "é") == "cmd_" + base32(value)


def test_a_keyed_id_is_hmac_sha256_over_the_same() -> None:
    framed = b"\0\0\0\x03con" + b"\0\0\0\x02ab"
    value = int.from_bytes(hmac.digest(KEY, framed, "sha256")[:16], "big")
    assert ids.derive_keyed(KEY, "con", "ab") == "con_" + base32(value)


def test_derived_ids_never_change() -> None:
    """They are in the log: another way to compute them would make every contact a stranger."""
    contact = ids.contact_id(KEY, "ws_01ARYZ6S410000000000000000", "+14155551234", 0)
    message = ids.message_id(KEY, "ws_01ARYZ6S410000000000000000", "order-17")
    assert contact == "con_44J2XTNS6YEJ0V010BN1ARA6SD"
    assert ids.conversation_id(contact) == "cnv_" + contact.removeprefix("con_")
    assert message == "msg_623J1YZH0DE7PZVM23XPK0EYTA"
    assert ids.command_id(message, 1) == "cmd_6MPN0ZNV3XX5R42T9QEGVBX5EF"


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_only_the_same_parts_give_the_same_id(some: list[str], others: list[str]) -> None:
    assert (ids.derive("cmd", *some) == ids.derive("cmd", *others)) == (some == others)
    keyed = ids.derive_keyed(KEY, "cmd", *some), ids.derive_keyed(KEY, "cmd", *others)
    assert (keyed[0] == keyed[1]) == (some == others)
    assert all(ids.is_id("cmd", one) for one in keyed)


def test_parts_are_not_joined_and_prefixes_are_part_of_what_is_named() -> None:
    assert ids.derive("cmd", "ab", "c") != ids.derive("cmd", "a", "bc")
    assert ids.derive("cmd", "a", "") != ids.derive("cmd", "a")
    assert ids.derive("cmd", "a")[4:] != ids.derive("msg", "a")[4:]


def test_a_text_with_a_lone_surrogate_has_an_id_too() -> None:
    assert ids.derive("msg", "\ud800") != ids.derive("msg", "\udfff")


def test_a_keyed_id_depends_on_the_key_and_needs_one() -> None:
    assert ids.derive_keyed(KEY, "con", "a") != ids.derive_keyed(KEY[::-1], "con", "a")
    assert ids.derive_keyed(KEY, "con", "a") != ids.derive("con", "a")
    with pytest.raises(ValueError, match="key"):
        ids.derive_keyed(b"", "con", "a")


def test_a_number_is_another_contact_elsewhere_and_after_it_was_erased() -> None:
    made = {
        ids.contact_id(KEY, workspace, number, generation)
        for workspace in ("ws_1", "ws_2")
        for number in ("+14155551234", "+14155551235")
        for generation in (0, 1)
    }
    assert len(made) == 8


def test_each_attempt_of_a_message_is_another_command() -> None:
    message = ids.new("msg")
    assert ids.command_id(message, 1) == ids.command_id(message, 1)
    assert ids.command_id(message, 1) != ids.command_id(message, 2)


def test_a_conversation_is_only_with_a_contact() -> None:
    with pytest.raises(ValueError, match="contact"):
        ids.conversation_id(ids.new("msg"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "msg",
        "msg_",
        "msg_01ARYZ6S4100000000000000",  # short
        "msg_01ARYZ6S4100000000000000000",  # long
        "con_01ARYZ6S410000000000000000",  # another kind
        "msg-01ARYZ6S410000000000000000",
        "msg_01aryz6s410000000000000000",  # lower case
        "msg_81ARYZ6S410000000000000000",  # more than 128 bits
        "msg_01ARYZ6S41000000000000000I",
        "msg_01ARYZ6S41000000000000000L",
        "msg_01ARYZ6S41000000000000000O",
        "msg_01ARYZ6S41000000000000000U",
        "msg_01ARYZ6S41000000000000000٣",  # a digit, but not ours
        "msg_01ARYZ6S410000000000000000\n",
        " msg_01ARYZ6S410000000000000000",
        "msg_01ARYZ6S41000000.000000000",
        "msg_01ARYZ6S41000000>000000000",
    ],
)
def test_what_is_not_exactly_an_id_is_none(text: str) -> None:
    assert ids.is_id("msg", "msg_01ARYZ6S410000000000000000")
    assert not ids.is_id("msg", text)


@pytest.mark.parametrize("text", ["", "_01ARYZ6S410000000000000000", "01ARYZ6S41", "evt_1"])
def test_the_time_of_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        ids.created_ms(text)
