"""A line fitted to points by least squares."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FittedLine:
    """y = slope x + intercept."""

    slope: float
    intercept: float


def fit_line(x: Sequence[float], y: Sequence[float], weights: Sequence[float] | None = None) -> FittedLine:
    """Fit a line by weighted least squares of y on x."""
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    across = np.asarray(x, dtype=np.float64) - np.average(x, weights=w)
    slope = float((w * across * np.asarray(y)).sum() / (w * across**2).sum())
    return FittedLine(slope, float(np.average(y, weights=w) - slope * np.average(x, weights=w)))
