"""Multiples of the unprotected time, from the work of simulated users."""

import dataclasses

import pytest

from calpow.archiver.calibration.calibration_document import Band
from calpow.archiver.report.multiples import Multiples, work_at
from tests.support.calibrations import calibration


def test_an_answer_takes_its_own_time_the_gates_and_that_of_its_puzzles() -> None:
    # 2 ms unprotected, 1 ms for the gate, 1 ms for each floor.
    multiples = Multiples.of(calibration(latency_seconds=0.002, added_seconds=0.001, floor_seconds=0.001))
    assert multiples.of_work(10.0, 10) == pytest.approx(2.0)
    assert multiples.of_work(10_000.0, 10) == pytest.approx(501.5)


def test_a_profiles_last_multiple_is_its_overhead_at_the_horizon() -> None:
    saved = calibration()
    multiples = Multiples.of(saved)
    for profile in saved.rehearsal.profiles:
        band = multiples.band(saved.rehearsal, profile)
        assert band.middle[-1] == multiples.after(saved.rehearsal, profile, 10) == pytest.approx(profile.overhead[50])


def test_work_between_checkpoints_lies_on_the_line_through_them() -> None:
    evidence = calibration().rehearsal
    work = (1.0, 1_000.0)
    profile = dataclasses.replace(evidence.profiles[0], work=Band(work, work, work))
    two = dataclasses.replace(evidence, checkpoints=(1, 1_000_000))
    assert work_at(two, profile, 10_000) == pytest.approx(100.0)
    assert [work_at(two, profile, queries) for queries in (1, 1_000_000)] == [1.0, 1_000.0]
