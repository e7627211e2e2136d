"""The score by the distance to the nearest prototype of the training data."""

import numpy as np
import torch
from torch import Tensor

from calpow.handler.leakage.references import LAST
from calpow.handler.leakage.score import Array, SampleBatch, VictimOutput, array_of, required, row_lengths


class PrototypeDistance:
    """Cost of a query: the cosine distance of a layer's numbers from the nearest prototype, from 0 to 2.

    Prototypes are cluster centres of the training data, which stand for the points that Sun et al. ("Out-of-
    distribution detection with deep nearest neighbors", ICML 2022) search for neighbours. Numbers that are all zero
    have no direction, and cost the most.
    """

    highest = 2.0

    def __init__(self, layer: str, axes: Tensor, prototypes: Tensor) -> None:
        """`axes` are float32 `[f, d]`, `prototypes` float32 `[k, d]`, as References has them for the layer."""
        self.needs = VictimOutput.PROJECTION if layer == LAST else VictimOutput.DEPTHS
        self._layer = layer
        self._axes = axes
        self._directions = prototypes.T.contiguous()

    def costs(self, batch: SampleBatch) -> Array:
        """Return the samples' distances from their nearest prototypes."""
        if self._layer == LAST:
            return self._distances(required(batch.projected, "features"), required(batch.lengths, "features"))
        numbers = batch.depths[self._layer]
        lengths = row_lengths(array_of(numbers))
        # NaN where the numbers overflow; the meter looks at the last features itself.
        costs: Array = self._distances(torch.mm(numbers, self._axes), lengths) + (lengths - lengths)
        return costs

    def _distances(self, projected: Tensor, lengths: Array) -> Array:
        cosines = np.maximum.reduce(array_of(torch.mm(projected, self._directions)), axis=1) / lengths
        distances: Array = 1 - cosines
        return distances
