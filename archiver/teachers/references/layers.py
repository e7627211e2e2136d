"""Statistics of the numbers that a layer shows: axes, prototypes and Gaussians."""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.covariance import ledoit_wolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from calpow.handler.leakage.references import Gaussians

# Axes onto which prototypes and teachers' heads project a layer's numbers.
MOST_AXES = 64
# Numbers from which the leading axes are found by a randomised method, which is many times as fast.
WIDE = 1024
# Axes whose singular value is a smaller share of the largest one hold rounding errors.
LEAST_SHARE = 1e-6
# Prototypes of all classes together; from 100 classes on, a class may have this many.
MOST_PROTOTYPES = 1000
MOST_OF_MANY_CLASSES = 10
# Samples of a class for each prototype, at least: a prototype of fewer is one person's data.
SAMPLES_PER_PROTOTYPE = 5
ITERATIONS = 30
# The least deviation within classes that a number is taken to have, relative to the median of all numbers.
LEAST_DEVIATION = 0.01
# Added to each variance, relative to their mean: numbers that depend on each other leave a finite precision.
RIDGE = 1e-6

_Array = NDArray[np.float64]


def fit_axes(values: Tensor) -> Tensor:
    """Return the leading right singular vectors of values `[n, f]`, MOST_AXES at most: float32 `[f, d]`.

    Directions in which the values hardly extend are left out; there is always one.
    """
    numbers = values.double().numpy()
    numbers = numbers / max(float(np.abs(numbers).max(initial=0.0)), np.finfo(np.float64).tiny)
    if min(numbers.shape) > WIDE:
        _, lengths, rows = randomized_svd(numbers, MOST_AXES, n_iter=4, random_state=0)
        vectors = rows.T
    else:
        lengths, vectors = _singular_vectors(numbers)
    count = max(1, int((lengths[:MOST_AXES] > LEAST_SHARE * lengths[0]).sum()))
    vectors = vectors[:, :count]
    # The sign of a singular vector is arbitrary: the largest component of each is positive.
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(count)])
    return torch.from_numpy(np.ascontiguousarray(vectors * signs)).float()


def _singular_vectors(numbers: _Array) -> tuple[_Array, _Array]:
    """Return singular values `[k]`, descending, and right singular vectors `[f, k]`, from the smaller Gram matrix."""
    is_tall = numbers.shape[0] >= numbers.shape[1]
    squares, vectors = np.linalg.eigh(numbers.T @ numbers if is_tall else numbers @ numbers.T)
    lengths = np.sqrt(np.clip(squares[::-1], 0.0, None))
    vectors = vectors[:, ::-1]
    if is_tall:
        return lengths, vectors
    right = numbers.T @ vectors
    return lengths, right / np.maximum(np.linalg.norm(right, axis=0), np.finfo(np.float64).tiny)


def fit_prototypes(values: Tensor, axes: Tensor, labels: Tensor, classes: int, seed: int) -> Tensor:
    """Return prototypes of all classes: float32 `[k, d]`, k-means centres of values `[n, f]` of length one on `axes`.

    Clusters are found on the axes; each centre is then scaled to length one before it is projected.
    """
    unit = torch.nn.functional.normalize(values.double(), dim=1)
    projected = (unit @ axes.double()).numpy()
    centres = []
    for label in range(classes):
        own = (labels == label).nonzero()[:, 0]
        if len(own):
            of_samples = torch.from_numpy(_clusters(projected[own.numpy()], _prototypes(len(own), classes), seed))
            members = torch.nn.functional.one_hot(of_samples).double()
            centres.append(torch.nn.functional.normalize(members.T @ unit[own], dim=1) @ axes.double())
    return torch.cat(centres).float()


def _prototypes(samples: int, classes: int) -> int:
    """Return the number of prototypes of a class with this many samples."""
    most = max(MOST_PROTOTYPES // classes, MOST_OF_MANY_CLASSES)
    return max(1, min(most, samples // SAMPLES_PER_PROTOTYPE))


def _clusters(values: _Array, count: int, seed: int) -> NDArray[np.int64]:
    """Return each row's cluster, numbered without gaps."""
    if count == 1:
        return np.zeros(len(values), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of samples that are equal: there are fewer clusters
        found = KMeans(count, n_init=1, max_iter=ITERATIONS, random_state=seed).fit_predict(values)
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def fit_gaussians(values: Tensor, labels: Tensor, classes: int) -> Gaussians:
    """Fit a mean to each class of values `[n, f]`, and to all one covariance within classes, by Ledoit and Wolf 2004.

    Each number is divided by its deviation within classes first, so that its unit does not matter. A class without
    samples has the mean of all.
    """
    numbers = values.double()
    means = class_means(numbers, labels, classes)
    residuals = numbers - means[labels]
    scale = 1 / _least_deviations(residuals)
    covariance = torch.from_numpy(ledoit_wolf((residuals * scale).numpy(), assume_centered=True)[0])
    whitening = scale[:, None] * _root_of_inverse(covariance)
    return Gaussians(whitening.float().contiguous(), (means @ whitening).float().contiguous())


def class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the mean of each class's values `[n, f]`: `[classes, f]`; that of all for a class without any."""
    members = torch.nn.functional.one_hot(labels, classes).to(values.dtype)
    counts = members.sum(dim=0)
    means = (members.T @ values) / counts.clamp(min=1)[:, None]
    return torch.where(counts[:, None] > 0, means, values.mean(dim=0))


def _least_deviations(residuals: Tensor) -> Tensor:
    """Return the deviation of each column of residuals `[n, f]` from zero, none of them far below the median one."""
    deviations = residuals.square().mean(dim=0).sqrt()
    positive = deviations[deviations > 0]
    usual = float(positive.median()) if len(positive) else 1.0
    return deviations.clamp(min=LEAST_DEVIATION * usual)


def _root_of_inverse(covariance: Tensor) -> Tensor:
    """Return the matrix W with W @ W.T the inverse of the covariance `[f, f]`, by Cholesky."""
    eye = torch.eye(len(covariance), dtype=covariance.dtype)
    variance = float(covariance.diagonal().mean())
    ridge = RIDGE * variance if variance > 0 else 1.0
    factor = torch.linalg.cholesky(covariance + ridge * eye)
    # The inverse of the lower factor of C, transposed, is the factor of the inverse of C.
    inverse: Tensor = torch.linalg.solve_triangular(factor, eye, upper=False)
    return inverse.T
