"""The score by the density of the training data at an input."""

import torch
from torch.nn import functional as F  # noqa: N812  # the customary name

from calpow.handler.leakage.references import Mixture
from calpow.handler.leakage.score import ODDEST, Array, SampleBatch, VictimOutput, array_of, required


class InputDensity:
    """Cost of a query: minus the log density of a mixture of Gaussians at the input, of any sign."""

    needs = VictimOutput.INPUTS
    highest = ODDEST

    def __init__(self, mixture: Mixture) -> None:
        self._pool = mixture.pool
        self._centre = mixture.centre
        self._axes = mixture.axes
        # The components side by side, so that one product whitens for all of them: `[d, k * d]`.
        self._whitening = mixture.whitening.permute(1, 0, 2).flatten(1).contiguous()
        self._means = mixture.means.reshape(1, -1)
        self._components = tuple(mixture.means.shape)
        self._log_weights = mixture.log_weights

    def costs(self, batch: SampleBatch) -> Array:
        """Return minus the log densities at the inputs."""
        inputs = required(batch.inputs, "inputs of one shape").float()
        pooled = F.avg_pool2d(inputs, self._pool) if self._pool > 1 else inputs
        projected = (pooled.flatten(1) - self._centre) @ self._axes
        whitened = torch.addmm(self._means, projected, self._whitening, beta=-1)
        by_component = whitened.view(len(inputs), *self._components)
        squares = torch.linalg.vector_norm(by_component, dim=2).square_()
        return array_of(torch.sub(self._log_weights, squares, alpha=0.5).logsumexp(dim=1).neg_())
