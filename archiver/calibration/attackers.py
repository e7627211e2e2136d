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
# Images are cut into so many patches a side.
PATCHES = 4

Attack = Callable[[Tensor, torch.Generator], Tensor]


def noise(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Every value uniform in the range that legitimate ones have in its channel, independent of all others."""
    low, high = _range(inputs)
    return low + (high - low) * _uniform(inputs.shape, inputs, generator)


def blobs(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Smooth random fields over the whole range; for what is no image, one random level a sample."""
    low, high = _range(inputs)
    if not is_image(tuple(inputs.shape[1:])):
        return low + (high - low) * _uniform((len(inputs), *[1] * (inputs.dim() - 1)), inputs, generator)
    coarse = _uniform((*inputs.shape[:2], BLOB_GRID, BLOB_GRID), inputs, generator)
    fields = F.interpolate(coarse, size=tuple(inputs.shape[2:]), mode="bicubic")
    least, most = fields.amin(dim=(2, 3), keepdim=True), fields.amax(dim=(2, 3), keepdim=True)
    return low + (high - low) * (fields - least) / (most - least)


def perturbed(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Legitimate inputs with a tenth of the range added to or taken from every value at random."""
    low, high = _range(inputs)
    signs = (_uniform(inputs.shape, inputs, generator) < 0.5).to(inputs.dtype) * 2 - 1
    return (inputs + STEP * (high - low) * signs).clamp(low, high)


def shuffled(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Images cut into patches that are put back in another order; for others, values swapped between samples."""
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
    """Noise ten times as large: networks are sure of what they make of it."""
    return SCALE * noise(inputs, generator)


ATTACKS: Mapping[str, Attack] = {
    "noise": noise,
    "blobs": blobs,
    "perturbed": perturbed,
    "shuffled": shuffled,
    "scaled": scaled,
}


def _range(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest legitimate value by channel of an image, by place of anything else; to be broadcast."""
    over = (0, 2, 3) if is_image(tuple(inputs.shape[1:])) else 0
    return inputs.amin(dim=over, keepdim=True), inputs.amax(dim=over, keepdim=True)


def _uniform(shape: tuple[int, ...] | torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
    """Drawn on the CPU: the same for the same seed on every device."""
    return torch.rand(shape, generator=generator).to(like.device, like.dtype)
