"""The vault: what it seals only it opens, where it belongs, whichever key is current."""

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.vault import MAX_KEYS, BadKeyText, KeyRing, Tampered, UnknownKey, VaultError

OLD = base64.b64encode(bytes(range(32))).decode()
NEW = base64.b64encode(bytes(range(100, 132))).decode()
CONTEXT = "webhooks.secret:whk_01ARYZ6S410000000000000000"


def hkdf_sha256(material: bytes, info: bytes) -> bytes:
    """RFC 5869 with no salt and 32 bytes out, from the standard library alone."""
    extracted = hmac.digest(bytes(32), material, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


@given(st.binary(max_size=2000), st.text(min_size=1))
def test_what_was_sealed_opens_for_its_context(plaintext: bytes, context: str) -> None:
    ring = KeyRing.parse(f"k1:{OLD}")
    assert ring.open(ring.seal(plaintext, context), context) == plaintext


@given(st.text(min_size=1), st.text(min_size=1))
def test_it_opens_for_no_other_context(context: str, other: str) -> None:
    ring = KeyRing.parse(OLD)
    sealed = ring.seal(b"secret", context)
    if other != context:
        with pytest.raises(Tampered):
            ring.open(sealed, other)


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    ring = KeyRing.parse(OLD)
    assert len({ring.seal(b"secret", CONTEXT) for _ in range(1000)}) == 1000


def test_a_sealed_value_is_version_key_id_nonce_and_ciphertext() -> None:
    sealed = KeyRing.parse(f"main:{OLD}").seal(b"secret", CONTEXT)
    assert sealed[:6] == b"\x01\x04main"
    assert len(sealed) == 6 + 12 + len(b"secret") + 16
    assert b"secret" not in sealed


@pytest.mark.parametrize("mask", [0x01, 0x02, 0x20, 0x80, 0xFF])
def test_a_change_of_any_byte_is_refused(mask: int) -> None:
    ring = KeyRing.parse(f"k2:{NEW},k1:{OLD},k3:{base64.b64encode(b'x' * 32).decode()}")
    sealed = ring.seal(b"a webhook secret", CONTEXT)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= mask
        with pytest.raises((Tampered, UnknownKey)):
            ring.open(bytes(changed), CONTEXT)


def test_a_value_does_not_open_under_another_id_of_its_own_key() -> None:
    """What the header says is authenticated, even where it would find the same key."""
    ring = KeyRing.parse(f"main_key_:{OLD}")
    (fingerprint,) = KeyRing.parse(OLD).key_ids
    sealed = ring.seal(b"secret", CONTEXT)
    renamed = sealed.replace(b"main_key_", fingerprint.encode())
    assert len(renamed) == len(sealed)
    with pytest.raises(Tampered):
        ring.open(renamed, CONTEXT)


def test_a_value_cut_short_or_made_longer_is_refused() -> None:
    ring = KeyRing.parse(f"k1:{OLD}")
    sealed = ring.seal(b"", CONTEXT)
    for end in range(len(sealed)):
        with pytest.raises(Tampered):
            ring.open(sealed[:end], CONTEXT)
    with pytest.raises(Tampered):
        ring.open(sealed + b"\0", CONTEXT)


@given(st.binary(max_size=200))
def test_bytes_that_were_never_sealed_are_refused(sealed: bytes) -> None:
    ring = KeyRing.parse(f"k1:{OLD}")
    for opening in (sealed, b"\x01\x02k1" + sealed):
        with pytest.raises(VaultError):
            ring.open(opening, CONTEXT)


def test_a_value_that_belongs_nowhere_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="context"):
        KeyRing.parse(OLD).seal(b"secret", "")


def test_a_new_key_in_front_seals_and_the_old_one_still_opens() -> None:
    before = KeyRing.parse(f"k1:{OLD}")
    after = KeyRing.parse(f"k2:{NEW},k1:{OLD}")
    sealed = before.seal(b"secret", CONTEXT)
    assert after.open(sealed, CONTEXT) == b"secret"
    assert not before.needs_rotation(sealed)
    assert after.needs_rotation(sealed)

    again = after.reseal(sealed, CONTEXT)
    assert not after.needs_rotation(again)
    assert after.open(again, CONTEXT) == b"secret"
    with pytest.raises(UnknownKey, match="k2"):
        before.open(again, CONTEXT)
    with pytest.raises(UnknownKey, match="k2"):
        before.needs_rotation(again)


def test_resealing_for_another_place_is_refused() -> None:
    ring = KeyRing.parse(OLD)
    with pytest.raises(Tampered):
        ring.reseal(ring.seal(b"secret", CONTEXT), "somewhere.else:1")


