"""Result codes and TP-Status: every class where the protocol wants it, none without a sentence."""

import pytest

from services.gateway.codes import RESULTS, Receipt, of_result, of_tp_status


@pytest.mark.parametrize(
    ("error_class", "result_codes"),
    [
        ("transient", [2, 4, 9, 16, 17, 29, 100, 101, 112, 116, 123]),
        ("throttled", [5, 106]),
        ("permanent", [3, 6, 7, 8, 10, 11, 18, 19, 33, 102]),
        ("ambiguous", [1, 30, 124]),
    ],
)
def test_a_result_code_is_classed(error_class: str, result_codes: list[int]) -> None:
    assert {of_result(code).error_class for code in result_codes} == {error_class}


@pytest.mark.parametrize("code", [-2, 34, 99, 138, 500, 100_000])
def test_a_code_nobody_knows_is_never_sent_again_blindly(code: int) -> None:
    result = of_result(code)
    assert result.error_class == "ambiguous"
    assert result.code == f"result_{code}"


def test_every_result_has_its_own_name_and_a_sentence() -> None:
    assert len({result.code for result in RESULTS.values()}) == len(RESULTS)
    assert all(result.detail.endswith(".") for result in RESULTS.values())
    assert set(range(28)) - set(RESULTS) == set()
    assert set(range(100, 138)) - set(RESULTS) == set()


@pytest.mark.parametrize("status", [0x00, 0x01, 0x02, 0x1F, 2 << 16, 1 << 16])
def test_a_delivered_status_is_delivered(status: int) -> None:
    assert of_tp_status(status).receipt is Receipt.DELIVERED


@pytest.mark.parametrize("status", [0x20, 0x30, 0x3F, 2 << 24 | 4 << 16])
def test_a_status_of_a_network_that_still_tries_is_nothing_yet(status: int) -> None:
    assert of_tp_status(status).receipt is Receipt.PENDING


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (0x40, "not_delivered_remote_procedure_error"),
        (0x46, "not_delivered_validity_expired"),
        (0x5F, "not_delivered_tp_status_0x5f"),
        (0x60, "not_delivered_congestion"),
        (0x7F, "not_delivered_tp_status_0x7f"),
        (0x80, "not_delivered_service_rejected"),
        (0xFFFF, "not_delivered_service_rejected"),
        (3 << 24 | 10 << 16, "not_delivered_invalid_destination"),
        (3 << 24 | 99 << 16, "not_delivered_cdma_99"),
        (3 << 16, "not_delivered_cancelled"),
    ],
)
def test_a_final_failure_has_its_name(status: int, code: str) -> None:
    report = of_tp_status(status)
    assert report.receipt is Receipt.FAILED
    assert report.code == code
    assert report.detail.endswith(".")
