"""Simulated thieves: how they hide strangers' queries, and what an answer that they steal costs them.

The figure to judge by is the price of a stolen answer in floors at the thief's best duty cycle, everything that he pays
for fillers included.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calpow.archiver.calibration.policy_fit.wealth import Bets, Codes, Wealth, multiples
from calpow.archiver.calibration.samples import Ints

Bools = NDArray[np.bool_]

# Honest fillers for each stolen answer.
FILLERS = (0, 4, 8, 14, 20, 30, 50, 80)
THIEVES = 3
QUERIES = 800
NEW_ACCOUNTS = 100
FIVE = 5


@dataclass(frozen=True)
class Figures:
    """Prices of a stolen answer, in floors.

    theft: at the best duty cycle. fillers: the honest answers for each stolen one in that cycle. five: on accounts that
    are given up after five queries.
    """

    theft: float
    fillers: int
    five: float


def thieves_codes(
    strangers: Mapping[str, Codes], honest: Codes, bets: Bets, rng: np.random.Generator
) -> dict[str, dict[str, Codes]]:
    """Return the streams of each attacker, `[users, queries, tests]`: by number of fillers, and of new accounts."""
    streams: dict[str, dict[str, Codes]] = {}
    for name, pool in strangers.items():
        streams[name] = {str(fillers): duty_cycle(pool, honest, fillers, THIEVES, QUERIES, rng) for fillers in FILLERS}
        streams[name]["five"] = pool[rng.integers(len(pool), size=(NEW_ACCOUNTS, FIVE))]
    return streams


def duty_cycle(
    strangers: Codes, fillers: Codes, ratio: int, users: int, queries: int, rng: np.random.Generator
) -> Codes:
    """Return streams of `ratio` fillers before each stranger, `[users, queries, tests]`."""
    places = duty_places(len(strangers), len(fillers), ratio, users, queries, rng)
    stream: Codes = np.concatenate([fillers, strangers])[places]
    return stream


def duty_places(strangers: int, fillers: int, ratio: int, users: int, queries: int, rng: np.random.Generator) -> Ints:
    """Return streams as positions, `[users, queries]`, in the fillers followed by the strangers."""
    places: Ints = rng.integers(fillers, size=(users, queries))
    thefts = is_theft(ratio, queries)
    places[:, thefts] = fillers + rng.integers(strangers, size=(users, int(thefts.sum())))
    return places


def is_theft(ratio: int, queries: int) -> Bools:
    """Return which queries of a duty cycle are strangers."""
    thefts: Bools = np.arange(queries) % (ratio + 1) == ratio
    return thefts


def figures(wealth: Mapping[str, Wealth], exponent: float, cap: float) -> Figures:
    """Return what the streams of one attacker cost, by the mean wealth of the tests in use."""
    best, fillers = np.inf, 0
    for ratio in FILLERS:
        prices = multiples(wealth[str(ratio)], exponent, cap)
        theft = float(prices.sum() / (len(prices) * is_theft(ratio, prices.shape[1]).sum()))
        if theft < best:
            best, fillers = theft, ratio
    return Figures(best, fillers, float(multiples(wealth["five"], exponent, cap).mean()))
