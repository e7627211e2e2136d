"""The paper's victim, MnistNet on Fashion-MNIST, with payloads to train, to calibrate and to ask with."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmarks.range.domain import LabelledInputs
from benchmarks.range.domains.fashion_mnist import paper_network
from benchmarks.range.image_sets import fashion_mnist
from benchmarks.range.victims import TrainingRecipe, adam, train
from tests.support.victims.build import archive

OWN = Path(__file__).parent / "victims" / "own"
RECIPE = TrainingRecipe(epochs=4, batch=64, peak=3e-3, optimizer=adam)
TRAINED, TAUGHT, HELD_OUT = 12_000, 1_500, 1_000


@dataclass(frozen=True)
class Garments:
    """A folder with `victim.mar`, `train` and `heldout`, and the test images that nothing was made of."""

    folder: Path
    fresh: LabelledInputs

    def payloads(self, count: int) -> list[bytes]:
        """Return fresh images of all classes as payloads."""
        return list(pngs(self.fresh.inputs[:count]))

    def payloads_of(self, label: int, count: int) -> list[bytes]:
        """Return fresh images of one class as payloads."""
        return list(pngs(self.fresh.inputs[self.fresh.labels == label][:count]))


def write_garments(folder: Path) -> Garments:
    """Train the victim on a fifth of the training images, and write it and its payloads. Raises DataMissing."""
    training, test = fashion_mnist("train"), fashion_mnist("test")
    own = training.take(torch.arange(TRAINED))
    weights = folder / "weights.pth"
    torch.save(train(paper_network, RECIPE, own, seed=0).state_dict(), weights)
    archive(
        folder,
        "victim",
        str(OWN / "handlers" / "grey_handler.py"),
        model_file=OWN / "networks" / "mnist_net.py",
        serialized_file=weights,
    )
    _write(folder / "train", own.take(torch.arange(TAUGHT)))
    _write(folder / "heldout", test.take(torch.arange(HELD_OUT)))
    return Garments(folder, test.take(torch.arange(HELD_OUT, len(test))))


def pngs(images: Tensor) -> Iterator[bytes]:
    """Yield grey images [n, 1, height, width] with values in 0..1 as files."""
    for pixels in (images * 255).round().to(torch.uint8)[:, 0]:
        stored = io.BytesIO()
        Image.fromarray(pixels.numpy()).save(stored, "PNG")
        yield stored.getvalue()


def _write(folder: Path, images: LabelledInputs) -> None:
    """Write images as files, a folder a class."""
    for number, (body, label) in enumerate(zip(pngs(images.inputs), images.labels.tolist(), strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        (folder / str(label) / f"{number:05}.png").write_bytes(body)
