"""Kinds of simulated users: whose samples they send, and how often."""

import dataclasses

import numpy as np
import pytest

from calpow.archiver.calibration.policy_fit.user_profiles import (
    MIXTURE,
    RECORDED,
    UNIFORM,
    Profile,
    draw_samples,
    draw_users,
    profiles,
)
from calpow.archiver.calibration.samples import Samples
from tests.support.scored_samples import population

SAMPLES = population(0, 40)
OWNERS = SAMPLES.classes.numpy()


def by_name(samples: Samples, *tolerated: str) -> dict[str, Profile]:
    return {profile.name: profile for profile in profiles(samples, tolerated)}


def test_users_are_of_all_classes_of_mixtures_and_of_each_class() -> None:
    assert list(by_name(SAMPLES)) == [UNIFORM, MIXTURE, "class c0", "class c1", "class c2"]


def test_every_kind_sends_every_tolerated_change_too() -> None:
    kinds = by_name(SAMPLES, "noise", "flip")
    assert len(kinds) == 15
    assert {profile.kind for profile in kinds.values()} == {"", "noise", "flip"}
    assert kinds["class c1, flip"].of_class == 1
    assert kinds["class c1, flip"].strata == kinds["class c1"].strata


def test_a_class_without_samples_has_no_users() -> None:
    without = SAMPLES.take(np.flatnonzero(OWNERS != 1))
    assert list(by_name(without)) == [UNIFORM, MIXTURE, "class c0", "class c2"]
    rng = np.random.default_rng(0)
    drawn = draw_samples(by_name(without)[MIXTURE], 20, 50, rng)
    assert set(without.classes.numpy()[drawn].flat) == {0, 2}


def test_users_of_one_class_send_its_samples_alone() -> None:
    drawn = draw_samples(by_name(SAMPLES)["class c2"], 5, 200, np.random.default_rng(0))
    assert drawn.shape == (5, 200)
    assert set(OWNERS[drawn].flat) == {2}
    assert len(np.unique(drawn)) == 40


def test_users_of_mixtures_prefer_a_class_or_two_and_uniform_ones_none() -> None:
    rng = np.random.default_rng(0)
    shares = {}
    for name in (UNIFORM, MIXTURE):
        drawn = OWNERS[draw_samples(by_name(SAMPLES)[name], 200, 300, rng)]
        counts = np.stack([(drawn == index).mean(axis=1) for index in range(3)], axis=1)
        shares[name] = float(counts.max(axis=1).mean())
        assert counts.mean(axis=0).tolist() == pytest.approx([1 / 3] * 3, abs=0.08)
    assert shares[UNIFORM] < 0.4
    assert shares[MIXTURE] > 0.65


def test_accounts_as_they_were_recorded_send_their_own_samples() -> None:
    groups = SAMPLES.groups % 7
    recorded = dataclasses.replace(SAMPLES, groups=groups, by_account=True)
    assert RECORDED not in by_name(SAMPLES)
    drawn = draw_samples(by_name(recorded)[RECORDED], 30, 100, np.random.default_rng(0))
    senders = groups.numpy()[drawn]
    assert (senders == senders[:, :1]).all()
    assert len(np.unique(senders)) > 3


def test_codes_are_those_of_the_kind_of_samples() -> None:
    codes = {"": np.zeros((120, 2), np.uint8), "noise": np.ones((120, 2), np.uint8)}
    profile = by_name(SAMPLES, "noise")["uniform, noise"]
    drawn = draw_users(profile, codes, 4, 9, np.random.default_rng(0))
    assert drawn.shape == (4, 9, 2)
    assert (drawn == 1).all()


def test_the_same_seed_draws_the_same_users() -> None:
    one, other = (draw_samples(by_name(SAMPLES)[MIXTURE], 3, 50, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one, other)
