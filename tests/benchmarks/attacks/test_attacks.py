"""The paper's attacks against the gate: what they ask for, what they are charged, and the copies they yield."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.attacks import active_learning, attack_figures, mixmatch
from benchmarks.attacks.active_learning import (
    greedy_centres,
    largest_entropy,
    smallest_entropy,
    smallest_gap,
    smallest_perturbation,
)
from benchmarks.attacks.attack_figures import AttackTrial
from benchmarks.attacks.data_free import LATENT, generator_for
from benchmarks.attacks.gated_victim import GatedVictim
from benchmarks.attacks.jacobian import slope
from benchmarks.attacks.mixmatch import mixup
from benchmarks.attacks.paper_attacks import paper_attacks
from benchmarks.attacks.prada import Prada
from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS, GENUINE, STRANGERS, SYNTHETIC
from benchmarks.attacks.thefts.attack_tables import theft_tables
from benchmarks.attacks.thefts.score_files import SCORES, read_score_costs, write_score_costs
from benchmarks.attacks.thefts.stolen_copies import DomainTheft, missed_musts
from benchmarks.attacks.thefts.theft_files import read_thefts, write_theft
from benchmarks.range.copies.copying import RECIPES
from benchmarks.range.domain import RangeDomain
from benchmarks.range.domains import optical_digits
from benchmarks.range.image_sets import CIFAR_PACKAGE
from benchmarks.range.trials.policies import EVIDENCE, PAPER, POLICIES, FittedPolicy, fit_policy, recently_near
from benchmarks.range.trials.scored_sets import ScoredDomain, chosen_tolerances, score_domain, score_inputs
from calpow.handler.policy.tariff import STEPS_PER_BIT
from tests.support.clouds import clouds_domain, small_range, uniform

ANSWERS = (200,)


@dataclass(frozen=True)
class Clouds:
    """The domain of two clouds of points, protected."""

    domain: RangeDomain
    scored: ScoredDomain
    policy: FittedPolicy

    def victim(self) -> GatedVictim:
        """Return its victim, and a new account."""
        return GatedVictim(self.domain, self.scored, self.policy)


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    with small_range(tmp_path_factory.mktemp("range")):
        domain = clouds_domain()
        scored = score_domain(domain, 1)
        tolerated = chosen_tolerances(domain, scored)
        yield Clouds(domain, scored, fit_policy(domain.name, 1, scored, domain.classes, tolerated, EVIDENCE))


@pytest.mark.training
@pytest.mark.parametrize("name", POLICIES)
def test_an_account_is_charged_what_the_range_computes(clouds: Clouds, name: str) -> None:
    queries = torch.cat([uniform(clouds.domain.test.inputs, 60, np.random.default_rng(2)), clouds.domain.test.inputs])
    victim = clouds.victim()
    victim.probabilities(queries[:30])
    victim.labels(queries[30:])
    policy = replace(clouds.policy, name=name)
    pool = policy.pool(score_inputs(clouds.scored.setup, queries))
    index = np.arange(len(pool))[None]
    simulated = policy.price(pool, index, uncredited=recently_near(policy.near(pool), index)).prices[0]
    in_steps = np.exp2(np.rint(np.log2(simulated) * STEPS_PER_BIT) / STEPS_PER_BIT)
    charged = victim.bill.prices[name]
    assert charged.max() > (100 if name == EVIDENCE else 1)
    assert (np.abs(np.log2(charged / in_steps)) < 1 / STEPS_PER_BIT + 1e-6).all()  # a float on the edge of a step
    assert np.isclose(charged, in_steps, rtol=1e-3).mean() > 0.98


@pytest.mark.training
def test_answers_are_the_victims_and_a_repetition_costs_the_floor(clouds: Clouds) -> None:
    strangers = uniform(clouds.domain.test.inputs, 40, np.random.default_rng(3))
    victim = clouds.victim()
    answers = victim.probabilities(strangers)
    assert victim.probabilities(strangers[:0]).shape == (0, 2)
    with torch.inference_mode():
        assert torch.allclose(answers, clouds.domain.victim(strangers).softmax(1), atol=1e-6)
    privacy = victim.bill.privacy
    assert torch.equal(victim.labels(strangers), answers.argmax(1))
    assert victim.answers == 80
    assert victim.bill.prices[EVIDENCE][40:].tolist() == [1.0] * 40
    assert victim.bill.privacy == privacy


@pytest.mark.training
def test_who_knows_what_queries_cost_pays_nothing_to_know(clouds: Clouds) -> None:
    victim = clouds.victim()
    genuine, strangers = clouds.scored.fresh, uniform(clouds.domain.test.inputs, 100, np.random.default_rng(4))
    assert victim.oddness(strangers, EVIDENCE).mean() > clouds.policy.oddness(clouds.policy.pool(genuine)).mean()
    assert np.allclose(
        victim.oddness(strangers, PAPER), score_inputs(clouds.scored.setup, strangers).scored.costs[:, 0]
    )
    assert victim.answers == 0


def boundary() -> nn.Module:
    """Return a network of images [n, 1, 2, 2] whose boundary between two classes is where they are dark on the mean."""
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight[:] = torch.tensor([[1.0] * 4, [-1.0] * 4])
        layer.bias[:] = torch.tensor([-2.0, 2.0])
    return nn.Sequential(nn.Flatten(), layer).eval()


def grey(*values: float) -> Tensor:
    return torch.tensor(values)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()


def test_what_the_copy_is_unsure_of_is_chosen_first() -> None:
    candidates, asked = grey(0.9, 0.45, 0.0, 0.6), grey(0.5)
    for choose in (largest_entropy, smallest_gap, smallest_perturbation):
        assert choose(boundary(), candidates, asked, 2).tolist() == [1, 3]
    assert smallest_entropy(boundary(), candidates, asked, 2).tolist() == [2, 0]


def test_greedy_centres_are_far_from_all_queries_and_from_each_other() -> None:
    assert greedy_centres(boundary(), grey(0.9, 0.45, 0.0, 0.85), grey(0.5), 2).tolist() == [2, 0]


def test_the_slope_is_that_of_the_class() -> None:
    gradients = slope(boundary(), grey(0.2, 0.7), torch.tensor([0, 1]))
    assert gradients.flatten(1).tolist() == [[1.0] * 4, [-1.0] * 4]


def test_mixtures_hold_more_of_the_first_than_of_the_second() -> None:
    inputs, targets = mixup(grey(*torch.linspace(0, 1, 50).tolist()), torch.eye(50), np.random.default_rng(0))
    assert (targets.argmax(1) == torch.arange(50)).all()
    assert torch.allclose(targets.sum(1), torch.ones(50))
    assert torch.allclose((targets * torch.linspace(0, 1, 50)).sum(1), inputs[:, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_a_generator_makes_images(shape: tuple[int, ...]) -> None:
    images = generator_for(shape)(torch.randn(3, LATENT)).detach()
    assert images.shape == (3, *shape)
    assert 0 <= float(images.min()) < float(images.max()) <= 1


@dataclass(frozen=True)
class Digits:
    """The trial of the digits, and all copies."""

    trial: AttackTrial
    theft: DomainTheft


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Digits]:
    folder = tmp_path_factory.mktemp("range")
    package = Path("~/.cache/calpow-range").expanduser() / f"{'-'.join(CIFAR_PACKAGE)}.tgz"
    if not package.is_file():
        pytest.skip(f"{package} is not there: python -m benchmarks.range.prepare")
    (folder / package.name).symlink_to(package)
    with small_range(folder) as monkeypatch:
        monkeypatch.setattr(optical_digits, "RECIPE", replace(optical_digits.RECIPE, epochs=3))
        monkeypatch.setitem(RECIPES, "digits", replace(RECIPES["digits"], shown=6_000))
        monkeypatch.setattr(active_learning, "ROUNDS", 3)
        monkeypatch.setattr(mixmatch, "FEWEST_STEPS", 400)
        trial = AttackTrial(optical_digits.load(0), 4)
        yield Digits(trial, trial.theft(tuple(paper_attacks("digits")), ANSWERS))


@pytest.mark.training
@pytest.mark.long
def test_every_attack_asks_for_as_many_answers_as_it_may_and_yields_a_copy(digits: Digits) -> None:
    for name, attack in ATTACK_KINDS.items():
        copies = digits.theft.of(name)
        assert [copy.answers for copy in copies] == list(ANSWERS), name
        # So few made-up queries teach nothing, nor do the strangers that are least odd, which are all of one class.
        if attack.data != SYNTHETIC and not name.endswith(("-out", "-out-privacy")):
            assert copies[-1].fidelity > 0.15, name


@pytest.mark.training
@pytest.mark.long
def test_strangers_pay_a_hundred_floors_and_genuine_queries_do_not(digits: Digits) -> None:
    for name, attack in ATTACK_KINDS.items():
        last = digits.theft.of(name)[-1]
        if attack.data == GENUINE:
            assert last.floors[EVIDENCE] < 3, name
            assert last.accuracy > 0.8, name
        elif attack.data == STRANGERS and not name.startswith("worstcase"):
            assert last.floors[EVIDENCE] > 100, name
    assert all("under paper" in row for row in missed_musts(digits.theft, 100.0))


@pytest.mark.training
@pytest.mark.long
def test_a_thief_asks_no_more_than_he_has(digits: Digits) -> None:
    theft = digits.trial.theft(("standard", "mixmatch"), (*ANSWERS, 2_000, 5_000))
    assert [copy.answers for copy in theft.of("standard")] == [200, theft.owned]
    assert [copy.answers for copy in theft.of("mixmatch")] == [200, theft.owned // 2]  # as many stay unlabelled


@pytest.mark.training
@pytest.mark.long
def test_copies_that_were_stolen_are_not_stolen_again(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("stolen again")

    monkeypatch.setattr(attack_figures, "GatedVictim", fail)
    assert digits.trial.theft(("standard", "datafree"), ANSWERS).of("datafree") == digits.theft.of("datafree")


@pytest.mark.training
@pytest.mark.long
def test_all_copies_are_in_the_tables_and_the_file(digits: Digits, tmp_path: Path) -> None:
    lines = [line for line in theft_tables([digits.theft], 1e-3) if line.startswith("| ")]
    assert all(any(kind.title in line for line in lines) for kind in ATTACK_KINDS.values())
    write_theft(digits.theft, tmp_path)
    (read,) = read_thefts(tmp_path, "digits")
    assert [copy.attack for copy in read.copies] == [copy.attack for copy in digits.theft.copies]


@pytest.mark.training
@pytest.mark.long
def test_queries_are_priced_by_the_scores_of_table_3_one_by_one(digits: Digits, tmp_path: Path) -> None:
    costs = digits.trial.costs(("standard", "copycat", "inout"), *ANSWERS)
    write_score_costs(costs, tmp_path)
    assert read_score_costs(tmp_path, "digits")[0].bases == costs.bases
    for name in ("standard", "copycat", "inout"):
        points, (copy,) = costs.of(name), digits.theft.of(name)
        assert [point.answers for point in points] == list(range(10, ANSWERS[0] + 1, 10))
        assert points[-1].sums["pate"] == pytest.approx(copy.privacy, rel=1e-4)
        # The gate's prices are the nearest quarter of a bit.
        assert points[-1].floors["pate"] == pytest.approx(copy.floors[PAPER], rel=0.1)
    for score in SCORES:
        standard, mixed, strange = (costs.of(name)[-1].sums[score] for name in ("standard", "inout", "copycat"))
        assert standard < mixed < strange


def test_the_attacks_are_those_of_the_tables() -> None:
    assert list(paper_attacks("digits")) == list(ATTACK_KINDS)


def test_prada_raises_at_queries_made_of_earlier_ones_and_not_at_normal_distances() -> None:
    rng = np.random.default_rng(0)
    honest = torch.from_numpy(rng.standard_normal((600, 40))).float()
    answers = [0] * len(honest)
    detector = Prada()
    detector.watch(honest, answers)
    assert detector.raised is None
    seeds = honest[:100]
    steps = [seeds + number * 0.1 * torch.sign(seeds) for number in range(1, 6)]
    detector = Prada()
    detector.watch(torch.cat([seeds, *steps]), answers)
    assert detector.raised is not None
    assert 100 < detector.raised < 400


def test_prada_watches_an_account_in_parts_as_in_one() -> None:
    queries = torch.rand(150, 4, generator=torch.Generator().manual_seed(1)).round()
    whole, parts = Prada(), Prada()
    whole.watch(queries, [0, 1] * 75)
    for start in range(0, 150, 10):
        parts.watch(queries[start : start + 10], [0, 1] * 5)
    assert whole.raised == parts.raised
    assert whole.raised is not None
