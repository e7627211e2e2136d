"""Data-free model extraction (Truong et al. 2021): a generator makes the queries that student and victim differ on."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.attacks.gated_victim import GatedVictim
from benchmarks.attacks.thief import Thief

LATENT = 100
CHANNELS = 64
STUDENT_STEPS = 5  # for each of the generator's
# Queries of a step: the authors' 256 where there are many, fewer where the answers would be used up in a few steps.
LARGE_BATCH, SMALL_BATCH, MANY = 256, 32, 100_000
STUDENT_RATE, GENERATOR_RATE = 1e-3, 5e-4
EPSILON = 1e-3  # of the forward differences
# Answers that the last training is on.
KEPT = 100_000


def data_free(thief: Thief, victim: GatedVictim, answers: int) -> nn.Module:
    """Steal without any data.

    The generator's gradient through the victim is a forward difference in one random direction, so that a step takes
    two queries an image; queries are not rounded. The copy is trained anew on the last answers, which at few answers
    beats the student that the authors keep.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(thief.seed)
        run = _Run(thief, victim, answers)
        while victim.answers < answers:
            run.generator_step()
            for _ in range(STUDENT_STEPS):
                run.student_step()
    queries, answered = run.bought()
    return thief.train(queries, answered)


class _Run:
    def __init__(self, thief: Thief, victim: GatedVictim, answers: int) -> None:
        self._victim = victim
        self._answers = answers
        self._batch = LARGE_BATCH if answers >= MANY else SMALL_BATCH
        self._student = thief.untrained().train()
        self._generator = generator_for(tuple(thief.owned.shape[1:]))
        self._student_optimizer = torch.optim.Adam(self._student.parameters(), STUDENT_RATE)
        self._generator_optimizer = torch.optim.Adam(self._generator.parameters(), GENERATOR_RATE)
        self._bought: list[tuple[Tensor, Tensor]] = []

    def generator_step(self) -> None:
        """Move the generator towards images on which the student differs from the victim."""
        made = self._made()
        images = made.detach()
        direction = functional.normalize(torch.randn_like(images).flatten(1)).view_as(images)
        shifted = images + EPSILON * direction
        before = self._ask(images)
        after = self._ask(shifted)
        if len(after) < len(images):
            return
        with torch.no_grad():
            rise = self._loss(shifted, after) - self._loss(images, before)
        numbers = images[0].numel()
        gradient = direction * (rise / EPSILON * numbers).view(-1, *[1] * (images.dim() - 1))
        self._generator_optimizer.zero_grad()
        made.backward(-gradient / len(images))  # type: ignore[no-untyped-call]  # torch
        self._generator_optimizer.step()

    def student_step(self) -> None:
        """Move the student towards the victim's answers to made images."""
        with torch.no_grad():
            images = self._made()
        answered = self._ask(images)
        if len(answered) < 2:  # a batch norm needs two
            return
        loss = self._loss(images[: len(answered)], answered).mean()
        self._student_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch
        self._student_optimizer.step()

    def bought(self) -> tuple[Tensor, Tensor]:
        """Return the last queries and their answers."""
        queries, answers = zip(*self._last(), strict=True)
        return torch.cat(queries), torch.cat(answers)

    def _last(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = -(-KEPT // self._batch)
        yield from self._bought[-batches:]

    def _made(self) -> Tensor:
        images: Tensor = self._generator(torch.randn(self._batch, LATENT))
        return images

    def _ask(self, images: Tensor) -> Tensor:
        """Return the victim's answers to the images, to fewer where no more are left."""
        images = images[: self._answers - self._victim.answers]
        answered = self._victim.probabilities(images)
        if len(images):
            self._bought.append((images, answered))
        return answered

    def _loss(self, images: Tensor, answered: Tensor) -> Tensor:
        """Return the distance of the student's logits from those that the victim's probabilities show, [n]."""
        logits = answered.clamp_min(1e-7).log()
        logits = logits - logits.mean(1, keepdim=True)
        student: Tensor = self._student(images)
        return (student - logits).abs().sum(1)


def generator_for(shape: tuple[int, ...]) -> nn.Module:
    """Return a network, numbers [n, LATENT] -> images [n, *shape] from 0 to 1; sides are multiples of four."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Linear(LATENT, CHANNELS * (height // 4) * (width // 4)),
        nn.Unflatten(1, (CHANNELS, height // 4, width // 4)),
        nn.BatchNorm2d(CHANNELS),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        nn.BatchNorm2d(CHANNELS),
        nn.LeakyReLU(0.2),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(CHANNELS, CHANNELS // 2, 3, padding=1),
        nn.BatchNorm2d(CHANNELS // 2),
        nn.LeakyReLU(0.2),
        nn.Conv2d(CHANNELS // 2, channels, 3, padding=1),
        nn.Sigmoid(),
    )
