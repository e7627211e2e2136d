"""Batches of samples that hold only what one score needs."""

import numpy as np
import torch
from torch import Tensor

from calpow.handler.leakage.score import Array, SampleBatch, Score


def batch_at(layer: str, numbers: Tensor, axes: Tensor | None = None, answers: Tensor | None = None) -> SampleBatch:
    """Return a batch whose last features, for the layer '', or whose inner layer shows these numbers `[n, f]`."""
    known = np.zeros(len(numbers), np.int64) if answers is None else answers.numpy()
    if layer:
        return SampleBatch(answers=known, depths={layer: numbers})
    return SampleBatch(
        answers=known,
        features=numbers,
        lengths=torch.linalg.vector_norm(numbers, dim=1).numpy(),
        projected=None if axes is None else numbers @ axes,
    )


def costs_of(score: Score, batch: SampleBatch) -> Array:
    """Return the costs of a batch as the meter asks for them, without warnings of numbers that overflow."""
    with np.errstate(all="ignore"):
        return score.costs(batch)
