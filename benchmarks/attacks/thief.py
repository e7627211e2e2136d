"""Thief: what an attacker has before his first query, and how he trains a copy."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.attacks.gated_victim import GatedVictim
from benchmarks.range import image_sets
from benchmarks.range.copies.copying import RECIPES, CopyRecipe
from benchmarks.range.domain import LabelledInputs, RangeDomain
from benchmarks.range.strangers.foreign import like
from benchmarks.range.victims import train, victim_logits

# The natural images of another kind that the thief of a domain has; the paper took ImageNet and CIFAR-100.
FOREIGN: dict[str, Callable[[], LabelledInputs]] = {
    "digits": lambda: image_sets.cifar10("test"),
    "mnist": lambda: image_sets.fashion_mnist("train"),
    "fashion": lambda: image_sets.cifar10("train"),
    "cifar10": lambda: image_sets.fashion_mnist("train"),
}
MOST_FOREIGN = 20_000
# Inputs that are shown to a copy while it learns, again and again. `benchmarks.range.copies`, which trains many copies,
# shows fewer of some; no attack is to fail by too short a training.
SHOWN = {"mnist": 200_000, "fashion": 200_000, "cifar10": 200_000}


@dataclass(frozen=True)
class Thief:
    """An attacker of a domain.

    owned: genuine inputs [n, ...], unlabelled, none of which the victim has learnt from.
    foreign: inputs of another kind, with their classes there.
    recipe: the network of the copy and its training.
    """

    owned: Tensor
    foreign: LabelledInputs
    recipe: CopyRecipe
    classes: int
    seed: int

    def rng(self) -> np.random.Generator:
        """Return the thief's generator of random numbers, from its start."""
        return np.random.default_rng(self.seed)

    def train(self, queries: Tensor, answers: Tensor) -> nn.Module:
        """Train a copy on queries [n, ...] and their answers: probabilities [n, classes], or classes int64 [n]."""
        if answers.dtype == torch.int64:
            answers = functional.one_hot(answers, self.classes).float()
        return train(self.recipe.make, self.recipe.of(len(queries)), LabelledInputs(queries, answers), self.seed)

    def untrained(self) -> nn.Module:
        """Return the network of a copy that has learnt nothing, the same each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self.recipe.make()


Attack = Callable[[Thief, GatedVictim, int], nn.Module]
"""(thief, victim, answers) -> the copy. Asks for so many answers, or for as many as the thief has queries."""


def thief_of(domain: RangeDomain, owned: Tensor, seed: int) -> Thief:
    """Return the thief of a domain who owns these genuine inputs. Raises DataMissing."""
    foreign = FOREIGN[domain.name]()
    rng = np.random.default_rng(seed)
    chosen = foreign.take(torch.from_numpy(rng.permutation(len(foreign))[:MOST_FOREIGN]))
    inputs = like(chosen.inputs, owned, rng)
    recipe = RECIPES[domain.name]
    recipe = replace(recipe, shown=SHOWN.get(domain.name, recipe.shown))
    return Thief(owned, LabelledInputs(inputs, chosen.labels), recipe, len(domain.classes), seed)


def probabilities(copy: nn.Module, inputs: Tensor) -> Tensor:
    """Return a copy's probabilities [n, classes] of inputs [n, ...]."""
    return victim_logits(copy, inputs).softmax(1)
