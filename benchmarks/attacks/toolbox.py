"""Attacks as the Adversarial Robustness Toolbox (ART) has them: Knockoff Nets and CopyCat CNN, with natural strangers.

ART chooses the queries, asks the victim through its black-box classifier, and trains the copy, with the paper's
settings: stochastic gradient descent, learning rate 0.01, momentum 0.9 (section 4.1).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from art.attacks.extraction import CopycatCNN, KnockoffNets
from art.estimators.classification import BlackBoxClassifier, PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.attacks.gated_victim import GatedVictim
from benchmarks.attacks.thief import Attack, Thief

LEARNING_RATE, MOMENTUM = 0.01, 0.9
ONLINE_RATE = 1e-3
FIT_BATCH, QUERIES_AT_ONCE = 64, 500


def knockoff_nets(strategy: str) -> Attack:
    """Return Knockoff Nets (Orekondy et al. 2019) with a `sampling_strategy` of ART: random or adaptive.

    The adaptive strategy trains a copy on one answer after another to choose by, gently; what is stolen is trained anew
    on all answers, as the paper has it.
    """

    def attack(thief: Thief, victim: GatedVictim, answers: int) -> nn.Module:
        is_adaptive = strategy == "adaptive"
        copy, shop = thief.untrained(), _Shop(victim)
        optimizer = torch.optim.Adam(copy.parameters(), ONLINE_RATE) if is_adaptive else _sgd(copy)
        art_attack = _FrugalKnockoffNets(
            shop.classifier(thief),
            nb_stolen=answers,
            nb_epochs=1 if is_adaptive else thief.recipe.of(answers).epochs,
            batch_size_fit=FIT_BATCH,
            batch_size_query=QUERIES_AT_ONCE,
            sampling_strategy=strategy,
            use_probability=True,
            verbose=False,
        )
        classes = thief.foreign.labels.numpy() if is_adaptive else None
        learner = _learner(thief, copy, optimizer)
        with _seeded(thief.seed):
            art_attack.extract(thief.foreign.inputs.numpy(), classes, thieved_classifier=learner)
        return thief.train(*shop.bought()) if is_adaptive else copy.eval()

    return attack


def copycat_cnn(thief: Thief, victim: GatedVictim, answers: int) -> nn.Module:
    """Run CopyCat CNN (Correia-Silva et al. 2018), which learns labels."""
    copy = thief.untrained()
    attack = CopycatCNN(
        _Shop(victim).classifier(thief),
        nb_stolen=answers,
        nb_epochs=thief.recipe.of(answers).epochs,
        batch_size_fit=FIT_BATCH,
        batch_size_query=QUERIES_AT_ONCE,
    )
    with _seeded(thief.seed):
        attack.extract(thief.foreign.inputs.numpy(), thieved_classifier=_learner(thief, copy, _sgd(copy)))
    return copy.eval()


class _FrugalKnockoffNets(KnockoffNets):  # type: ignore[misc]  # ART has no types
    """ART's Knockoff Nets, whose adaptive strategy keeps the chosen samples alone.

    ART's own are views of a copy of all samples of a class, made for each choice: 20 GB after some thousand of MNIST.
    """

    @staticmethod
    def _sample_data(x: NDArray[np.float32], y: NDArray[np.int64], action: int) -> NDArray[np.float32]:
        sample: NDArray[np.float32] = KnockoffNets._sample_data(x, y, action).copy()
        return sample


class _Shop:
    """The victim as ART asks it, with what was bought there."""

    def __init__(self, victim: GatedVictim) -> None:
        self._victim = victim
        self._queries: list[Tensor] = []
        self._answers: list[Tensor] = []

    def classifier(self, thief: Thief) -> BlackBoxClassifier:
        """Return the black-box classifier."""
        return BlackBoxClassifier(self._predict, tuple(thief.owned.shape[1:]), thief.classes)

    def bought(self) -> tuple[Tensor, Tensor]:
        """Return all queries [n, ...] and the probabilities [n, classes]."""
        return torch.cat(self._queries), torch.cat(self._answers)

    def _predict(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        queries = torch.from_numpy(samples)
        answers = self._victim.probabilities(queries)
        self._queries.append(queries)
        self._answers.append(answers)
        predictions: NDArray[np.float32] = answers.numpy()
        return predictions


def _sgd(copy: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(copy.parameters(), LEARNING_RATE, MOMENTUM)


def _learner(thief: Thief, copy: nn.Module, optimizer: torch.optim.Optimizer) -> PyTorchClassifier:
    shape = tuple(thief.owned.shape[1:])
    return PyTorchClassifier(copy, nn.CrossEntropyLoss(), shape, thief.classes, optimizer=optimizer, device_type="cpu")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Context manager in which the global generators, which ART draws from, begin at a seed."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        np.random.set_state(state)
