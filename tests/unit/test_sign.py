"""Webhook signatures, against the published example and the standard library."""

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks import sign

EVENT = "evt_01ARYZ6S410000000000000000"
NOW_S = 1_795_413_174
BODY = b'{"id":"evt_01ARYZ6S410000000000000000"}'


def test_the_example_of_the_standard_webhooks_libraries_is_signed_as_published() -> None:
    made = sign.headers(
        ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1649367553,
        b'{"email":"test@example.com","username":"test_user"}',
    )
    assert made["webhook-id"] == "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"
    assert made["webhook-timestamp"] == "1649367553"
    assert made["webhook-signature"] == "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="


def test_a_secret_is_33_random_bytes_that_need_no_padding() -> None:
    made = [sign.new_secret() for _ in range(500)]
    assert len(set(made)) == 500
    for secret in made:
        text = secret.removeprefix("whsec_")
        assert len(secret) == 6 + 44
        assert "=" not in text
        assert len(base64.b64decode(text, validate=True)) == 33
    assert set("".join(made)) & set("-_") == {"_"}  # standard base64: "_" is of the prefix alone
    assert all(secret.count("_") == 1 for secret in made)


@given(st.binary(max_size=500), st.integers(0, 2**40))
def test_both_signatures_are_plain_hmacs(body: bytes, timestamp_s: int) -> None:
    secret = sign.new_secret()
    made = sign.headers([secret], EVENT, timestamp_s, body)
    key = base64.b64decode(secret[6:])
    tag = hmac.digest(key, f"{EVENT}.{timestamp_s}.".encode() + body, "sha256")
    assert made == {
        "webhook-id": EVENT,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": "v1," + base64.b64encode(tag).decode(),
        "X-8ms-Signature": "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest(),
    }


def test_with_one_secret_each_header_holds_exactly_one_signature() -> None:
    made = sign.headers([sign.new_secret()], EVENT, NOW_S, BODY)
    assert made["X-8ms-Signature"].count("sha256=") == 1
    assert "," not in made["X-8ms-Signature"]
    assert " " not in made["webhook-signature"]
    assert made["webhook-signature"].count(",") == 1


def test_during_a_rotation_the_current_secret_signs_first_and_the_old_ones_after() -> None:
    secrets = [sign.new_secret() for _ in range(3)]
    alone = [sign.headers([secret], EVENT, NOW_S, BODY) for secret in secrets]
    made = sign.headers(secrets, EVENT, NOW_S, BODY)
    assert made["webhook-signature"].split(" ") == [one["webhook-signature"] for one in alone]
    assert made["X-8ms-Signature"].split(",") == [one["X-8ms-Signature"] for one in alone]


def test_each_attempt_is_signed_for_its_own_time_and_event() -> None:
    secret = sign.new_secret()
    signatures = {
        sign.headers([secret], event, time_s, BODY)["webhook-signature"]
        for event in (EVENT, EVENT[:-1] + "1")
        for time_s in (NOW_S, NOW_S + 1)
    }
    assert len(signatures) == 4


def test_the_headers_stay_small_with_as_many_secrets_as_are_allowed() -> None:
    secrets = [sign.new_secret() for _ in range(sign.MAX_SECRETS)]
    made = sign.headers(secrets, EVENT, NOW_S, BODY)
    assert sum(len(name) + len(value) + 4 for name, value in made.items()) < 2048
    with pytest.raises(ValueError, match="1 to 11"):
        sign.headers([*secrets, sign.new_secret()], EVENT, NOW_S, BODY)


def test_an_attempt_is_never_unsigned() -> None:
    with pytest.raises(ValueError, match="1 to 11"):
        sign.headers([], EVENT, NOW_S, BODY)


@pytest.mark.parametrize("event", ["", "evt.1", "evt_1\r\nx: y", "evt 1", "evt_é", "x" * 129])
def test_an_event_id_that_could_shift_what_is_signed_is_refused(event: str) -> None:
    with pytest.raises(ValueError, match="event id"):
        sign.headers([sign.new_secret()], event, NOW_S, BODY)


def test_a_time_before_1970_is_refused() -> None:
    with pytest.raises(ValueError, match="1970"):
        sign.headers([sign.new_secret()], EVENT, -1, BODY)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "C2FVsBQIhrscChlQIMV+b5sSYspob7oD",  # no prefix
        "whsec_C2FVsBQIhrscChlQIMV-b5sSYspob7oD",  # URL-safe base64
        "whsec_-_-_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",  # the same, valid if "-" and "_" are dropped
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7o é",
        "whsec_plJ3nmyCDGBKInavdOK15jsl",  # 18 bytes
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDx",  # no whole number of bytes
    ],
)
def test_a_malformed_secret_is_refused_and_not_quoted(secret: str) -> None:
    with pytest.raises(sign.BadSecret) as caught:
        sign.headers([secret], EVENT, NOW_S, BODY)
    told: BaseException | None = caught.value
    while told is not None:
        assert secret[6:] == "" or secret[6:] not in f"{told!r} {getattr(told, 'object', '')}"
        told = told.__context__


def test_a_padded_secret_signs_as_the_same_without_padding() -> None:
    padded = "whsec_" + base64.b64encode(bytes(32)).decode()
    with_padding = sign.headers([padded], EVENT, NOW_S, BODY)
    without = sign.headers([padded.rstrip("=")], EVENT, NOW_S, BODY)
    assert with_padding["webhook-signature"] == without["webhook-signature"]
