"""The price that an account is quoted after a query, as an oracle of the query's evidence.

A thief sends a query to an account whose price he knows, pays what is asked before it is scored, and reads the price of
the next sample, in steps of a quarter of a bit. The answer is withheld where he does not pay the rest. He steals the
answers to the third of the queries that moved the price least, from another account.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from benchmarks.range.trials.policies import Document, FittedPolicy, Pool
from calpow.archiver.calibration.rehearsal import AccountState
from calpow.archiver.calibration.samples import Floats, Ints
from calpow.handler.policy.tariff import STEPS_PER_BIT

# Copies of a query in one request. They differ enough to be charged, and earn no credit.
COPIES = (1, 4, 16, 64)
# The price, in floors, at which an account is parked.
PARKED = 16.0
HONEST_BEFORE, ODD_BEFORE, TRIED = 300, 12, 8
THIRD = 1 / 3
# Readings whose correlation is this close to the best are as good: the cheapest of them is taken.
AS_GOOD = 0.1

# (strangers) -> floors a stolen answer at the best number of honest fillers
Cycle = Callable[[Pool], float]


@dataclass(frozen=True)
class _Account:
    """An account that reads: its state, and the price in floors that it is quoted before."""

    name: str
    state: AccountState | None
    price: float


def read_prices(
    policy: FittedPolicy, strangers: Pool, honest: Pool, cycle: Cycle, plain: float, rng: np.random.Generator
) -> Document:
    """Return what reading tells and yields for one kind of stranger whose thefts cost `plain` without it.

    correlation: of steps with the queries' evidence, by rank, in size. read: what the cheapest good reading costs.
    gain: the factor by which a theft becomes cheaper; readings included, and if they were free.
    """
    evidence = policy.oddness(strangers)
    readings = [
        (abs(_correlation(steps, evidence)), f"{account.name}, {copies}", steps, copies * account.price)
        for account in (_Account("new", None, policy.first_price), _parked(policy, strangers, honest, rng))
        for copies in COPIES
        for steps in [_steps(policy, strangers, account, copies)]
    ]
    found: Document = {f"correlation, {name}": correlation for correlation, name, _, _ in readings}
    most = max(correlation for correlation, *_ in readings)
    good = [reading for reading in readings if reading[0] >= most - AS_GOOD]
    correlation, name, steps, cost = min(good, key=lambda reading: reading[3])
    order = np.argsort(steps + 1e-6 * rng.random(len(steps)))
    chosen = cycle(strangers.take(order[: round(THIRD * len(order))]))
    return found | {
        "correlation": correlation,
        "read by": name,
        "read": cost,
        "gain": plain / (chosen + cost / THIRD),
        "gain, free": plain / chosen,
    }


def _steps(policy: FittedPolicy, strangers: Pool, account: _Account, copies: int) -> Ints:
    """Return by how many steps the quoted price moves for each stranger, [n]."""
    index = np.repeat(np.arange(len(strangers))[:, None], copies, axis=1)
    uncredited = np.zeros(index.shape, bool)
    uncredited[:, 1:] = True
    start = account.state
    prices = policy.price(strangers, index, uncredited=uncredited, start=start).prices[:, -1]
    return _step(prices) - _step(np.array([account.price]))


def _step(prices: Floats) -> Ints:
    return np.ceil(STEPS_PER_BIT * np.log2(prices) - 1e-9).astype(np.int64)


def _correlation(steps: Ints, evidence: Floats) -> float:
    if steps.min() == steps.max() or evidence.min() == evidence.max():
        return 0.0
    return float(spearmanr(steps, evidence).statistic)


def _parked(policy: FittedPolicy, strangers: Pool, honest: Pool, rng: np.random.Generator) -> _Account:
    """Return an account that has been made about as dear as PARKED, by strangers after honest queries."""
    pool = strangers.joined(honest)
    best: _Account | None = None
    for odd in range(1, ODD_BEFORE + 1):
        past = len(strangers) + rng.integers(len(honest), size=(TRIED, HONEST_BEFORE))
        index = np.concatenate([past, rng.integers(len(strangers), size=(TRIED, odd))], axis=1)
        priced = policy.price(pool, index)
        for user, price in enumerate(priced.prices[:, -1].tolist()):
            if best is None or abs(math.log(price / PARKED)) < abs(math.log(best.price / PARKED)):
                best = _Account("parked", priced.end[user : user + 1], price)
    assert best is not None
    return best
