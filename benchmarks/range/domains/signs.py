"""Rendered signs: 120 letters and symbols in twelve fonts, turned and coloured; 50 calibration images a class."""

import sys

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from benchmarks.range.cache import folder, whole_file
from benchmarks.range.domain import InputKind, LabelledInputs, RangeDomain
from benchmarks.range.image_sets import image_inputs
from benchmarks.range.shifts import IMAGE_SHIFTS
from benchmarks.range.strangers.images import INVERTED, image_strangers
from benchmarks.range.strangers.rendered import character_ink, squared
from benchmarks.range.victims import TrainingRecipe, adam, trained_victim

NAME = "signs"
# No two are alike but for their size, since every sign is scaled to fill its image.
CLASSES = tuple(
    "ABCDEFGHJKLMNPQRSTUVWXYZ"
    "abdefghmnqrty"
    "ÅÆÐŠßçéñøüþœ"
    "ΓΔΘΞΠΣΦΨΩ"
    "αβγδζηθλμξπστφψω"
    "БДЖИЛЦЧШЭЮЯбъы"
    "&@#%$£§¶?!+=<>*{}[]()/~^÷±¬¿¡«»°"
)
FONTS = tuple(
    f"DejaVu{family}.ttf"
    for family in (
        *("Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique"),
        *("SansMono", "SansMono-Bold", "SansMono-Oblique", "SansMono-BoldOblique"),
        *("Serif", "Serif-Bold", "Serif-Italic", "Serif-BoldItalic"),
    )
)
SIDE = 32
TRAINING, TEST = 150, 100  # images a class
CALIBRATION = 50 * len(CLASSES)
TRAINING_SEED, TEST_SEED = 0, 1
LARGEST_TURN = 15.0  # degrees
LEAST_CONTRAST = 90  # of 255, between the mean colours of ink and ground
NOISE = 8.0  # of 255
RECIPE = TrainingRecipe(epochs=8, batch=128, peak=4e-3, optimizer=adam)


def sign_network() -> nn.Module:
    """Return the network, images [n, 3, 32, 32] -> logits [n, 120]."""
    return nn.Sequential(
        *_convolution(3, 32),
        *_convolution(32, 64),
        *_convolution(64, 128),
        nn.Flatten(),
        nn.Linear(128 * 4 * 4, 256),
        nn.ReLU(),
        nn.Linear(256, len(CLASSES)),
    )


def load(victim_seed: int) -> RangeDomain:
    """Return the domain; its images are rendered once and kept in the cache."""
    training = _cached_signs("training", TRAINING, TRAINING_SEED)
    return RangeDomain(
        name=NAME,
        kind=InputKind.IMAGES,
        classes=CLASSES,
        victim=trained_victim(NAME, victim_seed, sign_network, RECIPE, training),
        training=training,
        test=_cached_signs("test", TEST, TEST_SEED),
        calibration=CALIBRATION,
        strangers=image_strangers({INVERTED}),  # a sign in other colours is a sign
        shifts=IMAGE_SHIFTS,
    )


def signs(each: int, seed: int) -> LabelledInputs:
    """Render `each` images of every class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(len(CLASSES)).repeat(each)
    shown = tqdm(labels, "signs", unit="image", disable=None, leave=False)
    pixels = np.stack([_sign(CLASSES[label], rng) for label in shown])
    return LabelledInputs(image_inputs(pixels.transpose(0, 3, 1, 2)), torch.from_numpy(labels))


def _cached_signs(part: str, each: int, seed: int) -> LabelledInputs:
    path = folder() / f"signs-{part}.pt"
    if not path.is_file():
        print(f"rendering {each * len(CLASSES)} signs into {path}", file=sys.stderr)
        rendered = signs(each, seed)
        with whole_file(path) as scratch:
            torch.save([rendered.inputs.mul(255).round().to(torch.uint8), rendered.labels], scratch)
    pixels, labels = torch.load(path, weights_only=True)
    return LabelledInputs(pixels.float().div_(255), labels)


def _sign(character: str, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    ink = character_ink(character, FONTS[rng.integers(len(FONTS))])
    square = squared(ink, int(np.hypot(*ink.size) * rng.uniform(1.0, 1.5)))
    turned = square.rotate(rng.uniform(-LARGEST_TURN, LARGEST_TURN), Image.Resampling.BILINEAR)
    moved = turned.transform(
        turned.size, Image.Transform.AFFINE, (1, 0, _offset(square, rng), 0, 1, _offset(square, rng))
    )
    cover = np.asarray(moved.resize((SIDE, SIDE), Image.Resampling.BOX))[:, :, None] / 255
    ground, colour = _colours(rng)
    image = ground + (colour - ground) * cover + rng.normal(0, NOISE, (SIDE, SIDE, 3))
    pixels: npt.NDArray[np.uint8] = np.rint(image.clip(0, 255)).astype(np.uint8)
    return pixels


def _offset(square: Image.Image, rng: np.random.Generator) -> float:
    return float(square.width * rng.uniform(-0.06, 0.06))


def _colours(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    while True:
        pair = rng.uniform(0, 255, (2, 3))
        if abs(np.diff(pair.mean(1))[0]) >= LEAST_CONTRAST:
            return pair


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
