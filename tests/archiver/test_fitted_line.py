"""Lines fitted to points."""

import pytest

from calpow.archiver.fitted_line import fit_line


def test_a_line_is_fitted_by_weighted_least_squares() -> None:
    line = fit_line([1, 2, 3], [3, 5, 7])
    assert (line.slope, line.intercept) == pytest.approx((2, 1))
    outlier = fit_line([1, 2, 3, 4], [3, 5, 7, 100], [1, 1, 1, 0])
    assert (outlier.slope, outlier.intercept) == pytest.approx((2, 1))
