"""Numbers: what is read as what, what is refused and why, and where a number may be."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.numbers import (
    E164,
    INVALID_NUMBER_CODES,
    MAX_RAW_CHARS,
    InvalidNumber,
    Sender,
    is_valid,
    parse,
    parse_sender,
    timezones,
)

REGIONS = st.sampled_from([None, "US", "CA", "GB", "DE", "MX", "AU", "IT", "BR", "AR", "NU", "HK"])
# Tristan da Cunha has no mobiles.
COUNTRIES = sorted(phonenumbers.SUPPORTED_REGIONS - {"TA"})
# Mostly what numbers are made of, so that many of them can be read.
NUMBERISH = st.text(st.sampled_from("0123456789+() -.x00119٤Ａa"), max_size=20)


def code_of(raw: str, region: str | None = "US") -> str:
    with pytest.raises(InvalidNumber) as refused:
        parse(raw, region)
    return refused.value.code


def refusal_of(raw: str, region: str | None) -> InvalidNumber | None:
    try:
        parse(raw, region)
    except InvalidNumber as refused:
        return refused
    return None


def by_library(raw: str, region: str | None) -> str:
    number = phonenumbers.parse(raw, region)
    reason = phonenumbers.is_possible_number_with_reason(number)
    assert reason == phonenumbers.ValidationResult.IS_POSSIBLE
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@pytest.mark.parametrize(
    ("raw", "region", "expected"),
    [
        ("+14155551234", "US", "+14155551234"),
        ("+14155551234", None, "+14155551234"),
        ("+14155551234", "DE", "+14155551234"),
        ("4155551234", "US", "+14155551234"),
        ("4155551234", "CA", "+14155551234"),
        ("14155551234", "US", "+14155551234"),
        ("(415) 555-1234", "US", "+14155551234"),
        ("+1 (415) 555-1234", "GB", "+14155551234"),
        ("1-415-555-1234", "US", "+14155551234"),
        ("  415.555.1234\n", "US", "+14155551234"),
        ("tel:+1-415-555-1234", None, "+14155551234"),
        ("sms:+14155551234", None, "+14155551234"),
        ("\u202a+1 (415) 555\u20111234\u202c", "US", "+14155551234"),
        ("＋１４１５５５５１２３４", "US", "+14155551234"),
        ("4155551234", "us", "+14155551234"),
        # possible, though the metadata knows no such range
        ("+1 555 123 4567", "US", "+15551234567"),
        # other countries
        ("020 7946 0958", "GB", "+442079460958"),
        ("+44 (0)20 7946 0958", "US", "+442079460958"),
        ("06 1234 5678", "IT", "+390612345678"),
        ("+39 06 1234 5678", "US", "+390612345678"),
        ("0171 1234567", "DE", "+491711234567"),
        ("+54 9 11 2345 6789", "US", "+5491123456789"),
        ("+800 1234 5678", "US", "+80012345678"),
        ("4000", "NU", "+6834000"),
        # two zeros are a plus, and so are the region's own prefixes for calls abroad
        ("0039 333 123 4567", "US", "+393331234567"),
        ("0044 20 7946 0958", None, "+442079460958"),
        ("00 1 415 555 2671", "HK", "+14155552671"),
        ("001 415 555 2671", "HK", "+14155552671"),
        ("0015551234567", "AU", "+15551234567"),
        ("011 44 20 7946 0958", "US", "+442079460958"),
        ("0011 44 20 7946 0958", "AU", "+442079460958"),
        ("0011 1 415 555 2671", "AU", "+14155552671"),
        # Mexico
        ("+52 1 55 1234 5678", "US", "+525512345678"),
        ("+5215512345678", None, "+525512345678"),
        ("0052 1 55 1234 5678", "US", "+525512345678"),
        ("1 55 1234 5678", "MX", "+525512345678"),
        ("044 55 1234 5678", "MX", "+525512345678"),
        ("+52 55 1234 5678", "US", "+525512345678"),
        # other digits, keypad letters
        ("٤١٥٥٥٥١٢٣٤", "US", "+14155551234"),
        ("٠٠٤٤٢٠٧٩٤٦٠٩٥٨", "US", "+442079460958"),
        ("+۹۸۹۱۲۱۲۳۴۵۶۷", "US", "+989121234567"),
        ("1-800-FLOWERS", "US", "+18003569377"),
        ("1-800-flowers", "US", "+18003569377"),
    ],
)
def test_what_people_type_is_read(raw: str, region: str | None, expected: str) -> None:
    assert parse(raw, region) == expected


@pytest.mark.parametrize(
    ("raw", "region", "code"),
    [
        ("", "US", "not_a_number"),
        ("   ", "US", "not_a_number"),
        ("+", "US", "not_a_number"),
        ("---", "US", "not_a_number"),
        ("hello there, you", "US", "not_a_number"),
        ("invoice 4155551234", "US", "not_a_number"),
        ("AMZN", "US", "alphanumeric"),
        ("My Bank", "US", "alphanumeric"),
        ("32665", "US", "short_code"),
        ("262966", "US", "short_code"),
        ("32665", "DE", "short_code"),
        ("12345", None, "short_code"),
        ("5551234", "US", "too_short"),
        ("+1415555123", "US", "too_short"),
        ("+44 20", "US", "too_short"),
        ("+141555512345", "US", "too_long"),
        ("+65 222222222", "US", "wrong_length"),
        ("4155551234/4155551235", "US", "too_long"),
        ("1" * (MAX_RAW_CHARS + 1), "US", "too_long"),
        ("+999 1234567", "US", "unknown_country"),
        ("+0 4155551234", "US", "unknown_country"),
        ("4155551234", None, "unknown_country"),
        ("4155551234", "ZZ", "unknown_country"),
        ("+1 415 555 1234 x5", "US", "extension"),
        ("415-555-1234 ext. 12", "US", "extension"),
        ("tel:+1-415-555-1234;ext=5", "US", "extension"),
        ("020 7946 0958 #3", "GB", "extension"),
        ("00 44 20 7946 0958 x1", "US", "extension"),
        ("911", "US", "emergency"),
        ("911", None, "emergency"),
        ("9-1-1", "US", "emergency"),
        ("٩١١", "US", "emergency"),
        ("+1 911", "US", "emergency"),
        ("001911", "US", "emergency"),
        ("112", "US", "emergency"),
        ("112", "DE", "emergency"),
        ("+49 112", "US", "emergency"),
        ("999", "GB", "emergency"),
        ("999", "US", "emergency"),
        ("+44 999", "US", "emergency"),
        ("000", "AU", "emergency"),
        ("190", "BR", "emergency"),
        ("+55 190", "US", "emergency"),
    ],
)
def test_what_cannot_be_texted_is_refused_with_a_reason(
    raw: str, region: str | None, code: str
) -> None:
    assert code_of(raw, region) == code


def test_a_refusal_is_a_value_error_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="emergency") as refused:
        parse("911")
    assert isinstance(refused.value, InvalidNumber)
    assert refused.value.detail == "Emergency numbers cannot be texted."


@given(st.text(st.sampled_from("0123456789+-x "), min_size=7, max_size=30), REGIONS)
@example("+1 415 555 1234 x5", "US")
@example("14155551234567", "US")
def test_a_refusal_never_repeats_the_number(raw: str, region: str | None) -> None:
    refused = refusal_of(raw, region)
    if refused is not None:
        assert raw not in str(refused)
        assert not any(char.isdigit() for char in refused.detail)
        assert refused.__cause__ is None
        assert refused.__suppress_context__ or refused.__context__ is None


@given(st.from_regex(r"\+1[2-9][0-9]{2}[2-9][0-9]{6}", fullmatch=True), REGIONS)
def test_a_north_american_number_is_what_the_library_says(raw: str, region: str | None) -> None:
    assert parse(raw, region) == by_library(raw, region)


@given(
    st.from_regex(
        r"\+1[ .-]?(\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-]?)[2-9][0-9]{2}[ .-]?[0-9]{4}",
        fullmatch=True,
    ),
    REGIONS,
)
def test_a_decorated_international_number_is_what_the_library_says(
    raw: str, region: str | None
) -> None:
    assert parse(raw, region) == by_library(raw, region)


@given(
    st.from_regex(
        r"(1[ .-]?)?(\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-]?)[2-9][0-9]{2}[ .-]?[0-9]{4}",
        fullmatch=True,
    ),
    st.sampled_from(["US", "CA"]),
)
@example("1 911 911 2345", "US")
def test_a_national_number_is_what_the_library_says(raw: str, region: str) -> None:
    assert parse(raw, region) == by_library(raw, region)


@pytest.mark.parametrize("region", COUNTRIES)
def test_the_example_number_of_every_country_is_read(region: str) -> None:
    number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    assert number is not None
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    assert parse(e164, None) == e164
    assert parse("00" + e164[1:], None) == e164
    assert parse(national, region) == e164
    assert is_valid(e164)


@given(NUMBERISH, REGIONS)
@example("+490049301234567", "DE")
@example("+5211551234567", "MX")
def test_what_was_read_is_read_the_same_again(raw: str, region: str | None) -> None:
    if refusal_of(raw, region) is not None:
        return
    once = parse(raw, region)
    assert parse(once, region) == once
    assert parse(once, None) == once
    assert parse_sender(once, region) == Sender("number", once)


@given(st.one_of(st.text(max_size=60), NUMBERISH), REGIONS)
def test_any_text_is_read_or_refused(raw: str, region: str | None) -> None:
    refused = refusal_of(raw, region)
    if refused is not None:
        assert refused.code in INVALID_NUMBER_CODES
    else:
        number = parse(raw, region)
        assert number[0] == "+"
        assert number[1:].isascii()
        assert number[1:].isdecimal()


@pytest.mark.parametrize(
    ("number", "valid"),
    [
        ("+14155552671", True),
        ("+442079460958", True),
        ("+15551234567", False),
        ("+49112", False),
        ("", False),
        ("AMZN", False),
    ],
)
def test_only_known_ranges_are_valid(number: str, valid: bool) -> None:
    assert is_valid(number) is valid


@pytest.mark.parametrize(
    ("raw", "region", "expected"),
    [
        ("+14155551234", "US", Sender("number", "+14155551234")),
        ("(415) 555-1234", "US", Sender("number", "+14155551234")),
        ("\u202a+1 415 555\u20111234\u202c", "US", Sender("number", "+14155551234")),
        ("+5215512345678", "US", Sender("number", "+525512345678")),
        ("4000", "NU", Sender("number", "+6834000")),
        ("32665", "US", Sender("short_code", "32665")),
        ("32 665", "US", Sender("short_code", "32665")),
        ("٣٢٦٦٥", "US", Sender("short_code", "32665")),
        ("72727", "DE", Sender("short_code", "72727")),
        ("5551234", "US", Sender("short_code", "5551234")),
        ("911", "US", Sender("short_code", "911")),
        ("112", "DE", Sender("short_code", "112")),
        ("+12345", "US", Sender("short_code", "+12345")),
        ("10690000123456789012", "CN", Sender("short_code", "10690000123456789012")),
        ("AMZN", "US", Sender("alphanumeric", "AMZN")),
        (" My Bank ", "US", Sender("alphanumeric", "My Bank")),
        ("1-800-FLOWERS", "US", Sender("alphanumeric", "1-800-FLOWERS")),
        ("someone@example.com", "US", Sender("alphanumeric", "someone@example.com")),
        ("*123#", "US", Sender("alphanumeric", "*123#")),
        ("+", "US", Sender("alphanumeric", "+")),
        (" ", "US", Sender("alphanumeric", " ")),
    ],
)
def test_a_sender_is_a_number_or_an_opaque_address(
    raw: str, region: str | None, expected: Sender
) -> None:
    assert parse_sender(raw, region) == expected


def test_nobody_is_not_a_sender() -> None:
    with pytest.raises(InvalidNumber):
        parse_sender("")


@given(st.one_of(st.text(min_size=1), NUMBERISH.filter(bool)), REGIONS)
@example("9" * 1000, "US")
@example("+" * 1000, "US")
@example("\0", None)
@example("010000000+0", "US")
def test_every_sender_has_an_address(raw: str, region: str | None) -> None:
    sender = parse_sender(raw, region)
    assert sender.value
    assert parse_sender(sender.value, region) == sender


def zone_names(number: str) -> set[str]:
    return {zone.key for zone in timezones(number)}


def test_an_ordinary_area_code_has_one_zone() -> None:
    assert zone_names("+12125552671") == {"America/New_York"}


def test_an_area_code_on_a_border_has_every_zone() -> None:
    assert zone_names("+12082005678") == {"America/Boise", "America/Los_Angeles"}


def test_an_exchange_is_looked_at_where_its_area_code_has_two_zones() -> None:
    assert zone_names("+18504321234") == {"America/Chicago"}
    assert zone_names("+18505991234") == {"America/New_York"}


def test_a_toll_free_number_may_be_anywhere_in_its_plan() -> None:
    names = zone_names("+18002345678")
    assert len(names) > 30
    assert {"America/New_York", "America/Los_Angeles", "Pacific/Honolulu"} <= names


def test_a_mobile_of_a_country_with_several_zones_has_them_all() -> None:
    assert len(zone_names("+61412345678")) == 8
    assert "Europe/London" in zone_names("+447400123456")


@pytest.mark.parametrize("number", ["+15551234567", "+80012345678", "", "AMZN", "+999123", "911"])
def test_an_unknown_number_has_no_zone(number: str) -> None:
    assert timezones(number) == ()


@pytest.mark.parametrize("region", COUNTRIES)
def test_every_country_has_zones_that_exist_and_none_twice(region: str) -> None:
    number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    assert number is not None
    zones = timezones(E164(f"+{number.country_code}{number.national_number}"))
    assert len({zone.key for zone in zones}) == len(zones)
    assert "Etc/Unknown" not in {zone.key for zone in zones}


def test_asking_again_gives_the_same_zones() -> None:
    assert timezones("+12125552671") is timezones("+12125552671")
