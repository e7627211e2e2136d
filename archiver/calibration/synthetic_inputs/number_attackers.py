"""Attackers that are for other tensors than images: tables and signals, and whole numbers such as the ids of words."""

import math

import torch
from torch import Tensor

from calpow.archiver.calibration.synthetic_inputs.legitimate_values import (
    LegitimateValues,
    kept_within,
    per_sample,
    uniform,
)

# Legitimate rows whose covariance Gaussian ones have, at most.
MOST_ROWS = 1000
# Share of the columns that are pushed to an extreme; one is in any case.
EXTREME_SHARE = 0.3
# Ids that a text of frequent ids has, at most.
MOST_FREQUENT = 100


def levels(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return one random level for each sample, in the range of each place."""
    shares = uniform(per_sample(inputs), inputs, generator)
    return (values.low + values.span * shares).expand(inputs.shape).clone()


def gaussian(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return rows of a normal distribution with the mean and the covariance of legitimate ones.

    Columns of whole numbers stay whole. Where calls differ, the rows are those of the last axis.
    """
    if not inputs.numel():
        return inputs.clone()
    if len(values.calls) == 1:
        rows = inputs.reshape(len(inputs), -1)
    else:
        rows = values.pool if values.pool.dim() == 2 else values.pool[:, None]
    rows = rows[torch.randperm(len(rows), generator=generator)[:MOST_ROWS].to(rows.device)].double()
    mean = rows.mean(dim=0)
    weights = torch.randn(inputs.numel() // rows.shape[1], len(rows), generator=generator, dtype=torch.float64)
    # Random sums of centred rows have their covariance, without a matrix of all pairs of columns.
    drawn = mean + weights.to(rows.device) @ (rows - mean) / math.sqrt(max(1, len(rows) - 1))
    numbers = drawn.reshape(inputs.shape)
    return kept_within(torch.where(values.is_whole, numbers.round(), numbers), inputs, values)


def other_column(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return legitimate samples with one column, of the last axis, from another sample."""
    return torch.where(_one_column(inputs, generator), values.others(inputs, generator), inputs)


def extremes(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return legitimate samples with some columns at the least or the largest number that they have."""
    chosen = _one_column(inputs, generator) | (uniform(inputs.shape, inputs, generator) < EXTREME_SHARE)
    ends = torch.where(uniform(inputs.shape, inputs, generator) < 0.5, values.low, values.high)
    return torch.where(chosen, ends, inputs)


def frequent(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return texts of the most frequent ids only, a tenth of all or MOST_FREQUENT, each as often as another."""
    ids, counts = torch.unique(values.pool.long(), return_counts=True)
    order = counts.argsort(descending=True)[: max(2, min(MOST_FREQUENT, len(ids) // 10))]
    picks = (uniform(inputs.shape, inputs, generator) * len(order)).long()
    return torch.where(values.is_padding(inputs), inputs, ids[order][picks].to(inputs.dtype))


def mixed(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return legitimate samples with half of their numbers, chosen at random, from the same places of another."""
    own = uniform(inputs.shape, inputs, generator) < 0.5
    return torch.where(own, inputs, values.others(inputs, generator))


def repeated(inputs: Tensor, values: LegitimateValues, generator: torch.Generator) -> Tensor:
    """Return samples that repeat one id, which is drawn in the frequency of its use."""
    ids = values.drawn(per_sample(inputs), generator).expand(inputs.shape)
    return torch.where(values.is_padding(inputs), inputs, ids)


def _one_column(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return a mask of one random place on the last axis for each sample."""
    width = inputs.shape[-1]
    picks = (torch.rand(per_sample(inputs), generator=generator) * width).long().clamp(max=max(0, width - 1))
    if inputs.dim() == 1:
        return (torch.arange(width) == picks).to(inputs.device)
    return (torch.arange(width) == picks).expand(inputs.shape).to(inputs.device)
