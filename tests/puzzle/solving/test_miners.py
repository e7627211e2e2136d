"""Miners do the expected work of a puzzle: its mean, its spread, and its count."""

import hashlib
import math
import secrets
import statistics

import pytest

from calpow.puzzle.algorithms import ALGORITHMS, ScryptCost
from calpow.puzzle.puzzle import MAX_RESOURCE_LENGTH, Puzzle
from calpow.puzzle.solving.engines import MEMORY_HARD, PYTHON, Engine, engines_for
from calpow.puzzle.solving.miners import PlainMiner
from calpow.puzzle.solving.solver import run_solver
from calpow.puzzle.stamp import MAX_STAMP_LENGTH, Stamp
from tests.support.solving import RESOURCE

# Bounds, and a number of puzzles of 16 stamps with which a right solver keeps them.
MEAN_WITHIN = 0.03
SPREAD, SPREAD_WITHIN = 0.25, 0.03
PUZZLES, COUNT, BITS = 2_000, 16, 4
FALSE_ALARM_PROBABILITY = 1e-6
WAYS = [(algorithm, engine) for algorithm in ALGORITHMS for engine in engines_for(algorithm)]


def puzzle_of(algorithm: str, bits: int = BITS) -> Puzzle:
    cost = ScryptCost(n=2, r=1, p=1) if algorithm == "scrypt" else None
    return Puzzle(algorithm, secrets.token_hex(8), bits, COUNT, cost)


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "engine"), WAYS, ids=[f"{name}-{engine.name}" for name, engine in WAYS])
def test_the_measured_work_is_the_expected_work_with_a_spread_of_a_quarter(
    algorithm: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which stamps are found does not depend on the digest: a light one leaves time for thousands of puzzles.
    monkeypatch.setattr(ScryptCost, "digest", lambda cost, stamp: hashlib.sha256(stamp).digest())
    digests = [run_solver(puzzle_of(algorithm), engine, workers=1).digests for _ in range(PUZZLES)]
    mean = statistics.mean(digests)
    assert mean == pytest.approx(puzzle_of(algorithm).expected_hashes, rel=MEAN_WITHIN)
    assert statistics.stdev(digests) / mean == pytest.approx(SPREAD, abs=SPREAD_WITHIN)


def test_that_test_hardly_ever_fails_by_chance() -> None:
    """The digests for a stamp are geometric, p = 2^-bits: mean 1/p, variance (1 - p)/p^2; a puzzle is a sum of 16.

    So the mean of all puzzles has a relative deviation of sqrt((1 - p)/(16 PUZZLES)). A sample of N with coefficient of
    variation c, skewness g and kurtosis k gives c with a deviation of c sqrt(((k - 1)/4 - g c + c^2)/N) (the delta
    method on the second moments); a sum of 16 has g = (2 - p)/sqrt(16 (1 - p)), k = 3 + (6 + p^2/(1 - p))/16. Both are
    sums over thousands, so normal.
    """
    p = 2.0**-BITS
    mean_deviation = math.sqrt((1 - p) / (COUNT * PUZZLES))
    c = math.sqrt((1 - p) / COUNT)
    g = (2 - p) / math.sqrt(COUNT * (1 - p))
    k = 3 + (6 + p**2 / (1 - p)) / COUNT
    spread_deviation = c * math.sqrt(((k - 1) / 4 - g * c + c**2) / PUZZLES)
    normal = statistics.NormalDist()
    probabilities = [
        2 * normal.cdf(-MEAN_WITHIN / mean_deviation),
        normal.cdf((SPREAD - SPREAD_WITHIN - c) / spread_deviation),
        normal.cdf((c - SPREAD - SPREAD_WITHIN) / spread_deviation),
    ]
    # Five ways at most: two hashes by two engines each, and scrypt.
    assert 5 * sum(probabilities) < FALSE_ALARM_PROBABILITY


def test_all_digests_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, digest = [0], ScryptCost.digest

    def count(cost: ScryptCost, stamp: bytes) -> bytes:
        taken[0] += 1
        return digest(cost, stamp)

    monkeypatch.setattr(ScryptCost, "digest", count)
    assert run_solver(puzzle_of("scrypt"), MEMORY_HARD, workers=1).digests == taken[0] >= COUNT


@pytest.mark.parametrize("algorithm", ["hashcash-sha1", "hashcash-sha256"])
def test_the_plain_miner_counts_in_its_stamps(algorithm: str) -> None:
    (engine, *_) = engines_for(algorithm)
    assert engine.create_miner(puzzle_of(algorithm), "260115120000").__class__ is PlainMiner
    run = run_solver(puzzle_of(algorithm), engine, workers=1)
    # From 0, in hexadecimal.
    assert run.digests == sum(int(Stamp.parse(stamp).counter, 16) + 1 for stamp in run.stamps)


@pytest.mark.parametrize("resource", ["a", "5f0c0123456789ab", RESOURCE, "x" * MAX_RESOURCE_LENGTH])
def test_every_counter_costs_one_block_of_the_hash(resource: str) -> None:
    puzzle = Puzzle("hashcash-sha1", resource, bits=2, count=12)
    for text in run_solver(puzzle, PYTHON).stamps:
        assert (len(text) - len(Stamp.parse(text).counter)) % 64 == 0
        assert len(text) <= MAX_STAMP_LENGTH
