"""Whether samples tell enough about legitimate use to fit a policy to them."""

from collections.abc import Sequence

import numpy as np

from calpow.archiver.calibration.samples import Samples
from calpow.archiver.errors import FittingError

FEWEST_PER_CLASS = 10
# Scores that differ by this share of their size only differ by rounding.
ROUNDING = 1e-6


def check_enough(counts: Sequence[int], class_names: Sequence[str]) -> int:
    """Return the smallest of the classes' numbers of independent samples. Raises FittingError when it is too small."""
    fewest = min(counts)
    if fewest < FEWEST_PER_CLASS:
        name = class_names[counts.index(fewest)]
        raise FittingError(
            f"class {name} has {fewest} independent samples to calibrate with: give at least {FEWEST_PER_CLASS}"
        )
    return fewest


def constant_scores(samples: Samples, labels: Sequence[str]) -> dict[str, float]:
    """Return the scores that are the same for every sample, by label, with that number.

    They tell nobody apart: the teachers never agree, say, so that every sample costs the most there is. Raises
    FittingError for a score that is not finite.
    """
    costs = samples.costs.numpy()
    for label, finite in zip(labels, np.isfinite(costs).all(axis=0).tolist(), strict=True):
        if not finite:
            raise FittingError(f"score {label} is not finite for some legitimate samples: leave it out")
    low, high = costs.min(axis=0), costs.max(axis=0)
    alike = high - low <= ROUNDING * np.abs(high)
    return {label: value for label, value, same in zip(labels, high.tolist(), alike.tolist(), strict=True) if same}


def check_varying(constant: dict[str, float], labels: Sequence[str]) -> None:
    """Raise FittingError for the first score of `labels` that is `constant`, by label."""
    for label in labels:
        if label in constant:
            raise FittingError(
                f"score {label} is {constant[label]:.6g} for every legitimate sample, and tells nobody apart: choose"
                " others with --scores, or train other teachers"
            )
