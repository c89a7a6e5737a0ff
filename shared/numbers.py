"""Phone numbers: what people type becomes E.164, or is refused with a reason.

    InvalidNumber (a ValueError)
    └── code: not_a_number, too_short, too_long, wrong_length, unknown_country,
              emergency, extension, short_code, alphanumeric

The caller answers 422 with `code` and `detail`; trying the same text again is of no use.

Google's metadata (`phonenumbers`) decides. A number that is *possible* (a right length for its
country) is taken, because new ranges are in use before they are in the metadata; `is_valid` tells
whether it deserves a warning. Errors and their texts never hold the number.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple, NewType, get_args
from zoneinfo import ZoneInfo

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, ValidationResult, shortnumberinfo
from phonenumbers import timezone as number_timezone

E164 = NewType("E164", str)

InvalidNumberCode = Literal[
    "not_a_number",
    "too_short",
    "too_long",
    "wrong_length",
    "unknown_country",
    "emergency",
    "extension",
    "short_code",
    "alphanumeric",
]
SenderKind = Literal["number", "short_code", "alphanumeric"]

INVALID_NUMBER_CODES: tuple[InvalidNumberCode, ...] = get_args(InvalidNumberCode)
# The library reads no more either; it also keeps the caches from holding long rubbish.
MAX_RAW_CHARS = 250
# About 200 bytes an entry: a few MB for every contact that a busy workspace writes to in a day.
CACHE_ENTRIES = 16_384
# A destination of so few digits without + is a short code, unless the country has such numbers.
SHORT_CODE_DIGITS = range(3, 7)
# The same for a sender, where networks show service numbers of up to eight digits (UK, Austria).
SHORT_SENDER_MAX_DIGITS = 8
# Sender names on the air have at most 11 characters (3GPP TS 23.040, 9.1.2.5).
ALPHANUMERIC_MAX_CHARS = 11
# No country's emergency number is longer; spares the lookup for everything that is.
EMERGENCY_MAX_DIGITS = 8
# What every phone treats as an emergency call, wherever it is (3GPP TS 22.101, 10.1).
EMERGENCY_EVERYWHERE = frozenset({"000", "08", "110", "112", "118", "119", "911", "999"})

_DETAILS: dict[InvalidNumberCode, str] = {
    "not_a_number": "This is not a phone number.",
    "too_short": "The number is too short; write it with its country and area code.",
    "too_long": "The number has too many digits.",
    "wrong_length": "No number of this country has this many digits.",
    "unknown_country": "The country code is missing or unknown; begin with + and the country code.",
    "emergency": "Emergency numbers cannot be texted.",
    "extension": "Numbers with an extension cannot be texted; leave the extension out.",
    "short_code": "This looks like a short code; only full phone numbers can be texted.",
    "alphanumeric": "This looks like a sender name; only phone numbers can be texted.",
}
_IMPOSSIBLE: dict[int, InvalidNumberCode] = {
    ValidationResult.INVALID_COUNTRY_CODE: "unknown_country",
    ValidationResult.TOO_SHORT: "too_short",
    # Seven digits in the US: complete only for a caller in the same area.
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "too_short",
    ValidationResult.INVALID_LENGTH: "wrong_length",
    ValidationResult.TOO_LONG: "too_long",
}
_UNREADABLE: dict[int, InvalidNumberCode] = {
    NumberParseException.INVALID_COUNTRY_CODE: "unknown_country",
    NumberParseException.NOT_A_NUMBER: "not_a_number",
    NumberParseException.TOO_SHORT_AFTER_IDD: "too_short",
    NumberParseException.TOO_SHORT_NSN: "too_short",
    NumberParseException.TOO_LONG: "too_long",
}

# The usual ways to write a number of the North American plan, where the library's answer is known
# without asking: ten digits are possible, and none of them begins like a trunk prefix.
_NANP = re.compile(
    r"(?:(\+)?1[ .-]?)?"
    r"(?:\(([2-9][0-9]{2})\) ?|([2-9][0-9]{2})[ .-]?)([2-9][0-9]{2})[ .-]?([0-9]{4})"
).fullmatch
_NANP_E164 = re.compile(r"\+1[2-9][0-9]{2}[2-9][0-9]{6}").fullmatch
_BEFORE_NUMBER = re.compile(r"[^\d+＋]*")
_URI_SCHEMES = frozenset({"tel", "sms", "smsto"})
# Zero twice in the scripts that people type digits in.
_DOUBLE_ZERO = re.compile(r"[0٠۰０]{2}").match
# Also the dashes and invisible direction marks that come along with numbers copied from contacts.
_DIGITS_AND_PUNCTUATION = re.compile(
    r"[\d\s+＋().\-/\u2010-\u2015\u200e\u200f\u202a-\u202e\u2066-\u2069]+"
).fullmatch
# Mexico gave up the 1 of mobiles, and with it 01, 044 and 045, in August 2019 (IFT); old address
# books and some networks still have them, and the metadata has forgotten them.
_MEXICO = 52
_MEXICO_OLD_PREFIX = re.compile(r"(?:1|01|044|045)(?=[0-9]{10}\Z)")
# Each round removes a trunk prefix; nobody writes more of them.
_MAX_ROUNDS = 4


class InvalidNumber(ValueError):
    """Not a number that can be texted: why, for programs (`code`) and for people (`detail`)."""

    def __init__(self, code: InvalidNumberCode, detail: str) -> None:
        super().__init__(code, detail)
        self.code: InvalidNumberCode = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class Sender(NamedTuple):
    """Who an inbound message is from.

    `value` is E.164 for a number; else an opaque address, to be compared and shown, never a target
    of a campaign or an automatic answer.
    """

    kind: SenderKind
    value: str


def parse(raw: str, region: str | None = "US") -> E164:
    """Read a number that somebody wants to send to.

    `region` (ISO 3166 alpha-2) is the country of numbers without + or 00; None means they must have
    one. Letters on the keypad and digits of other scripts are understood.

    Raises InvalidNumber.
    """
    if _NANP_E164(raw) is not None:
        return E164(raw)
    usual = _NANP(raw)
    if usual is not None and (usual[1] or region == "US"):
        return E164(f"+1{usual[2] or usual[3]}{usual[4]}{usual[5]}")
    if len(raw) > MAX_RAW_CHARS:
        raise _refusal("too_long")
    return _parse(raw, region)


def is_valid(e164: str) -> bool:
    """Whether the metadata knows the number's range as in use. A False deserves a warning only."""
    number = _known(e164)
    return number is not None and phonenumbers.is_valid_number(number)


