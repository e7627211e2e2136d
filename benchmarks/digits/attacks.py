"""Attackers' queries for the digits model, as 8x8 grey PNG files.

    python benchmarks/digits/attacks.py --out DIR --count 500

writes DIR/<kind>/0000.png and so on, for every kind in ATTACKS. Nothing here asks the victim.
"""

from __future__ import annotations

import argparse
import io
import string
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from sklearn.datasets import load_sample_images
from torch import nn

if not __package__:  # run by its path: the sibling modules are found from the repository's root
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.digits.data import Digits, Grey, disturb, load_splits

SIZE = 8
FONTS = ("DejaVuSans*.ttf", "DejaVuSerif*.ttf", "STIXGeneral*.ttf", "cmr10.ttf", "cmss10.ttf", "cmtt10.ttf")
GLYPH = 64  # pixels a letter is drawn at before it is shrunk
SEEDS_OWNED = 150  # labelled digits of the Jacobian attacker's own (Papernot et al. 2017)
STEP = 0.1  # lambda of the Jacobian augmentation, in grey values 0..1
ROUNDS = 3

Generator = np.random.Generator
Maker = Callable[[int, Generator], Grey]


def natural(count: int, rng: Generator) -> Grey:
    """Square patches of scikit-learn's two photographs, 8 to 64 pixels wide."""
    photos = [Image.fromarray(photo).convert("L") for photo in load_sample_images().images]

    def patch() -> Grey:
        photo = photos[rng.integers(len(photos))]
        side = int(rng.integers(SIZE, 65))
        left = int(rng.integers(photo.width - side))
        top = int(rng.integers(photo.height - side))
        return _shrink(photo.crop((left, top, left + side, top + side)))

    return np.stack([patch() for _ in range(count)])


def letters(count: int, rng: Generator) -> Grey:
    """Letters in the fonts that matplotlib ships: strokes like digits, but of other signs."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = sorted(file for pattern in FONTS for file in folder.glob(pattern) if "Display" not in file.name)
    fonts = [ImageFont.truetype(file, GLYPH) for file in files]

    def letter() -> Grey:
        text = string.ascii_letters[rng.integers(len(string.ascii_letters))]
        font = fonts[rng.integers(len(fonts))]
        canvas = Image.new("L", (3 * GLYPH, 3 * GLYPH))
        ImageDraw.Draw(canvas).text((GLYPH, GLYPH), text, fill=255, font=font)
        return disturb(_shrink(_centred(canvas)), rng)

    return np.stack([letter() for _ in range(count)])


def noise(count: int, rng: Generator) -> Grey:
    """Every pixel uniform and independent."""
    return rng.integers(0, 256, size=(count, SIZE, SIZE), dtype=np.uint8)


def blobs(count: int, rng: Generator) -> Grey:
    """Smooth random fields, stretched to the whole range of greys."""
    fields = ndimage.gaussian_filter(rng.standard_normal((count, SIZE, SIZE)), sigma=(0, 1.5, 1.5))
    low = fields.min(axis=(1, 2), keepdims=True)
    high = fields.max(axis=(1, 2), keepdims=True)
    return _grey((fields - low) / (high - low))


def shuffled(count: int, rng: Generator) -> Grey:
    """Digits cut into 2x2 pixel patches that are put back in another order."""
    images = _owned().images
    chosen = images[rng.integers(len(images), size=count)]
    tiles = chosen.reshape(count, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(count, 16, 2, 2)
    order = np.argsort(rng.random((count, 16)), axis=1)
    moved = np.take_along_axis(tiles, order[:, :, None, None], axis=1)
    shuffled_images: Grey = moved.reshape(count, 4, 4, 2, 2).transpose(0, 1, 3, 2, 4).reshape(count, SIZE, SIZE)
    return shuffled_images


def jacobian(count: int, rng: Generator) -> Grey:
    """Digits moved along the sign of a substitute's gradient, 1 to 3 steps (Papernot et al. 2017)."""
    owned = _owned()
    mine = rng.permutation(len(owned.labels))[:SEEDS_OWNED]
    images = torch.from_numpy(owned.images[mine]).float() / 255
    labels = torch.from_numpy(owned.labels[mine])
    substitute = _substitute(images, labels, seed=int(rng.integers(2**31)))
    chosen = torch.from_numpy(rng.integers(len(labels), size=count))
    rounds = torch.from_numpy(rng.integers(1, ROUNDS + 1, size=count))
    moved, targets = images[chosen], labels[chosen]
    for done in range(ROUNDS):
        moved = moved.detach().requires_grad_()
        score = substitute(moved).gather(1, targets[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, moved)
        still_moving = (rounds > done)[:, None, None]
        moved = (moved - STEP * gradient.sign() * still_moving).clamp(0, 1)
    return _grey(moved.detach().double().numpy())


ATTACKS: Mapping[str, Maker] = {
    "natural": natural,
    "letters": letters,
    "noise": noise,
    "blobs": blobs,
    "shuffled": shuffled,
    "jacobian": jacobian,
}


def payloads(kind: str, count: int, seed: int = 0) -> list[bytes]:
    """`count` PNG files of one kind of attack, the same for the same seed."""
    return [png(image) for image in ATTACKS[kind](count, np.random.default_rng(seed))]


def png(image: Grey) -> bytes:
    """A grey image [h, w] as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def _owned() -> Digits:
    """Real digits an attacker may have: any but those the victim and the calibration were made from."""
    return load_splits()["users"]


def _substitute(images: torch.Tensor, labels: torch.Tensor, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(100):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch
        optimizer.step()
    return network


def _centred(canvas: Image.Image) -> Image.Image:
    """The ink of a canvas in the middle of a square that it just fills in height or width."""
    ink = canvas.crop(canvas.getbbox())
    side = max(ink.size)
    square = Image.new("L", (side, side))
    square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
    return square


def _shrink(image: Image.Image) -> Grey:
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX))


def _grey(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Grey:
    return np.rint(values * 255).astype(np.uint8)


def main() -> None:
    """Write every kind of attack below --out."""
    parser = argparse.ArgumentParser(description="Write attackers' payloads as PNG files.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write one folder a kind into")
    parser.add_argument("--count", type=int, default=500, help="files a kind (default 500)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for kind in ATTACKS:
        folder = arguments.out / kind
        folder.mkdir(parents=True, exist_ok=True)
        for number, body in enumerate(payloads(kind, arguments.count, arguments.seed)):
            (folder / f"{number:04d}.png").write_bytes(body)
        print(f"{kind}: {arguments.count} files in {folder}")


if __name__ == "__main__":
    main()
