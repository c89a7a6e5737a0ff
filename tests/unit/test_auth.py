"""API keys and tokens: strict to read, impossible to guess, nothing of them kept but a hash."""

import hashlib
import re
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import auth
from shared.auth import Mode, Scope

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def with_checksum(body: str) -> str:
    """A key's text, worked out from its definition."""
    value = zlib.crc32(body.encode())
    return body + "".join(BASE62[value // 62**place % 62] for place in range(5, -1, -1))


@pytest.mark.parametrize("mode", ["live", "test"])
def test_a_new_key_says_its_mode_and_passes_its_own_check(mode: Mode) -> None:
    key = auth.new_api_key(mode)
    assert re.fullmatch(f"8ms_{mode}_[0-9A-Za-z]{{38}}", key.text)
    assert auth.check_format(key.text) == mode
    assert key.text == with_checksum(key.text[:-6])
    assert key.last_four == key.text[-4:]
    assert key.hash == hashlib.sha256(key.text.encode()).hexdigest() == auth.hash_key(key.text)


def test_no_two_keys_are_alike_and_every_character_occurs() -> None:
    keys = [auth.new_api_key("live").text for _ in range(500)]
    assert len(set(keys)) == 500
    assert set("".join(key[9:41] for key in keys)) == set(BASE62)


@given(st.text(BASE62, min_size=32, max_size=32), st.sampled_from(["live", "test"]))
def test_a_checksum_is_always_six_characters(random: str, mode: Mode) -> None:
    assert auth.check_format(with_checksum(f"8ms_{mode}_{random}")) == mode


def test_a_small_checksum_is_padded_with_zeros() -> None:
    bodies = (f"8ms_live_{number:032}" for number in range(100_000))
    body = next(body for body in bodies if zlib.crc32(body.encode()) < 62**4)
    assert with_checksum(body)[41:43] == "00"
    assert auth.check_format(with_checksum(body)) == "live"


@given(st.data())
def test_one_wrong_character_is_refused(data: st.DataObject) -> None:
    text = with_checksum("8ms_live_0123456789abcdefghijABCDEFGHIJ01")
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda character: character != text[place]))
    assert auth.check_format(text[:place] + other + text[place + 1 :]) is None


def test_two_neighbours_swapped_are_refused() -> None:
    text = with_checksum("8ms_live_0123456789abcdefghijABCDEFGHIJ01")
    for place in range(len(text) - 1):
        swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
        assert swapped == text or auth.check_format(swapped) is None


def test_a_live_key_does_not_become_a_test_key() -> None:
    text = auth.new_api_key("live").text
    assert auth.check_format(text.replace("_live_", "_test_")) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text.upper(),
        lambda text: text.replace("8ms", "9ms"),
        lambda text: text.replace("live", "prod"),
        lambda text: text * 1000,
        lambda text: text[:-1] + "é",
        lambda text: text[:-1] + "٣",
        lambda text: text[:-1] + "\udcff",
        lambda text: "Bearer " + text,
    ],
)
def test_what_is_no_key_has_no_mode(change: Callable[[str], str]) -> None:
    text = auth.new_api_key("live").text
    assert auth.check_format(text) == "live"
    assert auth.check_format(change(text)) is None


def test_a_key_is_not_shown_by_its_repr() -> None:
    key = auth.new_api_key("live")
    assert key.text not in repr(key)
    assert key.hash in repr(key)


def test_a_credential_of_stray_bytes_is_hashed_and_not_a_failure() -> None:
    assert auth.hash_key("\udcff") != auth.hash_token("\udcfe")


def test_the_scopes_are_a_closed_set() -> None:
    assert len(auth.SCOPES) == 22
    assert auth.parse_scopes(["messages:read", "messages:read"]) == {"messages:read"}
    assert auth.parse_scopes(auth.SCOPES) == auth.SCOPES
    for wrong in ("messages:delete", "messages", "", "MESSAGES:READ", "**", "keys:read"):
        with pytest.raises(auth.UnknownScope) as caught:
            auth.parse_scopes(["messages:read", wrong])
        assert caught.value.scope == wrong


@given(st.frozensets(st.sampled_from(sorted(auth.SCOPES))), st.sampled_from(sorted(auth.SCOPES)))
def test_a_scope_allows_itself_and_star_allows_all(held: frozenset[Scope], needed: Scope) -> None:
    assert auth.allows(held, needed) == (needed in held or "*" in held)


def test_writing_is_not_reading_and_nothing_but_star_is_star() -> None:
    assert not auth.allows(["messages:write"], "messages:read")
    assert not auth.allows(auth.SCOPES - {"*"}, "*")
    assert not auth.allows([], "events:read")
    assert auth.allows(["*"], "*")


def test_a_misspelt_need_is_refused_even_to_star() -> None:
    with pytest.raises(auth.UnknownScope):
        auth.allows(["*"], "message:read")  # type: ignore[arg-type]


def test_a_token_is_its_prefix_and_256_bits() -> None:
    token = auth.new_secret_token("8ms_phone")
    assert re.fullmatch("8ms_phone_[0-9A-Za-z]{43}", token)
    assert 62**43 > 2**256 > 62**42
    assert auth.new_secret_token("8ms_phone") != token
    assert auth.hash_token(token) == hashlib.sha256(token.encode()).hexdigest()
    assert auth.check_format(token) is None


@pytest.mark.parametrize("prefix", ["", "8ms-phone", "Phone", "phone_", "_phone", "a b", "a\n"])
def test_a_token_has_a_plain_prefix(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        auth.new_secret_token(prefix)
