"""The fitting of References to observations of the training data."""

from threadpoolctl import threadpool_limits
from torch import Tensor

from calpow.archiver.progress import progress
from calpow.archiver.teachers.references.layers import fit_axes, fit_gaussians, fit_prototypes
from calpow.archiver.teachers.references.mixture import fit_mixture
from calpow.archiver.teachers.references.observations import Observations
from calpow.handler.leakage.references import LAST, Gaussians, Mixture, References

# A layer with fewer samples than this is left out.
FEWEST = 2


def fit_references(observed: Observations, classes: int, seed: int) -> References | None:
    """Fit all references that the observations allow; None where there are none.

    Samples that are not finite in a layer, or in the inputs, are left out there.
    """
    # Many small steps: on a busy machine, threads that wait for each other take many times as long.
    with threadpool_limits(1):
        return _fit_references(observed, classes, seed)


def _fit_references(observed: Observations, classes: int, seed: int) -> References | None:
    axes, prototypes, gaussians = dict[str, Tensor](), dict[str, Tensor](), dict[str, Gaussians]()
    with progress("references", "part", len(observed.layers) + 1) as advance:
        for name, values in observed.layers.items():
            whole = values.isfinite().all(dim=1)
            numbers, labels = values[whole], observed.labels[whole]
            if len(numbers) >= FEWEST and values.shape[1]:
                axes[name] = fit_axes(numbers)
                prototypes[name] = fit_prototypes(numbers, axes[name], labels, classes, seed)
                gaussed = numbers.double() @ axes[name].double() if name == LAST else numbers
                gaussians[name] = fit_gaussians(gaussed, labels, classes)
            advance(1)
        mixture = _mixture(observed, seed)
        advance(1)
    costs = None if observed.token_counts is None else token_costs(observed.token_counts)
    if not axes and mixture is None and costs is None:
        return None
    layers = tuple(name for name in axes if name != LAST)
    return References(layers, axes, prototypes, gaussians, mixture, costs)


def _mixture(observed: Observations, seed: int) -> Mixture | None:
    if observed.inputs is None:
        return None
    inputs = observed.inputs[observed.inputs.isfinite().all(dim=1)]
    if len(inputs) < FEWEST:
        return None
    return fit_mixture(inputs, observed.pool, is_image=observed.is_image, seed=seed)


def token_costs(counts: Tensor) -> Tensor:
    """Return minus the logarithm of the frequency of each whole number: counts int64 `[v]` -> float32 `[v]`.

    One is added to each count (Laplace), so that a number without occurrences has a finite cost.
    """
    numbers = counts.double() + 1
    return -(numbers / numbers.sum()).log().float()
