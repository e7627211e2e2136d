"""Accounts are named together where their evidence rises in the same readings, and hardly ever by chance."""

import random
from collections.abc import Iterable

import pytest
from scipy.stats import hypergeom

from calpow.archiver.joint_rises import FEWEST_RISES, MOST_READINGS, JointRises, chance_of_overlap


def read(rises: Iterable[Iterable[str]], names: Iterable[str]) -> JointRises:
    """Return what was counted in readings, in each of which these accounts had risen."""
    heights = dict.fromkeys(names, 0)
    joint = JointRises()
    joint.add(heights)
    for risen in rises:
        heights = heights | {name: heights[name] + 1 for name in risen}
        joint.add(heights)
    return joint


def test_accounts_that_rise_at_the_same_times_are_named_together() -> None:
    rng = random.Random(0)
    plan = [["eve", "mallory", "trudy"] if rng.random() < 0.2 else [] for _ in range(60)]
    plan = [[*risen, "ada"] if rng.random() < 0.2 else risen for risen in plan]
    assert read(plan, ("ada", "eve", "mallory", "trudy", "zoe")).groups() == [["eve", "mallory", "trudy"]]


def test_two_gangs_are_two_groups() -> None:
    plan = [[("a", "b"), ("c", "d"), ()][reading % 3] for reading in range(60)]
    assert read(plan, "abcd").groups() == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_accounts_that_know_nothing_of_each_other_are_not_named(share: float) -> None:
    rng = random.Random(1)
    names = [str(number) for number in range(30)]
    plan = [[name for name in names if rng.random() < share] for _ in range(100)]
    assert read(plan, names).groups() == []


def test_few_rises_say_nothing() -> None:
    plan = [["a", "b"] if reading < FEWEST_RISES - 1 else [] for reading in range(900)]
    assert read(plan, "ab").groups() == []
    assert read([*plan, ["a", "b"]], "ab").groups() == [["a", "b"]]


def test_evidence_that_falls_or_stays_is_no_rise() -> None:
    joint = JointRises()
    for height in (9, 8, 7, 7, 6, 5, 4, 3):
        joint.add({"a": height, "b": height})
    assert joint.groups() == []


def test_old_readings_are_forgotten() -> None:
    plan = [["a", "b"] if reading % 9 == 0 else [] for reading in range(90)]
    assert read(plan, "ab").groups() == [["a", "b"]]
    assert read([*plan, *([[]] * MOST_READINGS)], "ab").groups() == []


def test_the_probability_is_that_of_the_hypergeometric_distribution() -> None:
    one, other = {0, 1, 2, 3, 4, 5}, {3, 4, 5, 6}
    assert chance_of_overlap(one, other, 20) == pytest.approx(float(hypergeom(20, 6, 4).sf(2)))
    assert chance_of_overlap(one, set(range(20)), 20) == 1
