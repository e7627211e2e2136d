"""Changes of legitimate samples that an owner may tolerate: users who send them are honest, too.

They work on the tensors that the victim's model takes. Images may be normalised or of integers: their legitimate range
by channel stands for black and white.
"""

import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # the customary name

from calpow.archiver.calibration.synthetic_inputs.legitimate_values import (
    Change,
    LegitimateValues,
    Shape,
    TensorKind,
    computable,
    is_discrete,
    per_sample,
    signs,
    uniform,
)
from calpow.archiver.errors import OrderError

# Deviation of noise: as a share of the range for images, of a column's own deviation for quantities.
IMAGE_NOISE = 0.05
QUANTITY_NOISE = 0.02
JPEG_QUALITY = 80
# Brighter images; darker ones have its inverse.
GAMMA = 0.8
# Deviation of the blur in pixels: that of small images, or this share of the longer side if that is more.
BLUR = 0.6
BLUR_SHARE = 1 / 200
# Share of the words that are lost.
LOST_WORDS = 0.1
# Changes are tolerated by default where they cost the victim less than this share of right answers: images that it
# cannot read are no use of it. Flips make another image rather than a worse one.
MOST_LOST = 0.1
FLIP_LOST = 0.02

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Tolerance:
    """A change that an owner may tolerate.

    rule: what it is for, as messages say it. kinds: the kinds of tensors that it suits. channels: the numbers of
    channels that it suits; empty for any.
    """

    name: str
    change: Change
    rule: str
    kinds: frozenset[TensorKind]
    channels: frozenset[int] = frozenset()

    def suits(self, shape: Shape | None, dtype: torch.dtype) -> bool:
        """Return whether inputs of this shape (None: of several) and type can be changed so."""
        if shape is None:
            return TensorKind.of((), dtype) in self.kinds
        return TensorKind.of(shape, dtype) in self.kinds and (not self.channels or shape[0] in self.channels)


