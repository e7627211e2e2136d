"""Replay of recorded attacks under the paper's rule: the time of every step with proof of work. Decision 0024."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from calpow.archiver.fitted_line import FittedLine, fit_line
from calpow.archiver.replay.traces import AttackStep, BaselinePoint
from calpow.handler.ledger.history import MICRO, NO_HISTORY, History
from calpow.handler.policy.paper import Paper


@dataclass(frozen=True)
class Bounds:
    """The paper's rule where legitimate users differ (section 3.3): f(x) = base^x, x the distance from a band.

    The band lies between the lines of the cheapest and the dearest legitimate users' summed costs.
    """

    lower: FittedLine
    upper: FittedLine
    base: float

    def log_multiple(self, history: History) -> float:
        """Return log f(x), at least 0, and 0 between the bounds."""
        cost, n = history.cost_micro / MICRO, history.queries
        below = self.lower.slope * n + self.lower.intercept - cost
        above = cost - self.upper.slope * n - self.upper.intercept
        return math.log(self.base) * max(0.0, below, above)


@dataclass(frozen=True)
class PaperRule:
    """A rule of the paper (section 3.3) for one puzzle a step: f(x) seconds, from `min_seconds` to `max_seconds`."""

    policy: Paper | Bounds
    min_seconds: float
    max_seconds: float

    def seconds(self, history: History) -> float:
        """Return the seconds of the puzzle of an account with this past."""
        multiple = math.exp(min(self.policy.log_multiple(history), math.log(self.max_seconds)))
        return max(self.min_seconds, multiple)

    def first_seconds(self) -> float:
        """Return the seconds of an account without queries: f(x) - 1."""
        return max(self.min_seconds, self.seconds(NO_HISTORY) - 1)


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
    line = _line(points)
    return PaperRule(Paper(line.slope, line.intercept, base), min_seconds, max_seconds)


def fit_bounds(
    lower: Sequence[BaselinePoint],
    upper: Sequence[BaselinePoint],
    base: float,
    min_seconds: float,
    max_seconds: float,
) -> PaperRule:
    """Return the rule whose band lies between the least-squares lines through two users' points."""
    return PaperRule(Bounds(_line(lower), _line(upper), base), min_seconds, max_seconds)


def _line(points: Sequence[BaselinePoint]) -> FittedLine:
    return fit_line([point.queries for point in points], [point.cost for point in points])


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
        past = History(round(step.cost * MICRO), round(total))
        puzzle = rule.seconds(past) if paid else rule.first_seconds()
        solving += puzzle
        paid.append(ReplayedStep(total, step.cost, step.accuracy, step.seconds, puzzle, step.seconds + solving))
    return tuple(paid)
