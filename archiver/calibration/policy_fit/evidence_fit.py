"""Fit of the policy `evidence`: which scores are bet on, how large a score is odd, and how steeply prices grow.

Legitimate samples play two parts: the reference that a score is compared with, and the queries of simulated users. Each
score is given, by class of the answer, the least slack with which users of that class can afford it by itself; then the
scores are chosen one after another by what the reference attackers pay; then slacks are refined, and the exponent is
the largest with which users of every kind can afford all of them together. docs/policy.md has the reasons.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calpow.archiver.calibration.order import MOST_TESTS
from calpow.archiver.calibration.policy_fit.affordability import (
    EXPONENTS,
    QUERIES,
    USERS,
    Limits,
    largest_exponent,
    safe_slacks,
)
from calpow.archiver.calibration.policy_fit.cross_fitting import candidate_tables, cross_fit, slack_values
from calpow.archiver.calibration.policy_fit.evidence_data import EvidenceData
from calpow.archiver.calibration.policy_fit.fitted_evidence import Candidate, FittedEvidence, FittedTest
from calpow.archiver.calibration.policy_fit.refinement import refine_slacks
from calpow.archiver.calibration.policy_fit.score_choice import ScoreChoice, ThievesWealth, choose_scores
from calpow.archiver.calibration.policy_fit.thieves import thieves_codes
from calpow.archiver.calibration.policy_fit.user_profiles import draw_users, profiles
from calpow.archiver.calibration.policy_fit.wealth import (
    HIGHEST_CEILING,
    BettingScheme,
    Codes,
    betting_scheme,
    mean_wealth_by_entry,
)
from calpow.archiver.calibration.samples import Ints
from calpow.archiver.errors import FittingError
from calpow.archiver.progress import track
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.policy.joint_oddness import JOINT

# Log wealth of a new account's boldest bets.
ENTRIES = (0.0, 1.0, 2.0, 3.0, 4.0)
# Loss of the objective, a logarithm, at which a larger entry is still taken: who reads from the price of a new account
# what a query costs pays the entry for it.
WORTH_ENTRY = 0.3
# The ceiling of the log wealth, in multiples of that at which the price reaches its cap.
CEILING_ABOVE_CAP = 1.3


def fit_evidence(
    data: EvidenceData,
    candidates: Sequence[Candidate],
    joint: Sequence[int],
    limits: Limits,
    rng: np.random.Generator,
    *,
    every: bool = False,
) -> FittedEvidence:
    """Choose scores among the candidates, or take `every` one up to MOST_TESTS, and fit the policy.

    A score that is a candidate twice, from one side and from both, is taken once. The joint oddness of the scores at
    the positions `joint` is bet on first where there are enough samples, but not that of a single score, which would
    say nothing new. Raises FittingError for scores that are not finite, and where there is no attacker to choose by.
    """
    if not data.attacks:
        raise FittingError(
            "the model answers no reference attacker, and nothing can be chosen by what attackers pay: give queries of"
            " strangers with --attack"
        )
    for scored in (*data.kinds.values(), *data.attacks.values()):
        if not bool(scored.costs.isfinite().all()):
            raise FittingError("some samples have a score that is not finite: leave that score out")
    scheme = betting_scheme(data.samples_per_answer)
    if len(joint) < 2 or not scheme.joint:
        return _Fit(data, scheme, candidates, (), limits, rng).run(every=every)
    last = data.legitimate.costs.shape[1]
    candidates = [*candidates, Candidate(last, two_sided=False, place=JOINT)]
    return _Fit(data, scheme, candidates, tuple(joint), limits, rng).run(every=every)


@dataclass(frozen=True)
class _Steepness:
    """Growth of prices: the exponent of the mean wealth, and the log wealth of a new account's boldest bets."""

    exponent: float
    entry: float


