"""Training of copies on a victim's answers, and how well they do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from benchmarks.digits.model import DigitNet
from benchmarks.range.domain import LabelledInputs, RangeDomain
from benchmarks.range.domains import cifar10, descriptions, diamonds, fashion_mnist, mnist, optical_digits
from benchmarks.range.victims import TrainingRecipe, accuracy, train, victim_logits
from benchmarks.range.vocabulary import SPECIAL


@dataclass(frozen=True)
class CopyRecipe:
    """The network of a copy, and its training: as many epochs as show `shown` inputs, `most_epochs` at most."""

    make: Callable[[], nn.Module]
    recipe: TrainingRecipe
    shown: int
    most_epochs: int = 60

    def of(self, answers: int) -> TrainingRecipe:
        """Return the recipe for this number of answers."""
        return replace(self.recipe, epochs=max(1, min(self.most_epochs, self.shown // answers)))


# Victims' networks and recipes; CIFAR-10's is a smaller one, since a copy is to be trained within a minute.
RECIPES: Mapping[str, CopyRecipe] = {
    optical_digits.NAME: CopyRecipe(DigitNet, optical_digits.RECIPE, 100_000),
    fashion_mnist.NAME: CopyRecipe(fashion_mnist.paper_network, fashion_mnist.RECIPE, 40_000),
    mnist.NAME: CopyRecipe(fashion_mnist.paper_network, mnist.RECIPE, 20_000),
    cifar10.NAME: CopyRecipe(cifar10.small_network, replace(cifar10.RECIPE, batch=64), 30_000, most_epochs=20),
    diamonds.NAME: CopyRecipe(diamonds.perceptron, diamonds.RECIPE, 100_000),
    descriptions.NAME: CopyRecipe(
        lambda: descriptions.SectionNet(SPECIAL + descriptions.WORDS), descriptions.RECIPE, 100_000
    ),
}


@dataclass(frozen=True)
class Quality:
    """Quality of a copy on inputs that neither it nor the victim has learnt from.

    accuracy: share of inputs in their true class. fidelity: share that it classifies as the victim does.
    """

    accuracy: float
    fidelity: float


def copy_of(domain: RangeDomain, queries: Tensor, seed: int) -> nn.Module:
    """Train a copy of the domain's victim on the probabilities that it answers to the queries [n, ...]."""
    answers = victim_logits(domain.victim, queries).softmax(1)
    recipe = RECIPES[domain.name]
    return train(recipe.make, recipe.of(len(queries)), LabelledInputs(queries, answers), seed)


def quality(copy: nn.Module, victim: nn.Module, held_out: LabelledInputs) -> Quality:
    """Return the accuracy of a copy and its fidelity to the victim."""
    answers = victim_logits(victim, held_out.inputs).argmax(1)
    return Quality(accuracy(copy, held_out), accuracy(copy, LabelledInputs(held_out.inputs, answers)))
