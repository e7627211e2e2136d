"""A mixture of Gaussians on the victim's inputs.

A density of columns that hold few values, as categories do, has no bound: components shrink on them and see little
else. Such columns are fitted with uniform noise between a value and the next: B. Uria, I. Murray and H. Larochelle,
"RNADE: the real-valued neural autoregressive density-estimator", 2013.
"""

import math
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from calpow.archiver.teachers.references.layers import MOST_AXES
from calpow.handler.leakage.references import Mixture

MOST_COMPONENTS = 20
# Samples for each axis and component, at least: a covariance of fewer fits its own samples alone.
SAMPLES_PER_AXIS = 5
# Added to the variances of a component, relative to the mean variance of the inputs on the axes. Less has a better
# likelihood on other samples, and takes the noise that honest users are allowed for odd.
REGULARISATION = 5e-4
ITERATIONS = 25
# Columns whose deviation is a smaller part of their mean are constant.
LEAST_DEVIATION = 1e-6
# More samples hardly change a mixture, and take longer.
MOST_SAMPLES = 10_000


def fit_mixture(inputs: Tensor, pool: int, *, is_image: bool, seed: int) -> Mixture:
    """Fit a mixture to inputs `[n, p]`, which were pooled over squares of side `pool` and flattened.

    The columns of a table are divided by their deviations, so that units do not matter, and fitted with noise; pixels
    share a unit.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(inputs), generator=generator)[:MOST_SAMPLES]
    numbers = inputs[chosen].double()
    if not is_image:
        numbers += _steps(numbers) * (torch.rand(numbers.shape, generator=generator, dtype=torch.float64) - 0.5)
    centre = numbers.mean(dim=0)
    residuals = numbers - centre
    scale = _scale(residuals, centre, is_image=is_image)
    directions = _principal_axes(residuals * scale)
    axes = scale[:, None] * directions
    values = (residuals @ axes).float().numpy()
    fitted = _fit(values, seed)
    whitening, means = fitted.precisions_cholesky_, fitted.means_
    log_determinants = np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(axis=1)
    constant = axes.shape[1] / 2 * math.log(2 * math.pi)
    # A component without samples has weight zero, whose logarithm no file may hold.
    log_weights = np.log(np.maximum(fitted.weights_, np.finfo(np.float64).tiny)) + log_determinants - constant
    return Mixture(
        pool=pool,
        centre=centre.float(),
        axes=axes.float().contiguous(),
        whitening=torch.from_numpy(whitening).float(),
        means=torch.from_numpy(np.einsum("kd,kde->ke", means, whitening)).float(),
        log_weights=torch.from_numpy(log_weights).float(),
    )


def _steps(numbers: Tensor) -> Tensor:
    """Return for each column of numbers `[n, p]` how far a value lies from the next one, in the median: `[p]`.

    It is next to nothing for measured quantities, 1 for columns of zeros and ones, and 0 for a constant.
    """
    return torch.stack([_step(column) for column in numbers.T])


def _step(column: Tensor) -> Tensor:
    values, counts = torch.unique_consecutive(column.sort().values, return_counts=True)
    if len(values) == 1:
        return torch.zeros_like(values[0])
    gaps = values.diff()
    nearest = torch.minimum(torch.cat([gaps[:1], gaps]), torch.cat([gaps, gaps[-1:]]))
    return nearest.repeat_interleave(counts).median()


def _scale(residuals: Tensor, centre: Tensor, *, is_image: bool) -> Tensor:
    """Return a factor for each column of residuals `[n, p]` around `centre` `[p]`."""
    variances = residuals.square().mean(dim=0)
    if is_image:
        variances = variances.mean().expand_as(variances)
    deviations = variances.sqrt()
    # The numbers of a constant column may differ by rounding; its own size is its unit then.
    least = LEAST_DEVIATION * centre.abs()
    size = torch.where(centre == 0, 1.0, centre.abs())
    return 1 / torch.where(deviations > least, deviations, size)


def _principal_axes(values: Tensor) -> Tensor:
    """Return the leading principal directions of centred values `[n, p]`: float64 `[p, d]`, MOST_AXES at most."""
    vectors: Tensor = torch.linalg.eigh(values.T @ values)[1]
    leading = vectors.flip(1)[:, :MOST_AXES]
    # The sign of a direction is arbitrary: the largest component of each is positive.
    return leading * leading.gather(0, leading.abs().argmax(dim=0, keepdim=True)).sign()


def _fit(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", seed: int) -> GaussianMixture:
    samples, width = values.shape
    components = max(1, min(MOST_COMPONENTS, samples // (SAMPLES_PER_AXIS * width)))
    variance = float(values.var(axis=0).mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # after ITERATIONS it is as good as needed
        mixture = GaussianMixture(
            components,
            reg_covar=REGULARISATION * variance if variance > 0 else 1.0,
            max_iter=ITERATIONS,
            random_state=seed,
        )
        return mixture.fit(values)
