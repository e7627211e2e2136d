"""Attackers that are for images: procedural pictures in the legitimate range, and changed legitimate images."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # the customary name

from calpow.archiver.calibration.synthetic_inputs.legitimate_values import (
    LegitimateValues,
    computable,
    is_discrete,
    kept_within,
    per_sample,
)
from calpow.archiver.calibration.synthetic_inputs.procedural_images import Picture

# Pixels a side at which pictures are drawn, at most; they are then enlarged.
LARGEST_CANVAS = 64
# Pictures that are drawn at once.
CHUNK = 100
# Blobs are noise of this many pixels a side, enlarged.
BLOB_GRID = 5
# Patches a side into which images are cut.
PATCHES = 4
# The least and the largest side of the part that cutmix pastes, as a share of the image's.
PASTED = (0.3, 0.7)


class Procedural:
    """Attack with pictures that a rule draws; half have the mean and the deviation of legitimate images by channel.

    The others reach over the whole legitimate range.
    """

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def __call__(self, inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
        """Return a picture in place of each image of `inputs`."""
        count, channels, height, width = inputs.shape
        # Twice the resolution of small images makes edges smooth.
        canvas = (min(LARGEST_CANVAS, 2 * height), min(LARGEST_CANVAS, 2 * width))
        result = torch.empty_like(inputs)
        for start in range(0, count, CHUNK):
            drawn = self._picture(min(CHUNK, count - start), channels, canvas, generator)
            typical = torch.rand(len(drawn), 1, 1, 1, generator=generator) < 0.5
            drawn, typical = drawn.to(inputs.device), typical.to(inputs.device)
            numbers = torch.where(typical, _typical(drawn, values), _spread(drawn, values))
            result[start : start + CHUNK] = kept_within(_resized(numbers, (height, width)), inputs, values)
        return result


def blobs(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return smooth random fields over the whole range."""
    height, width = inputs.shape[2:]
    coarse = torch.rand(*inputs.shape[:2], BLOB_GRID, BLOB_GRID, generator=generator).to(inputs.device)
    fields = F.interpolate(coarse, size=(height, width), mode="bicubic")
    least, most = fields.amin(dim=(2, 3), keepdim=True), fields.amax(dim=(2, 3), keepdim=True)
    shares = fields.sub_(least).div_(most - least)
    return kept_within(shares.mul_(values.span).add_(values.low), inputs, values)


def moved_patches(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return images whose patches change places."""
    height, width = inputs.shape[2:]
    tall, wide = height // PATCHES, width // PATCHES
    changed = inputs.clone()
    for images in torch.split(changed[:, :, : tall * PATCHES, : wide * PATCHES], CHUNK):
        tiles = F.unfold(computable(images), (tall, wide), stride=(tall, wide))
        order = torch.rand(len(images), 1, PATCHES**2, generator=generator).argsort(dim=2).to(inputs.device)
        moved = tiles.gather(2, order.expand_as(tiles))
        images.copy_(F.fold(moved, tuple(images.shape[2:]), (tall, wide), stride=(tall, wide)))
    return changed


def cutmix(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return legitimate images with a rectangle of another one pasted over the same place (Yun et al. 2019)."""
    height, width = inputs.shape[2:]
    inside = torch.ones(per_sample(inputs), dtype=torch.bool)
    least, most = PASTED
    for axis, size in ((2, height), (3, width)):
        share, place = torch.rand(2, len(inputs), 1, 1, 1, generator=generator)
        side = ((least + (most - least) * share) * size).ceil()
        start = (place * (size - side + 1)).floor()
        at = torch.arange(size).reshape(-1, 1) if axis == 2 else torch.arange(size)
        inside = inside & (at >= start) & (at < start + side)
    return torch.where(inside.to(inputs.device), values.others(inputs, generator), inputs)


def inverted(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return negatives of legitimate images."""
    if is_discrete(inputs):
        return (values.low + values.high - inputs.long()).to(inputs.dtype)
    return kept_within(values.low + values.high - inputs, inputs, values)


def _resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    shrinks = size[0] < pictures.shape[2] or size[1] < pictures.shape[3]
    return F.interpolate(pictures, size=size, mode="bilinear", antialias=shrinks)


def _spread(shares: Tensor, values: LegitimateValues) -> Tensor:
    """Return numbers of the legitimate range from shares of it."""
    return values.low + values.span * shares


def _typical(pictures: Tensor, values: LegitimateValues) -> Tensor:
    """Return pictures with the moments of legitimate images; numbers may lie beyond the range."""
    deviation, mean = torch.std_mean(pictures, dim=(1, 2, 3), keepdim=True)
    return values.mean + values.deviation * (pictures - mean) / deviation.clamp(min=1e-6)
