"""The work that solvers do is the work that was asked: its mean, its spread, and the steps in which it can be had."""

import itertools
import math
import secrets
import statistics

import pytest

from calpow.puzzle.algorithms import ALGORITHMS, ScryptCost
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.engines import Engine, engines_of
from calpow.puzzle.solving.miners import PlainMiner
from calpow.puzzle.solving.solver import mint, solve
from calpow.puzzle.stamp import Stamp

# The bounds, and so many puzzles of 16 stamps that they are kept by a solver that does what it should.
MEAN_WITHIN = 0.03
SPREAD, SPREAD_WITHIN = 0.25, 0.03
PUZZLES, COUNT, BITS = 2_000, 16, 4
CHANCE_OF_AN_ACCIDENT = 1e-6
# Luck does not depend on what a digest takes, and with the least of costs there is time for thousands of puzzles.
LIGHT = ScryptCost(n=2, r=1, p=1)
WAYS = [(algorithm, engine) for algorithm in ALGORITHMS for engine in engines_of(algorithm)]


def puzzle_of(algorithm: str, bits: int = BITS) -> Puzzle:
    cost = LIGHT if algorithm == "scrypt" else None
    return Puzzle(algorithm, secrets.token_hex(8), bits, COUNT, cost)


@pytest.mark.parametrize(("algorithm", "engine"), WAYS, ids=[f"{name}-{engine.name}" for name, engine in WAYS])
def test_the_measured_work_is_the_work_asked_with_a_spread_of_a_quarter(algorithm: str, engine: Engine) -> None:
    taken = [mint(puzzle_of(algorithm), engine, workers=1).digests for _ in range(PUZZLES)]
    mean = statistics.mean(taken)
    assert mean == pytest.approx(puzzle_of(algorithm).expected_hashes, rel=MEAN_WITHIN)
    assert statistics.stdev(taken) / mean == pytest.approx(SPREAD, abs=SPREAD_WITHIN)


def test_that_test_hardly_ever_fails_by_accident() -> None:
    """Digests for a stamp are geometric, p = 2^-bits: mean 1/p, variance (1 - p)/p^2; a puzzle's are a sum of 16.

    So the mean of all has a relative deviation of sqrt((1 - p)/(16 PUZZLES)). A sample of N with coefficient of
    variation c, skewness g and kurtosis k gives c with a deviation of c sqrt(((k - 1)/4 - g c + c^2)/N) (the delta
    method on the second moments); a sum of 16 has g = (2 - p)/sqrt(16 (1 - p)), k = 3 + (6 + p^2/(1 - p))/16. Both are
    sums over thousands, so normal.
    """
    p = 2.0**-BITS
    of_mean = math.sqrt((1 - p) / (COUNT * PUZZLES))
    c = math.sqrt((1 - p) / COUNT)
    g = (2 - p) / math.sqrt(COUNT * (1 - p))
    k = 3 + (6 + p**2 / (1 - p)) / COUNT
    of_spread = c * math.sqrt(((k - 1) / 4 - g * c + c**2) / PUZZLES)
    normal = statistics.NormalDist()
    chances = [
        2 * normal.cdf(-MEAN_WITHIN / of_mean),
        normal.cdf((SPREAD - SPREAD_WITHIN - c) / of_spread),
        normal.cdf((c - SPREAD - SPREAD_WITHIN) / of_spread),
    ]
    # Five ways at most: two hashes by two engines each, and scrypt.
    assert 5 * sum(chances) < CHANCE_OF_AN_ACCIDENT


def test_the_digests_that_are_told_are_those_that_were_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, take = [0], ScryptCost.digest

    def count(cost: ScryptCost, stamp: bytes) -> bytes:
        taken[0] += 1
        return take(cost, stamp)

    monkeypatch.setattr(ScryptCost, "digest", count)
    (engine,) = engines_of("scrypt")
    assert mint(puzzle_of("scrypt"), engine, workers=1).digests == taken[0] >= COUNT


@pytest.mark.parametrize("algorithm", ["hashcash-sha1", "hashcash-sha256"])
def test_the_plain_solver_counts_in_its_stamps(algorithm: str) -> None:
    (engine, *_) = engines_of(algorithm)
    assert engine.make(puzzle_of(algorithm), "260115120000").__class__ is PlainMiner
    minted = mint(puzzle_of(algorithm), engine, workers=1)
    # From 0, in hexadecimal.
    assert minted.digests == sum(int(Stamp.parse(stamp).counter, 16) + 1 for stamp in minted.stamps)


@pytest.mark.parametrize("name", PROFILES)
def test_work_can_be_had_in_steps_of_one_over_the_fewest_stamps(name: str) -> None:
    kind = PROFILES[name].kind
    least = 2 * kind.least_stamps
    sizes = sorted({kind.puzzle(work / 4, "size").expected_hashes for work in range(4 * least, 4 * 64 * least)})
    assert sizes[0] == least
    assert max(after / before - 1 for before, after in itertools.pairwise(sizes)) <= 1 / kind.least_stamps
    puzzles = [kind.puzzle(work, "size") for work in range(least, 64 * least)]
    assert all(kind.least_stamps <= puzzle.count <= kind.most_stamps for puzzle in puzzles)


def test_the_kinds_for_everyday_use_have_16_stamps_and_so_steps_of_a_sixteenth() -> None:
    assert {name for name, profile in PROFILES.items() if profile.kind.least_stamps < 16} == {"scrypt-hard"}


@pytest.mark.parametrize("name", PROFILES)
def test_a_profiles_least_puzzle_is_solved_and_accepted(name: str) -> None:
    puzzle = PROFILES[name].kind.puzzle(0.0, "5f0c")
    puzzle.verify(solve(puzzle))
