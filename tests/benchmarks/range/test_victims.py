"""The range's victims: the same under a seed, kept in the cache, trained on after an interruption."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.range import cache
from benchmarks.range.cache import DataMissing
from benchmarks.range.domain import LabelledInputs
from benchmarks.range.domains import cifar10, descriptions, diamonds, fashion_mnist, signs
from benchmarks.range.victims import TrainingRecipe, accuracy, adam, train, trained_victim, victim_logits


class Interrupted(Exception):
    """The training was stopped."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    return tmp_path


def two_clouds() -> LabelledInputs:
    labels = torch.arange(200) % 2
    inputs = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) + 4 * labels[:, None]
    return LabelledInputs(inputs, labels)


def line() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.1), nn.Linear(8, 2))


RECIPE = TrainingRecipe(epochs=4, batch=20, peak=0.05, optimizer=adam)


def test_a_victim_learns_its_classes_and_is_the_same_under_a_seed() -> None:
    victim = train(line, RECIPE, two_clouds(), seed=0)
    assert not victim.training
    assert accuracy(victim, two_clouds()) > 0.95
    answers = [
        victim_logits(network, two_clouds().inputs)
        for network in (victim, *(train(line, RECIPE, two_clouds(), seed) for seed in (0, 1)))
    ]
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])


def test_training_leaves_torchs_generator_as_it_was() -> None:
    torch.manual_seed(3)
    train(line, RECIPE, two_clouds(), seed=0)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))


def test_an_interrupted_training_ends_as_one_that_was_not() -> None:
    batches = 0

    def until_the_third_epoch(inputs: Tensor) -> Tensor:
        nonlocal batches
        batches += 1
        if batches == 25:
            raise Interrupted
        return inputs

    recipe = TrainingRecipe(epochs=4, batch=20, peak=0.05, optimizer=adam, augment=until_the_third_epoch)
    with pytest.raises(Interrupted):
        trained_victim("clouds", 0, line, recipe, two_clouds())
    victim = trained_victim("clouds", 0, line, recipe, two_clouds())
    assert batches == 25 + 20
    whole = train(line, RECIPE, two_clouds(), seed=0)
    assert torch.equal(victim_logits(victim, two_clouds().inputs), victim_logits(whole, two_clouds().inputs))


def test_a_victim_is_trained_once_for_each_seed(folder: Path) -> None:
    victim = trained_victim("clouds", 5, line, RECIPE, two_clouds())
    assert [file.name for file in (folder / "victims").iterdir()] == ["clouds-5.pt"]
    nothing = LabelledInputs(torch.empty(0, 2), torch.empty(0, dtype=torch.int64))
    cached = trained_victim("clouds", 5, line, RECIPE, nothing)
    assert not cached.training
    assert torch.equal(victim_logits(victim, two_clouds().inputs), victim_logits(cached, two_clouds().inputs))


def test_weights_of_another_network_are_named() -> None:
    trained_victim("clouds", 0, line, RECIPE, two_clouds())
    with pytest.raises(DataMissing, match=r"clouds-0\.pt holds another network: remove it"):
        trained_victim("clouds", 0, lambda: nn.Linear(2, 3), RECIPE, two_clouds())


@pytest.mark.parametrize(
    ("network", "inputs", "classes"),
    [
        (fashion_mnist.paper_network(), torch.rand(3, 1, 28, 28), 10),
        (cifar10.four_blocks(), torch.rand(3, 3, 32, 32), 10),
        (diamonds.perceptron(), torch.rand(3, 22), 5),
        (descriptions.SectionNet(50), torch.randint(50, (3, 16)), 16),
        (signs.sign_network(), torch.rand(3, 3, 32, 32), 120),
    ],
    ids=["fashion", "cifar10", "diamonds", "descriptions", "signs"],
)
def test_victims_answer_with_logits(network: nn.Module, inputs: Tensor, classes: int) -> None:
    assert victim_logits(network.eval(), inputs).shape == (3, classes)


def test_padding_changes_no_answer_to_a_text() -> None:
    network = descriptions.SectionNet(50).eval()
    short = torch.tensor([[7, 9, 3]])
    padded = torch.nn.functional.pad(short, (0, 13))
    assert torch.allclose(victim_logits(network, short), victim_logits(network, padded), atol=1e-6)


def test_photographs_are_mirrored_and_cropped_one_by_one() -> None:
    images = torch.arange(1.0, 1 + 32 * 32).reshape(1, 1, 32, 32).repeat(400, 3, 1, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        changed = cifar10.flipped_and_cropped(images)
    assert changed.shape == images.shape
    middle = changed[:, 0, 16, 16]
    assert len(set(middle.tolist())) > 80  # of 81 places and two directions
    assert 150 < int((changed[:, 0, 16, 17] > middle).sum()) < 250
    assert torch.equal(changed[:, 0], changed[:, 2])


@pytest.mark.training
def test_the_network_for_photographs_learns_from_few_images() -> None:
    labels = torch.arange(120) % 2
    images = torch.rand(120, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    data = LabelledInputs(torch.where(labels[:, None, None, None] == 1, images, images / 3), labels)
    recipe = replace(cifar10.RECIPE, epochs=2, batch=6, peak=0.01)
    assert accuracy(train(cifar10.four_blocks, recipe, data, seed=0), data) > 0.8