def test_another_key_under_the_same_id_opens_nothing() -> None:
    sealed = KeyRing.parse(f"k1:{OLD}").seal(b"secret", CONTEXT)
    with pytest.raises(Tampered):
        KeyRing.parse(f"k1:{NEW}").open(sealed, CONTEXT)


def test_a_key_without_an_id_may_get_one_later() -> None:
    sealed = KeyRing.parse(OLD).seal(b"secret", CONTEXT)
    named = KeyRing.parse(f"main:{OLD}")
    assert named.open(sealed, CONTEXT) == b"secret"
    assert not named.needs_rotation(sealed)


def test_the_identity_comes_from_the_oldest_key_whatever_stands_before_it() -> None:
    first = KeyRing.parse(OLD)
    rotated = KeyRing.parse(f"{NEW},{OLD}")
    assert first.identity_key == hkdf_sha256(bytes(range(32)), b"8ms identity")
    assert rotated.identity_key == first.identity_key
    assert rotated.identity_check == first.identity_check
    lost = KeyRing.parse(NEW)
    assert lost.identity_key != first.identity_key
    assert lost.identity_check != first.identity_check


def test_the_identity_check_does_not_show_the_identity_key() -> None:
    ring = KeyRing.parse(OLD)
    assert len(ring.identity_check) == 16
    assert ring.identity_check not in ring.identity_key.hex()


def test_a_generated_key_is_read_back_with_or_without_its_id() -> None:
    text = KeyRing.generate_key()
    key_id, _, encoded = text.partition(":")
    assert KeyRing.parse(text).key_ids == KeyRing.parse(encoded).key_ids == (key_id,)
    assert len(base64.b64decode(encoded, validate=True)) == 32
    assert KeyRing.generate_key() != text


@pytest.mark.parametrize(
    "encoded",
    [
        base64.b64encode(b"\xfb\xff" * 16).decode(),
        base64.b64encode(b"\xfb\xff" * 16).decode().rstrip("="),
        base64.urlsafe_b64encode(b"\xfb\xff" * 16).decode(),
        base64.urlsafe_b64encode(b"\xfb\xff" * 16).decode().rstrip("="),
    ],
)
def test_a_key_is_read_in_each_spelling_of_base64(encoded: str) -> None:
    standard = KeyRing.parse(base64.b64encode(b"\xfb\xff" * 16).decode())
    assert KeyRing.parse(f" {encoded} ").identity_key == standard.identity_key


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "key 1 is 0 bytes"),
        ("k1:", "key 1 is 0 bytes"),
        (f"{OLD},", "key 2 is 0 bytes"),
        (f"k1:{OLD[:20]}", "key 1 is 15 bytes"),
        (base64.b64encode(bytes(33)).decode(), "key 1 is 33 bytes"),
        ("not base64 at all, really", "key 1 is not base64"),
        (f"k1:{OLD};k2:{NEW}", "key 1 has an id|key 1 is not base64"),
        (f":{OLD}", "key 1 has an id"),
        (f"{'x' * 33}:{OLD}", "key 1 has an id"),
        (f"schlüssel:{OLD}", "key 1 has an id"),
        (f"a:b:{OLD}", "key 1 has an id"),
        (f"k1:{OLD},k1:{NEW}", "key 2 has the id of another"),
        (f"k1:{OLD},k2:{OLD}", "key 2 .* is the same key"),
        (f"{OLD}é", "key 1 is not base64"),
        (",".join(KeyRing.generate_key() for _ in range(MAX_KEYS + 1)), "not 17"),
    ],
)
def test_a_bad_key_text_is_refused_by_its_place_and_never_quoted(text: str, says: str) -> None:
    with pytest.raises(BadKeyText, match=says) as caught:
        KeyRing.parse(text)
    told: BaseException | None = caught.value
    while told is not None:
        for secret in (OLD, NEW, OLD[:20], "not base64 at all"):
            assert secret not in f"{told!r} {told} {getattr(told, 'object', '')}"
        told = told.__context__


def test_nothing_that_is_printed_shows_a_key() -> None:
    ring = KeyRing.parse(f"k2:{NEW},k1:{OLD}")
    assert repr(ring) == str(ring) == "KeyRing(k2, k1)"
    shown = (
        f"{ring!r} {[getattr(ring, name) for name in KeyRing.__slots__ if name != '_identity_key']}"
    )
    for material in (bytes(range(32)), bytes(range(100, 132))):
        assert base64.b64encode(material).decode() not in shown
        assert repr(material)[2:-1] not in shown
