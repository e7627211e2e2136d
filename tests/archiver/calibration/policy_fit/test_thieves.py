"""Simulated thieves: where their stolen answers are among the fillers, and what these cost."""

import numpy as np
import pytest

from calpow.archiver.calibration.policy_fit.thieves import (
    FILLERS,
    FIVE,
    NEW_ACCOUNTS,
    QUERIES,
    THIEVES,
    duty_cycle,
    duty_places,
    figures,
    is_theft,
    thieves_codes,
)
from calpow.archiver.calibration.policy_fit.wealth import Wealth, mean_wealth
from tests.support.scored_samples import BETS

HONEST, ODD = np.zeros((50, 2), np.uint8), np.full((20, 2), len(BETS.shares), np.uint8)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("ratio", [0, 1, 4, 19])
def test_a_stranger_comes_after_so_many_fillers(ratio: int) -> None:
    thefts = is_theft(ratio, 100)
    assert np.flatnonzero(thefts).tolist() == list(range(ratio, 100, ratio + 1))
    places = duty_places(len(ODD), len(HONEST), ratio, 3, 100, rng())
    assert ((places >= len(HONEST)) == thefts).all()
    assert places.max() < len(HONEST) + len(ODD)


def test_codes_are_the_fillers_and_the_strangers_own() -> None:
    stream = duty_cycle(ODD, HONEST, 4, 2, 50, rng())
    assert stream.shape == (2, 50, 2)
    assert ((stream[:, :, 0] > 0) == is_theft(4, 50)).all()


def test_each_attacker_tries_every_duty_cycle_and_new_accounts() -> None:
    streams = thieves_codes({"noise": ODD}, HONEST, BETS, rng())["noise"]
    assert list(streams) == [*map(str, FILLERS), "five"]
    assert {streams[str(fillers)].shape for fillers in FILLERS} == {(THIEVES, QUERIES, 2)}
    assert streams["five"].shape == (NEW_ACCOUNTS, FIVE, 2)


def constant(wealth: float) -> dict[str, Wealth]:
    """Return streams of thieves who hold this wealth all the time."""
    streams = {str(fillers): np.full((2, 100, 1), wealth, np.float32) for fillers in FILLERS}
    return streams | {"five": np.full((2, 5, 1), wealth, np.float32)}


def test_a_stolen_answer_costs_all_that_is_paid_for_its_fillers() -> None:
    assert figures(constant(1.0), 1.0, 1000.0).theft == pytest.approx(1.0)
    assert figures(constant(16.0), 0.5, 1000.0).five == pytest.approx(4.0)
    dear_when_pure = constant(1.0) | {"0": np.full((2, 100, 1), 512.0, np.float32)}
    best = figures(dear_when_pure, 1.0, 1000.0)
    assert best.theft == pytest.approx(5.0)
    assert best.fillers == 4


def test_strangers_that_are_odd_are_dear_alone_and_cheaper_among_fillers() -> None:
    streams = thieves_codes({"noise": ODD}, HONEST, BETS, rng())["noise"]
    wealth = {name: mean_wealth(codes, BETS) for name, codes in streams.items()}
    paid = figures(wealth, 1.0, 2948.0)
    pure = float(np.minimum(wealth["0"].mean(axis=2), 2948.0).mean())
    assert pure > 2_800
    assert 10 < paid.theft < pure / 10
    assert paid.fillers > 0
    assert paid.five > 100


def test_whoever_is_ordinary_pays_the_floor() -> None:
    streams = thieves_codes({"copies": HONEST}, HONEST, BETS, rng())["copies"]
    paid = figures({name: mean_wealth(codes, BETS) for name, codes in streams.items()}, 1.0, 2948.0)
    assert [paid.theft, paid.five] == pytest.approx([1.0, 1.0])
    assert paid.fillers == 0
