"""Reference attackers, who need no data but the owner's legitimate inputs, by the kind of tensor that they suit.

They work on the tensors that the victim's model takes, within the range of legitimate ones, so that they suit any
handler and any kind of input. Integers stay integers: the ids of words, say.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from calpow.archiver.calibration.synthetic_inputs import image_attackers, number_attackers
from calpow.archiver.calibration.synthetic_inputs.image_attackers import Procedural
from calpow.archiver.calibration.synthetic_inputs.legitimate_values import (
    Change,
    LegitimateValues,
    TensorKind,
    computable,
    is_discrete,
    kept_within,
    per_sample,
    signs,
    uniform,
)
from calpow.archiver.calibration.synthetic_inputs.procedural_images import (
    dead_leaves,
    fractals,
    gratings,
    spectra,
    strokes,
)

# Of the range of legitimate values: the step of a Jacobian augmentation (Papernot et al. 2017, lambda = 0.1).
STEP = 0.1
# Legitimate samples that a Jacobian augmentation begins with, and the directions that it adds one after another.
SEEDS = 50
DIRECTIONS = 5
SCALE = 10.0
# The least and the largest share of a sample in a mixture of two.
MIXED = (0.3, 0.7)


@dataclass(frozen=True)
class Attacker:
    """A reference attacker: a function that makes queries in the form of legitimate inputs, which it may use.

    own_data: the queries are not made of legitimate samples. kinds: the kinds of tensors that the attacker suits.
    """

    name: str
    make: Change
    own_data: bool
    kinds: frozenset[TensorKind]


def noise(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return independent values, uniform in the range of legitimate ones in the same channel."""
    shares = uniform(inputs.shape, inputs, generator)
    if not is_discrete(inputs):
        return shares.mul_(values.span).add_(values.low)
    low, high = values.low.to(shares.dtype), values.high.to(shares.dtype)
    return torch.minimum((low + (high - low + 1) * shares).floor(), high).to(inputs.dtype)


def blobs(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return smooth random fields over the whole range; for inputs that are not images, one random level a sample."""
    smooth = image_attackers.blobs if _kind(inputs) is TensorKind.images else number_attackers.levels
    return smooth(inputs, values, generator)


def perturbed(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return legitimate inputs with a tenth of the range added to or subtracted from every value at random.

    Of whole numbers that are not images, a tenth is replaced by random ones.
    """
    if _kind(inputs) is TensorKind.whole_numbers:
        chosen = uniform(inputs.shape, inputs, generator) < STEP
        return torch.where(chosen, noise(inputs, values, generator), inputs)
    steps = signs(inputs.shape, inputs, generator).to(computable(inputs).dtype)
    moved = steps.mul_(STEP * values.span).add_(inputs)
    return kept_within(moved, inputs, values)


def shuffled(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return images whose patches change places; for inputs that are not images, swap values between samples.

    Whole numbers are drawn from those of all inputs, so that a text keeps its length and the frequencies of its
    words; other numbers are drawn so where each call of the model has samples of its own.
    """
    if _kind(inputs) is TensorKind.images:
        return image_attackers.moved_patches(inputs, generator)
    if len(values.pool):
        return torch.where(values.is_padding(inputs), inputs, values.drawn(inputs.shape, generator))
    return inputs.gather(0, uniform(inputs.shape, inputs, generator).argsort(dim=0))


def scaled(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return noise ten times as large, of which networks are often certain; of integers, both ends of the range."""
    if not is_discrete(inputs):
        return SCALE * noise(inputs, values, generator)
    ends = uniform(inputs.shape, inputs, generator) < 0.5
    return torch.where(ends, values.low, values.high).to(inputs.dtype)


def mixup(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return mixtures of two legitimate inputs (Zhang et al. 2018)."""
    least, most = MIXED
    share = (least + (most - least) * torch.rand(per_sample(inputs), generator=generator)).to(inputs.device)
    own = computable(inputs)
    others = values.others(inputs, generator).to(own.dtype)
    return kept_within(torch.lerp(own, others, share.to(own.dtype)), inputs, values)


def jacobian(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return many copies of a few legitimate inputs, moved by steps along a few directions of random signs.

    A Jacobian augmentation (Papernot et al. 2017) doubles its samples in each round by a step along a substitute's
    gradient; without a substitute, the directions are random. Calls with samples of their own have directions of their
    own.
    """
    if len(values.calls) == 1:
        numbers = torch.arange(len(inputs))
        seeds = inputs[(numbers % min(SEEDS, max(1, len(inputs)))).to(inputs.device)]
        rounds = 1 + (numbers // SEEDS) % (2**DIRECTIONS - 1)
    else:
        seeds = values.others(inputs, generator, first=SEEDS)
        rounds = torch.randint(1, 2**DIRECTIONS, per_sample(inputs)[:1], generator=generator)
    moved = computable(seeds).clone()
    form = inputs.shape if inputs.dim() == 1 else (1, *inputs.shape[1:])
    for direction in range(DIRECTIONS):
        step = STEP * values.span * signs(form, inputs, generator)
        taken = (rounds >> direction & 1).reshape(per_sample(inputs)).to(inputs.device)
        moved += step * taken
    return kept_within(moved, inputs, values)


_ALL = frozenset(TensorKind)
_IMAGES = frozenset({TensorKind.images})
_QUANTITIES = frozenset({TensorKind.quantities})
_WHOLE_NUMBERS = frozenset({TensorKind.whole_numbers})

ATTACKS: Mapping[str, Attacker] = {
    attacker.name: attacker
    for attacker in (
        Attacker("noise", noise, True, _ALL),
        Attacker("blobs", blobs, True, _IMAGES | _QUANTITIES),
        Attacker("scaled", scaled, True, _IMAGES | _QUANTITIES),
        Attacker("perturbed", perturbed, False, _ALL),
        Attacker("shuffled", shuffled, False, _ALL),
        Attacker("dead leaves", Procedural(dead_leaves), True, _IMAGES),
        Attacker("1/f noise", Procedural(spectra), True, _IMAGES),
        Attacker("fractals", Procedural(fractals), True, _IMAGES),
        Attacker("strokes", Procedural(strokes), True, _IMAGES),
        Attacker("gratings", Procedural(gratings), True, _IMAGES),
        Attacker("cutmix", image_attackers.cutmix, False, _IMAGES),
        Attacker("inverted", image_attackers.inverted, False, _IMAGES),
        Attacker("mixup", mixup, False, _IMAGES | _QUANTITIES),
        Attacker("jacobian", jacobian, False, _IMAGES | _QUANTITIES),
        Attacker("gaussian", number_attackers.gaussian, False, _QUANTITIES),
        Attacker("one column", number_attackers.other_column, False, _QUANTITIES),
        Attacker("extremes", number_attackers.extremes, False, _QUANTITIES),
        Attacker("frequent", number_attackers.frequent, True, _WHOLE_NUMBERS),
        Attacker("repeated", number_attackers.repeated, True, _WHOLE_NUMBERS),
        Attacker("mixed", number_attackers.mixed, False, _WHOLE_NUMBERS),
    )
}


def attackers_for(kinds: Collection[TensorKind]) -> list[Attacker]:
    """Return the attackers that suit every one of these kinds of tensors."""
    return [attacker for attacker in ATTACKS.values() if attacker.kinds.issuperset(kinds)]


def _kind(inputs: Tensor) -> TensorKind:
    return TensorKind.of(inputs.shape[1:], inputs.dtype)
