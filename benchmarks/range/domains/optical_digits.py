"""Scikit-learn's optical digits, 8 x 8: the smallest calibration, 45 images a class."""

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.digits.data import FILES_PER_IMAGE, SEED, SIZES, Digits, disturb, load_splits
from benchmarks.digits.model import DigitNet
from benchmarks.range.domain import InputKind, LabelledInputs, RangeDomain
from benchmarks.range.image_sets import image_inputs
from benchmarks.range.shifts import IMAGE_SHIFTS
from benchmarks.range.strangers.images import HOUSE_NUMBERS, MNIST, image_strangers
from benchmarks.range.victims import TrainingRecipe, adam, trained_victim

NAME = "digits"
RECIPE = TrainingRecipe(epochs=12, batch=64, peak=4e-3, optimizer=adam)


def load(victim_seed: int) -> RangeDomain:
    """Return the domain of the demo's digits; its victim learns from originals and disturbed copies."""
    splits = load_splits()
    training = _with_copies(splits["victim-train"])
    tests = [splits["calibration"], splits["users"]]
    test = _labelled(np.concatenate([part.images for part in tests]), np.concatenate([part.labels for part in tests]))
    return RangeDomain(
        name=NAME,
        kind=InputKind.IMAGES,
        classes=tuple(str(digit) for digit in range(10)),
        victim=trained_victim(NAME, victim_seed, DigitNet, RECIPE, training),
        training=training,
        test=test,
        calibration=SIZES["calibration"],
        strangers=image_strangers({MNIST, HOUSE_NUMBERS}),
        shifts=IMAGE_SHIFTS,
    )


def _with_copies(digits: Digits) -> LabelledInputs:
    copies = FILES_PER_IMAGE["victim-train"]
    images = []
    for image, number in zip(digits.images, digits.numbers, strict=True):
        rng = np.random.default_rng((SEED, int(number)))
        images += [image, *(disturb(image, rng) for _ in range(copies - 1))]
    return _labelled(np.stack(images), digits.labels.repeat(copies))


def _labelled(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> LabelledInputs:
    return LabelledInputs(image_inputs(images[:, None]), torch.from_numpy(labels))
