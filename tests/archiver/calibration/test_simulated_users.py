"""Simulated users: whole groups in resamples, and accounts that scatter as recorded ones do."""

from dataclasses import replace

import numpy as np
import pytest

from calpow.archiver.calibration.samples import Samples
from calpow.archiver.calibration.simulated_users import (
    RECORDED,
    StreamLengths,
    account_means,
    between_spread,
    resampled_pairs,
    simulate_accounts,
)
from tests.support.crowds import crowd, vet


def test_accounts_true_spread_is_told_from_chance() -> None:
    rng = np.random.default_rng(5)
    true = rng.normal(0, 0.3, 400)
    owners = np.repeat(np.arange(400), rng.integers(5, 100, 400))
    values = true[owners] + rng.normal(0, 1, len(owners))
    _, means, errors = account_means(values, owners)
    assert between_spread(means, errors) == pytest.approx(0.3, rel=0.15)
    _, means, errors = account_means(rng.normal(0, 1, len(owners)), owners)
    assert between_spread(means, errors) < 0.06


def test_users_as_recorded_scatter_as_accounts_do_and_not_as_short_ones_seem_to() -> None:
    rng = np.random.default_rng(6)
    samples = vet(crowd(rng, 80, 0, length=130)).samples
    values = rng.normal(0, 1, len(samples.labels)) + 0.2 * rng.normal(0, 1, 200)[samples.groups.numpy()]
    lengths = StreamLengths(10_000)
    rows = [simulate_accounts(values, samples, lengths, rng)[RECORDED][:, -1] / 10_000 for _ in range(300)]
    assert np.concatenate(rows).std() == pytest.approx(0.2, rel=0.5)
    assert simulate_accounts(values, replace(samples, by_account=False), lengths, rng) == {}


def test_a_resample_holds_whole_groups_and_as_many_of_each_class() -> None:
    classes = np.array([1, 0, 0, 1, 0, 1, 1])
    groups = np.array([7, 3, 3, 8, 4, 7, 9])
    samples = Samples.of_arrays(np.arange(7.0)[:, None], classes, classes, groups, ("a", "b"))
    whole = {3: {1, 2}, 4: {4}, 7: {0, 5}, 8: {3}, 9: {6}}
    seen = set()
    for one, other in resampled_pairs(samples, np.random.default_rng(0)):
        for resample in (one, other):
            drawn = 0
            for members in whole.values():
                counts = {int((resample.costs[:, 0] == member).sum()) for member in members}
                assert len(counts) == 1
                drawn += counts.pop()
            assert drawn == 5
            assert set(resample.groups[resample.classes == 0].tolist()) <= {3, 4}
            seen.add(tuple(sorted(resample.first_costs)))
    assert len(seen) > 20
