"""The simulated carrier: parts, and what becomes of a text."""

import random
from collections import Counter

import pytest

from clients.simphone import Carrier
from clients.simphone.carrier import RESULT_OK, TP_PERMANENT, Failure, part_count


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 152 + "€" + "b" * 152, 3),  # 306 septets, but the pair is not split
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("ж" * 134, 2),
        ("ж" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("ж" * 66 + "😀" + "ж" * 66, 3),  # 134 units, but the surrogates stay together
        ("“quoted”", 1),
        ("`" * 71, 2),  # a backtick is not GSM-7
    ],
)
def test_parts_are_counted_as_android_divides(body: str, parts: int):
    assert part_count(body) == parts


@pytest.mark.parametrize(
    ("word", "number", "failure"),
    [
        ("transient", "+15005550001", Failure.TRANSIENT),
        ("throttled", "+15005550002", Failure.THROTTLED),
        ("permanent", "+15005550003", Failure.PERMANENT),
        ("ambiguous", "+15005550004", Failure.AMBIGUOUS),
    ],
)
def test_a_failure_can_be_asked_for(word: str, number: str, failure: Failure):
    carrier = Carrier()
    assert carrier.outcome("+14155550100", f"please fail:{word} now").result_code == failure.value
    assert carrier.outcome(number, "hello").result_code == failure.value


def test_only_a_generic_failure_has_an_error_code():
    codes = {f: Carrier().outcome("+1", f"fail:{f.name}").error_code for f in Failure}
    assert codes.pop(Failure.AMBIGUOUS) == 38
    assert set(codes.values()) == {None}


def test_a_failed_delivery_still_sends():
    for to, body in (("+14155550100", "fail:delivery"), ("+15005550005", "hello")):
        outcome = Carrier(fail_rate=1.0).outcome(to, body)
        assert (outcome.result_code, outcome.tp_status) == (RESULT_OK, TP_PERMANENT)
        assert Carrier().receipt(to, body) == TP_PERMANENT


def test_receipts_can_be_missing():
    assert Carrier().outcome("+1", "hello").tp_status == 0
    assert Carrier().outcome("+1", "hello receipt:none").tp_status is None
    assert Carrier().outcome("+15005550006", "hello").tp_status is None
    assert Carrier(receipts=False).outcome("+1", "hello").tp_status is None
    assert Carrier(receipts=False).receipt("+1", "hello") is None


def test_the_person_answers_when_asked():
    assert Carrier().outcome("+1", "Hi! reply: yes please \nBye").reply == "yes please"
    assert Carrier().outcome("+15005550007", "hello").reply == "STOP"
    assert Carrier().outcome("+15005550008", "hello").reply == "hello"
    assert Carrier().outcome("+1", "no reply expected").reply is None


def test_a_fail_rate_hits_that_share_and_every_class():
    carrier = Carrier(fail_rate=0.4, rng=random.Random(8))
    codes = Counter(carrier.outcome("+1", "hello").result_code for _ in range(2000))
    assert set(codes) == {RESULT_OK, *(f.value for f in Failure)}
    assert 0.55 < codes[RESULT_OK] / 2000 < 0.65
    assert codes[Failure.TRANSIENT.value] == max(codes[f.value] for f in Failure)


@pytest.mark.parametrize("wrong", [{"fail_rate": 1.5}, {"delay_ms": -1}, {"hold_ms": 10**9}])
def test_impossible_settings_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError):
        Carrier(**wrong)  # type: ignore[arg-type]
