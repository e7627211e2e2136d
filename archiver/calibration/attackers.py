"""Reference attackers, who make their queries from the owner's legitimate inputs.

They work on the victim's input tensors, within the range of legitimate ones, so that they suit any handler and any kind
of input.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # the customary name

from calpow.archiver.teachers.trunks import is_image

# Of the range of legitimate values: the step of a Jacobian augmentation (Papernot et al. 2017, lambda = 0.1).
STEP = 0.1
# Blobs are noise of this many pixels a side, enlarged.
BLOB_GRID = 5
SCALE = 10.0
# Patches a side into which images are cut.
PATCHES = 4

Attack = Callable[[Tensor, torch.Generator], Tensor]


def noise(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return independent values, uniform in the range of legitimate ones in the same channel."""
    low, high = _range(inputs)
    return low + (high - low) * _uniform(inputs.shape, inputs, generator)


def blobs(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return smooth random fields over the whole range; for inputs that are not images, one random level a sample."""
    low, high = _range(inputs)
    if not is_image(tuple(inputs.shape[1:])):
        return low + (high - low) * _uniform((len(inputs), *[1] * (inputs.dim() - 1)), inputs, generator)
    coarse = _uniform((*inputs.shape[:2], BLOB_GRID, BLOB_GRID), inputs, generator)
    fields = F.interpolate(coarse, size=tuple(inputs.shape[2:]), mode="bicubic")
    least, most = fields.amin(dim=(2, 3), keepdim=True), fields.amax(dim=(2, 3), keepdim=True)
    return low + (high - low) * (fields - least) / (most - least)


def perturbed(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return legitimate inputs with a tenth of the range added to or subtracted from every value at random."""
    low, high = _range(inputs)
    signs = (_uniform(inputs.shape, inputs, generator) < 0.5).to(inputs.dtype) * 2 - 1
    return (inputs + STEP * (high - low) * signs).clamp(low, high)


def shuffled(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return images whose patches change places; for inputs that are not images, swap values between samples."""
    if not is_image(tuple(inputs.shape[1:])):
        order = _uniform(inputs.shape, inputs, generator).argsort(dim=0)
        return inputs.gather(0, order)
    n, _, height, width = inputs.shape
    tall, wide = height // PATCHES, width // PATCHES
    cut = inputs[:, :, : tall * PATCHES, : wide * PATCHES]
    tiles = F.unfold(cut, (tall, wide), stride=(tall, wide))
    order = _uniform((n, 1, tiles.shape[2]), inputs, generator).argsort(dim=2)
    moved = tiles.gather(2, order.expand_as(tiles))
    made = inputs.clone()
    made[:, :, : tall * PATCHES, : wide * PATCHES] = F.fold(
        moved, (tall * PATCHES, wide * PATCHES), (tall, wide), stride=(tall, wide)
    )
    return made


def scaled(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return noise ten times as large, of which networks are often certain."""
    return SCALE * noise(inputs, generator)


ATTACKS: Mapping[str, Attack] = {
    "noise": noise,
    "blobs": blobs,
    "perturbed": perturbed,
    "shuffled": shuffled,
    "scaled": scaled,
}


def _range(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the largest legitimate value, by channel of images, else by position; they broadcast."""
    over = (0, 2, 3) if is_image(tuple(inputs.shape[1:])) else 0
    return inputs.amin(dim=over, keepdim=True), inputs.amax(dim=over, keepdim=True)


def _uniform(shape: tuple[int, ...] | torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return uniform numbers, drawn on the CPU, so that a seed gives the same ones on every device."""
    return torch.rand(shape, generator=generator).to(like.device, like.dtype)
