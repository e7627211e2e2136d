"""The paper's rule on a recorded trace: what every step of an attack would have taken with proof of work."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from calpow.archiver.calibration.fitting import fit_line
from calpow.archiver.replay.traces import Point, Step
from calpow.handler.ledger.ledger import NOTHING, Totals
from calpow.handler.policy.policies import MICRO, Paper


@dataclass(frozen=True)
class PaperRule:
    """The paper's rule (section 3.3) for one puzzle a step: f(x) seconds, from `min_seconds` to `max_seconds`."""

    policy: Paper
    min_seconds: float
    max_seconds: float

    def seconds(self, totals: Totals) -> float:
        """Seconds of the puzzle of an account with these totals."""
        multiple = math.exp(min(self.policy.log_multiple(totals), math.log(self.max_seconds)))
        return max(self.min_seconds, multiple)

    def first_seconds(self) -> float:
        """Seconds of an account that has asked nothing yet: f(x) - 1."""
        return max(self.min_seconds, self.seconds(NOTHING) - 1)


@dataclass(frozen=True)
class Paid:
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
        """How many times as long the attack takes."""
        return self.after / self.before if self.before > 0 else math.inf


def fit_rule(points: Sequence[Point], base: float, min_seconds: float, max_seconds: float) -> PaperRule:
    """The rule whose baseline is the least-squares line through a standard user's points."""
    line = fit_line([point.queries for point in points], [point.cost for point in points])
    return PaperRule(Paper(line.slope, line.intercept, base), min_seconds, max_seconds)


def replay(rule: PaperRule, steps: Sequence[Step], queries: float = math.inf) -> tuple[Paid, ...]:
    """The steps up to so many queries, each with one puzzle for its own cumulative cost.

    The first step stands for an account that has asked nothing, whatever it records: so did the paper's Table 2.
    """
    paid: list[Paid] = []
    asked, spent = 0.0, 0.0
    for step in steps:
        asked += step.queries
        if asked > queries:
            break
        totals = Totals(round(step.cost * MICRO), 0, round(asked))
        puzzle = rule.seconds(totals) if paid else rule.first_seconds()
        spent += puzzle
        paid.append(Paid(asked, step.cost, step.accuracy, step.seconds, puzzle, step.seconds + spent))
    return tuple(paid)