@lru_cache(maxsize=CACHE_ENTRIES)
def timezones(e164: str) -> tuple[ZoneInfo, ...]:
    """All zones the number may be in, each once; empty if nothing is known (not valid, satellite).

    Toll-free numbers have dozens and some area codes two, so a single one must never be picked. It
    is a guess in any case: mobiles move and numbers are ported.
    """
    number = _known(e164)
    if number is None:
        return ()
    names = number_timezone.time_zones_for_number(number)
    return tuple(ZoneInfo(name) for name in dict.fromkeys(names) if name != "Etc/Unknown")


def parse_sender(raw: str, region: str | None = "US") -> Sender:
    """Read the sender of an inbound message. Raises InvalidNumber for the empty string only.

    A sender is taken literally: letters make it a name (no keypad letters), and up to eight digits
    are a short code unless the metadata knows them as a number of `region`.
    """
    if not raw:
        raise _refusal("not_a_number")
    text = raw.strip() or raw
    if _DIGITS_AND_PUNCTUATION(text) is None:
        return Sender("alphanumeric", text)
    digits = phonenumbers.normalize_digits_only(text)
    if not digits:
        return Sender("alphanumeric", text)
    plus = "+" if text[_start_of_number(text)] in "+＋" else ""
    try:
        number = parse(plus + digits, region)
    except InvalidNumber:
        return Sender("short_code", plus + digits)
    if not plus and len(digits) <= SHORT_SENDER_MAX_DIGITS and not is_valid(number):
        return Sender("short_code", digits)
    return Sender("number", number)


def _refusal(code: InvalidNumberCode) -> InvalidNumber:
    return InvalidNumber(code, _DETAILS[code])


