"""Batches of samples that hold only what one score needs."""

import torch
from torch import Tensor

from calpow.handler.leakage.score import SampleBatch


def batch_at(layer: str, numbers: Tensor, axes: Tensor | None = None, answers: Tensor | None = None) -> SampleBatch:
    """Return a batch whose last features, for the layer '', or whose inner layer shows these numbers `[n, f]`."""
    known = torch.zeros(len(numbers), dtype=torch.int64) if answers is None else answers
    if layer:
        return SampleBatch(answers=known, depths={layer: numbers})
    return SampleBatch(
        answers=known,
        features=numbers,
        lengths=torch.linalg.vector_norm(numbers, dim=1),
        projected=None if axes is None else numbers @ axes,
    )
