"""Sketches of samples: 128 bits that differ little between near-copies, by random projections.

Bits are the signs of projections: M. Charikar, "Similarity estimation techniques from rounding algorithms", 2002
(SimHash). Where the distance of legitimate neighbours is known, they are the parities of projections that are rounded
to a multiple of it: P. Boufounos and S. Rane, "Secure binary embeddings for privacy preserving nearest neighbors",
2011. Signs tell directions apart, and the rows of a table all lie in one; parities differ in proportion to the distance
of near samples, and in half of the bits beyond.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from calpow.handler.leakage.specs import InputRange
from calpow.handler.ledger.history import SKETCH_BITS, SKETCH_BYTES, SKETCHES

Sketches = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Images are seen as this many places a side and channel; smaller ones, and those of more channels, as plain numbers.
_SIDE = 8
_PLACES = _SIDE * _SIDE
_MOST_CHANNELS = 16
# The most numbers that are projected; longer inputs are averaged.
_NUMBERS = _MOST_CHANNELS * _PLACES
_SEED = 7
# Projections are rounded to this many times the spacing of legitimate inputs: a fifth of the bits differ at that
# distance. The results are much the same from 3 to 6.
_STEPS = 4
# Of legitimate inputs, the share that lie within the spacing of one of SKETCHES others, about.
_NEAR = 0.02
# The least spacing, as a share of the median distance: some samples may be near-copies of one another.
_LEAST_SPACING = 0.005
# Inputs whose distances are measured.
_MOST_MEASURED = 1_000
# Whole numbers whose signs are summed at once: each takes some hundred bytes meanwhile.
_AT_ONCE = 1 << 16


class Sketcher:
    """Makes the sketches of inputs whose numbers have a legitimate range."""

    def __init__(self, legitimate: InputRange) -> None:
        low, high = np.array([legitimate.low, legitimate.high], np.float32)
        spans = high - low
        # A number that did not vary when it was measured tells no samples apart.
        self._scale = np.divide(1, spans, out=np.zeros_like(spans), where=spans > 0)
        self._centre = (low + high) / 2
        self._width = np.float32(_STEPS * legitimate.spacing)

    def sketches(self, inputs: Tensor) -> Sketches:
        """Return the sketches uint8 `[n, SKETCH_BYTES]` of inputs `[n, ...]`; `[n, 0]` where none can be made.

        Of an image, a sketch shows where it is brighter or darker than around, so that another pixel, gamma, contrast,
        brightness, compression, and noise change few bits; of whole numbers, which ones there are, in any order; of
        other numbers, where they lie in their ranges, or on which side of the middle if no spacing is known.
        """
        if inputs.dim() < 2 or inputs.is_complex() or not inputs.numel():
            return np.empty((len(inputs), 0), np.uint8)
        image = _as_image(inputs)
        if image is not None:
            places = functional.adaptive_avg_pool2d(image, _SIDE).flatten(1)
            return _signs(torch.mm(places.cpu(), _image_projection(image.size(1))).numpy())
        if inputs.is_floating_point():
            # Numbers far beyond their range, whose samples earn no credit, may leave infinities.
            with np.errstate(over="ignore", invalid="ignore"):
                numbers = self.in_ranges(inputs)
                projected = torch.mm(torch.from_numpy(numbers), _projection()[: numbers.shape[1]]).numpy()
                return _parities(projected / self._width) if self._width else _signs(projected)
        return _bags(inputs.flatten(1).cpu().numpy().astype(np.int64))

    def in_ranges(self, inputs: Tensor) -> Floats:
        """Return the numbers that are projected of inputs `[n, ...]` that are no images: `[n, k]`.

        They are counted from the middle of their range, in units of the range, if there is one for each or for all.
        """
        numbers: Floats = inputs.float().flatten(1).cpu().numpy()
        if len(self._centre) in (1, numbers.shape[1]):
            numbers = (numbers - self._centre) * self._scale
        if numbers.shape[1] <= _NUMBERS:
            return numbers
        return functional.adaptive_avg_pool1d(torch.from_numpy(numbers).unsqueeze(1), _NUMBERS).squeeze(1).numpy()


def measure_spacing(inputs: Tensor, legitimate: InputRange) -> float:
    """Return the distance at which legitimate inputs `[n, ...]` of one range by place have a near neighbour; or 0.

    It is in units of the ranges. A share _NEAR of the inputs lie within it of one of SKETCHES others; equal inputs do
    not count. It is at least _LEAST_SPACING of the median distance, and 0 where all are equal.
    """
    numbers = Sketcher(legitimate).in_ranges(inputs[:: -(-len(inputs) // _MOST_MEASURED)])
    between = torch.pdist(torch.from_numpy(numbers))
    between = between[between > 0]
    if not len(between):
        return 0.0
    nearest = between.kthvalue(max(1, round(len(between) * _NEAR / SKETCHES)))[0]
    return max(float(nearest), _LEAST_SPACING * float(between.median()))


def distances(one: Sketches, other: Sketches) -> NDArray[np.int64]:
    """Return the number of bits in which sketches `[n, b]` differ from others `[m, b]`: `[n, m]`."""
    left, right = (1 - 2 * np.unpackbits(sketches, axis=1).astype(np.float32) for sketches in (one, other))
    differing: NDArray[np.int64] = np.rint((left.shape[1] - left @ right.T) / 2).astype(np.int64)
    return differing


def _as_image(inputs: Tensor) -> Tensor | None:
    """Return inputs as float32 `[n, channels, height, width]` if they are images, with channels before or after."""
    if inputs.dim() != 4:
        return None
    if inputs.shape[3] < _SIDE <= inputs.shape[1]:
        inputs = inputs.permute(0, 3, 1, 2)
    if inputs.shape[1] > _MOST_CHANNELS or min(inputs.shape[2:]) < _SIDE:
        return None
    return inputs.float()


def _signs(projected: Floats) -> Sketches:
    return np.packbits(projected > 0, axis=1)


def _parities(steps: Floats) -> Sketches:
    pairs = (steps + _offsets()) / 2
    return np.packbits(pairs - np.floor(pairs) >= 0.5, axis=1)


@lru_cache(maxsize=1)
def _offsets() -> Floats:
    """Return the fixed random places float32 `[SKETCH_BITS]` at which the rounding of the projections begins."""
    return np.random.RandomState(_SEED).uniform(0, 2, SKETCH_BITS).astype(np.float32)


# Tensors: torch.mm keeps to the threads that torch may use. The product of numpy does not, and on busy cores it waits
# for milliseconds.
@lru_cache(maxsize=1)
def _projection() -> Tensor:
    """Return the fixed random projection float32 `[_NUMBERS, SKETCH_BITS]`; fewer numbers use its first rows."""
    # Of this generator, numpy promises the same numbers in every version.
    numbers = np.random.RandomState(_SEED).standard_normal((_NUMBERS, SKETCH_BITS))
    return torch.from_numpy(numbers.astype(np.float32))


@lru_cache(maxsize=_MOST_CHANNELS)
def _image_projection(channels: int) -> Tensor:
    """Return the projection of an image's places, by way of the frequencies of its cosine transform.

    Amplitudes count by their frequency, since those of most images fall with it: else all images of a kind look alike.
    The mean of a channel has frequency 0.
    """
    index = np.arange(_SIDE)
    cosines = np.cos(np.pi * np.outer(index, 2 * index + 1) / (2 * _SIDE))
    cosines /= np.linalg.norm(cosines, axis=1, keepdims=True)
    weights = np.hypot(*np.meshgrid(index, index))
    planes = _projection().numpy()[: channels * _PLACES].reshape(channels, _SIDE, _SIDE, SKETCH_BITS)
    placed = np.einsum("ki,lj,kl,cklb->cijb", cosines, cosines, weights, planes)
    return torch.from_numpy(np.ascontiguousarray(placed.reshape(-1, SKETCH_BITS), np.float32))


def _bags(ids: NDArray[np.int64]) -> Sketches:
    """Return sketches of whole numbers `[n, k]`: the signs of the sum of a vector of random signs for each of them.

    Each number counts once, however often it occurs: padding would outvote a short text.
    """
    ordered = np.sort(ids, axis=1)
    counts = np.ones(ordered.shape, np.uint8)
    counts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    width = max(1, _AT_ONCE // len(ids))
    starts = range(0, ordered.shape[1], width)
    ones = sum(_ones(ordered[:, start : start + width], counts[:, start : start + width]) for start in starts)
    packed: Sketches = np.packbits(2 * ones > counts.sum(axis=1, keepdims=True), axis=1)
    return packed


def _ones(ids: NDArray[np.int64], counts: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return how many of the vectors of numbers `[n, k]` have a one, by bit: `[n, SKETCH_BITS]`; of those counted 1."""
    words = np.arange(SKETCH_BYTES // 8, dtype=np.uint64)
    mixed = _mixed(ids.astype(np.uint64)[..., np.newaxis] * np.uint64(len(words)) + words)
    bits = np.unpackbits(mixed.view(np.uint8), axis=-1) & counts[..., np.newaxis]
    ones: NDArray[np.uint64] = bits.sum(axis=1, dtype=np.uint64)
    return ones


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers mixed by the output function of SplitMix64 (Steele et al., 2014)."""
    numbers = numbers * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = numbers ^ (numbers >> np.uint64(31))
    return mixed
