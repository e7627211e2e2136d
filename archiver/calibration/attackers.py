"""Reference attackers, who make their queries from the owner's legitimate inputs.

They work on the tensors that the victim's model takes, within the range of legitimate ones, so that they suit any
handler and any kind of input. Integers stay integers: the numbers of words, say.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # the customary name

from calpow.handler.leakage.meter import LARGEST_NUMBER
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.teachers.trunks import is_image

# Of the range of legitimate values: the step of a Jacobian augmentation (Papernot et al. 2017, lambda = 0.1).
STEP = 0.1
# Blobs are noise of this many pixels a side, enlarged.
BLOB_GRID = 5
SCALE = 10.0
# Patches a side into which images are cut.
PATCHES = 4


@dataclass(frozen=True)
class LegitimateValues:
    """The numbers that legitimate inputs have in one tensor of the model's arguments.

    `low` and `high` are the least and the largest, by channel of images, else by position where all inputs have one
    shape; they broadcast. `pool` holds the numbers in the frequency of their use: whole ones `[m]`, others `[m, f]` by
    their place on the last axis; it is empty where all samples are in one tensor, whose numbers can be swapped.
    """

    low: Tensor
    high: Tensor
    pool: Tensor

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> "LegitimateValues":
        """Return the values of tensors `[n, ...]`, one for each call of the model."""
        filled = [tensor for tensor in tensors if tensor.numel()] or [tensors[0].new_zeros(1)]
        if is_discrete(filled[0]):
            pool = torch.cat([tensor.flatten() for tensor in filled])
            numbers = pool.to(torch.int64)
            return cls(numbers.amin(), numbers.amax(), pool)
        if len({tensor.shape[1:] for tensor in tensors}) == 1 and tensors[0].dim() > 0:
            joined = torch.cat(list(tensors))
            over = (0, 2, 3) if is_image(tuple(joined.shape[1:])) else 0
            low, high = joined.amin(dim=over, keepdim=True), joined.amax(dim=over, keepdim=True)
        else:
            low = torch.stack([tensor.amin() for tensor in filled]).amin()
            high = torch.stack([tensor.amax() for tensor in filled]).amax()
        return cls(low, high, _pooled(filled))

    @property
    def is_constant(self) -> bool:
        """Whether the tensor says nothing about the sample: an offset, or a mask that hides nothing."""
        return bool((self.low == self.high).all())

    @property
    def is_mask(self) -> bool:
        """Whether the numbers may be a mask: only 0 and 1, or with minus infinity or the least number of their type."""
        if not bool(self.low.isfinite().all()) or bool((self.low < -LARGEST_NUMBER).any()):
            return True
        return len(self.pool) > 0 and bool(((self.pool == 0) | (self.pool == 1)).all())


Attack = Callable[[Tensor, LegitimateValues, torch.Generator], Tensor]


def noise(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return independent values, uniform in the range of legitimate ones in the same channel."""
    if is_discrete(inputs):
        return _whole(_uniform(inputs.shape, inputs, generator), inputs, values)
    return values.low + (values.high - values.low) * _uniform(inputs.shape, inputs, generator)