@lru_cache(maxsize=CACHE_ENTRIES)
def _parse(raw: str, region: str | None) -> E164:
    text = raw.strip()
    region = region.upper() if region else None
    start = _start_of_number(text)
    double_zero = _DOUBLE_ZERO(text, start)
    without_plus = text[start] not in "+＋"
    digits = phonenumbers.normalize_digits_only(text)
    if without_plus and _is_emergency(digits, region):
        raise _refusal("emergency")
    if double_zero is not None:
        number = _after_double_zero(text, double_zero.end(), region)
    elif without_plus and len(digits) in SHORT_CODE_DIGITS and not _has_letter(text):
        number = _short_but_valid(text, region)
    else:
        number = _read(text, region)
    _refuse_impossible(number)
    return E164(_e164(number))


def _start_of_number(text: str) -> int:
    """Where the + or the first digit stands. The library skips words before it; here they make the
    text suspect ("invoice 4155551234"), and so it is refused.
    """
    before = _BEFORE_NUMBER.match(text)
    start = before.end() if before else 0
    words = text[:start]
    scheme = words.rstrip(": ").lower() in _URI_SCHEMES
    if _has_letter(words) and not scheme:
        name = len(text) <= ALPHANUMERIC_MAX_CHARS
        raise _refusal("alphanumeric" if name else "not_a_number")
    if start == len(text):
        raise _refusal("not_a_number")
    return start


def _after_double_zero(text: str, end: int, region: str | None) -> PhoneNumber:
    """00 is + nearly everywhere. Only where that is no known number and the region's own prefix for
    calls abroad (0011 in Australia, 001 in Hong Kong) makes it one, the latter is taken.
    """
    refused: InvalidNumber | None = None
    number: PhoneNumber | None = None
    try:
        number = _read("+" + text[end:], None)
    except InvalidNumber as error:
        refused = error
    if number is None or not phonenumbers.is_valid_number(number):
        try:
            by_region = _read(text, region)
        except InvalidNumber:
            pass
        else:
            if phonenumbers.is_valid_number(by_region):
                return by_region
    if number is None:
        raise refused or _refusal("not_a_number")
    return number


def _short_but_valid(text: str, region: str | None) -> PhoneNumber:
    """Small islands have numbers of four to six digits; possible is too little to tell one."""
    try:
        number = _read(text, region)
    except InvalidNumber:
        raise _refusal("short_code") from None
    if not phonenumbers.is_valid_number(number):
        raise _refusal("short_code")
    return number


def _read(text: str, region: str | None) -> PhoneNumber:
    """The number as it stays when its own E.164 is read again: the library takes a trunk prefix off
    once, and what remains may begin with another.
    """
    number = _library_number(text, region)
    if number.extension:
        raise _refusal("extension")
    for _ in range(_MAX_ROUNDS):
        national = phonenumbers.national_significant_number(number)
        if number.country_code == _MEXICO:
            national = _MEXICO_OLD_PREFIX.sub("", national)
        e164 = f"+{number.country_code}{national}"
        if e164 == text:
            return number
        text, number = e164, _library_number(e164, None)
    raise _refusal("not_a_number")


def _library_number(text: str, region: str | None) -> PhoneNumber:
    try:
        return phonenumbers.parse(text, region)
    except NumberParseException as error:
        raise _refusal(_UNREADABLE[error.error_type]) from None


def _refuse_impossible(number: PhoneNumber) -> None:
    national = phonenumbers.national_significant_number(number)
    if len(national) <= EMERGENCY_MAX_DIGITS:
        code = number.country_code or 0
        for region in phonenumbers.region_codes_for_country_code(code):
            if _is_emergency(national, region):
                raise _refusal("emergency")
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason != ValidationResult.IS_POSSIBLE:
        raise _refusal(_IMPOSSIBLE[reason])


def _is_emergency(digits: str, region: str | None) -> bool:
    if digits in EMERGENCY_EVERYWHERE:
        return True
    if region is None or len(digits) > EMERGENCY_MAX_DIGITS:
        return False
    return shortnumberinfo.is_emergency_number(digits, region)


def _known(e164: str) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(e164, None)
    except NumberParseException:
        return None


def _e164(number: PhoneNumber) -> str:
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _has_letter(text: str) -> bool:
    return any(char.isalpha() for char in text)
