"""Legitimate tensors of any form, and changes of them by attackers and tolerances."""

from collections.abc import Sequence

import torch
from torch import Tensor

from calpow.archiver.calibration.synthetic_inputs.legitimate_values import Change, LegitimateInputs, LegitimateValues
from calpow.handler.leakage.model_inputs import ModelInputs


def tensors_of(shape: tuple[int, ...], seed: int = 0, samples: int = 20, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return normal numbers, or integers from 3 to 89."""
    generator = torch.Generator().manual_seed(seed)
    if not dtype.is_floating_point:
        return torch.randint(3, 90, (samples, *shape), generator=generator).to(dtype)
    return (torch.randn(samples, *shape, generator=generator) * 3 + torch.randn(1, generator=generator)).to(dtype)


def scenes(channels: int, side: int, samples: int = 24) -> Tensor:
    """Return smooth pictures in 0 to 1 with a bright disc in each."""
    generator = torch.Generator().manual_seed(7)
    place = torch.arange(side) / side
    centre, tint = (
        torch.rand(2, samples, 1, 1, 1, generator=generator),
        torch.rand(samples, channels, 1, 1, generator=generator),
    )
    away = (place[:, None] - centre[0]).square() + (place - centre[1]).square()
    return (0.2 + 0.3 * place + 0.5 * tint * torch.exp(-away / 0.05)).clamp(0, 1)


def changed(change: Change, inputs: Tensor, seed: int = 0) -> Tensor:
    """Return inputs as an attacker or a tolerated change returns them, who knows no others."""
    return change(inputs, LegitimateValues.of([inputs]), torch.Generator().manual_seed(seed))


def changed_calls(change: Change, calls: Sequence[ModelInputs], seed: int = 0) -> list[ModelInputs]:
    """Return the arguments of calls as an attacker or a tolerated change returns them, who knows no others."""
    known, generator = LegitimateInputs.of(calls), torch.Generator().manual_seed(seed)
    return [known.changed(inputs, change, generator) for inputs in calls]


def correlations(left: Tensor, right: Tensor) -> Tensor:
    """Return the correlation of each sample of `left` with the one at the same place of `right`, `[n]`."""
    one, two = (tensor.double().flatten(1) for tensor in (left, right))
    one, two = one - one.mean(dim=1, keepdim=True), two - two.mean(dim=1, keepdim=True)
    lengths = one.square().sum(dim=1) * two.square().sum(dim=1)
    return (one * two).sum(dim=1) / lengths.sqrt().clamp(min=1e-9)
