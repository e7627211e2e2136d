"""Victims: how they are trained under a seed, kept in the cache, and asked."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.range.cache import DataMissing, folder, whole_file
from benchmarks.range.domain import LabelledInputs

QUERY_BATCH = 500

OptimizerFactory = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]


def as_they_are(inputs: Tensor) -> Tensor:
    """Return the inputs: no augmentation."""
    return inputs


@dataclass(frozen=True)
class TrainingRecipe:
    """Settings of training: one cycle of the learning rate up to `peak` (Smith and Topin 2019)."""

    epochs: int
    batch: int
    peak: float
    optimizer: OptimizerFactory
    augment: Callable[[Tensor], Tensor] = as_they_are


def adam(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    """Return AdamW with a little weight decay."""
    return torch.optim.AdamW(parameters, weight_decay=1e-2)


def trained_victim(
    name: str, seed: int, make: Callable[[], nn.Module], recipe: TrainingRecipe, training: LabelledInputs
) -> nn.Module:
    """Return the victim of the seed in evaluation mode, from the cache if it is there, else trained and cached.

    Training that was interrupted goes on after its last whole epoch. Raises DataMissing when the cached weights are
    of another network.
    """
    weights = victim_file(name, seed)
    if weights.is_file():
        return _loaded(make, weights)
    print(f"training {name}, seed {seed}, {recipe.epochs} epochs, into {weights}", file=sys.stderr)
    checkpoint = weights.with_suffix(".checkpoint")
    network = train(make, recipe, training, seed, checkpoint)
    with whole_file(weights) as scratch:
        torch.save(network.state_dict(), scratch)
    checkpoint.unlink(missing_ok=True)
    return network


def victim_file(name: str, seed: int) -> Path:
    """Return the path of a victim's state dict in the cache."""
    return folder() / "victims" / f"{name}-{seed}.pt"


def train(
    make: Callable[[], nn.Module],
    recipe: TrainingRecipe,
    training: LabelledInputs,
    seed: int,
    checkpoint: Path | None = None,
) -> nn.Module:
    """Train a network, the same for the same seed and number of threads; begin at the checkpoint if there is one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make()
        optimizer = recipe.optimizer(network.parameters())
        steps = recipe.epochs * -(-len(training) // recipe.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak, total_steps=steps)
        run = _TrainingRun(network, optimizer, schedule)
        if checkpoint and checkpoint.is_file():
            run.restore(checkpoint)
        while run.epochs < recipe.epochs:
            torch.manual_seed(seed * recipe.epochs + run.epochs + 1)
            run.train_epoch(recipe, training)
            if checkpoint:
                run.store(checkpoint)
    return network.eval()


@torch.inference_mode()
def victim_logits(victim: nn.Module, inputs: Tensor) -> Tensor:
    """Return the victim's logits [n, classes] of the inputs [n, ...], asked in batches."""
    return torch.cat([victim(batch) for batch in torch.split(inputs, QUERY_BATCH)])


def accuracy(victim: nn.Module, data: LabelledInputs) -> float:
    """Return the share of inputs whose largest logit is their label's."""
    return float((victim_logits(victim, data.inputs).argmax(1) == data.labels).double().mean())


@dataclass
class _TrainingRun:
    """State that a training changes and a checkpoint holds."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    epochs: int = 0  # done so far

    def train_epoch(self, recipe: TrainingRecipe, training: LabelledInputs) -> None:
        batches = torch.split(torch.randperm(len(training)), recipe.batch)
        title = f"epoch {self.epochs + 1} of {recipe.epochs}"
        for index in tqdm(batches, title, unit="batch", disable=None, leave=False):
            logits = self.network(recipe.augment(training.inputs[index]))
            loss = nn.functional.cross_entropy(logits, training.labels[index])
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch
            self.optimizer.step()
            self.schedule.step()
        self.epochs += 1

    def restore(self, checkpoint: Path) -> None:
        network, optimizer, schedule, self.epochs = torch.load(checkpoint, weights_only=True)
        self.network.load_state_dict(network)
        self.optimizer.load_state_dict(optimizer)
        self.schedule.load_state_dict(schedule)

    def store(self, checkpoint: Path) -> None:
        states = [part.state_dict() for part in (self.network, self.optimizer, self.schedule)]
        with whole_file(checkpoint) as scratch:
            torch.save([*states, self.epochs], scratch)


def _loaded(make: Callable[[], nn.Module], weights: Path) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        network = make()
    try:
        network.load_state_dict(torch.load(weights, weights_only=True))
    except RuntimeError as problem:
        raise DataMissing(f"{weights} holds another network: remove it, the victim is trained again") from problem
    return network.eval()
