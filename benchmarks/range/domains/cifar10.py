"""CIFAR-10, and a network of four convolution blocks that reaches 86 to 87 % in ten epochs."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.range.domain import InputKind, RangeDomain
from benchmarks.range.image_sets import cifar10
from benchmarks.range.shifts import IMAGE_SHIFTS
from benchmarks.range.strangers.images import CIFAR, image_strangers
from benchmarks.range.victims import TrainingRecipe, trained_victim

NAME = "cifar10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CALIBRATION = 5_000
MARGIN = 4  # pixels that a crop may move in each direction


def four_blocks() -> nn.Module:
    """Return the network, images [n, 3, 32, 32] -> logits [n, 10]."""
    return nn.Sequential(
        *_convolution(3, 32),
        *_convolution(32, 48),
        nn.MaxPool2d(2),
        *_convolution(48, 96),
        nn.MaxPool2d(2),
        *_convolution(96, 160),
        nn.MaxPool2d(2),
        *_convolution(160, 192),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(192, len(CLASSES)),
    )


def small_network() -> nn.Module:
    """Return a network that is trained three times as fast, images [n, 3, 32, 32] -> logits [n, 10]."""
    return nn.Sequential(
        *_convolution(3, 32, stride=2),
        *_convolution(32, 64),
        nn.MaxPool2d(2),
        *_convolution(64, 128),
        nn.MaxPool2d(2),
        *_convolution(128, 128),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(128, len(CLASSES)),
    )


def flipped_and_cropped(images: Tensor) -> Tensor:
    """Mirror half of the images, then cut every image out of a black frame of MARGIN pixels at a random place."""
    mirrored = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(3), images)
    side = images.shape[-1]
    padded = functional.pad(mirrored, (MARGIN,) * 4)
    top, left = torch.randint(2 * MARGIN + 1, (2, len(images), 1, 1, 1))
    rows, columns = torch.arange(side)[:, None], torch.arange(side)
    number, channel = torch.arange(len(images))[:, None, None, None], torch.arange(images.shape[1])[:, None, None]
    return padded[number, channel, top + rows, left + columns]


def sgd(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    """Return stochastic gradient descent with Nesterov's momentum."""
    return torch.optim.SGD(parameters, momentum=0.9, nesterov=True, weight_decay=5e-4)


RECIPE = TrainingRecipe(epochs=10, batch=128, peak=0.15, optimizer=sgd, augment=flipped_and_cropped)


def load(victim_seed: int) -> RangeDomain:
    """Return the domain; to train its victim takes a quarter of an hour. Raises DataMissing."""
    training = cifar10("train")
    return RangeDomain(
        name=NAME,
        kind=InputKind.IMAGES,
        classes=CLASSES,
        victim=trained_victim(NAME, victim_seed, four_blocks, RECIPE, training),
        training=training,
        test=cifar10("test"),
        calibration=CALIBRATION,
        strangers=image_strangers({CIFAR}),
        shifts=IMAGE_SHIFTS,
    )


def _convolution(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
