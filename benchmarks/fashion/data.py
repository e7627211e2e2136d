"""Fashion-MNIST from Debian's package, and the folders from which the owner's commands read it."""

import gzip
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from calpow.puzzle.errors import CalpowError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
# Folders are in alphabetical order, which these names are not.
CLASS_FOLDERS = tuple(str(index) for index in range(len(CLASSES)))
SIDE = 28
_UNSIGNED_BYTE = 8

Grey = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


class DataMissing(CalpowError):
    """A data set is not on this machine."""


@dataclass(frozen=True)
class Images:
    """Grey images uint8 [n, 28, 28] and their classes int64 [n]."""

    images: Grey
    labels: Labels

    def take(self, index: Labels) -> "Images":
        """The images at these positions."""
        return Images(self.images[index], self.labels[index])


@dataclass(frozen=True)
class Split:
    """The test images of one seed: those that calibrate, and those that honest users send afterwards."""

    calibration: Images
    fresh: Images


def load(name: str) -> Images:
    """The images called `train` (60,000) or `t10k` (10,000). Raises DataMissing."""
    files = [DEBIAN / f"{name}-{part}-ubyte.gz" for part in ("images-idx3", "labels-idx1")]
    for file in files:
        if not file.is_file():
            raise DataMissing(f"{file} does not exist: apt install dataset-fashion-mnist")
    images, labels = (read_idx(gzip.decompress(file.read_bytes())) for file in files)
    return Images(images, labels.astype(np.int64))


def read_idx(content: bytes) -> Grey:
    """An array from an IDX file, the format of the MNIST database. Raises DataMissing unless it holds bytes."""
    if content[:3] != bytes((0, 0, _UNSIGNED_BYTE)):
        raise DataMissing("this is no IDX file of bytes: install or download the data set again")
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    array: Grey = np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()
    return array


def split(seed: int) -> Split:
    """The test images divided at random into halves. Raises DataMissing."""
    images = load("t10k")
    order = np.random.default_rng(seed).permutation(len(images.labels))
    half = len(order) // 2
    return Split(images.take(order[:half]), images.take(order[half:]))


def tensor(images: Grey) -> Tensor:
    """The victim's inputs float32 [n, 1, 28, 28], from 0 to 1."""
    return torch.from_numpy(images).float().div(255).unsqueeze(1)


def grey(inputs: Tensor) -> Grey:
    """Inputs [n, 1, 28, 28] as the images uint8 [n, 28, 28] that a user would have to send for them."""
    found: Grey = inputs.detach().squeeze(1).mul(255).round().clamp(0, 255).to(torch.uint8).numpy()
    return found


def write_training_folder(folder: Path) -> None:
    """The training images as PNG files, a folder a class; whole or not at all. Raises DataMissing."""
    if folder.is_dir():
        return
    images = load("train")
    scratch = folder.with_suffix(".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    for name in CLASS_FOLDERS:
        (scratch / name).mkdir(parents=True)
    pairs = zip(images.images, images.labels, strict=True)
    for number, (image, label) in enumerate(tqdm(pairs, "files", len(images.labels), unit="file", disable=None)):
        Image.fromarray(image).save(scratch / CLASS_FOLDERS[label] / f"{number:05d}.png", compress_level=1)
    scratch.rename(folder)