class _Fit:
    def __init__(
        self,
        data: EvidenceData,
        scheme: BettingScheme,
        candidates: Sequence[Candidate],
        joint: tuple[int, ...],
        limits: Limits,
        rng: np.random.Generator,
    ) -> None:
        self._scales = data.scales(joint) if joint else None
        self._data = data if self._scales is None else data.extended(self._scales)
        self._candidates = tuple(candidates)
        self._limits = limits
        self._rng = rng
        self._profiles = profiles(data.legitimate, tuple(data.tolerated))
        self._chosen_by, self._judged_by = _halves(data.attacks, rng)
        self._scheme = scheme
        self._held_out = cross_fit(data, self._candidates, joint, self._scheme.bets, rng)

    def run(self, *, every: bool) -> FittedEvidence:
        rows = safe_slacks(self._held_out, self._profiles, self._limits, self._data.classes, self._rng)
        choices = [
            (self._choose(slacks, exponent, every=every), exponent, slacks)
            for slacks, exponent in track(list(zip(rows, EXPONENTS, strict=True)), "choosing scores", "exponent")
        ]
        choice, exponent, slacks = max(choices, key=lambda entry: entry[0].objective)
        return self._finish(choice.tests, slacks[list(choice.tests)], exponent)

    def _choose(self, slacks: Ints, exponent: float, *, every: bool) -> ScoreChoice:
        """Choose the tests; `slacks` `[candidates, classes]` are positions."""
        everything = range(len(self._candidates))
        strangers = self._attack_codes(self._chosen_by, everything, slacks)
        bets = self._scheme.bets
        streams = thieves_codes(strangers, self._held_out.mixed(everything, slacks)[""], bets, self._rng)
        thieves = ThievesWealth.of(streams, bets, self._data.own_data, self._limits.cap)
        most = MOST_TESTS if every else self._scheme.most_scores
        return choose_scores(thieves, self._candidates, exponent, most, every=every)

    def _attack_codes(self, parts: Mapping[str, Ints], tests: Sequence[int], slacks: Ints) -> dict[str, Codes]:
        """Return codes `[n, tests]` of parts of the attackers' queries."""
        chosen = [self._candidates[test] for test in tests]
        tables = [
            candidate_tables(self._data, candidate, row, self._scheme.bets)
            for candidate, row in zip(chosen, slacks, strict=True)
        ]
        return {
            name: np.stack(
                [
                    candidate.codes(self._data.attacks[name], table, index)
                    for candidate, table in zip(chosen, tables, strict=True)
                ],
                axis=1,
            )
            for name, index in parts.items()
        }

    def _finish(self, tests: tuple[int, ...], slacks: Ints, exponent: float) -> FittedEvidence:
        slacks = refine_slacks(self._held_out, self._profiles, self._limits, tests, slacks, exponent, self._rng)
        held_out = self._held_out.mixed(tests, slacks)
        steepness = self._steepness(held_out, self._attack_codes(self._chosen_by, tests, slacks), exponent)
        return FittedEvidence(
            tests=tuple(self._test(self._candidates[test], row) for test, row in zip(tests, slacks, strict=True)),
            scales=self._scales if any(self._candidates[test].place == JOINT for test in tests) else None,
            bets=self._scheme.bets,
            slacks=slack_values(slacks),
            exponent=steepness.exponent,
            ceiling=min(HIGHEST_CEILING, CEILING_ABOVE_CAP * math.log(self._limits.cap) / steepness.exponent),
            entry=steepness.entry,
            cap=self._limits.cap,
            held_out=held_out,
            attacks=self._attack_codes(self._judged_by, tests, slacks),
            judged=self._judged_by,
        )

    def _steepness(self, held_out: Mapping[str, Codes], strangers: Mapping[str, Codes], exponent: float) -> _Steepness:
        """Return the largest entry that makes thefts about as dear as any, and the exponent that users can afford."""
        bets = self._scheme.bets
        users = [
            (self._limits.fitted(profile), draw_users(profile, held_out, 2 * USERS, QUERIES, self._rng))
            for profile in self._profiles
        ]
        streams = thieves_codes(strangers, held_out[""], bets, self._rng)
        tests = range(held_out[""].shape[1])
        highest = [exponent] * len(ENTRIES)
        for budget, codes in track(users, "entry prices", "kind"):
            for place, means in enumerate(mean_wealth_by_entry(codes, bets, ENTRIES)):
                highest[place] = largest_exponent(means, budget, self._limits.cap, highest[place])
        options = []
        for entry, affordable in zip(ENTRIES, highest, strict=True):
            thieves = ThievesWealth.of(streams, bets, self._data.own_data, self._limits.cap, entry)
            options.append((thieves.objective(tests, affordable), affordable, entry))
        best = max(objective for objective, _, _ in options)
        entry, steepest = max(
            (entry, steepest) for objective, steepest, entry in options if objective >= best - WORTH_ENTRY
        )
        return _Steepness(steepest, entry)

    def _test(self, candidate: Candidate, slacks: Ints) -> FittedTest:
        high, *low = candidate_tables(self._data, candidate, slacks, self._scheme.bets)
        return FittedTest(candidate, high, low[0] if low else None)


def _halves(attacks: Mapping[str, ScoredSamples], rng: np.random.Generator) -> tuple[dict[str, Ints], dict[str, Ints]]:
    """Return the positions of each attacker's queries that scores are chosen by, and of those they are judged by."""
    first, second = {}, {}
    for name, scored in attacks.items():
        order = rng.permutation(len(scored.costs))
        half = max(1, len(order) // 2)
        first[name], second[name] = order[:half], order[half:] if len(order) > 1 else order
    return first, second
