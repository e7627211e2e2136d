"""Multiples of the unprotected time, and mean prices, from the work of simulated users."""

import dataclasses

import pytest

from calpow.archiver.calibration.calibration_document import Band
from calpow.archiver.report.multiples import Multiples, mean_prices, work_at
from tests.support.calibrations import calibration


def test_an_answer_takes_its_own_time_the_gates_and_that_of_its_puzzles() -> None:
    # 2 ms unprotected, 1 ms for the gate, 1 ms for each floor.
    multiples = Multiples.of(calibration(latency_seconds=0.002, added_seconds=0.001, floor_seconds=0.001))
    assert multiples.of_work(10.0, 10) == pytest.approx(2.0)
    assert multiples.of_work(10_000.0, 10) == pytest.approx(501.5)
    assert multiples.of_solving(34.0) == pytest.approx(17.0)


def test_the_budget_is_kept_in_the_digits_that_are_shown() -> None:
    saved = calibration()
    honest, *others = saved.rehearsal.profiles

    def over(dearest: float) -> bool:
        profiles = (dataclasses.replace(honest, dearest=dearest), *others)
        return Multiples.of(saved).over_budget(dataclasses.replace(saved.rehearsal, profiles=profiles))

    # The floor is half an unprotected answer, the budget twice its time.
    assert [over(dearest) for dearest in (1.9, 2.0, 2.004, 2.02)] == [False, False, False, True]


def test_a_mean_price_is_the_work_so_far_over_the_queries() -> None:
    evidence = calibration().rehearsal
    band = mean_prices(evidence, evidence.attackers[0])
    assert band.middle == pytest.approx((1.0, 295.7))


def test_work_between_checkpoints_lies_on_the_line_through_them() -> None:
    evidence = calibration().rehearsal
    work = (1.0, 1_000.0)
    profile = dataclasses.replace(evidence.profiles[0], work=Band(work, work, work))
    two = dataclasses.replace(evidence, checkpoints=(1, 1_000_000))
    assert work_at(two, profile, 10_000) == pytest.approx(100.0)
    assert [work_at(two, profile, queries) for queries in (1, 1_000_000)] == [1.0, 1_000.0]
