"""MNIST, with the paper's network."""

from benchmarks.range.domain import InputKind, RangeDomain
from benchmarks.range.domains.fashion_mnist import paper_network
from benchmarks.range.image_sets import mnist
from benchmarks.range.shifts import IMAGE_SHIFTS
from benchmarks.range.strangers.images import HOUSE_NUMBERS, MNIST, image_strangers
from benchmarks.range.victims import TrainingRecipe, adam, trained_victim

NAME = "mnist"
RECIPE = TrainingRecipe(epochs=3, batch=128, peak=3e-3, optimizer=adam)
CALIBRATION = 5_000


def load(victim_seed: int) -> RangeDomain:
    """Return the domain. Raises DataMissing."""
    training = mnist("train")
    return RangeDomain(
        name=NAME,
        kind=InputKind.IMAGES,
        classes=tuple(str(digit) for digit in range(10)),
        victim=trained_victim(NAME, victim_seed, paper_network, RECIPE, training),
        training=training,
        test=mnist("test"),
        calibration=CALIBRATION,
        strangers=image_strangers({MNIST, HOUSE_NUMBERS}),
        shifts=IMAGE_SHIFTS,
    )
