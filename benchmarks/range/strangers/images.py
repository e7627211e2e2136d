"""The kinds of strangers of image classifiers, by name."""

from collections.abc import Collection, Mapping

from benchmarks.range.domain import StrangerKind
from benchmarks.range.strangers import altered, foreign, rendered, textures

MNIST, FASHION, CIFAR, HOUSE_NUMBERS, INVERTED = "MNIST", "Fashion", "CIFAR", "house numbers", "inverted"

_INDEPENDENT = {
    MNIST: foreign.from_set(foreign.mnist_images),
    FASHION: foreign.from_set(foreign.fashion_images),
    CIFAR: foreign.from_set(foreign.cifar_images),
    "glyphs": rendered.glyphs,
    HOUSE_NUMBERS: rendered.house_numbers,
    "natural crops": foreign.natural_crops,
    "uniform noise": textures.uniform_noise,
    "blobs": textures.blobs,
}
_DERIVED = {
    "edges": altered.changed(altered.edges),
    "mixup": altered.mixup,
    "cutmix": altered.cutmix,
    INVERTED: altered.changed(altered.inverted),
    "rotated": altered.changed(altered.rotated),
    "upside down": altered.changed(altered.upside_down),
    "black and white": altered.changed(altered.black_and_white),
    "noise .1": altered.noisy(0.1),
    "noise .2": altered.noisy(0.2),
}


def image_strangers(legitimate: Collection[str]) -> Mapping[str, StrangerKind]:
    """Return all kinds but those that are legitimate for the victim."""
    independent = {name: StrangerKind(make, is_derived=False) for name, make in _INDEPENDENT.items()}
    derived = {name: StrangerKind(make, is_derived=True) for name, make in _DERIVED.items()}
    return {name: kind for name, kind in {**independent, **derived}.items() if name not in legitimate}
