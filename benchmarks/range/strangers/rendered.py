"""Strangers that are drawn with the fonts matplotlib ships: glyphs of other scripts and house numbers."""

import string
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

from benchmarks.range.image_sets import image_inputs
from benchmarks.range.strangers.foreign import like

GLYPH_FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
# Armenian, Hebrew, Arabic, Georgian, arrows, mathematical operators, geometric shapes, miscellaneous symbols.
GLYPH_BLOCKS = (
    (0x531, 0x587),
    (0x5D0, 0x5EA),
    (0x621, 0x64A),
    (0x10D0, 0x10F0),
    (0x2190, 0x21FF),
    (0x2200, 0x22FF),
    (0x25A0, 0x25FF),
    (0x2600, 0x266F),
)
GLYPH_SIDE = 28
HOUSE_FONTS = ("DejaVuSans-Bold.ttf", "DejaVuSans.ttf", "STIXGeneral.ttf")
HOUSE_SIZES = (22, 26, 30)
HOUSE_SIDE = 32
# (horizontal offset, probability) of the middle digit and of its neighbours, which are cut off by the frame.
HOUSE_DIGITS = ((0, 1.0), (-16, 0.6), (15, 0.6))
_INK_SIZE = 72


def font_file(name: str) -> Path:
    """Return the path of a font of matplotlib's."""
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name


@cache
def character_ink(character: str, font: str) -> Image.Image:
    """Return a character in white on black, 8 bits grey, cut to its ink."""
    canvas = Image.new("L", (4 * _INK_SIZE, 3 * _INK_SIZE))
    drawn = ImageFont.truetype(font_file(font), _INK_SIZE)
    ImageDraw.Draw(canvas).text((_INK_SIZE, _INK_SIZE), character, fill=255, font=drawn)
    return canvas.crop(canvas.getbbox())


def squared(ink: Image.Image, side: int) -> Image.Image:
    """Return the ink in the middle of a black square with a side of its own pixels."""
    square = Image.new("L", (side, side))
    square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
    return square


def glyphs(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return characters of other scripts and symbols, white on black where the victim reads grey images."""
    characters = _glyph_characters()

    def glyph() -> Image.Image:
        ink = character_ink(characters[rng.integers(len(characters))], GLYPH_FONTS[rng.integers(len(GLYPH_FONTS))])
        side = max(ink.size) * GLYPH_SIDE // int(rng.integers(18, 27))
        return squared(ink, side).resize((GLYPH_SIDE, GLYPH_SIDE), Image.Resampling.BOX)

    pixels = np.stack([np.asarray(glyph()) for _ in range(count)])
    return like(image_inputs(pixels[:, None]), owned, rng)


def house_numbers(owned: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Return coloured digits with parts of their neighbours, turned, blurred and noisy, in the manner of SVHN."""
    fonts = [ImageFont.truetype(font_file(name), size) for name in HOUSE_FONTS for size in HOUSE_SIZES]
    pixels = np.stack([_house_number(fonts, rng) for _ in range(count)])
    return like(image_inputs(pixels.transpose(0, 3, 1, 2)), owned, rng)


def _house_number(fonts: Sequence[ImageFont.FreeTypeFont], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    wall, paint = (tuple(int(value) for value in rng.integers(low, high, 3)) for low, high in ((30, 220), (0, 256)))
    image = Image.new("RGB", (HOUSE_SIDE, HOUSE_SIDE), wall)
    pen, font, left = ImageDraw.Draw(image), fonts[int(rng.integers(len(fonts)))], int(rng.integers(4, 12))
    for offset, chance in HOUSE_DIGITS:
        if rng.random() < chance:
            digit, top = string.digits[rng.integers(10)], int(rng.integers(-3, 4))
            pen.text((left + offset, top), digit, fill=paint, font=font)
    turned = image.rotate(rng.uniform(-8, 8), Image.Resampling.BILINEAR, fillcolor=wall)
    blurred = np.asarray(turned.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.4))))
    lit = blurred * rng.uniform(0.7, 1.1) + rng.normal(0, 5, blurred.shape)
    pixels: npt.NDArray[np.uint8] = np.rint(lit.clip(0, 255)).astype(np.uint8)
    return pixels


@cache
def _glyph_characters() -> tuple[str, ...]:
    drawable = set.intersection(*(set(FT2Font(str(font_file(name))).get_charmap()) for name in GLYPH_FONTS))
    return tuple(chr(code) for low, high in GLYPH_BLOCKS for code in range(low, high + 1) if code in drawable)
