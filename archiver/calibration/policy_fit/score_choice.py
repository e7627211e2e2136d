"""Choice of the scores that are bet on, one after another, by what reference attackers pay."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calpow.archiver.calibration.policy_fit.fitted_evidence import Candidate
from calpow.archiver.calibration.policy_fit.thieves import figures
from calpow.archiver.calibration.policy_fit.wealth import Bets, Codes, Wealth, mean_wealth
from calpow.handler.leakage.specs import ScoreName, ScoreSpec
from calpow.handler.policy.joint_oddness import JOINT

# Scores that may be odd where they are small, too.
TWO_SIDED = frozenset(
    {
        ScoreName.energy,
        ScoreName.entropy,
        ScoreName.norm,
        ScoreName.prototypes,
        ScoreName.mahalanobis,
        ScoreName.density,
        ScoreName.tokens,
    }
)
# Weight of the cheapest attacker with data of his own; the rest is that of the mean over all attackers.
WORST_WEIGHT = 0.7
# Weight of new accounts against that of a theft at the best duty cycle.
NEW_WEIGHT = 0.5
# Loss of the objective, a logarithm, at which one more score is still taken.
WORTH_DIVERSITY = 0.3


def candidate_tests(specs: Sequence[ScoreSpec], labels: Sequence[str] = ()) -> list[Candidate]:
    """Return the tests of the scores that labels name, or of all: from one side, and from both where both are odd."""
    named = {label.partition("@")[0] for label in labels}
    return [
        Candidate(position, two_sided, spec.place)
        for position, spec in enumerate(specs)
        if not named or spec.name.value in named
        for two_sided in ((False, True) if spec.name in TWO_SIDED else (False,))
    ]


def joint_scores(specs: Sequence[ScoreSpec], candidates: Sequence[Candidate]) -> tuple[int, ...]:
    """Return the positions of the candidates' scores that make up their joint oddness.

    These are all but PATE's cost, which says what the entropy of the same votes says, but saturates.
    """
    scores = dict.fromkeys(candidate.score for candidate in candidates)
    names = {specs[score].name for score in scores}
    doubled = {ScoreName.pate} if ScoreName.vote_entropy in names else set()
    return tuple(score for score in scores if specs[score].name not in doubled)


@dataclass(frozen=True)
class ThievesWealth:
    """Mean wealth of simulated thieves, `[users, queries, tests]`, by attacker and by stream as `thieves_codes` has it.

    own_data: the names of attackers whose queries are not made of legitimate ones.
    """

    by_attacker: Mapping[str, Mapping[str, Wealth]]
    own_data: frozenset[str]
    cap: float

    @classmethod
    def of(
        cls,
        streams: Mapping[str, Mapping[str, Codes]],
        bets: Bets,
        own_data: frozenset[str],
        cap: float,
        entry: float = 0.0,
    ) -> "ThievesWealth":
        """Return the wealth of streams of codes; `entry` is the log wealth of a new account's boldest bets."""
        wealth: dict[str, dict[str, Wealth]] = {name: {} for name in streams}
        by_length: dict[int, list[tuple[str, str]]] = {}
        for name, of_attacker in streams.items():
            for stream, codes in of_attacker.items():
                by_length.setdefault(codes.shape[1], []).append((name, stream))
        # Streams of a length are walked together, which takes hardly longer than one of them.
        for places in by_length.values():
            parts = [streams[name][stream] for name, stream in places]
            means = mean_wealth(np.concatenate(parts), bets, entry)
            ends = np.cumsum([len(part) for part in parts])[:-1]
            for (name, stream), part in zip(places, np.split(means, ends), strict=True):
                wealth[name][stream] = part
        return cls(wealth, own_data, cap)

    def objective(self, tests: Sequence[int], exponent: float) -> float:
        """Return how dear thefts are where these tests are in use: a weighted sum of log prices."""
        logs = {}
        for name, of_attacker in self.by_attacker.items():
            used = {stream: means[:, :, list(tests)] for stream, means in of_attacker.items()}
            paid = figures(used, exponent, self.cap)
            logs[name] = math.log(paid.theft) + NEW_WEIGHT * math.log(paid.five)
        own = [log for name, log in logs.items() if name in self.own_data] or list(logs.values())
        return WORST_WEIGHT * min(own) + (1 - WORST_WEIGHT) * float(np.mean(list(logs.values())))


@dataclass(frozen=True)
class ScoreChoice:
    """Tests by their positions among the candidates, and the objective that they reach."""

    objective: float
    tests: tuple[int, ...]


def choose_scores(
    thieves: ThievesWealth, candidates: Sequence[Candidate], exponent: float, most: int, *, every: bool
) -> ScoreChoice:
    """Choose scores one after another, each by what is best beside those before; `most` at most.

    The joint oddness is the first where it is a candidate: it tells a little of every stranger, and the reference
    attackers hardly show that. Every place has its first score before another has its second: strangers come that are
    unlike the reference attackers, and one place does not see what another does. A score that is a candidate twice,
    from one side and from both, is taken once. With `every`, no score is left out that there is room for, whether it
    makes thefts dearer or not.
    """
    path: list[ScoreChoice] = []
    while len(path) < most:
        chosen = path[-1].tests if path else ()
        taken = {candidates[test].score for test in chosen}
        left = [test for test, candidate in enumerate(candidates) if candidate.score not in taken]
        places = {candidates[test].place for test in chosen}
        left = [test for test in left if candidates[test].place not in places] or left
        if not chosen:
            left = [test for test in left if candidates[test].place == JOINT] or left
        options = [ScoreChoice(thieves.objective((*chosen, test), exponent), (*chosen, test)) for test in left]
        if not options:
            break
        path.append(max(options, key=lambda choice: (choice.objective, choice.tests)))
    if every:
        return path[-1]
    best = max(choice.objective for choice in path)
    # Of sets that do about as well, the largest: other strangers come than the reference attackers.
    return max(
        (choice for choice in path if choice.objective >= best - WORTH_DIVERSITY), key=lambda choice: len(choice.tests)
    )
