"""Scikit-learn's optical digits as folders of PNG files: victim-train, calibration and users.

The 1,797 images are split once, by class and under a fixed seed; only then are they multiplied by small
shifts and rotations, so no image has a relative in another split. An image and its copies lie in a folder of
their own: ``victim-train/7/0342/0.png`` is the original, ``1.png`` and so on are its copies.

    python benchmarks/digits/data.py --out DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 0
SIZES = {"victim-train": 900, "calibration": 450, "users": 447}
# How many files one image becomes, the original counted. Calibration and users are multiplied alike: what the
# calibration takes for legitimate use has to be what legitimate users send.
FILES_PER_IMAGE = {"victim-train": 8, "calibration": 4, "users": 4}
MAX_SHIFT = 0.5  # pixels
MAX_ROTATION = 10.0  # degrees
LARGEST_VALUE = 16  # of the images as scikit-learn has them

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Digits:
    """Grey images uint8 [n, 8, 8], labels int64 [n] and numbers in the whole set int64 [n]."""

    images: Grey
    labels: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]


def load_splits() -> Mapping[str, Digits]:
    """The originals of each split, stratified by class, the same in every run."""
    bundle = load_digits()
    images = np.rint(bundle.images * (255 / LARGEST_VALUE)).astype(np.uint8)
    labels = bundle.target.astype(np.int64)
    rest = np.arange(len(labels))
    splits = {}
    for name in ("victim-train", "calibration"):
        chosen, rest = train_test_split(rest, train_size=SIZES[name], stratify=labels[rest], random_state=SEED)
        splits[name] = chosen
    splits["users"] = rest
    return {name: Digits(images[chosen], labels[chosen], chosen) for name, chosen in splits.items()}


def disturb(image: Grey, rng: np.random.Generator) -> Grey:
    """The image [h, w] shifted and rotated a little about its centre."""
    angle = np.deg2rad(rng.uniform(-MAX_ROTATION, MAX_ROTATION))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - rotation @ centre + rng.uniform(-MAX_SHIFT, MAX_SHIFT, size=2)
    # Beyond its edge the page is black, too: in mode "constant" a stroke at the edge would vanish at once.
    moved = ndimage.affine_transform(image.astype(np.float64), rotation, offset, order=3, mode="grid-constant")
    grey: Grey = np.rint(moved.clip(0, 255)).astype(np.uint8)
    return grey


def write_splits(out: Path) -> dict[str, Path]:
    """Write every split below `out` and return the folder of each, by name."""
    folders = {}
    for name, digits in load_splits().items():
        folders[name] = out / name
        for image, label, number in zip(digits.images, digits.labels, digits.numbers, strict=True):
            folder = folders[name] / str(label) / f"{number:04d}"
            folder.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng((SEED, int(number)))
            for copy in range(FILES_PER_IMAGE[name]):
                grey = image if copy == 0 else disturb(image, rng)
                Image.fromarray(grey).save(folder / f"{copy}.png")
    return folders


def main() -> None:
    """Write the splits where --out says."""
    parser = argparse.ArgumentParser(description="Write scikit-learn's digits as folders of PNG files.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the splits into")
    for name, folder in write_splits(parser.parse_args().out).items():
        print(f"{name}: {sum(1 for _ in folder.rglob('*.png'))} files in {folder}")


if __name__ == "__main__":
    main()
