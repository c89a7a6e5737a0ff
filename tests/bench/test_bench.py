"""What the benchmark measures with: a wrong ruler gives wrong numbers without a sound."""

import pytest

from tests.bench import load, raw, texts
from tests.bench.readings import percentile, slope


@pytest.mark.parametrize(
    ("percent", "found"), [(50, 5.0), (95, 10.0), (99, 10.0), (10, 1.0), (11, 2.0)]
)
def test_a_percentile_is_a_sample(percent: float, found: float) -> None:
    assert percentile([float(n) for n in range(10, 0, -1)], percent) == found


def test_a_growing_queue_has_the_slope_it_grows_by() -> None:
    assert slope([(at, 7.0 * at + 3) for at in (0.0, 1.0, 2.5, 4.0)]) == pytest.approx(7.0)
    assert slope([(1.0, 5.0)]) == 0.0


def test_every_text_is_for_somebody_else_and_carries_its_number() -> None:
    numbers = [texts.recipient(n) for n in range(0, 30_000, 7)]
    assert len(set(numbers)) == len(numbers)
    assert texts.number_of(texts.BODY.format(number=20_000_123)) == 20_000_123
    assert texts.number_of("Hello") is None


async def test_an_open_loop_asks_when_it_is_due_and_takes_every_answer() -> None:
    async with raw.echo_server() as port:
        outcome = await load.in_its_own_process(
            load.paced,
            port,
            (texts.single, "", 0),
            per_s=200,
            seconds=0.5,
            connections=2,
            expected_status=200,
        )
    outcome.insist()
    assert outcome.statuses == {200: 100}
    assert len(outcome.waits()) == len(outcome.due) == 100
    assert outcome.due[-1] - outcome.due[0] == pytest.approx(99 / 200)
    assert all(late >= 0 for late in outcome.lateness())


async def test_a_closed_loop_has_as_many_answers_as_requests() -> None:
    async with raw.echo_server() as port:
        outcome = await load.in_its_own_process(
            load.flat_out,
            port,
            (texts.bulk, "", 0, 3),
            seconds=0.3,
            connections=4,
            expected_status=404,  # the echo has no such path, and a closed loop takes any answer
        )
    assert outcome.statuses == {404: len(outcome.due)}
    assert outcome.count(0.0, float("inf")) == len(outcome.due) > 4


async def test_an_answer_nobody_expected_spoils_the_measure() -> None:
    async with raw.echo_server() as port:
        outcome = await load.in_its_own_process(
            load.paced,
            port,
            (texts.single, "", 0),
            per_s=50,
            seconds=0.1,
            connections=1,
            expected_status=202,
        )
    with pytest.raises(RuntimeError, match=r"answers \{200: 5\}"):
        outcome.insist()
