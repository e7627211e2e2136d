"""Replay of recorded attacks under the paper's rule: the time of every step with proof of work. Decision 0024."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from calpow.archiver.fitted_line import fit_line
from calpow.archiver.replay.traces import AttackStep, BaselinePoint
from calpow.handler.ledger.ledger import NOTHING, Totals
from calpow.handler.policy.policies import MICRO, Paper


@dataclass(frozen=True)
class PaperRule:
    """The paper's rule (section 3.3) for one puzzle a step: f(x) seconds, from `min_seconds` to `max_seconds`."""

    policy: Paper
    min_seconds: float
    max_seconds: float

    def seconds(self, totals: Totals) -> float:
        """Return the seconds of the puzzle of an account with these totals."""
        multiple = math.exp(min(self.policy.log_multiple(totals), math.log(self.max_seconds)))
        return max(self.min_seconds, multiple)

    def first_seconds(self) -> float:
        """Return the seconds of an account without queries: f(x) - 1."""
        return max(self.min_seconds, self.seconds(NOTHING) - 1)


@dataclass(frozen=True)
class ReplayedStep:
    """An attack after a step: summed queries and cost, accuracy in per cent.

    before: seconds the attack has taken without proof of work.
    puzzle: seconds of this step's puzzle.
    after: seconds the attack has taken with proof of work.
    """

    queries: float
    cost: float
    accuracy: float
    before: float
    puzzle: float
    after: float

    @property
    def multiple(self) -> float:
        """The attack's time with proof of work over its time without."""
        return self.after / self.before if self.before > 0 else math.inf


def fit_rule(points: Sequence[BaselinePoint], base: float, min_seconds: float, max_seconds: float) -> PaperRule:
    """Return the rule whose baseline is the least-squares line through a standard user's points."""
    line = fit_line([point.queries for point in points], [point.cost for point in points])
    return PaperRule(Paper(line.slope, line.intercept, base), min_seconds, max_seconds)


def replay(rule: PaperRule, steps: Sequence[AttackStep], queries: float = math.inf) -> tuple[ReplayedStep, ...]:
    """Replay an attack's steps up to a number of queries; a step takes one puzzle, for the cumulative cost.

    The first step counts as an account without queries, whatever it records, as in the paper's Table 2.
    """
    paid: list[ReplayedStep] = []
    total, solving = 0.0, 0.0
    for step in steps:
        total += step.queries
        if total > queries:
            break
        totals = Totals(round(step.cost * MICRO), 0, round(total))
        puzzle = rule.seconds(totals) if paid else rule.first_seconds()
        solving += puzzle
        paid.append(ReplayedStep(total, step.cost, step.accuracy, step.seconds, puzzle, step.seconds + solving))
    return tuple(paid)
