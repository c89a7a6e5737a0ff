"""The simulated carrier: how long it takes, what becomes of a text, what comes back. Pure.

Every phone's texts succeed unless `fail_rate` says otherwise or the text asks for it. What to
write in a body (anywhere in it), or which number to send to where the body cannot be chosen:

    body                 number         the carrier
    fail:transient       +15005550001   result 4 NO_SERVICE
    fail:throttled       +15005550002   result 5 LIMIT_EXCEEDED
    fail:permanent       +15005550003   result 6 FDN_CHECK_FAILURE
    fail:ambiguous       +15005550004   result 1 GENERIC_FAILURE, error code 38: may have gone out
    fail:delivery        +15005550005   sends, then reports TP-Status 70: a permanent failure
    receipt:none         +15005550006   sends, never reports
    reply:<words>                       sends, and the person answers <words> (to the line's end)
                         +15005550007   sends, and the person answers STOP
                         +15005550008   sends, and the person answers with the same text

Result codes are Android's SmsManager's, TP-Status is 3GPP TS 23.040 §9.2.3.15.
"""

import random
import re
from dataclasses import dataclass, field
from enum import Enum

RESULT_OK = -1
RESULT_RADIO_OFF = 2  # airplane mode
RESULT_INVALID_ARGUMENTS = 11  # what a phone answers for a SIM it does not have
TP_DELIVERED = 0
TP_PERMANENT_FROM = 0x40
TP_PERMANENT = 70  # 0x46: validity period expired
GENERIC_ERROR_CODE = 38  # RP-Cause "network out of order", the extra of GENERIC_FAILURE

MAX_DELAY_MS = 3_600_000  # an hour: longer is a slip of the keyboard


class Failure(Enum):
    """A class of failure with the result code that stands for it."""

    TRANSIENT = 4
    THROTTLED = 5
    PERMANENT = 6
    AMBIGUOUS = 1


# How `fail_rate` divides: mostly what passes by itself, and some of each that does not.
FAILURE_WEIGHTS = {
    Failure.TRANSIENT: 50,
    Failure.THROTTLED: 10,
    Failure.PERMANENT: 25,
    Failure.AMBIGUOUS: 15,
}

_BY_NUMBER = {
    "+15005550001": "fail:transient",
    "+15005550002": "fail:throttled",
    "+15005550003": "fail:permanent",
    "+15005550004": "fail:ambiguous",
    "+15005550005": "fail:delivery",
    "+15005550006": "receipt:none",
    "+15005550007": "reply:STOP",
}
_ECHO_NUMBER = "+15005550008"
_FAIL = re.compile(r"\bfail:(transient|throttled|permanent|ambiguous|delivery)\b", re.IGNORECASE)
_NO_RECEIPT = re.compile(r"\breceipt:none\b", re.IGNORECASE)
_REPLY = re.compile(r"\breply:[ \t]*([^\r\n]+)", re.IGNORECASE)

_GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENDED = frozenset("^{}\\[]~|€\f")
_PLAIN = re.compile(f"[{re.escape(''.join(sorted(_GSM_BASIC)))}]*")  # a septet a character


@dataclass(frozen=True, slots=True)
class Outcome:
    """What will become of one text. `result_code` is RESULT_OK or the failure of part 1."""

    result_code: int
    error_code: int | None = None
    tp_status: int | None = None  # None: no delivery report will come
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class Carrier:
    """Times in milliseconds; `fail_rate` is a share of texts between 0 and 1.

    `hold_ms` is how long an accepted text waits in the phone before it is submitted: with 0 a
    `cancel` practically never comes in time.
    """

    delay_ms: int = 200
    fail_rate: float = 0.0
    receipts: bool = True
    hold_ms: int = 0
    rng: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        if not 0.0 <= self.fail_rate <= 1.0:
            raise ValueError("fail_rate is a share between 0 and 1")
        if not 0 <= self.delay_ms <= MAX_DELAY_MS or not 0 <= self.hold_ms <= MAX_DELAY_MS:
            raise ValueError(f"a delay is between 0 and {MAX_DELAY_MS} ms")

    def outcome(self, to: str, body: str) -> Outcome:
        """What becomes of `body` sent to `to`: what they ask for, else chance."""
        asked = f"{_BY_NUMBER.get(to, '')}\n{body}"
        fail = _FAIL.search(asked)
        kind = fail[1].upper() if fail else None
        if kind and kind != "DELIVERY":
            return _failed(Failure[kind])
        if self.fail_rate and not kind and self.rng.random() < self.fail_rate:
            drawn = self.rng.choices(list(FAILURE_WEIGHTS), list(FAILURE_WEIGHTS.values()))
            return _failed(drawn[0])
        return Outcome(RESULT_OK, None, self._tp_status(asked, kind), _reply(to, body, asked))

    def receipt(self, to: str, body: str) -> int | None:
        """The TP-Status still to come for a text that went out before a restart, if any."""
        asked = f"{_BY_NUMBER.get(to, '')}\n{body}"
        fail = _FAIL.search(asked)
        return self._tp_status(asked, fail[1].upper() if fail else None)

    def _tp_status(self, asked: str, kind: str | None) -> int | None:
        if not self.receipts or _NO_RECEIPT.search(asked):
            return None
        return TP_PERMANENT if kind == "DELIVERY" else TP_DELIVERED


def _failed(failure: Failure) -> Outcome:
    extra = GENERIC_ERROR_CODE if failure is Failure.AMBIGUOUS else None
    return Outcome(failure.value, extra)


def _reply(to: str, body: str, asked: str) -> str | None:
    if to == _ECHO_NUMBER:
        return body
    found = _REPLY.search(asked)
    return found[1].strip() or None if found else None


def part_count(body: str) -> int:
    """Parts as SmsManager.divideMessage cuts them: GSM-7 160/153 septets, UCS-2 70/67 units.

    A two-septet character and a surrogate pair are never split, as design/policy.md has it.
    """
    if _PLAIN.fullmatch(body):
        return 1 if len(body) <= 160 else -(-len(body) // 153)
    if all(c in _GSM_BASIC or c in _GSM_EXTENDED for c in body):
        sizes, single, joined = [2 if c in _GSM_EXTENDED else 1 for c in body], 160, 153
    else:
        sizes, single, joined = [2 if ord(c) > 0xFFFF else 1 for c in body], 70, 67
    if sum(sizes) <= single:
        return 1
    parts, used = 1, 0
    for size in sizes:
        if used + size > joined:
            parts, used = parts + 1, 0
        used += size
    return parts
