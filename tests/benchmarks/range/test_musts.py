"""The rows that the range must reach, from made-up figures."""

from dataclasses import replace

import pytest

from benchmarks.range.trials.judgement import Judgement
from benchmarks.range.trials.must_tables import csv_rows, domain_tables
from benchmarks.range.trials.musts import MUSTS, failures

ORACLE = {
    **{f"correlation, {account}, {copies}": 0.4 for account in ("new", "parked") for copies in (1, 4, 16, 64)},
    "read": 2.0,
    "gain": 1.2,
    "gain, free": 1.5,
}
STRANGER = {
    "derived": False,
    "pure": 2_900.0,
    "half": 2_800.0,
    "fifth": 2_000.0,
    "twentieth": 2.0,
    "cheapest": 2_500.0,
    "theft": 40.0,
    "fillers": 20,
    "theft, account given up": 30.0,
    "theft, cheapest": 35.0,
    "repeated": 2_000.0,
    "copies": 60.0,
    "copies of": "gamma of 1",
    "copies, all pass": 24.0,
    "new 1": 3.0,
    "new 5": 80.0,
    "new 20": 900.0,
    "new 50": 1_900.0,
    "new 1, paid": 2.0,
    "new, rest unpaid": 6.0,
    "new 5, paid": 60.0,
    "free": 1.0,
    "free, repeated": 0.5,
    "oracle": ORACLE,
}


@pytest.fixture
def judgement() -> Judgement:
    """A seed of which every row is reached."""
    return Judgement(
        domain="fashion",
        seed=1,
        policy="evidence",
        tolerated=("noise",),
        fit={
            "tests": [{"score": "energy", "sides": 2, "slacks": [1.0, 2.0]}],
            "exponent": 0.7,
            "entry": 2,
            "likeness": 9,
        },
        honest={"uniform": {"100": 1.1, "1000": 1.2}, "class bag": {"100": 1.9, "1000": 1.6}},
        shifts={
            "noise .05": {"tolerated": True, "uniform": 1.5, "one class": 3.0, "class": "class bag"},
            "flip": {"tolerated": False, "uniform": 900.0, "one class": 2_000.0, "class": "class bag"},
        },
        repeaters=1.0,
        strangers={
            "MNIST": STRANGER,
            "glyphs": {**STRANGER, "theft": 33.0},
            "mixup": {**STRANGER, "theft": 3.0, "derived": True},
        },
    )


def test_strangers_made_of_legitimate_inputs_and_shifts_not_tolerated_are_shown_and_not_counted(
    judgement: Judgement,
) -> None:
    assert list(failures("fashion", [judgement])) == []
    text = "\n".join(domain_tables([judgement]))
    assert "| mixup |" in text
    assert "| flip | 0 of 1 | 900; 900 | 2,000; 2,000 |" in text


def test_the_worst_stranger_of_the_worst_seed_counts(judgement: Judgement) -> None:
    weak = replace(judgement, seed=2, strangers={**judgement.strangers, "blobs": {**STRANGER, "theft": 24.0}})
    assert list(failures("fashion", [judgement, weak])) == ["a theft, honest fillers"]
    text = "\n".join(domain_tables([judgement, weak]))
    assert "| a theft, honest fillers | >= 25 | 24.0 (blobs; seed 2) | 24.0 to 33.0 | 40.0 (MNIST) | **no** |" in text


def test_the_dearest_class_mix_decides_the_floor(judgement: Judgement) -> None:
    assert judgement.dearest == 1.9
    assert judgement.share == pytest.approx(1 / 1.9)
    assert list(failures("fashion", [replace(judgement, honest={"uniform": {"100": 2.1}})])) == [
        "honest, every class mix"
    ]


def test_near_copies_count_where_they_are_cheaper_than_repetitions(judgement: Judgement) -> None:
    (must,) = [must for must in MUSTS if must.row == "a theft, one payload or near-copies"]
    worst = must.worst(judgement)
    assert worst is not None
    assert (worst.value, worst.name) == (60.0, "MNIST, gamma of 1")


def test_every_number_is_a_row_of_the_csv_file(judgement: Judgement) -> None:
    rows = list(csv_rows(judgement))
    assert ("fashion", 1, "evidence", "honest after 100", "class bag", 1.9) in rows
    assert ("fashion", 1, "evidence", "theft", "mixup", 3.0) in rows
    assert ("fashion", 1, "evidence", "gain", "glyphs", 1.2) in rows
    assert ("fashion", 1, "evidence", "not tolerated, all classes", "flip", 900.0) in rows
