"""Thieves among recorded accounts are detected, and honest users are kept."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.crowds import crowd, dropped, vet

# Crowds are random, so these are fixed: of 1,200 crowds one lost three users, two lost two, and all
# together lost 0.1 % of their users.
SEEDS = range(8)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("odd", [1.0, 0.5, 0.3])
def test_thieves_are_found_up_to_two_in_five_accounts(share: float, odd: float) -> None:
    thieves = round(60 * share)
    vetted = [vet(crowd(np.random.default_rng(seed), 60 - thieves, thieves, odd)) for seed in SEEDS]
    assert [dropped(crowd_vetted, "t") for crowd_vetted in vetted] == [thieves] * len(SEEDS)
    lost = [dropped(crowd_vetted, "u") for crowd_vetted in vetted]
    assert max(lost) <= 2
    assert sum(lost) <= 0.01 * len(SEEDS) * (60 - thieves)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_where_nobody_steals_hardly_anybody_is_dropped(seed: int) -> None:
    assert len(vet(crowd(np.random.default_rng(seed), 60, 0)).dropped) <= 2
