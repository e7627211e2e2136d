"""Copies of the range's victims: what thieves send, what their copies can do, and what it costs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.range.copies import copy_figures
from benchmarks.range.copies.augmentation import augmented
from benchmarks.range.copies.copy_figures import CopyFigures, DomainCopies, domain_copies
from benchmarks.range.copies.copy_tables import copies_rows, copies_table
from benchmarks.range.copies.copying import RECIPES, CopyRecipe, copy_of, quality
from benchmarks.range.copies.extraction_attacks import (
    GENUINE,
    WORST_IN,
    WORST_OUT,
    ExtractionAttack,
    distinct,
    extraction_attacks,
)
from benchmarks.range.domain import InputKind, RangeDomain
from benchmarks.range.domains import optical_digits
from tests.support.clouds import RECIPE, clouds_domain, perceptron, small_range

FEW_ANSWERS = (40, 300)


@dataclass(frozen=True)
class Theft:
    """A domain and the copies of its victim."""

    domain: RangeDomain
    copies: DomainCopies

    def copy(self, attack: str, answers: int) -> CopyFigures:
        """Return the copy of an attack and a number of answers."""
        return next(copy for copy in self.copies.copies if (copy.attack, copy.answers) == (attack, answers))


@pytest.fixture(scope="module")
def theft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theft]:
    """The copies of the victim that tells two clouds of points apart."""
    with small_range(tmp_path_factory.mktemp("range")) as monkeypatch:
        monkeypatch.setattr(copy_figures, "ANSWERS", FEW_ANSWERS)
        monkeypatch.setitem(RECIPES, "clouds", CopyRecipe(perceptron, RECIPE, shown=6_000))
        domain = clouds_domain()
        yield Theft(domain, domain_copies(domain, 1))


def images(count: int = 20) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(256, size=(count, 1, 8, 8))).float() / 255


def test_a_query_is_sent_once() -> None:
    queries = torch.tensor([[2.0], [1.0], [2.0], [3.0], [1.0]])
    assert distinct(queries).flatten().tolist() == [2.0, 1.0, 3.0]
    attack = ExtractionAttack("all", lambda count: queries.repeat(count, 1))
    assert attack.queries(2).flatten().tolist() == [2.0, 1.0]
    assert attack.queries(10).flatten().tolist() == [2.0, 1.0, 3.0]


def test_few_images_become_many_that_a_file_can_hold() -> None:
    make = augmented(3, InputKind.IMAGES, flips=True)
    queries = make(images(), 90, np.random.default_rng(1))
    assert queries.shape == (90, 1, 8, 8)
    assert len(distinct(queries)) == 90
    assert torch.equal(queries, (queries * 255).round() / 255)
    assert torch.equal(queries, make(images()[:3], 90, np.random.default_rng(1)))


def test_few_rows_keep_their_categories() -> None:
    rows = torch.tensor([[0.3, -1.2, 0.0, 1.0], [2.1, 0.4, 1.0, 0.0]])
    queries = augmented(2, InputKind.TABLE, flips=False)(rows, 50, np.random.default_rng(0))
    assert torch.equal(queries[:, 2:], rows[:, 2:].repeat(25, 1))
    assert len(distinct(queries[:, :2].contiguous())) == 50


def test_few_texts_become_many_of_their_words() -> None:
    texts = torch.tensor([[5, 6, 7, 8, 9, 0, 0], [11, 12, 13, 14, 0, 0, 0]])
    queries = augmented(2, InputKind.TOKENS, flips=False)(texts, 60, np.random.default_rng(0))
    assert set(queries.flatten().tolist()) <= set(texts.flatten().tolist())
    assert bool((queries[:, 0] != 0).all())
    assert bool(((queries == 0).long().diff(dim=1) >= 0).all())  # padding comes last
    assert len(distinct(queries)) > 20


@pytest.mark.training
def test_a_copy_of_the_digits_victim_learns_from_its_answers(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALPOW_RANGE", str(tmp_path_factory.mktemp("range")))
    monkeypatch.setattr(optical_digits, "RECIPE", replace(optical_digits.RECIPE, epochs=3))
    domain = optical_digits.load(0)
    halves = domain.halves(4)
    copy = copy_of(domain, halves.fresh.inputs[:200], seed=0)
    found = quality(copy, domain.victim, halves.calibration)
    assert found.accuracy > 0.8
    assert found.fidelity > 0.8
    assert quality(domain.victim, domain.victim, halves.calibration).fidelity == 1


@pytest.mark.training
def test_genuine_inputs_yield_a_good_copy_for_what_users_pay(theft: Theft) -> None:
    genuine = theft.copy(GENUINE, 300)
    assert genuine.accuracy > 0.9
    assert genuine.fidelity > 0.9
    assert genuine.alone < 10
    strangers = theft.copy("uniform", 300)
    assert strangers.alone > 20 * genuine.alone
    assert strangers.theft > genuine.theft


@pytest.mark.training
def test_who_knows_the_evidence_sends_what_is_least_odd(theft: Theft) -> None:
    assert theft.copy(WORST_IN, 40).theft <= theft.copy(GENUINE, 40).theft
    assert theft.copy(WORST_OUT, 40).theft <= theft.copy("uniform", 40).theft


@pytest.mark.training
def test_copies_that_were_trained_are_not_trained_again(theft: Theft, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(copy_figures, "copy_of", fail)
    assert domain_copies(theft.domain, 1) == theft.copies


@pytest.mark.training
def test_all_copies_are_in_the_table_and_the_file(theft: Theft) -> None:
    table = list(copies_table(theft.copies))
    rows = list(copies_rows(theft.copies))
    assert len([line for line in table if line.startswith("| ")]) == 1 + len(rows)
    attacks = {attack.name for attack in extraction_attacks(theft.domain, theft.domain.test.inputs, 1)}
    assert {row[2] for row in rows} == attacks
