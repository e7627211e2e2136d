"""Thieves among recorded accounts are detected, and honest users are kept."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.crowds import crowd, dropped, vet


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.05, 0.2, 0.4]), odd=st.sampled_from([1.0, 0.5, 0.3]))
def test_thieves_are_found_up_to_two_in_five_accounts(seed: int, share: float, odd: float) -> None:
    thieves = round(60 * share)
    vetted = vet(crowd(np.random.default_rng(seed), 60 - thieves, thieves, odd))
    assert dropped(vetted, "t") == thieves
    assert dropped(vetted, "u") <= 2


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_where_nobody_steals_hardly_anybody_is_dropped(seed: int) -> None:
    assert len(vet(crowd(np.random.default_rng(seed), 60, 0)).dropped) <= 2
