"""Fashion-MNIST, and the paper's network for images of 28 x 28."""

from torch import nn

from benchmarks.range.domain import InputKind, RangeDomain
from benchmarks.range.image_sets import fashion_mnist
from benchmarks.range.shifts import IMAGE_SHIFTS
from benchmarks.range.strangers.images import FASHION, image_strangers
from benchmarks.range.victims import TrainingRecipe, adam, trained_victim
from calpow.archiver.teachers.networks import MNISTNET_SHAPE, mnistnet

NAME = "fashion"
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
RECIPE = TrainingRecipe(epochs=5, batch=128, peak=3e-3, optimizer=adam)
CALIBRATION = 5_000


def paper_network() -> nn.Module:
    """Return MnistNet of appendix B.2, images [n, 1, 28, 28] -> logits [n, 10]."""
    return mnistnet(len(CLASSES), MNISTNET_SHAPE)


def load(victim_seed: int) -> RangeDomain:
    """Return the domain. Raises DataMissing."""
    training = fashion_mnist("train")
    return RangeDomain(
        name=NAME,
        kind=InputKind.IMAGES,
        classes=CLASSES,
        victim=trained_victim(NAME, victim_seed, paper_network, RECIPE, training),
        training=training,
        test=fashion_mnist("test"),
        calibration=CALIBRATION,
        strangers=image_strangers({FASHION}),
        shifts=IMAGE_SHIFTS,
    )
