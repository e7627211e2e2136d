"""The score of Generalized ODIN (Hsu et al., CVPR 2020), for a victim that is not retrained.

The paper's B.6 uses it. Hsu et al. train the victim with its logits split into h(x) / g(x), and score by the largest
h(x), in their best variant the cosine between the representation and the weights of each class.

Two things are left out: g(x), which exists only in a network trained with it, and training on h/g, to which the method
owes part of its strength; here h is computed from a victim trained as usual. Where the victim has no last linear layer
that can be hooked, the features are its output and the axes stand for the weights of the classes: the cosine then says
how much of the output is in one class alone. Hsu et al. also move the input up the gradient of its score before
scoring it: `Perturbation`, for eager victims only, which takes two more forward passes and a backward one.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from calpow.handler.leakage.score import Array, SampleBatch, VictimOutput, array_of, required
from calpow.handler.leakage.taps.features import FeatureTap

# The magnitudes Hsu et al. search, for inputs of standard deviation near one.
MAGNITUDES = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)


class Odin:
    """Cost of a query: 1 - the largest cosine of its features with a class, from 0 to 2.

    Features that are NaN or zero cost the most.
    """

    highest = 2.0

    def __init__(self, weight: Tensor | None, perturb: Callable[[Tensor], Tensor] | None = None) -> None:
        """`weight` is FeatureTap.weight, `[classes, f]` or None; `perturb`, if any, a Perturbation."""
        self._directions = None if weight is None else _directions(weight)
        self._perturb = perturb
        # A perturbation computes the features that it needs from the inputs.
        self.needs = VictimOutput.INPUTS if perturb else VictimOutput.FEATURES

    def costs(self, batch: SampleBatch) -> Array:
        """Return the samples' costs."""
        if self._perturb is None:
            features = required(batch.features, "features")
        else:
            features = self._perturb(required(batch.inputs, "inputs of one shape"))
        with torch.inference_mode():
            return array_of((1 - class_cosines(features.detach(), self._directions).amax(dim=1)).clamp(0.0, 2.0))


class Perturbation:
    """Moves inputs by `magnitude` up the sign of the gradient of their score, and takes the features there."""

    def __init__(self, model: Callable[[Tensor], Tensor], tap: FeatureTap, magnitude: float) -> None:
        """`model` is the victim's eager module, differentiable, in evaluation mode; `tap` is on it."""
        self._model = model
        self._tap = tap
        self._magnitude = magnitude
        self._directions = None if tap.weight is None else _directions(tap.weight)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the features float32 `[n, f]` of the moved inputs `[n, ...]`, in any gradient mode of the caller."""
        # Tensors created in inference mode cannot take part in gradients, but copies created outside it can.
        with torch.inference_mode(False), torch.enable_grad():
            start = inputs.detach().clone().requires_grad_()
            score = class_cosines(self._features(start), self._directions).amax(dim=1).sum()
            (slope,) = torch.autograd.grad(score, start)
        with torch.no_grad():
            return self._features(start.detach() + self._magnitude * slope.sign())

    def score(self, inputs: Tensor) -> float:
        """Return the summed score of the moved inputs."""
        return float(class_cosines(self(inputs), self._directions).amax(dim=1).sum())

    def _features(self, inputs: Tensor) -> Tensor:
        return self._tap(lambda: self._model(inputs))[1]


def choose_magnitude(model: Callable[[Tensor], Tensor], tap: FeatureTap, batches: Sequence[Tensor]) -> float:
    """Return the one of MAGNITUDES with the largest summed score on legitimate inputs; no odd ones are needed."""

    def summed_score(magnitude: float) -> float:
        perturbation = Perturbation(model, tap, magnitude)
        return sum(perturbation.score(batch) for batch in batches)

    return max(MAGNITUDES, key=summed_score)


def class_cosines(features: Tensor, directions: Tensor | None) -> Tensor:
    """Return the cosine of each of features `[n, f]` with each class, float64 `[n, classes]`; -1 where it is undefined.

    `directions` float64 `[classes, f]`, of length 1; None for the axes.
    """
    units = torch.nn.functional.normalize(features.double(), dim=1)
    cosines = units if directions is None else units @ directions.to(units.device).T
    useless = (features.isfinite().all(dim=1) & features.any(dim=1)).logical_not().unsqueeze(1)
    return cosines.masked_fill(useless, -1.0)


def _directions(weight: Tensor) -> Tensor:
    # Tensors created in inference mode cannot take part in gradients.
    with torch.inference_mode(False):
        return torch.nn.functional.normalize(weight.detach().to(torch.float64, copy=True), dim=1)