def blobs(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return smooth random fields over the whole range; for inputs that are not images, one random level a sample."""
    if not is_image(tuple(inputs.shape[1:])) or is_discrete(inputs):
        levels = _uniform((len(inputs), *[1] * (inputs.dim() - 1)), inputs, generator)
        if is_discrete(inputs):
            return _whole(levels.expand(inputs.shape), inputs, values)
        return (values.low + (values.high - values.low) * levels).expand(inputs.shape).clone()
    coarse = _uniform((*inputs.shape[:2], BLOB_GRID, BLOB_GRID), inputs, generator).float()
    fields = F.interpolate(coarse, size=tuple(inputs.shape[2:]), mode="bicubic")
    least, most = fields.amin(dim=(2, 3), keepdim=True), fields.amax(dim=(2, 3), keepdim=True)
    return values.low + (values.high - values.low) * ((fields - least) / (most - least)).to(inputs.dtype)


def perturbed(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return legitimate inputs with a tenth of the range added to or subtracted from every value at random.

    Of whole numbers, a tenth is replaced by random ones.
    """
    if is_discrete(inputs):
        chosen = _uniform(inputs.shape, inputs, generator) < STEP
        return torch.where(chosen, noise(inputs, values, generator), inputs)
    signs = (_uniform(inputs.shape, inputs, generator) < 0.5).to(inputs.dtype) * 2 - 1
    return (inputs + STEP * (values.high - values.low) * signs).clamp(values.low, values.high)


def shuffled(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return images whose patches change places; for inputs that are not images, swap values between samples.

    Whole numbers are drawn from those of all inputs, so that a text keeps the frequencies of its words; other numbers
    are drawn so where each call of the model has samples of its own.
    """
    if is_image(tuple(inputs.shape[1:])):
        return _moved_patches(inputs, generator)
    if not len(values.pool):
        order = _uniform(inputs.shape, inputs, generator).argsort(dim=0)
        return inputs.gather(0, order)
    shares = torch.rand(inputs.shape, generator=generator, dtype=torch.float64)
    drawn = (shares * len(values.pool)).long().clamp(max=len(values.pool) - 1).to(inputs.device)
    if values.pool.dim() == 1:
        return values.pool[drawn]
    return values.pool[drawn, torch.arange(inputs.shape[-1], device=inputs.device)]


def _moved_patches(inputs: Tensor, generator: torch.Generator) -> Tensor:
    n, _, height, width = inputs.shape
    tall, wide = height // PATCHES, width // PATCHES
    cut = inputs[:, :, : tall * PATCHES, : wide * PATCHES].float()
    tiles = F.unfold(cut, (tall, wide), stride=(tall, wide))
    order = _uniform((n, 1, tiles.shape[2]), cut, generator).argsort(dim=2)
    moved = tiles.gather(2, order.expand_as(tiles))
    made = inputs.clone()
    made[:, :, : tall * PATCHES, : wide * PATCHES] = F.fold(
        moved, (tall * PATCHES, wide * PATCHES), (tall, wide), stride=(tall, wide)
    ).to(inputs.dtype)
    return made


def scaled(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return noise ten times as large, of which networks are often certain; whole numbers stay as they are."""
    made = noise(inputs, values, generator)
    return made if is_discrete(inputs) else SCALE * made


ATTACKS: Mapping[str, Attack] = {
    "noise": noise,
    "blobs": blobs,
    "perturbed": perturbed,
    "shuffled": shuffled,
    "scaled": scaled,
}


def attack_queries(attack: Attack, legitimate: Sequence[ModelInputs], generator: torch.Generator) -> list[ModelInputs]:
    """Return the queries that an attacker makes of legitimate arguments of the model, call by call.

    Each tensor is changed by itself, but for constants, and for masks beside other tensors.
    """
    places = [LegitimateValues.of(tensors) for tensors in zip(*[inputs.tensors for inputs in legitimate], strict=True)]
    # Alone, zeros and ones are features and no mask.
    has_others = any(not place.is_constant and not place.is_mask for place in places)

    def change(inputs: ModelInputs) -> ModelInputs:
        pairs = zip(inputs.tensors, places, strict=True)
        return inputs.replaced(
            [
                tensor if place.is_constant or (place.is_mask and has_others) else attack(tensor, place, generator)
                for tensor, place in pairs
            ]
        )

    return [change(inputs) for inputs in legitimate]


def is_discrete(inputs: Tensor) -> bool:
    """Return whether the numbers are whole by their type: integers or bool."""
    return not inputs.is_floating_point() and not inputs.is_complex()


def _pooled(tensors: Sequence[Tensor]) -> Tensor:
    """Return all numbers of several calls by their place on the last axis, `[m, f]`, or `[m]` where it varies."""
    none = tensors[0].new_empty(0)
    if len(tensors) == 1 or any(tensor.dim() == 0 or is_image(tuple(tensor.shape[1:])) for tensor in tensors):
        return none
    widths = {tensor.shape[-1] for tensor in tensors}
    if len(widths) > 1:
        return torch.cat([tensor.flatten() for tensor in tensors])
    return torch.cat([tensor.reshape(-1, tensor.shape[-1]) for tensor in tensors])


def _whole(shares: Tensor, inputs: Tensor, values: LegitimateValues) -> Tensor:
    """Return whole numbers, from shares uniform in 0 to 1, in the range of legitimate ones."""
    low, high = values.low.double(), values.high.double()
    return torch.minimum((low + (high - low + 1) * shares).floor(), high).to(inputs.dtype)


def _uniform(shape: tuple[int, ...] | torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return uniform numbers, drawn on the CPU, so that a seed gives the same ones on every device."""
    dtype = torch.float64 if is_discrete(like) else like.dtype
    return torch.rand(shape, generator=generator).to(like.device, dtype)