def noise(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Add normal noise: of IMAGE_NOISE of the range to images, of QUANTITY_NOISE of a column's deviation to quantities.

    Columns of whole numbers stay whole, so that categories and small counts do not change.
    """
    numbers = computable(inputs)
    normal = torch.randn(inputs.shape, generator=generator).to(numbers.device, numbers.dtype)
    if TensorKind.of(inputs.shape[1:], inputs.dtype) is TensorKind.images:
        return _limited(normal.mul_(IMAGE_NOISE * values.span).add_(numbers), inputs, values)
    noisy = normal.mul_(QUANTITY_NOISE * values.deviation).add_(numbers)
    return _limited(torch.where(values.is_whole, noisy.round(), noisy), inputs, values)


def shift(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Move images by one pixel in one of eight directions; the edge is repeated."""
    height, width = inputs.shape[2:]
    # 0 to 8 without 4, which is no move.
    moves = (4 + torch.randint(1, 9, (len(inputs),), generator=generator)) % 9
    changed = torch.empty_like(inputs)
    for move in range(9):
        at = (moves == move).nonzero().flatten().to(inputs.device)
        rows = (torch.arange(height, device=inputs.device) + move // 3 - 1).clamp(0, height - 1)
        columns = (torch.arange(width, device=inputs.device) + move % 3 - 1).clamp(0, width - 1)
        changed[at] = inputs[at].index_select(2, rows).index_select(3, columns)
    return changed


def flip(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Flip images from left to right."""
    return inputs.flip(3)


def jpeg(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Store images as JPEG and read them again; numbers beyond the legitimate range become black or white."""
    levels = (_tones(inputs, values) * 255).round().byte().movedim(1, 3).cpu().numpy()
    decoded = np.stack([_through_jpeg(image) for image in levels])
    tones = torch.from_numpy(decoded).movedim(3, 1).to(inputs.device, computable(inputs).dtype) / 255
    return _of_tones(tones, inputs, values)


def brightness(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Make images brighter or darker, half of them each."""
    tones = _tones(inputs, values)
    exponents = GAMMA ** signs(per_sample(inputs), inputs, generator)
    return _of_tones(tones.pow(exponents.to(tones.dtype)), inputs, values)


def blur(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Blur images a little, with a Gaussian kernel."""
    channels, height, width = inputs.shape[1:]
    deviation = max(BLUR, BLUR_SHARE * max(height, width))
    reach = math.ceil(3 * deviation)
    numbers = computable(inputs)
    places = torch.arange(-reach, reach + 1, device=inputs.device, dtype=numbers.dtype)
    weights = torch.softmax(-places.square() / (2 * deviation**2), dim=0).repeat(channels, 1)
    padded = F.pad(numbers, (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(padded, weights[:, None, None], groups=channels)
    return _limited(F.conv2d(across, weights[:, None, :, None], groups=channels), inputs, values)


def words(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Replace a tenth of the words by padding, or by other words where sequences have no padding."""
    lost = (uniform(inputs.shape, inputs, generator) < LOST_WORDS) & ~values.is_padding(inputs)
    others = values.drawn(inputs.shape, generator)
    return torch.where(lost, others if values.padding is None else torch.full_like(inputs, values.padding), inputs)


_IMAGES = frozenset({TensorKind.images})
_QUANTITIES = frozenset({TensorKind.quantities})

TOLERANCES: Mapping[str, Tolerance] = {
    tolerance.name: tolerance
    for tolerance in (
        Tolerance("noise", noise, "noise is for images and floating-point numbers", _IMAGES | _QUANTITIES),
        Tolerance("shift", shift, "shifts are for images", _IMAGES),
        Tolerance("flip", flip, "flips are for images", _IMAGES),
        Tolerance("jpeg", jpeg, "JPEG is for images of one or three channels", _IMAGES, frozenset({1, 3})),
        Tolerance("brightness", brightness, "brightness is for images", _IMAGES),
        Tolerance("blur", blur, "blur is for images", _IMAGES),
        Tolerance("words", words, "words are whole numbers", frozenset({TensorKind.whole_numbers})),
    )
}
# Tolerated unless the owner chooses, where they are harmless.
DEFAULT: Mapping[TensorKind, tuple[str, ...]] = {
    TensorKind.images: ("noise", "shift", "jpeg", "flip"),
    TensorKind.quantities: ("noise",),
    TensorKind.whole_numbers: (),
}


def tolerances_for(shape: Shape | None, dtype: torch.dtype) -> tuple[str, ...]:
    """Return the names of the changes that suit inputs of this shape (None: of several) and type."""
    return tuple(tolerance.name for tolerance in TOLERANCES.values() if tolerance.suits(shape, dtype))


def default_tolerances(shape: Shape | None, dtype: torch.dtype) -> tuple[str, ...]:
    """Return the names of the changes that are tolerated unless the owner chooses, of those that suit the inputs."""
    suitable = tolerances_for(shape, dtype)
    return tuple(name for name in DEFAULT[TensorKind.of(shape or (), dtype)] if name in suitable)


def check_tolerances(names: Iterable[str], shape: Shape | None, dtype: torch.dtype) -> None:
    """Raise OrderError for the first of `names` that there is none of, or that does not suit the inputs."""
    for name in names:
        tolerance = TOLERANCES.get(name)
        if tolerance is None:
            raise OrderError(f"--tolerate {name}: give some of {', '.join(TOLERANCES)}, or none")
        if not tolerance.suits(shape, dtype):
            form = _form(shape, dtype)
            raise OrderError(f"--tolerate {name}: {tolerance.rule}, and the model takes {form}: leave it out")


def is_harmless(name: str, answers: Ints, changed: Ints, classes: Ints) -> bool:
    """Return whether a change costs the victim few right answers, so that it is tolerated by default.

    `answers` and `changed` are its answers before and after, `classes` the true classes, `[n]`.
    """
    lost = np.mean(answers == classes) - np.mean(changed == classes)
    return bool(lost < (FLIP_LOST if name == "flip" else MOST_LOST))


def _form(shape: Shape | None, dtype: torch.dtype) -> str:
    sizes = "several shapes" if shape is None else f"shape {tuple(shape)}"
    kind = TensorKind.of(shape or (), dtype)
    return f"inputs of {sizes}" + (f" of {kind.value}" if kind is TensorKind.whole_numbers else "")


def _tones(inputs: Tensor, values: LegitimateValues) -> Tensor:
    """Return images as shares of the legitimate range, 0 to 1."""
    numbers = computable(inputs)
    return ((numbers - values.low) / values.span.to(numbers.dtype).clamp(min=1e-12)).clamp(0, 1)


def _of_tones(tones: Tensor, inputs: Tensor, values: LegitimateValues) -> Tensor:
    """Return images from shares of the legitimate range."""
    return _limited(tones.mul_(values.span).add_(values.low), inputs, values)


def _limited(numbers: Tensor, inputs: Tensor, values: LegitimateValues) -> Tensor:
    """Return real numbers as `inputs` has them, within the legitimate range or that of `inputs` if it is larger."""
    own = computable(inputs)
    low, high = values.low.to(own.dtype), values.high.to(own.dtype)
    numbers.clamp_(torch.minimum(low, own), torch.maximum(high, own))
    return (numbers.round_() if is_discrete(inputs) else numbers).to(inputs.dtype)


def _through_jpeg(image: Bytes) -> Bytes:
    """Return an image of bytes `[height, width, channels]` after JPEG."""
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(file)).reshape(image.shape)
