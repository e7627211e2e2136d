"""A tally sums a worker's figures until they are taken."""

import threading

import pytest

from calpow.handler.metrics.tally import (
    ANSWERS,
    BOUNDS_SECONDS,
    PASS,
    REFUSALS,
    STEP_BUCKETS,
    STEP_SECONDS,
    STEPS,
    MetricSeries,
    Tally,
)


def test_amounts_of_a_series_add_up_until_they_are_taken() -> None:
    tally = Tally()
    tally.add(ANSWERS)
    tally.add(ANSWERS, 2)
    tally.add(REFUSALS, 1, "pow-required")
    assert tally.take() == {MetricSeries(ANSWERS): 3, MetricSeries(REFUSALS, ("pow-required",)): 1}
    assert tally.take() == {}


def test_durations_become_cumulative_buckets_with_their_sum_and_number() -> None:
    tally = Tally()
    for seconds in (0.0001, 0.001, 0.0011, 30.0):
        tally.observe(PASS, seconds)
    taken = tally.take()
    buckets = {series.values[1]: count for series, count in taken.items() if series.metric == STEP_BUCKETS}
    assert (buckets["0.00025"], buckets["0.001"], buckets["0.0025"], buckets["1"], buckets["+Inf"]) == (1, 2, 3, 3, 4)
    assert len(buckets) == len(BOUNDS_SECONDS) + 1
    assert taken[MetricSeries(STEPS, (PASS,))] == 4
    assert taken[MetricSeries(STEP_SECONDS, (PASS,))] == pytest.approx(30.0022)


def test_a_step_that_raises_is_timed_all_the_same() -> None:
    tally = Tally()
    with pytest.raises(ValueError, match="broken"), tally.timed(PASS):
        raise ValueError("broken")
    assert tally.take()[MetricSeries(STEPS, (PASS,))] == 1


def test_nothing_is_lost_between_threads() -> None:
    tally, taken = Tally(), list[float]()

    def count() -> None:
        for _ in range(2_000):
            tally.add(ANSWERS)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken.append(tally.take().get(MetricSeries(ANSWERS), 0))
    taken.append(tally.take().get(MetricSeries(ANSWERS), 0))
    assert sum(taken) == 8_000
