"""Advice on another trunk: trials on whole teachers, and the best one as a command to paste, or none."""

from pathlib import Path

import pytest
import torch

from calpow.archiver.data.payloads import read_folder
from calpow.archiver.teachers.accuracy import Accuracy
from calpow.archiver.teachers.partitions import HELD_BACK
from calpow.archiver.teachers.trunk_advice import TrunkTrial, TrunkTrials, advise, choose_part
from calpow.archiver.victim.victim_archive import open_victim
from calpow.handler.leakage.specs import OutputKind
from tests.support.victims.build import vector_class, vectors


def trial(trunk: str, vote: float, ceiling: float) -> TrunkTrial:
    return TrunkTrial(trunk, Accuracy(300, 0.5, 0.4, vote, 0.1, ceiling))


def test_the_best_of_other_trunks_is_named_with_its_figures_as_a_command() -> None:
    own = trial("victim", 0.4, 0.7)
    others = [trial("random", 0.6, 0.5), trial("scattering", 0.7, 0.2)]
    assert advise(own, [own, *others], "calpow teachers --data train") == (
        "trunk scattering: the vote right in 70.0%, 20.0% at the highest cost; victim: the vote right in 40.0%, 70.0%"
        " at the highest cost, both on 300 samples held back: calpow teachers --data train --trunk scattering"
    )


def test_it_says_so_when_no_other_trunk_is_better() -> None:
    own = trial("random", 0.4, 0.7)
    advice = advise(own, [trial("victim", 0.41, 0.7), own], "calpow teachers")
    assert advice.startswith("no other trunk does better (random: the vote right in 40.0%, 70.0% at")
    assert "victim: the vote right in 41.0%" in advice
    assert advise(own, [own], "calpow teachers") == "no other trunk suits the victim's inputs"


def test_teachers_are_tried_as_a_whole() -> None:
    owners = [HELD_BACK] * 30 + [0] * 20 + [1] * 20 + [2] * 20
    places, renumbered = choose_part(owners, 50)
    assert len(places) == 50
    assert renumbered.count(0) == renumbered.count(1) == 20
    assert renumbered.count(HELD_BACK) == 10
    assert all(owners[place] == owner for place, owner in zip(places, renumbered, strict=True))
    assert sorted(choose_part(owners, 1000)[0]) == list(range(90))


def test_large_teachers_are_cut_so_that_there_are_two() -> None:
    places, renumbered = choose_part([0] * 100 + [1] * 100 + [HELD_BACK] * 10, 40)
    assert len(places) == 40
    assert renumbered.count(0) == renumbered.count(1) == 18


@pytest.mark.parametrize(
    ("shape", "dtype", "axes", "trunks"),
    [
        ((1, 8, 8), "float32", 4, ["scattering", "random", "victim"]),
        ((4,), "float32", 4, ["random", "victim"]),
        ((4,), "float32", None, ["random"]),
        ((4,), "int64", 4, ["victim"]),
        (None, "float32", 4, ["victim"]),
        (None, "", None, []),
    ],
)
def test_trunks_are_those_that_suit_the_victim(
    shape: tuple[int, ...] | None, dtype: str, axes: int | None, trunks: list[str]
) -> None:
    features = None if axes is None else torch.eye(axes)
    assert TrunkTrials(shape, dtype, features, OutputKind.logits, 4, 0).trunks == trunks


def test_every_trunk_votes_on_samples_held_back(tmp_path: Path) -> None:
    folder = read_folder(vectors(tmp_path / "train", per_class=12))
    owners = [(number % 12) // 4 - 1 for number in range(len(folder.payloads))]
    trials = TrunkTrials((4,), "float32", None, OutputKind.logits, 4, 0)
    with open_victim(vector_class(tmp_path)) as victim:
        (tried,) = trials.run(victim, folder.payloads, owners)
    assert tried.trunk == "random"
    assert tried.accuracy.samples == owners.count(HELD_BACK) == 16
    assert tried.accuracy.vote > tried.accuracy.chance
