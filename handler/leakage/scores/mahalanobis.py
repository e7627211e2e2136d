"""The score by the Mahalanobis distance from the class that the victim answered with."""

import torch

from calpow.handler.leakage.references import LAST, Gaussians
from calpow.handler.leakage.score import ODDEST, Array, SampleBatch, VictimOutput, array_of, required, row_lengths


class MahalanobisDistance:
    """Cost of a query: the Mahalanobis distance of a layer's numbers from the mean of the class of the answer.

    Of the victim's last features, these are the numbers on the principal axes, which the prototypes and the teachers
    need as well.

    Lee et al. ("A simple unified framework for detecting out-of-distribution samples", NeurIPS 2018) take the nearest
    class instead; the class of the answer also shows a query that one layer takes for another class than the last.
    """

    highest = ODDEST

    def __init__(self, layer: str, gaussians: Gaussians) -> None:
        self.needs = VictimOutput.PROJECTION if layer == LAST else VictimOutput.DEPTHS
        self._layer = layer
        self._whitening = gaussians.whitening
        self._means = array_of(gaussians.means)

    def costs(self, batch: SampleBatch) -> Array:
        """Return the samples' distances from the classes of their answers."""
        numbers = required(batch.projected, "features") if self._layer == LAST else batch.depths[self._layer]
        whitened = array_of(torch.mm(numbers, self._whitening))
        return row_lengths(whitened - self._means[batch.answers])
