"""MixMatch (Berthelot et al. 2019; Jagielski et al. 2020): a copy that learns from unlabelled genuine inputs, too."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.attacks.gated_victim import GatedVictim
from benchmarks.attacks.thief import Attack, Thief
from benchmarks.range.shifts import translation

# The authors' settings.
GUESSES = 2
TEMPERATURE = 0.5
ALPHA = 0.75
BATCH = 64
RATE = 2e-3
# Of theirs, who train a thousand times as long, a third: with all of it, a copy may give the same answer to everything.
UNLABELLED_WEIGHT = 25.0
FEWEST_STEPS, MOST_STEPS = 1_000, 3_000


def mixmatch(*, flips: bool) -> Attack:
    """Return the attack: half of the owned inputs at most are asked, as many others stay unlabelled.

    flips: whether mirrored inputs keep their class.
    """

    def attack(thief: Thief, victim: GatedVictim, answers: int) -> nn.Module:
        order = torch.from_numpy(thief.rng().permutation(len(thief.owned)))
        count = min(answers, len(order) // 2)
        asked, unlabelled = thief.owned[order[:count]], thief.owned[order[count : 2 * count]]
        labels = functional.one_hot(victim.labels(asked), thief.classes).float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(thief.seed)
            return _Training(thief, asked, labels, unlabelled, flips=flips).run()

    return attack


class _Training:
    def __init__(self, thief: Thief, asked: Tensor, labels: Tensor, unlabelled: Tensor, *, flips: bool) -> None:
        self._copy = thief.recipe.make()
        self._asked, self._labels, self._unlabelled = asked, labels, unlabelled
        self._flips = flips
        self._rng = thief.rng()
        self._steps = max(FEWEST_STEPS, min(MOST_STEPS, thief.recipe.shown // BATCH))

    def run(self) -> nn.Module:
        optimizer = torch.optim.AdamW(self._copy.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=self._steps)
        for step in range(self._steps):
            loss = self._loss(UNLABELLED_WEIGHT * step / self._steps)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch
            optimizer.step()
            schedule.step()
        return self._copy.eval()

    def _loss(self, weight: float) -> Tensor:
        places = torch.randint(len(self._asked), (BATCH,))
        others = torch.randint(len(self._unlabelled), (BATCH,))
        views = [self._augmented(self._unlabelled[others]) for _ in range(GUESSES)]
        inputs = torch.cat([self._augmented(self._asked[places]), *views])
        targets = torch.cat([self._labels[places], *[self._guess(views)] * GUESSES])
        mixed, mixed_targets = mixup(inputs, targets, self._rng)
        logits = self._copy(mixed)
        labelled = functional.cross_entropy(logits[:BATCH], mixed_targets[:BATCH])
        unlabelled = functional.mse_loss(logits[BATCH:].softmax(1), mixed_targets[BATCH:])
        return labelled + weight * unlabelled

    @torch.no_grad()
    def _guess(self, views: list[Tensor]) -> Tensor:
        """Return the copy's mean probabilities over augmentations, sharpened, [n, classes]."""
        mean = torch.stack([self._copy(view).softmax(1) for view in views]).mean(0)
        sharp = mean ** (1 / TEMPERATURE)
        return sharp / sharp.sum(1, keepdim=True)

    def _augmented(self, images: Tensor) -> Tensor:
        if self._flips:
            images = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(3), images)
        # Of small images, a pixel is much: half of them stay in their place.
        return torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, translation(images, self._rng), images)


def mixup(inputs: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return every input [n, ...] mixed with a random other one, by its larger part, and the targets alike."""
    order = torch.from_numpy(rng.permutation(len(inputs)))
    part = rng.beta(ALPHA, ALPHA)
    part = max(part, 1 - part)
    return part * inputs + (1 - part) * inputs[order], part * targets + (1 - part) * targets[order]
